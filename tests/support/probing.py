"""`probe`, one kernel at a time: compiled from probe.pyx when it is needed, not shipped.

``FASTMLP_PROBE`` names a folder where it lies already, by ``python setup.py build_probe``: for
another machine (.ci/aarch64), by other flags (.ci/sanitize), or for the process that started this.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

import children

ROOT = Path(__file__).resolve().parents[2]
NATIVE = {".pyx", ".pxi", ".pxd", ".h"}


def is_newest(module: Path) -> bool:
    """Return whether a module is there, and newer than all that it is compiled from."""
    native = (path for path in (ROOT / "src_cython").rglob("*.*") if path.suffix in NATIVE)
    sources = [ROOT / "setup.py", ROOT / "tests" / "support" / "probe.pyx", *native]
    changed = max(path.stat().st_mtime for path in sources)
    return module.exists() and module.stat().st_mtime > changed


def build() -> str:
    """Compile the module if its sources have changed, one process at a time; returns the folder."""
    folder = ROOT / "build" / "probe"
    built = folder / f"probe{sysconfig.get_config_var('EXT_SUFFIX')}"
    if is_newest(built):
        return str(folder)
    folder.mkdir(parents=True, exist_ok=True)
    command = "setup.py", "-q", "build_probe", "--build-lib", folder
    with (folder / "lock").open("w") as lock:
        if sys.platform != "win32":
            # pytest's workers collect at the same time, and write the same C files here.
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        result = children.python(*command, cwd=ROOT, timeout=600)
    if result.returncode:
        raise ImportError(
            f"tests/support/probe.pyx cannot be compiled: {result.stderr[-2000:]}\n"
            "install what tests need: pip install '.[test]', and a C compiler"
        )
    built.touch()  # sources of other modules may be newer than those that it was compiled from
    return str(folder)


if "FASTMLP_PROBE" not in os.environ:
    os.environ["FASTMLP_PROBE"] = build()
sys.path.append(os.environ["FASTMLP_PROBE"])

import probe  # noqa: E402, F401
