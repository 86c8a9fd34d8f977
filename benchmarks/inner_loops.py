"""Disassemble the kernel modules and fail if an inner loop of a tile is not as it was meant.

The speed of the tiles rests on the compiler keeping every accumulator in a register. One that does
not still gives the right sums, so no test of results would notice. Here every innermost loop with
vector multiply-adds must leave the stack alone, store no vector, and do as many multiply-adds an
iteration as its tile has accumulators (or a multiple, where the compiler unrolled). Where an
optimizer's step runs beside a tile, it may store its own vectors. Needs objdump.

    run.py inner_loops                       the modules that are built
    run.py inner_loops --compiler clang gcc  the tiles alone, compiled as setup.py would
"""

from __future__ import annotations

import itertools
import re
import runpy
import shlex
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from harness import FAULT, CannotRunError, Names, Rows

from fastmlp._engine import native, native_engine

ROOT = Path(__file__).resolve().parents[1]
# The macros of kernels in which the step of a tile runs beside the next one. Their loops may
# store a vector of weights and of each slot, and have a count and a flag on the stack; no more.
BLOCKS = {
    level: re.compile(rf"^{kinds}\((\w+)\)$", re.MULTILINE)
    for level, kinds in (("avx512", "(?:WIDE|STAGED)_BLOCK"), ("avx2", "BLOCK"))
}
BESIDE_FAULTS = 5
TILE_SIZES = re.compile(r"#define MR (\d+)\n#define NV (\d+)\n")

SYMBOL = re.compile(r"^[0-9a-f]+ <_?(.+)>:$")
LINE = re.compile(r"^\s*([0-9a-f]+):\s+(?:(?:notrack|bnd|rep|data16|cs)\s+)*(\S+)\s*(.*)$")
TARGET = re.compile(r"(?:^|[\s,])(?:0x)?([0-9a-f]+)(?: <|$)")
# x86-64 (AT&T syntax) and aarch64. The baseline of x86-64 multiplies and adds.
JUMP = re.compile(r"^(j\w+|b|b\.\w+|cbn?z|tbn?z)$")
NO_RETURN_HERE = re.compile(r"^(jmp\w*|b|br|ret\w*|ud2|udf)$")
PADDING = re.compile(r"^(nop|xchg +%ax,%ax|data16|cs )")
FMA = re.compile(r"^(vfn?m(add|sub)\d+p[sd]|fmla|fmls)$")
FRAME = re.compile(r"^(mov\w* %rsp,%rbp|lea\w* \S*\(%rsp\),%rbp|(mov|add) x29, sp)")
VECTOR_STORE = re.compile(
    r"^v?mov(nt)?[au]p[sd] %[xyz]mm\d+,.*\(|^v?movdq[au]\w* %[xyz]mm\d+,.*\(|^st[rpu]\w* q\d"
)


@dataclass(frozen=True)
class Instruction:
    """One line of the disassembly."""

    address: int
    mnemonic: str
    operands: str

    @property
    def text(self) -> str:
        return f"{self.mnemonic} {self.operands}"

    @property
    def target(self) -> int | None:
        """Where a direct jump goes."""
        found = TARGET.search(self.operands) if JUMP.match(self.mnemonic) else None
        return int(found[1], 16) if found and "*" not in self.operands else None


def functions(listing: str) -> Iterator[tuple[str, list[Instruction]]]:
    """Split the output of objdump into functions; compilers' suffixes are cut off the names."""
    name, body = "", list[Instruction]()
    for line in [*listing.splitlines(), "0 <end>:"]:
        if symbol := SYMBOL.match(line):
            if body:
                yield name, body
            name, body = symbol[1].split(".")[0], []
        elif found := LINE.match(line):
            body.append(Instruction(int(found[1], 16), found[2], found[3].split("#")[0].strip()))


def predecessors(body: Sequence[Instruction]) -> dict[int, list[int]]:
    """Return, by index, the instructions from which control comes; indirect jumps are not known."""
    index = {instruction.address: i for i, instruction in enumerate(body)}
    before: dict[int, list[int]] = defaultdict(list)
    for i, instruction in enumerate(body):
        if instruction.target in index:
            before[index[instruction.target]].append(i)
    for i, instruction in enumerate(body[:-1]):
        padding = PADDING.match(instruction.text) and i > 0 and not before[i]
        if not padding and not NO_RETURN_HERE.match(instruction.mnemonic):
            before[i + 1].append(i)
    return before


def inner_loops(body: Sequence[Instruction]) -> list[list[Instruction]]:
    """Return the innermost natural loops: an edge back to what every way to the edge goes through.

    A loop may be entered in its middle. That is then its head, and the edge back falls into it.
    """
    index = {instruction.address: i for i, instruction in enumerate(body)}
    before = predecessors(body)
    loops = set()
    for end, instruction in enumerate(body):
        start = index.get(instruction.target, end + 1) if instruction.target else end + 1
        if start > end:
            continue
        edges = [(end, start)]
        edges += [
            (head - 1, head)
            for head in range(start + 1, end + 1)
            if any(not start <= origin <= end for origin in before[head])
        ]
        for origin, head in edges:
            members, stack = {head}, [origin]
            while stack:
                at = stack.pop()
                if at not in members:
                    members.add(at)
                    stack += before[at]
            if all(at == head or (at > 0 and before[at]) for at in members):
                loops.add(frozenset(members))
                break
    innermost = [loop for loop in loops if not any(other < loop for other in loops)]
    return [[body[i] for i in sorted(loop)] for loop in sorted(innermost, key=min)]


def fmas(loop: Iterable[Instruction], fused: bool) -> int:
    """Count the vector multiply-adds of a loop."""
    if fused:
        return sum(1 for instruction in loop if FMA.match(instruction.mnemonic))
    kinds = [instruction.mnemonic[:-1] for instruction in loop]
    return min(kinds.count("mulp"), kinds.count("addp"))


def faults(loop: Sequence[Instruction], framed: bool) -> list[str]:
    """Say which instructions of an inner loop touch the stack or store a vector.

    ``framed``: whether the function uses the frame pointer as such, and not as any register.
    """
    registers = "%rsp|%rbp|x29|sp" if framed else "%rsp|sp"
    stack = re.compile(rf"[(\[][^)\]]*(?:{registers})\b")
    found = []
    for instruction in loop:
        at = f"{instruction.address:x}: {instruction.text}"
        if stack.search(instruction.operands) or instruction.mnemonic in {"push", "pop"}:
            found.append(f"touches the stack at {at}")
        elif VECTOR_STORE.match(instruction.text):
            found.append(f"stores a vector at {at}")
    return found


def tile_sizes() -> dict[str, tuple[int, int]]:
    """Return MR and NV of each level, from the one place that says them."""
    text = (ROOT / "src_cython" / "c" / "simd" / "vec.h").read_text()
    found = TILE_SIZES.findall(text)
    return {
        level: (int(mr), int(nv))
        for level, (mr, nv) in zip(native_engine.LEVELS, found, strict=True)
    }


def beside(level: str) -> list[str]:
    """Return the kernels that run an optimizer's step beside a tile, from the list of them."""
    text = (ROOT / "src_cython" / "c" / "tables" / "optimizers.h").read_text()
    return [f"{name}_block" for name in (BLOCKS[level].findall(text) if level in BLOCKS else ())]


def expected(mr: int, nv: int) -> dict[str, set[int]]:
    """Return what the inner loops of each tile do: multiply-adds of an iteration."""
    panel = {8} | {mr * n for n in range(2, nv + 1)}
    return {
        "panel_plain": panel,
        "panel_relu": panel,
        "panel_relu_slope": panel,
        "panel_added": panel,
        "block_tn": {mr * n for n in range(1, nv + 1)},
        "row_affine": set(range(1, 4 * nv + 1)),
        "column_tn": {nv},
        "dot_rows": {1},  # any: its accumulators are those of a tree, not of a tile
        "fma_peak": {10},
    }


# Small functions are often inlined: where their loops then are.
HOSTS = {
    "row_affine": ("predict_row",),
    "column_tn": ("unit_gradient",),
    "dot_rows": ("dot_row", "forward_block", "forward", "predict_row"),
}


def examine(listing: str, level: str) -> tuple[int, list[str]]:
    """Return how many loops of a module were found, and what is wrong with them."""
    mr, nv = tile_sizes()[level]
    fused = level != "baseline"
    found: dict[str, list[tuple[int, list[str]]]] = defaultdict(list)
    for name, body in functions(listing):
        short = re.sub(r"^_*pyx_f_\d+[a-z]+_", "", name)
        framed = any(FRAME.match(instruction.text) for instruction in body)
        for loop in inner_loops(body):
            if count := fmas(loop, fused):
                found[short].append((count, faults(loop, framed)))
    wrong, seen = [], set[str]()
    for tile, counts in expected(mr, nv).items():
        where = [tile] if tile in found else [h for h in HOSTS.get(tile, ()) if h in found]
        loops = [(place, *loop) for place in where for loop in found[place]]
        for place, count, bad in loops:
            shape = f"{tile} (in {place}), loop of {count}"
            if bad and place not in seen:
                wrong.append(f"{shape}, {len(bad)} times: {bad[0]}")
            if place == tile and not any(count % wanted == 0 for wanted in counts):
                wrong.append(f"{shape}: expected {sorted(counts)}")
        wrong += [
            f"{tile}: no loop with {wanted} multiply-adds an iteration"
            for wanted in sorted(counts)
            if not any(count % wanted == 0 for _, count, _ in loops)
        ]
        seen.update(where)
    for tile in beside(level) if fused else ():
        narrow = mr * (1 if nv == 2 else nv)  # NV_BESIDE; a step alone has fewer
        tiles = [(count, bad) for count, bad in found[tile] if count >= narrow]
        wrong += [
            f"{tile}, loop of {count}, {len(bad)} times: {bad[0]}"
            for count, bad in tiles
            if len(bad) > BESIDE_FAULTS
        ]
        wrong += [
            f"{tile}: no loop with {wanted} multiply-adds an iteration"
            for wanted in (narrow, mr * nv)
            if not any(count % wanted == 0 and not bad for count, bad in tiles)
        ]
        seen.add(tile)
    return sum(len(found[place]) for place in seen), wrong


def modules() -> list[tuple[str, str, Path]]:
    """Return level, dtype and file of every kernel module that is built, runnable here or not."""
    folder = Path(native.__file__).parent
    pairs = [
        (level, dtype) for level in native_engine.built_levels() for dtype in native_engine.DTYPES
    ]
    return [
        (*pair, next(folder.glob(f"_kernels_{pair[0]}_{pair[1]}.*{Path(native.__file__).suffix}")))
        for pair in pairs
    ]


# All that is examined, in one file that compiles in seconds: what has a pointer is kept.
TILES = """
#include "tables/optimizers.h"
#include "panels/row.h"
typedef void (*kept)(void);
const kept fm_kept[] = {
    (kept)panel_plain, (kept)panel_relu, (kept)panel_relu_slope, (kept)panel_added, (kept)block_tn,
    (kept)row_affine, (kept)column_tn, (kept)dot_rows, (kept)fma_peak};
const fm_optimizer *fm_optimizers(void) { return OPTIMIZERS; }
"""


def fused_levels() -> dict[str, Sequence[str]]:
    """Return the flags of setup.py for each level of this machine that has multiply-adds."""
    with mock.patch("setuptools.setup"):
        build = runpy.run_path(str(ROOT / "setup.py"))
    levels = build["machine_levels"]().items()
    return {level: [*build["FLAGS"], *flags] for level, flags in levels if level != "baseline"}


def compile_tiles(compiler: str, level: str, dtype: str, folder: Path) -> Path:
    """Compile the tiles of a level and dtype; returns the object file."""
    source, target = folder / "tiles.c", folder / f"{level}_{dtype}.o"
    source.write_text(TILES)
    flags = [*fused_levels()[level], f"-DFM_DOUBLE={int(dtype == 'float64')}", "-fwrapv", "-fPIC"]
    include = f"-I{ROOT / 'src_cython' / 'c'}"
    command = [*shlex.split(compiler), *flags, include, "-c", str(source), "-o", str(target)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return target


def disassemble(path: Path) -> str:
    """Return objdump's listing of a module."""
    command = ["objdump", "-d", "--no-show-raw-insn", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


BUILT = Names.of(native_engine.built_levels())


def places(
    levels: Sequence[str], compilers: Sequence[str], folder: Path
) -> Iterator[tuple[str, str, Path]]:
    """Yield title, level and file of each module, or of what the compilers make of the tiles."""
    for level, dtype, path in modules():
        if level in levels and not compilers:
            yield f"{level} {dtype}", level, path
    for name, level, dtype in itertools.product(compilers, fused_levels(), native_engine.DTYPES):
        if level in levels:
            yield f"{name} {level} {dtype}", level, compile_tiles(name, level, dtype, folder)


def measure(levels: Names = BUILT, compiler: Sequence[str] = ()) -> Iterator[tuple[str, Rows]]:
    if shutil.which("objdump") is None:
        raise CannotRunError("objdump is not installed: nothing can be examined")
    rows: Rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for title, level, path in places(levels, compiler, Path(folder)):
            count, wrong = examine(disassemble(path), level)
            rows[title] = {"loops": count, **({FAULT: "\n    ".join(wrong)} if wrong else {})}
    yield "inner loops", rows
