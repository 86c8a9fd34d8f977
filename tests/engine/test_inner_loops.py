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
