"""Memory that ends or starts at an inaccessible page, and every native call made on it.

`test_guard.py` runs this as a program: an access outside an array kills the process. All the
memory that a kernel sees is guarded: the user's arrays, what the engine makes with NumPy, and the
library's own blocks. The unguarded side of each holds NaN, so a read there is seen in the results.

    python guarded.py LEVEL DTYPE NOTE    run all cases, print how many by kind as JSON

NOTE is a file that holds the name of the case that runs.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import mmap
import sys
import threading
from collections import Counter
from pathlib import Path

import cases
import numpy as np
from probing import probe
from scipy import sparse

from fastmlp._engine import native
from fastmlp._engine.plan import Plan
from fastmlp._engine.protocol import Held
from fastmlp._engine.thread_pool import borrowed_team
from fastmlp._network import spec
from fastmlp._network.activations import ACTIVATIONS
from fastmlp._network.data import Data
from fastmlp._network.sparse import rows_of

try:
    from fastmlp.tabular.table import rows as rows_of_tables
    from fastmlp.tabular.table.encoding import CategoryInputs, Layout
except ImportError:  # tables need scikit-learn
    rows_of_tables = None

PAGE = mmap.PAGESIZE
PROT_NONE = 0  # sys/mman.h
VECTOR_BYTES = {"avx512": 64, "avx2": 32}  # others 16; all the alignment that a block needs
# All rests of vectors and tiles, and around the panels and blocks of several.
SIZES = (*range(1, 35), 47, 48, 49, 63, 64, 65, 70, 127, 128, 129, 255, 256, 257)
PLACES = ("end", "start")
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mprotect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int

# Strides in bytes of a (rows, columns) array whose items have s bytes.
LAYOUTS = {
    "C": lambda rows, columns, s: (columns * s, s),
    "F": lambda rows, columns, s: (s, rows * s),
    "row gaps": lambda rows, columns, s: ((columns + 3) * s, s),
    "column gaps": lambda rows, columns, s: (2 * columns * s, 2 * s),
    "rows reversed": lambda rows, columns, s: (-columns * s, s),
    "columns reversed": lambda rows, columns, s: (columns * s, -s),
    "one row": lambda rows, columns, s: (0, s),
    "overlapping rows": lambda rows, columns, s: (s, s),
}


def guarded_pages(n_bytes):
    """Return whole pages of at least n_bytes between two that nobody may touch."""
    inner = -(-n_bytes // PAGE) * PAGE
    pages = np.frombuffer(mmap.mmap(-1, inner + 2 * PAGE), np.uint8)
    for at in (0, PAGE + inner):
        if LIBC.mprotect(pages.ctypes.data + at, PAGE, PROT_NONE):
            raise OSError(ctypes.get_errno(), "mprotect")
    return pages[PAGE : PAGE + inner]


class Pool:
    """Guarded arrays, their pages used again from case to case; `place` says at which page."""

    def __init__(self):
        self.place = "end"
        self.pages = {}  # size -> regions
        self.used = Counter()
        self.lock = threading.Lock()

    def begin(self, place):
        """Take all memory back: nothing of the last case may be alive."""
        self.place = place
        self.used.clear()

    def take(self, n_bytes):
        """Return n_bytes against a guard page, NaN on their other side."""
        size = max(PAGE, 1 << (n_bytes - 1).bit_length())
        with self.lock:  # each thread of a team takes its own buffers
            regions = self.pages.setdefault(size, [])
            if self.used[size] == len(regions):
                regions.append(guarded_pages(size))
            region = regions[self.used[size]]
            self.used[size] += 1
        region.fill(255)  # NaN in either dtype
        return region[len(region) - n_bytes :] if self.place == "end" else region[:n_bytes]

    def strided(self, shape, strides, dtype):
        """Return an array whose lowest or highest byte touches the guard page."""
        steps = [(n - 1) * stride for n, stride in zip(shape, strides, strict=True)]
        span = sum(abs(step) for step in steps) + dtype.itemsize
        first = -sum(step for step in steps if step < 0)
        memory = self.take(span)[first : first + dtype.itemsize].view(dtype)
        return np.lib.stride_tricks.as_strided(memory, shape, strides)

    def empty(self, shape, dtype=np.float64):
        """numpy.empty, guarded."""
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        dtype = np.dtype(dtype)
        strides = [int(np.prod(shape[i + 1 :])) * dtype.itemsize for i in range(len(shape))]
        return self.strided(shape, strides, dtype)

    def zeros(self, shape, dtype=np.float64):
        """numpy.zeros, guarded."""
        out = self.empty(shape, dtype)
        out[...] = 0
        return out

    def copy(self, values, layout=None):
        """Return a guarded copy; `layout` for 2-D arrays."""
        if layout is None:
            out = self.empty(values.shape, values.dtype)
        else:
            strides = LAYOUTS[layout](*values.shape, values.itemsize)
            out = self.strided(values.shape, strides, values.dtype)
        out[...] = values
        return out


POOL = Pool()


class GuardedNumPy:
    """What the core's `np` becomes: its results are guarded too."""

    empty, zeros = POOL.empty, POOL.zeros

    def __getattr__(self, name):
        return getattr(np, name)


def install(level):
    """Guard every block of the library: whole vectors, with no slack for mistakes."""
    vector = VECTOR_BYTES.get(level, 16)

    def allocate(n_bytes):
        block = POOL.take(-(-n_bytes // vector) * vector)
        block[:] = 0
        return block

    native.allocate, native.np = allocate, GuardedNumPy()
    if rows_of_tables:
        rows_of_tables.level = lambda: level


class Run:
    """Counts cases, and keeps the name of the one that runs where the parent finds it."""

    def __init__(self, level, dtype, note):
        self.level, self.dtype = level, np.dtype(dtype)
        self.counts = Counter()
        self.rng = np.random.default_rng(5)
        note.write_bytes(bytes(256))
        with note.open("r+b") as file:
            self.note = mmap.mmap(file.fileno(), 256)

    def begin(self, place, *name):
        POOL.begin(place)
        text = " ".join(map(str, (*name, place))).encode()[:255]
        self.note[:] = text.ljust(256, b"\0")

    def count(self, kind, *results):
        """Count one native call; NaN in its results means that it read what it should not."""
        self.counts[kind] += 1
        for result in results:
            if not np.isfinite(result).all():
                raise AssertionError(f"{kind} read past an array: {self.note[:].decode()}")

    def random(self, *shape):
        return self.rng.uniform(-1, 1, shape).astype(self.dtype)


# ---- one kernel at a time ------------------------------------------------------------------------


def affine_sizes():
    """Every size in each of batch, fan-in, fan-out, beside few sizes of the other two."""
    few = itertools.product((1, 8, 17, 25), repeat=2)
    for (a, b), size in itertools.product(few, SIZES):
        yield from {(size, a, b), (a, size, b), (a, b, size)}


def affine_cases(run):
    names = itertools.cycle(ACTIVATIONS)
    data = run.random(257 * 257)
    for (batch, n_in, n_out), place in itertools.product(affine_sizes(), PLACES):
        name = next(names)
        run.begin(place, "affine", batch, n_in, n_out, name)
        layer = probe.Affine(run.level, run.dtype, batch, n_in, n_out, name, name, fill=np.nan)
        x = data[: batch * n_in].reshape(batch, n_in)
        dz = data[-batch * n_out :].reshape(batch, n_out)
        w = POOL.copy(data[: n_in * n_out].reshape(n_in, n_out))
        layer.load(x=x, slope=x, w=w, b=POOL.copy(data[:n_out]))
        layer.forward()
        run.count("affine forward", layer.y)
        layer.forward(training=True)
        run.count("affine forward, training", layer.y)
        layer.load(dz=dz)
        layer.backward_input()
        run.count("affine backward to inputs", layer.dx)
        layer.backward_weights()
        run.count("affine backward to weights", layer.dw, layer.db)


def loss_cases(run):
    kernels = probe.Kernels(run.level, run.dtype)
    for case, m, n, place in itertools.product(cases.LOSSES, SIZES, (1, 9), PLACES):
        if m == 1 and case.loss.target_kind == "class":
            continue  # one class: not a network that can be built
        run.begin(place, "loss", case, n, m)
        targets = cases.targets(case.loss, n, m, run.rng, run.dtype, case.labels)
        run.count("loss", *kernels.loss(case.loss, run.random(n, m * case.loss.heads), targets))


def step_cases(run):
    kernels = probe.Kernels(run.level, run.dtype)
    for optimizer, n, place in itertools.product(cases.OPTIMIZERS, SIZES, PLACES):
        run.begin(place, "step", cases.optimizer_id(optimizer), n)
        w, slots = run.random(n), [abs(run.random(n)) for _ in range(optimizer.n_slots)]
        kernels.step(optimizer, w, run.random(n), slots, 0.1, (1.0, 1.0), 0.1, 0.5)
        run.count("optimizer step", w, *slots)


def gather_cases(run):
    kernels = probe.Kernels(run.level, run.dtype)
    every = itertools.product(LAYOUTS, SIZES, (1, 3, 9), PLACES)
    for layout, columns, rows, place in every:
        run.begin(place, "gather", layout, rows, columns)
        x = POOL.copy(run.random(rows, columns), layout)
        order = POOL.copy(np.arange(rows)[::-1].astype(np.int64))
        run.count("gather", kernels.gather(x, order))


def table_cases(run):
    """Rows that the gather computes from a table: numbers, missing ones and categories."""
    every = itertools.product((0, 1, 3, 70), (0, 1, 4, 7, 70), (1, 9), PLACES)
    has_tables = rows_of_tables and run.dtype == np.float32
    for numbers, bins, rows, place in every if has_tables else ():
        run.begin(place, "table", numbers, bins, rows)
        of_numbers, values = np.resize([bins, bins // 2], numbers), (2, 5, 30)
        shape = 1, of_numbers.sum()
        categories = [CategoryInputs(n, n - n // 20) for n in values]  # the last one has a rare one
        missing = np.arange(numbers)[::2]
        measured = (run.random(1, numbers), np.ones((1, numbers)), run.random(*shape))
        measured = [array.astype(float) for array in (*measured, np.full(shape, 0.3))]
        encoder = rows_of_tables.Encoder(
            tuple(array if array.size == 0 else POOL.copy(array) for array in measured),
            of_numbers,
            POOL.copy(run.random(1, sum(values)) > 0),
            categories,
            missing,
            POOL.copy(np.repeat([[3.0], [1e6]], numbers, axis=1)) if numbers else np.empty((2, 0)),
            Layout.of(len(missing), categories, of_numbers),
        )
        table = run.random(rows, numbers).astype(float)
        table[:, ::3] = np.nan
        codes = [run.rng.integers(-1, n, rows) for n in values]
        codes = POOL.copy(np.stack(codes, axis=1).astype(np.int32))
        x = encoder.rows(POOL.copy(table) if numbers else table, codes)
        engine = native.Engine(cases.build([x.shape[1], 3, 1], dtype=run.dtype), run.level)
        run.count("predict a table", engine.predict(x[::-1]))
        optimizer = cases.OPTIMIZERS[0]
        engine.start(optimizer)
        plan = Plan(optimizer, 4, np.full(-(-rows // 4), 1e-3))
        run.count("fit a table", engine.epoch(Data(x, run.random(rows, 1)), plan))


def sparse_cases(run):
    """Rows of CSR, from none to all of their values stored, in networks of each first layer."""
    sizes = (1, 3, 8, 17, 63, 64, 65, 130)
    every = itertools.product(sizes, (1, 2, 33), (False, True), (0.0, 0.2, 1.0), PLACES)
    for n_in, n_out, scale, density, place in every:
        run.begin(place, "sparse rows", n_in, n_out, scale, density)
        spec = cases.build([n_in, n_out, 3], dtype=run.dtype, scale=scale, linear_path=True)
        engine, x = native.Engine(spec, run.level), run.random(9, n_in)
        x[run.rng.random(x.shape) >= density] = 0
        rows = rows_of(sparse.csr_array(x))
        run.count("predict sparse rows", engine.predict(rows))
        optimizer = cases.OPTIMIZERS[0]
        engine.start(optimizer)
        plan = Plan(optimizer, 4, np.full(3, 1e-3))
        run.count("fit sparse rows", engine.epoch(Data(rows, run.random(9, 3)), plan))


# ---- whole calls, on the user's arrays -----------------------------------------------------------


def engine_cases(run):
    """Every entry of the engine; sizes, layouts, losses and the rest go round in turn."""
    turns = {
        "loss": itertools.cycle(cases.LOSSES),
        "optimizer": itertools.cycle(cases.OPTIMIZERS),
        "n": itertools.cycle((1, 2, 7, 8, 9, 16, 23, 63, 64, 65, 129, 300)),
        "batch": itertools.cycle((1, 8, 5, 16, 64, 500)),
        "clip": itertools.cycle((0.0, 0.1, 0.0)),
        "dropout": itertools.cycle((0.0, 0.0, 0.3, 0.0)),
        "threads": itertools.cycle((1, 1, 1, 3, 2)),
        "layer_norm": itertools.cycle((None, "before", None, None, "after")),
        "scale": itertools.cycle((False, False, True)),
        "parametric": itertools.cycle((False, True, False, False)),
        "linear_path": itertools.cycle((False, True, False, False, True)),
        "compute": itertools.cycle((None, "bfloat16", None)),
    }
    sizes = [*cases.NETWORKS, *((k, *[1 + k % 37] * (1 + k % 3), 2 + k % 5) for k in SIZES)]
    for layer_sizes, layout, place in itertools.product(sizes, LAYOUTS, PLACES):
        turn = {name: next(values) for name, values in turns.items()}
        run.begin(place, "engine", layer_sizes, layout, *turn.items())
        with borrowed_team(turn["threads"]) as team:
            one_engine(run, layer_sizes, layout, turn, team)


def random_parameters(run, spec):
    return [
        [run.random(*shape) / shape[0] if shape[0] else run.random(0) for shape in shapes]
        for shapes in spec.tensors.values()
    ]


def one_engine(run, layer_sizes, layout, turn, team):
    case, n = turn["loss"], turn["n"]
    names = cases.mixed_activations(len(layer_sizes) - 2, run.counts["fit"] % len(ACTIVATIONS))
    options = {name: turn[name] for name in ("dropout", "layer_norm", "scale", "parametric")}
    hidden = layer_sizes[1:-1]
    skip = len(hidden) - 1 if len(hidden) > 1 and len(set(hidden)) == 1 else None
    options |= {"skip": skip, "linear_path": turn["linear_path"] and len(hidden) > 0}
    options["compute"] = turn["compute"] if run.dtype == np.float32 else None
    spec = cases.build(layer_sizes, names, case.loss, run.dtype, **options)
    engine = native.Engine(spec, run.level)
    engine.set_parameters(*([POOL.copy(p) for p in kind] for kind in random_parameters(run, spec)))
    run.count("set_parameters")
    run.count("parameters", *[a for arrays in engine.parameters() for a in arrays])
    x = POOL.copy(run.random(n, layer_sizes[0]), layout)
    t = cases.targets(case.loss, n, layer_sizes[-1], run.rng, run.dtype, case.labels)
    share = POOL.copy(1 + run.random(n)) if n % 2 else None
    data = Data(x, POOL.copy(t), share)
    run.count("predict", engine.predict(x, team))
    run.count("evaluate", engine.evaluate(data, team))
    objective, *gradients = engine.gradients(data, 0.01, l1=0.02)
    run.count("gradients", objective, *itertools.chain(*gradients))
    frozen, v = engine.frozen(), POOL.copy(run.random(n, layer_sizes[0]))
    dz = POOL.copy(run.random(n, spec.shapes[-1][1]))
    run.count("tangents", frozen.differentiate(x, v, team=team))
    run.count("second derivatives", frozen.differentiate(x, v, dz, dz, team))
    objective, *gradients = engine.gradients(Data(x, dz, is_gradient=True), team=team)
    run.count("gradients from outside", objective, *itertools.chain(*gradients))
    if layer_sizes[0] * layer_sizes[-1] < 100:
        run.count("hessian", *frozen.derivatives(x[:9], team))
    order = POOL.copy(np.arange(n, dtype=np.int64))
    native.shuffle(order, 3, run.level)
    run.count("shuffle")
    engine.start(turn["optimizer"])
    rates = POOL.empty(-(-n // turn["batch"]))
    rates[:] = 1e-3
    plan = Plan(turn["optimizer"], turn["batch"], rates, order if n % 3 else None, l2=0.01)
    plan.clip_norm, plan.l1, plan.team = turn["clip"], 0.1 * turn["clip"], team
    run.count("fit", engine.epoch(data, plan), *itertools.chain(*engine.parameters()))
    if not spec.loss.is_linked and spec.compute is None and layer_sizes[0] * layer_sizes[-1] < 100:
        data.jacobians = POOL.copy(run.random(n, layer_sizes[-1], layer_sizes[0]))
        data.jacobians[::3] = np.nan
        after = engine.epoch(data, plan), *itertools.chain(*engine.parameters())
        run.count("fit of derivatives", *after)
        data.jacobians = None
    plan.learning_rates = np.resize(rates, 2 * len(rates))
    plan.step, plan.drops_last = len(rates), bool(n % 2)
    plan.order = order
    seeds = [POOL.copy(np.array([1, 2], np.uint64))]
    found = engine.train_many([engine], [data], [plan], team, 2, seeds, Held([data]))
    run.count("train many", found.losses, found.held_losses, *found.predictions)


def predictor_cases(run):
    """One row, a few rows, blocks of rows and derivatives, into arrays that are given too."""
    turn = itertools.cycle(cases.LOSSES)
    # Layer normalisation, scale layer, parametric activations, blocks of one and a linear path; 25,
    # so that all sizes meet all.
    options = itertools.product((None, "before", "after"), (False, True), (False, True), (1, None))
    options = itertools.cycle([*options, (None, False, False, None)])
    for size, few, place in itertools.product(SIZES, (1, 8, 25), PLACES):
        loss = next(turn).loss
        for sizes in ([size, few, 2], [few, size, 2], [few, 2, size]):
            if sizes[-1] == 1 and loss.target_kind == "class":
                continue
            run.begin(place, "predictor", loss.name, sizes)
            names = cases.mixed_activations(1, size % len(ACTIVATIONS))
            norm, scale, parametric, skip = next(options)
            if skip:
                sizes, names = [*sizes[:2], *sizes[1:]], names * 2
            more = {"scale": scale, "parametric": parametric, "skip": skip}
            more |= {"layer_norm": norm, "linear_path": skip is not None}
            spec = cases.build(sizes, names, loss, run.dtype, **more)
            predict = native.Predictor(spec, run.level, *random_parameters(run, spec))
            row, x = run.random(sizes[0]), run.random(9, sizes[0])
            run.count("one row", predict(POOL.copy(row)))
            run.count("one row", predict(POOL.copy(row), POOL.empty(spec.shapes[-1][1], run.dtype)))
            run.count("a few rows", predict(POOL.copy(x[:3])))
            run.count("rows", predict(POOL.copy(x, "rows reversed")))
            run.count("rows", predict(POOL.copy(x), POOL.empty((9, spec.shapes[-1][1]), run.dtype)))
            if sizes[-1] < 60:
                run.count("jacobian", predict.jacobian(POOL.copy(x)))
                run.count("jacobian of one row", predict.jacobian(POOL.copy(row)))


KINDS = (
    *(affine_cases, loss_cases, step_cases, gather_cases, table_cases, sparse_cases),
    *(engine_cases, predictor_cases),
)


def main(level, dtype, note):
    run = Run(level, dtype, Path(note))
    for n in (2, 3):  # a team outlives its case, and so its memory is not the pool's
        with borrowed_team(n) as team:
            assert team.size == n
    install(level)
    spec.ROUNDED_WEIGHTS = 1  # the smallest layers are rounded, too
    for kind in KINDS:
        kind(run)
    print(json.dumps(run.counts))


if __name__ == "__main__":
    main(*sys.argv[1:])
