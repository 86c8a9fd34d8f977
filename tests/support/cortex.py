"""Programs for a Cortex-M4, which an emulator runs: what stands before main, and the commands.

The board is QEMU's mps2-an386. Output and exit status go through semihosting; with ``-icount
shift=0`` an instruction takes a nanosecond of its time, and its clock ticks each 40.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

COMPILER, EMULATOR = "arm-none-eabi-gcc", "qemu-system-arm"
FLAGS = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")
TICK = 40  # instructions

STARTUP = """\
#include <stdint.h>
extern void _start(void);
extern char stack_top[];
static void reset(void)
{
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* CPACR: the floating-point unit is on */
    __asm__ volatile("dsb\\n\\tisb");
    _start();
}
extern void _exit(int status);
static void fault(void) { _exit(99); }
__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    stack_top, (void *)reset, (void *)fault, (void *)fault, (void *)fault, (void *)fault
};
"""


def is_here() -> bool:
    """Whether there are compiler, emulator and the C library."""
    if not (shutil.which(COMPILER) and shutil.which(EMULATOR)):
        return False
    command = [COMPILER, "-print-file-name=rdimon.specs"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return Path(found.stdout.strip()).is_absolute()


def linked(folder: Path) -> list[Any]:
    """Return what a program is compiled with, besides its own files and `FLAGS`."""
    startup, places = folder / "startup.o", Path(__file__).with_name("cortex.ld")
    command = [COMPILER, *FLAGS, "-O2", "-xc", "-", "-c", "-o", startup]
    subprocess.run(command, input=STARTUP, text=True, check=True)
    return [startup, "--specs=rdimon.specs", "-T", places]


def command(program: Path) -> list[Any]:
    """Return what runs a program, and ends with its status."""
    board = (EMULATOR, "-M", "mps2-an386", "-icount", "shift=0", "-nographic")
    quiet = ("-monitor", "none", "-serial", "none")
    return [*board, *quiet, "-semihosting-config", "enable=on", "-kernel", program]
