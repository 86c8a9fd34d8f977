"""No kernel reads or writes outside an array: all memory ends or starts at an inaccessible page.

The cases are in `guarded.py`, which runs in a process of its own: the proof of a mistake is death
by SIGSEGV, and the name of the case is then in the message. That mistakes are caught is shown by
making some, as a program: ``python test_guard.py LEVEL DTYPE NOTE``.
"""

import itertools
import json
import os
import signal
import sys
from pathlib import Path

import cases
import children
import guarded
import numpy as np
import pytest

import fastmlp
from fastmlp._engine import native, native_engine
from fastmlp._engine.plan import Plan
from fastmlp._network.data import Data

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="needs mprotect and fork, which this system lacks"
)
# A case is one native call at one size and one placement; one level and dtype alone has this many.
FEWEST_CASES = 25_000
LEVELS = native_engine.available_levels()
PAIRS = [(level, dtype) for level in LEVELS for dtype in native_engine.DTYPES]
TRIED = pytest.mark.parametrize(
    ("level", "dtype"),
    [PAIRS[0], *(pytest.param(*pair, marks=pytest.mark.slow) for pair in PAIRS[1:])],
)


def run(program, level, dtype, folder):
    note = folder / "note"
    folders = [children.TESTS]
    return note, children.python(program, level, dtype, note, folders=folders, timeout=300)


@pytest.mark.slow
@TRIED
def test_no_access_outside_arrays(level, dtype, tmp_path):
    note, result = run(guarded.__file__, level, dtype, tmp_path)
    case = note.read_bytes().rstrip(b"\0").decode() if note.exists() else "none"
    assert result.returncode == 0, f"{result.stderr}\nexit {result.returncode} in case: {case}"
    counts = json.loads(result.stdout)
    assert sum(counts.values()) >= FEWEST_CASES, counts


@TRIED
def test_planted_mistakes_are_caught(level, dtype, tmp_path):
    _, result = run(__file__, level, dtype, tmp_path)
    assert result.returncode == 0, result.stderr
    ends = json.loads(result.stdout)
    assert len(ends) > 50
    # SIGBUS is what some systems send for the same mistake.
    missed = [name for name, end in ends.items() if end not in {signal.SIGSEGV, signal.SIGBUS}]
    assert missed == []


# ---- mistakes on purpose, each in a process of its own ------------------------------------------


def longer(array):
    """An array that says it has one more row or element than there is memory for."""
    shape = (len(array) + 1, *array.shape[1:])
    return np.lib.stride_tricks.as_strided(array, shape, array.strides)


def plants(run):
    """Return {name: function}; every function reaches one item past an array."""
    spec = cases.build([5, 9, 3], "tanh", fastmlp.CrossEntropy(), run.dtype)
    engine = native.Engine(spec, run.level)
    x = run.random(8, 5)
    more = np.arange(9, dtype=np.int32) % 3
    labels, share = more[:8], abs(run.random(8))
    soft = np.full((8, 3), 1 / 3, run.dtype)
    order, rates = np.arange(8, dtype=np.int64), np.full(2, 1e-3)
    long_x, full = np.zeros((9, 5), run.dtype), guarded.POOL.copy

    def fit(x=x, targets=labels, share=share, order=order, rates=rates, batch_size=8):
        engine.start(fastmlp.Adam())
        engine.epoch(Data(x, targets, share), Plan(fastmlp.Adam(), batch_size, rates, order))

    def short_result(call):
        def empty(shape, dtype):
            rows, *rest = (shape,) if isinstance(shape, int) else shape
            return longer(guarded.POOL.empty((rows - 1, *rest), dtype))

        native.np.empty = empty
        call()

    def reversed_x():
        guarded.POOL.place = "start"
        return longer(full(x, "rows reversed"))

    wide = native.Engine(cases.build([9, 1], "relu", "squared_error", run.dtype), run.level)
    return {
        "read: X, predict": lambda: engine.predict(longer(full(x))),
        "read: X before its start": lambda: engine.predict(reversed_x()),
        "read: X, fit": lambda: fit(longer(full(x)), more, None, None, rates, 9),
        "read: X, by order": lambda: fit(full(x), more, None, order + 1),
        "read: columns of X": lambda: wide.predict(full(x[:1])),
        "read: soft targets": lambda: fit(long_x, longer(full(soft)), None, None),
        "read: labels": lambda: fit(long_x, longer(full(labels)), None, None),
        "read: sample weights": lambda: fit(long_x, more, longer(full(share)), None),
        "read: order": lambda: fit(long_x, more, None, longer(full(order))),
        "read: learning rates": lambda: fit(rates=full(rates), batch_size=2),
        "write: predictions": lambda: short_result(lambda: engine.predict(x)),
        "write: weights out": lambda: short_result(engine.parameters),
        "write: shuffle": lambda: native.shuffle(longer(full(order)), 5, run.level),
        **short_blocks(run),
    }


def fit_in(run, allocate):
    """Fit with every kind of block in use, the library's blocks coming from `allocate`."""
    native.allocate = allocate
    spec = cases.build([150, *[48] * 9], "gelu", fastmlp.CrossEntropy(), run.dtype, 0.0, "after")
    engine = native.Engine(spec, run.level)
    x = np.ones((64, 150), run.dtype)
    engine.set_parameters(*engine.parameters())
    engine.start(fastmlp.Adam())
    for targets in (np.full((64, 48), 1 / 48, run.dtype), np.zeros(64, np.int32)):
        for clip in (0.0, 1.0):
            options = {"l1": 0.1 * clip, "l2": 0.1, "clip_norm": clip}
            plan = Plan(fastmlp.Adam(), 64, np.full(1, 1e-3), **options)
            weights = np.ones_like(targets) if targets.ndim == 2 else None
            engine.epoch(Data(x, targets, output_weights=weights), plan)


def short_blocks(run):
    """Return {name: a fit in which one of the library's own blocks is far too short}."""
    real, sizes = native.allocate, []

    def note_size(n_bytes):
        sizes.append(n_bytes)
        return real(n_bytes)

    def plant(which):
        counter = itertools.count()
        # Aligned like the rest.
        short = native.LIMITS["ALIGNMENT"] * -(-sizes[which] // (8 * native.LIMITS["ALIGNMENT"]))
        return lambda n_bytes: real(short if next(counter) == which else n_bytes)

    fit_in(run, note_size)
    native.allocate = real
    # Any part of a single vector is a vector, and a counter has a cache line to itself.
    big = [k for k, size in enumerate(sizes) if size > native.LIMITS["ALIGNMENT"]]
    return {f"own block {k}, {sizes[k]} bytes": lambda k=k: fit_in(run, plant(k)) for k in big}


def run_plants(run):
    """Return how each mistake ended: the signal that killed its process, or 0."""
    ends = {}
    for name, plant in plants(run).items():
        child = os.fork()
        if child == 0:
            try:
                plant()
            finally:
                os._exit(0)
        ends[name] = os.WTERMSIG(os.waitpid(child, 0)[1])
    return ends


if __name__ == "__main__":
    LEVEL, DTYPE, NOTE = sys.argv[1:]
    guarded.install(LEVEL)
    print(json.dumps(run_plants(guarded.Run(LEVEL, DTYPE, Path(NOTE)))))
