"""Train and predict with fastmlp and with every other installed library, in alternation.

Each library lives in a process of its own, pinned to as many CPUs as it has threads, which are
limited before it is imported. Its result is checked before anything is timed. Training: all start
from the same weights on the same data; after an epoch in row order and one shuffled the loss of
the predictions has to agree with that of a float64 training; a turn is one or more whole shuffled
epochs. Prediction: NumPy array in, NumPy array out, link included, through
Python; compared with float64 NumPy.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import timeit
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import harness
import numpy as np
import workers
from harness import FAULT, Names, Rows
from libraries import LIBRARIES
from predictors import PREDICTED, PREDICTORS, expected
from workloads import CASES, Array, Case, NumpyTrainer

from fastmlp._cli.rivals import Timed

# Relative difference of the loss allowed after one epoch: in row order (the same sums, in float32)
# and in a random order of the library's own.
TOLERANCES = {"in row order": 0.01, "shuffled": 0.1}
PREDICTION_TOLERANCE = 1e-3  # relative, and a tenth of it absolute, of predictions of order one


def numpy_train(case: Case, threads: int) -> Timed:
    """Train in NumPy, by hand."""
    trainer = NumpyTrainer(case)
    names = {"train": trainer.train, "predict": lambda: expected(case, trainer.x, trainer.get())}
    return Timed("train(1, True)", names, "predict()")


def load_training(make: Any, case: Case, threads: int) -> tuple[Any, Callable[[int], float]]:
    """Return the predictions after one epoch of each kind, and what times shuffled epochs."""
    found = {}
    for kind in TOLERANCES:
        timed = make(case, threads)
        timed.names["train"](1, kind == "shuffled")
        found[kind] = timed.predictions().reshape(case.n_rows, -1).copy()
    train = timed.names["train"]
    return found, lambda epochs: harness.repeat(lambda: train(epochs, True), 1)


def load_prediction(make: Any, case: Case, threads: int) -> tuple[Any, Callable[[int], float]]:
    """Return the predictions of all rows, and what times so many calls."""
    timed = make(case, threads)
    result = timed.predictions().reshape(case.n_rows, -1).copy()
    return result, timeit.Timer(timed.statement, globals=timed.names).timeit


def loss(case: Case, predictions: Array) -> float:
    """Return the mean loss of predictions over all data, in float64."""
    y, p = case.data()[1], predictions.astype(np.float64)
    if case.classifies:
        return float(-np.mean(np.log(p[np.arange(len(y)), y])))
    return float(0.5 * np.mean((p - y) ** 2))


@functools.cache
def right_losses(case: Case) -> dict[str, float]:
    """Return the losses after one epoch of each kind, by NumPy in float64, and the first loss."""
    trainer = NumpyTrainer(case, dtype=np.float64)
    losses = {"at first": loss(case, expected(case, trainer.x, trainer.get()))}
    for kind in TOLERANCES:
        trainer.reset()
        trainer.train(1, kind == "shuffled")
        losses[kind] = loss(case, expected(case, trainer.x, trainer.get()))
    return losses


def wrong_losses(case: Case, predictions: Mapping[str, Array]) -> str:
    """Say where the losses of these predictions differ from the float64 training."""
    right = right_losses(case)
    found = []
    for kind, tolerance in TOLERANCES.items():
        value = loss(case, predictions[kind])
        # The tolerance is part of what the epoch achieved too: a rival that stands still fails.
        allowed = tolerance * min(right[kind], abs(right["at first"] - right[kind]))
        if not abs(value - right[kind]) <= allowed:
            found.append(f"loss {value:.5f} {kind} instead of {right[kind]:.5f} +- {allowed:.5f}")
    return "; ".join(found)


def wrong_predictions(case: Case, got: Array) -> str:
    """Say how many predictions differ from float64 NumPy."""
    right = expected(case, case.data()[0])
    allowed = PREDICTION_TOLERANCE * (np.abs(right) + 0.1)
    wrong = np.count_nonzero(~(np.abs(got - right) <= allowed))
    return f"{wrong} of {right.size} predictions are wrong" if wrong else ""


def title(case: Case, threads: int) -> str:
    """Return the heading of a case's table."""
    counts = harness.counted(case.n_rows, "row"), harness.counted(threads, "thread")
    return ", ".join([case.title, *counts])


@dataclass(frozen=True)
class Contest:
    """What all libraries do in turns."""

    libraries: Mapping[str, tuple[tuple[str, ...], Any]]  # modules needed; ours first
    load: Callable[..., Any]
    # Says what is wrong with the result; nothing if it is right.
    complain: Callable[[Case, Any], str]
    column: str
    count: Callable[[Case], int]  # how often one repetition does what the column counts
    flops: Callable[[Case], int]  # one repetition has so many

    def rivals(self) -> list[str]:
        return [name for name in self.libraries if not name.startswith("fastmlp")]

    def run(
        self, cases: Sequence[Case], threads: Sequence[int], rivals: Sequence[str], **turns: Any
    ) -> Iterator[tuple[str, Rows]]:
        """Yield a table for each case and number of threads."""
        makes = {}
        for name, (modules, make) in self.libraries.items():
            lacking = [module for module in modules if find_spec(module) is None]
            if name in self.rivals() and name not in rivals:
                continue
            if lacking:
                yield f"{name} is left out: pip install {' '.join(lacking)}", {}
            else:
                makes[name] = make
        for number in threads:
            held = {name: workers.Worker(number) for name in makes}
            for case in cases:
                yield title(case, number), self.table(case, held, makes, **turns)
            for worker in held.values():
                worker.pool.shutdown()

    def table(
        self,
        case: Case,
        held: Mapping[str, workers.Worker],
        makes: Mapping[str, Any],
        rounds: int,
        turn: float,
    ) -> Rows:
        """Check and time one case on all workers; return a row a library."""
        wrong: Rows = {}
        sound = {}
        for name, worker in held.items():
            try:
                result = worker.ask(workers.load, self.load, makes[name], case, worker.threads)
                complaint = self.complain(case, result)
                if not complaint:
                    worker.ask(workers.calibrate, turn)
            except Exception as error:
                complaint = f"{type(error).__name__}: {error}"
            if complaint:
                wrong[name] = {FAULT: f"NOT TIMED: {complaint}"}
            else:
                sound[name] = worker
        ours = next(iter(self.libraries))
        seconds, peaks = workers.take_turns(sound, rounds, ours)
        peak = float(np.median(peaks)) if peaks else math.nan
        timings = {name: harness.Timing.of(values) for name, values in seconds.items()}
        best = timings[ours].median if ours in timings else math.nan
        rows = {
            name: {
                **timing.row(self.column, self.count(case)),
                "of peak, %": 100 * self.flops(case) / timing.median / peak,
                "to fastmlp": timing.median / best,
                "rounds": timing.turns,
                "peak, GFLOP/s": peak / 1e9,
            }
            for name, timing in sorted(timings.items(), key=lambda item: item[1].median)
        }
        return rows | wrong


TRAINERS = {
    **{
        name: (modules or ("fastmlp",), kinds["train"])
        for name, (modules, kinds) in LIBRARIES.items()
        if "train" in kinds
    },
    "NumPy": (("numpy",), numpy_train),
}
TRAINING = Contest(
    TRAINERS,
    load_training,
    wrong_losses,
    column="us/step",
    count=lambda case: case.steps,
    flops=lambda case: case.flops * case.steps,
)
PREDICTION = Contest(
    PREDICTORS,
    load_prediction,
    wrong_predictions,
    column="us/call",
    count=lambda case: 1,
    flops=lambda case: 2 * case.n_rows * case.n_weights,
)
TRAINED, TRAIN_RIVALS = Names.of(CASES), Names.of(TRAINING.rivals())
CALLED, PREDICT_RIVALS = Names.of(PREDICTED), Names.of(PREDICTION.rivals())


def train(
    cases: Names = TRAINED,
    threads: Sequence[int] = (1, 2),
    rivals: Names = TRAIN_RIVALS,
    rounds: int = 9,
    turn: float = 0.3,
) -> Iterator[tuple[str, Rows]]:
    chosen = [CASES[name] for name in cases]
    return TRAINING.run(chosen, threads, rivals, rounds=rounds, turn=turn)


def predict(
    cases: Names = CALLED,
    rows: Sequence[int] = (1, 1024),
    threads: Sequence[int] = (1,),
    rivals: Names = PREDICT_RIVALS,
    rounds: int = 9,
    turn: float = 0.2,
) -> Iterator[tuple[str, Rows]]:
    chosen = [dataclasses.replace(PREDICTED[name], n_rows=n) for name in cases for n in rows]
    return PREDICTION.run(chosen, threads, rivals, rounds=rounds, turn=turn)
