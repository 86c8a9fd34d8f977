"""Compilers for exported C, and how their programs are run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import cortex
import pytest

HERE = ("gcc", "-std=c99")
# A compiler's command; the options come behind it.
COMPILERS = pytest.mark.parametrize(
    "command",
    [
        pytest.param(
            each,
            marks=[
                pytest.mark.skipif(not shutil.which(each[0]), reason="not here"),
                *[pytest.mark.slow] * (each != HERE),  # their warnings are much alike
            ],
        )
        for each in (
            HERE,
            ("clang", "-std=c99"),
            ("g++", "-xc++"),
            ("clang++", "-xc++"),
            ("arm-linux-gnueabihf-gcc", "-std=c99", "-static"),
            (cortex.COMPILER, "-std=c99", *cortex.FLAGS),
        )
    ],
)
STRICT = ("-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")


def check(source: Path, folder: Path, command: tuple[str, ...] = HERE) -> Any:
    """Compile a file as a library, and as a program that checks itself; return its run."""
    linked: list[Any] = []
    program: list[Any] = [folder / "program"]
    if command[0] == cortex.COMPILER:
        if not cortex.is_here():
            pytest.skip("needs an emulator")
        linked, run = cortex.linked(folder), cortex.command(program[0])
    else:
        emulator = ["qemu-arm"] * command[0].startswith("arm")
        if emulator and not shutil.which("qemu-arm"):
            pytest.skip("needs an emulator")
        run = [*emulator, *program]
    if "-xc++" not in command:  # what differs from the program is no more C++ than the rest
        subprocess.run(
            [*command, *STRICT, "-DFASTMLP_CASADI", "-c", source, "-o", "/dev/null"], check=True
        )
    optimize = "-O2" if command == HERE else "-O0"  # some warnings of gcc need it
    options = [*STRICT, optimize, "-DFASTMLP_MAIN", source, "-o", *program, *linked, "-lm"]
    subprocess.run([*command, *options], check=True)
    return subprocess.run(run, capture_output=True, text=True, check=False)


def check_passes(source: Path, folder: Path, command: tuple[str, ...] = HERE) -> None:
    """Fail if a compiler warns about a file, or its self-check fails."""
    ran = check(source, folder, command)
    assert ran.returncode == 0, ran.stdout
    assert ran.stdout.startswith("0 of ")
