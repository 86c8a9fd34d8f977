"""The compiler kept the accumulators of the tiles in registers: see benchmarks/inner_loops.py."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from fastmlp._engine import native_engine

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
inner_loops = pytest.importorskip("inner_loops", reason="needs the folder benchmarks")

# Two multiply-adds an iteration; the padding in front of the loop is not part of it.
LISTING = """
0000000000000010 <column_tn.constprop.0>:
  10:\tvxorps %xmm1,%xmm1,%xmm1
  14:\tjmp    20 <column_tn.constprop.0+0x10>
  16:\tnop
  20:\tvbroadcastss (%rdi),%ymm0
  25:\tvfmadd231ps (%rsi),%ymm0,%ymm1
  2a:\t{middle}
  2f:\tvfmadd231ps 0x20(%rsi),%ymm0,%ymm2
  34:\tcmp    %rax,%rcx
  37:\tjne    20 <column_tn.constprop.0+0x10>
  39:\tvmovaps %ymm1,-0x38(%rsp)
  3f:\tret
"""


def loops(listing):
    (name, body), *more = inner_loops.functions(listing)
    assert name == "column_tn"
    assert not more
    return list(inner_loops.inner_loops(body))


ADD = "add    $0x60,%rsi"
ELSEWHERE = "vmovaps (%rbp,%rax,4),%ymm3"  # a frame pointer that is none is any register


@pytest.mark.parametrize(
    ("middle", "framed", "fault"),
    [
        (ADD, False, None),
        (ELSEWHERE, False, None),
        ("vmovaps 0x8(%rsp,%rdx,1),%ymm3", True, "touches the stack"),
        ("vaddps -0x40(%rbp),%ymm2,%ymm2", True, "touches the stack"),
        ("push   %rax", True, "touches the stack"),
        ("vmovaps %ymm3,(%rdx)", True, "stores a vector"),
    ],
)
@pytest.mark.parametrize("entry", ["20", "25"])  # in its middle, too
def test_a_loop_is_found_with_its_multiply_adds_and_spills(middle, framed, fault, entry):
    (loop,) = loops(LISTING.format(middle=middle).replace("jmp    20", f"jmp    {entry}"))
    assert entry == "25" or (loop[0].address, loop[-1].address) == (0x20, 0x37)
    assert inner_loops.fmas(loop, fused=True) == 2
    found = [text.partition(":")[0] for text in inner_loops.faults(loop, framed=framed)]
    assert len(found) == (fault is not None)
    assert all(text.startswith(fault) for text in found)


def test_a_wrong_number_of_multiply_adds_is_a_fault():
    level = "avx2"
    count, wrong = inner_loops.examine(LISTING.format(middle=ADD), level)
    assert count == 1
    assert any(text.startswith("column_tn (in column_tn), loop of 2: expected") for text in wrong)
    assert any(text.startswith("block_tn: no loop") for text in wrong)


needs_objdump = pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump")


@needs_objdump
@pytest.mark.parametrize(
    ("level", "dtype", "path"),
    [
        pytest.param(*row, marks=[pytest.mark.slow] * (row[1] != "float32"))
        for row in inner_loops.modules()
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_inner_loops_of_the_build(level, dtype, path):
    listing = inner_loops.disassemble(path)
    if "<fma_peak" not in listing and "<_fma_peak" not in listing:
        pytest.skip("the modules are stripped of their symbols")
    _, wrong = inner_loops.examine(listing, level)
    assert not wrong


def compilers():
    """Return the default compiler, clang, and the newest clang with a number: spills differ."""
    folders = [Path(folder) for folder in os.get_exec_path()]
    paths = (path.name for folder in folders for path in folder.glob("clang-*"))
    numbers = [int(name[6:]) for name in paths if name[6:].isdigit()]
    newest = [f"clang-{max(numbers)}"] if numbers else []
    return [name for name in ("cc", "clang", *newest) if shutil.which(name)]


@pytest.mark.slow
@needs_objdump
@pytest.mark.skipif(not compilers(), reason="no C compiler is installed")
@pytest.mark.parametrize("dtype", native_engine.DTYPES)
@pytest.mark.parametrize("level", inner_loops.fused_levels())
def test_inner_loops_by_compiler(level, dtype, tmp_path):
    for compiler in compilers():
        path = inner_loops.compile_tiles(compiler, level, dtype, tmp_path)
        _, wrong = inner_loops.examine(inner_loops.disassemble(path), level)
        assert not wrong, compiler
