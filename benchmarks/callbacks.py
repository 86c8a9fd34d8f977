"""What callbacks cost that do much, or much often: a checkpoint every epoch, a call every batch.

Fits of some epochs with each, in turns with a plain one, from the same weights. A checkpoint is
copied at the end of an epoch and written by a thread beside the next one: so there are three times.
The clock's has the disk in it, and a CPU that is not free; the second is CPU time of the thread
that trains, the third that of all threads together. Target: 2 percent of the second, for mnist.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import harness
import numpy as np
from harness import FAULT, Names, Rows
from workloads import CASES, Case

import fastmlp

CLOCKS = {
    "clock": time.perf_counter,
    "its thread": time.thread_time,
    "all threads": time.process_time,
}
PLAIN, CHECKPOINT, BATCH = "plain", "Checkpoint", "on_batch"
MOST = 1.02  # a checkpoint may take this factor of the thread's CPU time
EPOCHS = 4
CHOSEN = Names.of(CASES, "mnist")


class Look:
    """Looks at the loss of each batch."""

    def __call__(self, state: Any) -> None:
        """See nothing in an epoch."""

    def on_batch(self, state: Any, batch: Any) -> None:
        """Look at a batch."""
        float(batch.loss)


def fitted(case: Case, data: tuple[Any, Any], epochs: int, *callbacks: Any) -> fastmlp.MLP:
    net = fastmlp.MLP(case.layer_sizes, activation=case.activation, loss=case.loss, rng=0)
    options = {"batch_size": case.batch_size, "epochs": epochs, "n_threads": 1}
    net.fit(*data, callbacks=callbacks, **options)
    return net


def check(case: Case, data: tuple[Any, Any], path: Path, callbacks: dict[str, list[Any]]) -> None:
    """Compare the weights after an epoch, and those in the file."""
    nets = [fitted(case, data, 1, *each) for each in callbacks.values()]
    for net in [*nets[1:], fastmlp.load(path)]:
        for mine, plain in zip(net.weights, nets[0].weights, strict=True):
            np.testing.assert_array_equal(mine, plain)


def spent(work: Callable[[], object]) -> list[float]:
    """Return the seconds of some work by each clock."""
    before = [clock() for clock in CLOCKS.values()]
    work()
    return [clock() - then for clock, then in zip(CLOCKS.values(), before, strict=True)]


def compare(case: Case, n_rows: int, rounds: int) -> Rows:
    """Return a row for each kind of callback."""
    x, y = case.data()
    data = np.resize(x, (n_rows, x.shape[1])), np.resize(y, (n_rows, *y.shape[1:]))
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        path = Path(folder, "net.safetensors")
        callbacks: dict[str, list[Any]] = {
            PLAIN: [],
            CHECKPOINT: [fastmlp.Checkpoint(path)],
            BATCH: [Look()],
        }
        check(case, data, path, callbacks)
        times: dict[str, list[list[float]]] = {name: [] for name in callbacks}
        for order in harness.rotations(callbacks, rounds):
            for name in order:
                times[name].append(spent(lambda n=name: fitted(case, data, EPOCHS, *callbacks[n])))
        size = path.stat().st_size
    medians = {
        name: [statistics.median(turns) for turns in zip(*each, strict=True)]
        for name, each in times.items()
    }
    rows: Rows = {}
    for name, seconds in medians.items():
        units = zip(CLOCKS, seconds, medians[PLAIN], strict=True)
        rows[name] = {"ms/epoch": seconds[0] / EPOCHS * 1e3}
        rows[name] |= {f"to plain, {clock}": mine / plain for clock, mine, plain in units}
        rows[name]["seconds"] = times[name]
    calls = EPOCHS * -(-n_rows // case.batch_size)
    rows[BATCH]["us/batch"] = (medians[BATCH][1] - medians[PLAIN][1]) / calls * 1e6
    rows[CHECKPOINT]["MB"] = size / 1e6
    if case.name == "mnist" and medians[CHECKPOINT][1] > MOST * medians[PLAIN][1]:
        rows[CHECKPOINT][FAULT] = "MISSED"
    return rows


def measure(
    cases: Names = CHOSEN,
    rows: Sequence[int] = (12_800, 60_000),
    rounds: int = 15,
) -> Iterator[tuple[str, Rows]]:
    for name in cases:
        for n_rows in rows:
            case = CASES[name]
            title = f"{case.title}, {harness.counted(n_rows, 'row')}"
            yield title, compare(case, n_rows, rounds)
