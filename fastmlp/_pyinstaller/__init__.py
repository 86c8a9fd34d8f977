"""What PyInstaller must know of fastmlp, which it finds by the entry point `pyinstaller40`.

The hook lies beside this file.
"""

from __future__ import annotations


def hook_folders() -> list[str]:
    """Return the folders with hooks for PyInstaller."""
    return list(__path__)
