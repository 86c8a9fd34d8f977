"""The build backend: setuptools', which it loads only after checking folder and C compiler.

pip calls `get_requires_for_build_wheel` before it downloads anything, so a read-only folder or a
missing compiler is reported at once.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

SETUPTOOLS = ["setuptools>=77"]
COMPILING = [*SETUPTOOLS, "Cython>=3.3", "numpy>=2.0"]

# The features of compiler and system that every module needs.
TRIAL = """
#include <Python.h>
typedef float vector __attribute__((vector_size(16)));
vector twice(vector a) { return a + a; }
"""
REMEDY = (
    "install a C compiler and Python's headers (Debian and Ubuntu: apt install gcc libc6-dev "
    "python3-dev; Fedora: dnf install gcc python3-devel; Alpine: apk add gcc musl-dev python3-dev; "
    "macOS: xcode-select --install; Windows: pip install ziglang, and set CC=python-zig cc -target "
    "x86_64-windows-gnu), or name another compiler, as in CC=clang pip install ."
)


def check_folder(folder: Path) -> None:
    """Write a file where the build will; raise an error with a remedy if that fails."""
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise SystemExit(
            f"error: fastmlp is compiled in the folder of its sources, but {str(folder)!r} cannot "
            f"be written ({error.strerror}): copy it to a folder of yours, and install from there"
        ) from None


def compiler() -> list[str]:
    """Return the command of the C compiler."""
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "gcc")


def check_compiler() -> None:
    """Compile a few lines; raise an error with a remedy if that fails."""
    command = compiler()
    headers = {sysconfig.get_path("include"), sysconfig.get_path("platinclude")}
    flags = [*shlex.split(os.environ.get("CFLAGS", "")), *(f"-I{folder}" for folder in headers)]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "trial.c")
        source.write_text(TRIAL)
        trial = [*command, *flags, "-c", str(source), "-o", str(source.with_suffix(".o"))]
        try:
            result = subprocess.run(trial, capture_output=True, text=True, errors="replace")
            reason = result.stderr.strip() if result.returncode else None
        except OSError as error:
            reason = str(error)
    if reason is not None:
        print(reason, file=sys.stderr)
        raise SystemExit(
            "error: fastmlp is compiled where it is installed, but the C compiler "
            f"{command[0]!r} is missing here, or cannot compile for this Python: {REMEDY}"
        )


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """Return the packages that a build requires; raise an error if it could not succeed."""
    check_folder(Path.cwd())  # PEP 517: the folder of the sources
    check_compiler()
    return COMPILING


get_requires_for_build_editable = get_requires_for_build_wheel


def get_requires_for_build_sdist(config_settings: Any = None) -> list[str]:
    """Return the packages that a source distribution requires; it needs no compiler."""
    check_folder(Path.cwd())
    return SETUPTOOLS


def __getattr__(name: str) -> Any:
    """Return a hook of setuptools, which is loaded when the hook is called.

    pip looks for `build_editable` before it installs setuptools.
    """
    if not name.startswith(("build_", "prepare_metadata_")):
        raise AttributeError(name)

    def hook(*arguments: Any, **options: Any) -> Any:
        from setuptools import build_meta

        return getattr(build_meta, name)(*arguments, **options)

    return hook
