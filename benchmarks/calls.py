"""How many functions of the package a call enters: in all, and before its first native epoch.

Python's profiler reports each function that the calling thread enters (a generator each time that
it continues), and those whose file lies in the package count. Unlike times, these numbers hardly
depend on the machine, but they do on Python: since 3.12 a list comprehension is no function. Each
call is counted the second time, with new models, so that imports do not count.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from harness import CannotRunError, Rows

import fastmlp
from fastmlp._engine import native_engine

PACKAGE = str(Path(fastmlp.__file__).parent) + os.sep
SIZE, EPOCHS = (512, 8), 20


class Counter:
    """Counts the functions of the package that this thread enters."""

    def __init__(self) -> None:
        self.total = 0
        self.before_epoch: int | None = None  # None: no native epoch has begun

    def profile(self, frame: Any, event: str, argument: Any) -> None:
        """Count an entered function; the argument of ``sys.setprofile``."""
        self.total += event == "call" and frame.f_code.co_filename.startswith(PACKAGE)

    def announcing(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return a method of the engine that stores the count when it is called first."""

        def announce(*arguments: Any, **options: Any) -> Any:
            if self.before_epoch is None:
                self.before_epoch = self.total
            return method(*arguments, **options)

        return announce

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """Count until the end of the context."""
        engine = native_engine.Engine
        epoch, train_many = map(self.announcing, (engine.epoch, engine.train_many))
        with (
            mock.patch.object(engine, "epoch", epoch),
            mock.patch.object(engine, "train_many", staticmethod(train_many)),
        ):
            sys.setprofile(self.profile)
            try:
                yield
            finally:
                sys.setprofile(None)


def row(calls: Iterator[Callable[[], Any]]) -> dict[str, Any]:
    """Return the counts of the second of some equal calls, as columns."""
    counter = Counter()
    with warnings.catch_warnings(action="ignore"):  # few epochs do not converge
        next(calls)()
        with counter.counting():
            next(calls)()
    before = {} if counter.before_epoch is None else {"before the epoch": counter.before_epoch}
    return before | {"in all": counter.total}


def measure() -> Iterator[tuple[str, Rows]]:
    """Count the calls of fits, and those of a table's file and of single rows."""
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise CannotRunError("scikit-learn is missing") from error
    x = np.random.default_rng(0).normal(size=SIZE).astype(np.float32)
    y = x.sum(axis=1)
    models: dict[str, Callable[[], Any]] = {
        "MLP.fit": partial(fastmlp.MLP, [SIZE[1], 16, 1], rng=0),
        "MLPRegressor.fit": partial(fastmlp.MLPRegressor, max_iter=EPOCHS, random_state=0),
        "TabMLPRegressor.fit": partial(fastmlp.TabMLPRegressor, preset="fast", random_state=0),
    }
    options = {"MLP.fit": {"epochs": EPOCHS}}
    rows: Rows = {}
    for name, model in models.items():
        made: list[Any] = [model(), model()]
        rows[name] = row(iter([partial(one.fit, x, y, **options.get(name, {})) for one in made]))
        table = made[-1]
        assert np.var(y - np.ravel(table.predict(x))) < 0.9 * y.var(), f"{name} learned nothing"
    yield f"own calls of a fit, {SIZE[0]} rows of {SIZE[1]} numbers", rows
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.safetensors")
        table.save(path)
        predict_row = table.predictor()
        np.testing.assert_array_equal(fastmlp.load(path).predict(x), table.predict(x))
        np.testing.assert_array_equal(predict_row(x[0]), table.predict(x[:1])[0])
        calls: dict[str, Callable[[], Any]] = {
            "load": partial(fastmlp.load, path),
            "predict": partial(table.predict, x[:1]),
            "predictor()": partial(predict_row, x[0]),
        }
        rows = {name: row(iter([call, call])) for name, call in calls.items()}
    yield "own calls of a table's model: its file, and one row", rows
