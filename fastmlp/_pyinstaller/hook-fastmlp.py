"""What a frozen program needs of fastmlp, beyond the imports that PyInstaller sees.

Names are imported when they are first used, and compiled modules import each other: PyInstaller,
which reads the imports of Python files, misses both.
"""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

hiddenimports = collect_submodules(
    "fastmlp", filter=lambda name: "_pyinstaller" not in name, on_error="ignore"
)
datas = collect_data_files("fastmlp")
