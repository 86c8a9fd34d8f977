"""Training that diverges, and sums of many rows: as tables."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import trials
from injection import REAL, X, Y
from states import digest, finite

import fastmlp
from fastmlp._engine import native_engine
from fastmlp.sklearn import MLPClassifier, MLPRegressor

LEVELS = native_engine.available_levels()
DTYPES = native_engine.DTYPES


@contextlib.contextmanager
def at(level: str) -> Iterator[None]:
    """Have new engines use the kernels of a level."""
    with mock.patch.object(native_engine, "level", return_value=level):
        yield


# ---- divergence --------------------------------------------------------------------------------

RATES = [float(f"1e{power}") for power in (0, 1, 2, 3, 5, 8, 12, 16, 20, 25, 30, 35, 38)]
# Factors on inputs and targets; float32 ends at 3.4e38.
SCALES = {"plain": (1, 1), "large X": (1e15, 1), "large y": (1, 1e18), "both": (1e30, 1e36)}
OPTIMIZERS = (
    fastmlp.SGD(),
    fastmlp.SGD(momentum=0.9, nesterov=True),
    fastmlp.RMSprop(),
    fastmlp.Adam(),
    fastmlp.AdamW(weight_decay=0.1),
    fastmlp.Lion(weight_decay=0.1),
)


def diverging(optimizer: fastmlp.Optimizer, dtype: str, level: str) -> trials.Trial:
    """Train with ever larger rates: every epoch ends well, or the error comes in that epoch."""

    def trial(rng: np.random.Generator) -> Iterator[float]:
        table = itertools.product(RATES, SCALES.values(), (None, 1.0), ("relu", "tanh"))
        for rate, (x_scale, y_scale), clip_norm, activation in table:
            epochs: list[str] = []
            with at(level):
                net = fastmlp.MLP([5, 12, 1], activation=activation, dtype=dtype, rng=0)
            epochs.append(digest([*net.weights, *net.biases]))

            def note(current: Any, epochs: list[str] = epochs) -> None:
                assert finite([*current.model.weights, *current.model.biases, current.loss])
                epochs.append(digest([*current.model.weights, *current.model.biases]))

            chosen = type(optimizer)(rate, **options_of(optimizer))
            options = {"epochs": 4, "optimizer": chosen, "clip_norm": clip_norm}
            if clip_norm:
                options["averaging"] = fastmlp.SWA(start=1)
            error = None
            try:
                net.fit(X * x_scale, REAL * y_scale, **options, callbacks=[note])
            except fastmlp.DivergenceError as caught:
                error = caught
            if error is None:
                assert len(epochs) == 5
            else:
                assert error.epoch == len(epochs) - 1 == len(error.history.loss)
                assert error.learning_rate == rate
            assert digest([*net.weights, *net.biases]) == epochs[-1]
            yield 0.0

    return trial


def options_of(optimizer: fastmlp.Optimizer) -> dict[str, Any]:
    """Return an optimizer's parameters without the learning rate."""
    names = [field.name for field in dataclasses.fields(optimizer) if field.name != "learning_rate"]
    return {name: getattr(optimizer, name) for name in names}


ESTIMATOR_SCALES = (*SCALES.values(), (1, 1e155), (1e155, 1), (1e155, 1e155), (1e300, 1e300))
ESTIMATOR_OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"standardize": True},
    {"early_stopping": True},
    {"restore_best": True},
    {"clip_norm": 1.0},
)


def diverging_estimator(kind: Any, solver: str, dtype: str) -> trials.Trial:
    """Fit an estimator likewise: ValueError, or finite losses, weights and predictions."""

    def trial(rng: np.random.Generator) -> Iterator[float]:
        rates = (1e-3,) if solver == "lbfgs" else RATES[::3]
        options = [o for o in ESTIMATOR_OPTIONS if solver != "lbfgs" or "clip_norm" not in o]
        for rate, (x_scale, y_scale), more in itertools.product(rates, ESTIMATOR_SCALES, options):
            with np.errstate(over="ignore"):
                x = (X.astype(float) * x_scale).astype(dtype)
                y = Y if kind is MLPClassifier else (REAL.astype(float) * y_scale).astype(dtype)
            if not finite([x, y]):
                continue
            model = kind(
                hidden_layer_sizes=(12,), solver=solver, learning_rate_init=rate, max_iter=6,
                random_state=0, **more,
            )  # fmt: skip
            what = f"rate {rate:g}, X * {x_scale:g}, y * {y_scale:g}, {more}"
            try:
                model.fit(x, y)
            except (ValueError, fastmlp.DivergenceError):
                if not hasattr(model, "coefs_"):
                    continue  # refused before anything was fitted
            else:
                assert np.isfinite(model.loss_), f"{what}: the loss is {model.loss_}, and no error"
                predictions = model.predict(x)
                assert not np.isnan(predictions.astype(float)).any(), f"{what}: predicts NaN"
            assert finite([*model.coefs_, *model.intercepts_]), f"{what}: coefs_ are not finite"
            assert finite(getattr(model, "loss_curve_", [])), f"{what}: losses are not finite"
            yield 0.0

    return trial


DIVERGENCE: dict[str, trials.Trial] = {
    **{
        f"{optimizer.native_row}, {dtype}, {level}": diverging(optimizer, dtype, level)
        for optimizer in OPTIMIZERS
        for dtype in DTYPES
        for level in LEVELS
    },
    **{
        f"{kind.__name__}, {solver}, {dtype}": diverging_estimator(kind, solver, dtype)
        for kind in (MLPClassifier, MLPRegressor)
        for solver in ("sgd", "adam", "lbfgs")
        for dtype in DTYPES
    },
}

# ---- values ------------------------------------------------------------------------------------


def big_sums(level: str) -> trials.Trial:
    """Add up a million rows in float32: the gradient of float64, to 1e-6."""

    def trial(rng: np.random.Generator) -> Iterator[float]:
        # All terms of one sign, so that errors do not cancel and are not cancelled against.
        x = rng.uniform(0.5, 1.5, (10**6, 2)).astype(np.float32)
        y = rng.uniform(-3, -2, 10**6).astype(np.float32)
        results = []
        for dtype in DTYPES:
            with at(level):
                net = fastmlp.MLP([2, 3, 1], activation="sigmoid", dtype=dtype, rng=0)
            net.weights = [np.float32([[0.3, 0.5, 0.2], [0.4, 0.1, 0.6]]), np.full((3, 1), 0.25)]
            loss, weights, biases = net.gradients(x, y)
            passed = net.partial_fit(x, y, optimizer=fastmlp.SGD(1e-30))
            results.append([loss, passed, net.evaluate(x, y), *weights, *biases])
        for single, double in zip(*results, strict=True):
            np.testing.assert_allclose(single, double, rtol=1e-6)
            yield 0.0

    return trial


VALUES: dict[str, trials.Trial] = {
    f"sums over a million rows, {level}": big_sums(level) for level in LEVELS
}
