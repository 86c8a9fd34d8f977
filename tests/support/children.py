"""How tests start another Python: with the package under test, and under an emulator if told so.

``FASTMLP_TEST_RUNNER`` stands before the interpreter: "qemu-aarch64 -cpu cortex-a72" runs the suite
of another machine, whose interpreter this system cannot start by itself (see .ci/aarch64).
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import fastmlp

TESTS = Path(__file__).resolve().parent  # the folder of the helpers
FOLDERS = [TESTS, *sorted(TESTS.parent.glob("[a-z]*/"))]  # where test modules are found
PACKAGE = Path(fastmlp.__file__).parents[1]  # the folder of the package under test
RUNNER = shlex.split(os.environ.get("FASTMLP_TEST_RUNNER", ""))
SLOWDOWN = 10 if RUNNER else 1  # limits of time are multiplied by it

# A job in the background inherits that SIGINT is ignored, and so would its children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def python(
    *arguments: str | Path,
    starter: Sequence[str] = (),
    folders: Sequence[Path] = (),
    cwd: Path = TESTS,
    timeout: float | None = 120,
    pass_fds: Sequence[int] = (),
    **environment: str | None,
) -> subprocess.CompletedProcess[str]:
    """Run Python to its end, successful or not; its output is text.

    ``starter`` is the command that starts it (mpiexec with its options), ``folders`` are where it
    finds modules, before the package under test, ``cwd`` is where it starts, but imports nothing
    from. An environment variable that is None is one it does not have.
    """
    variables = {**os.environ, **importing(*folders, PACKAGE), **environment}
    return subprocess.run(
        [*starter, *RUNNER, sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        timeout=timeout and timeout * SLOWDOWN,
        pass_fds=pass_fds,
        env={name: value for name, value in variables.items() if value is not None},
    )


@contextlib.contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let files of this process have no more bytes."""
    resource = pytest.importorskip("resource", reason="written for POSIX")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def importing(*folders: Path) -> dict[str, str]:
    """Return the variables that let a child import from some folders, and not from its own."""
    return {"PYTHONPATH": os.pathsep.join(map(str, folders)), "PYTHONSAFEPATH": "1"}


def printed(result: subprocess.CompletedProcess[str]) -> str:
    """Return what a child printed that must not have failed."""
    assert result.returncode == 0, f"exit {result.returncode}: {result.stderr}"
    return result.stdout
