"""The question what the processor can do: answered by the kernel, the compiler, and made up."""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from fastmlp._engine import cpu, native_engine

ROOT = Path(__file__).resolve().parents[2]
HEADER = ROOT / "src_cython" / "c" / "simd" / "cpu.h"
CPUINFO = Path("/proc/cpuinfo")
NAMES = ("fma", "avx2", "avx512f", "avx512dq", "avx512bw", "avx512vl")
TILES = ("amx_bf16", "amx_tile")
BFLOAT16 = ("avx512_bf16", *TILES)
IS_X86 = platform.machine().lower() in {"x86_64", "amd64"}
on_x86 = pytest.mark.skipif(not IS_X86, reason="CPUID is of x86-64")
with_compiler = pytest.mark.skipif(
    not IS_X86 or shutil.which("cc") is None or not HEADER.exists(),
    reason="needs a C compiler and the sources, on x86-64",
)


def run(program, folder, *arguments, compiler="cc"):
    """Compile and run a C program, and return the words that it prints."""
    source, target = folder / "ask.c", folder / "ask"
    source.write_text(program)
    command = [compiler, f"-I{HEADER.parent}", str(source), "-o", str(target)]
    subprocess.run(command, check=True, capture_output=True)
    result = subprocess.run([str(target), *arguments], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


@pytest.mark.skipif(platform.machine().lower() not in {"aarch64", "arm64"}, reason="not aarch64")
def test_every_aarch64_has_neon():
    assert cpu.features() == {"neon"}


def test_blocks_are_within_what_was_measured():
    assert 192 * 1024 <= cpu.block_bytes() <= 1024 * 1024


@on_x86
@pytest.mark.skipif(not CPUINFO.exists(), reason="only Linux says what it knows")
def test_the_kernel_agrees():
    """It leaves out what it does not save."""
    flags = next(line for line in CPUINFO.read_text().splitlines() if line.startswith("flags"))
    assert cpu.features() == {*NAMES, *BFLOAT16} & {*flags.split()}


@with_compiler
@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc's check is the one that is compared")
def test_the_compiler_agrees(tmp_path):
    asks = "".join(f'if (__builtin_cpu_supports("{name}")) puts("{name}");' for name in NAMES)
    program = f"#include <stdio.h>\nint main(void) {{ __builtin_cpu_init(); {asks} return 0; }}"
    assert run(program, tmp_path, compiler="gcc") == cpu.features() - {*BFLOAT16}


MADE_UP = """
#include "cpu.h"
#include <stdio.h>
#include <stdlib.h>
int main(int count, char **words) {
    const char *names[FM_MOST_FEATURES];
    unsigned long long state = strtoull(words[count - 1], NULL, 0);
    unsigned q[FM_WORDS] = {0};
    for (int i = 1; i < count - 1; i++) q[i - 1] = (unsigned)strtoull(words[i], NULL, 0);
    const int n = fm_features_of(q, state, names);
    for (int i = 0; i < n; i++) puts(names[i]);
    return 0;
}
"""
FMA, AVX2, AVX512F, THE_REST = 1 << 12, 1 << 5, 1 << 16, 1 << 17 | 1 << 30 | 1 << 31
AMX_BITS, BF16_BIT = 1 << 22 | 1 << 24, 1 << 5
X87, SSE, YMM, MASKS_AND_ZMM, AMX = 1, 2, 4, 0xE0, 0x60000
ALL = AVX2 | AVX512F | THE_REST


@with_compiler
def test_only_what_the_system_saves(tmp_path):
    """A processor with everything, under systems that save less and less, and less of one."""
    most, everything = X87 | SSE | YMM | MASKS_AND_ZMM, {*NAMES, *BFLOAT16}
    cases = [
        (FMA, ALL, most, everything - {*TILES}),
        (FMA, ALL, most | AMX, everything),
        (FMA, ALL, most | 0x40000, everything - {*TILES}),  # their shapes are not saved
        (FMA, ALL, X87 | SSE | YMM, {"fma", "avx2"}),
        (FMA, ALL, X87 | SSE | YMM | 0x60, {"fma", "avx2"}),  # the upper 16 are not saved
        (FMA, ALL, X87 | SSE, set()),
        (FMA, ALL, X87 | YMM | MASKS_AND_ZMM, set()),  # halves without their other halves
        (FMA, ALL, 0, set()),
        (0, AVX2, most, {"avx2", "avx512_bf16"}),
        (FMA, AVX2 | AVX512F, most, {"fma", "avx2", "avx512f", "avx512_bf16"}),
        (0xFFFFFFFF ^ FMA, 0xFFFFFFFF ^ ALL, 2**64 - 1, {*BFLOAT16}),
    ]
    for leaf_1, leaf_7, state, wanted in cases:
        words = leaf_1, leaf_7, AMX_BITS, BF16_BIT
        found = run(MADE_UP, tmp_path, *map(str, words), str(state))
        assert found == wanted, (hex(leaf_1), hex(leaf_7), hex(state))


def test_every_level_asks_for_known_names():
    wanted = set().union(*native_engine.LEVELS.values())
    assert wanted <= {*NAMES, "neon"}
