"""Validation of the options of models and fits."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from fastmlp._core.intervals import BOOLEANS, check_count
from fastmlp._core.keywords import check_choice
from fastmlp._network.groups import Groups
from fastmlp._network.optimizers import LBFGS, OPTIMIZERS, Adam, Optimizer
from fastmlp._network.spec import Spec
from fastmlp._validation.arrays import short
from fastmlp._validation.compatibility import refusal

NAMED: dict[str, Any] = {**OPTIMIZERS, "lbfgs": LBFGS}
DEFAULT_OPTIMIZER = Adam()  # shared: optimizers are immutable


def optimizer(value: Any) -> Optimizer:
    """Return an optimizer object from an object or a name; None gives Adam()."""
    if value is None:
        return DEFAULT_OPTIMIZER
    if isinstance(value, str):
        value = NAMED[check_choice("optimizer", value, NAMED)]()
    if type(value) is LBFGS:
        raise refusal("LBFGS", "other calls", optimizer=value)
    if type(value) not in OPTIMIZERS.values():
        raise TypeError(
            f"optimizer is {short(value)} but an optimizer of this package is expected, not "
            "a subclass, whose own methods would not be called: for example "
            "fastmlp.Adam(learning_rate=1e-3)"
        )
    chosen: Optimizer = value
    return chosen


def averaging(value: Any, epochs: int) -> None:
    """Raise TypeError if a value is neither EMA nor SWA; warn if no epoch counts."""
    from fastmlp._network.averaging import AVERAGINGS

    if type(value) not in AVERAGINGS:
        raise TypeError(
            f"averaging is {short(value)} but an object of fastmlp.EMA or fastmlp.SWA is expected: "
            "pass for example averaging=fastmlp.EMA()"
        )
    if value.start >= epochs:
        from fastmlp._core.user_warnings import warn

        warn(
            f"averaging is {value!r} but the fit has {epochs} epochs, so that no weights are "
            f"averaged: use a start below {epochs}, such as start={3 * epochs // 4}"
        )


def groups(value: Any, spec: Spec) -> Groups:
    """Return the Groups after checking the number of factors."""
    if type(value) is not Groups:
        raise TypeError(
            f"groups is {short(value)} but an object like fastmlp.Groups(bias_rate=2) is expected"
        )
    chosen: Groups = value
    for name in ("layer_rates", "layer_decays"):
        factors, n_layers = getattr(chosen, name), len(spec.shapes)
        if factors is not None and len(factors) != n_layers:
            raise ValueError(
                f"{name} of groups has {len(factors)} factors but this MLP has {n_layers} layers: "
                "pass one for each, the output layer included"
            )
    return chosen


def resume(value: Any) -> tuple[bool, str | None]:
    """Return whether to resume a fit, and the path of the checkpoint if one is given."""
    if isinstance(value, BOOLEANS):
        return bool(value), None
    if not isinstance(value, str | os.PathLike):
        raise TypeError(
            f"resume is {value!r} ({type(value).__name__}) but True, False or the path of a "
            "checkpoint is expected: pass for example resume=True"
        )
    return True, os.fspath(value)


def callbacks(value: Any, without_batches: str = "") -> list[Any]:
    """Return callbacks as a list; with an option without batches, refuse ``on_batch``."""
    if callable(value) or not isinstance(value, (list, tuple, Iterable)):
        raise TypeError(
            f"callbacks is {short(value)} but a list of callables is expected: pass for example "
            "callbacks=[fastmlp.EarlyStopping()]"
        )
    checked = list(value)
    for position, callback in enumerate(checked):
        if isinstance(callback, type) or not callable(callback):
            raise TypeError(
                f"callbacks[{position}] is {short(callback)} but a callable that takes the "
                "training state is expected: for example fastmlp.EarlyStopping()"
            )
        if without_batches and hasattr(callback, "on_batch"):
            values = {"position": position, "callback": short(callback)}
            raise refusal("on_batch", without_batches, **values)
    return checked


def generator(value: Any) -> np.random.Generator:
    """Return a random generator: the given one, one from a seed, or an unseeded one for None."""
    if isinstance(value, np.random.Generator):
        return value
    seed = value if value is None else check_count("rng", value, example=0, least=0)
    return np.random.default_rng(seed)
