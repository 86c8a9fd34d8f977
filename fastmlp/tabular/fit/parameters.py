"""The ranges of the constructor parameters that the estimators of tables share."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from fastmlp._training.callbacks import EarlyStopping, ReduceOnPlateau
from fastmlp.tabular.plan.presets import PRESETS

# Smallest and largest values of parameters that replace numbers of a preset.
COUNTS = {"folds": (2, 1_000), "members": (1, 10_000), "epochs": (1, 10**6), "width": (1, 10**5)}

CONSTRAINTS: dict[str, list[Any]] = {
    "preset": [StrOptions(set(PRESETS))],
    "recipes": [list, tuple, None],
    **{name: [Interval(Integral, *ends, closed="both"), None] for name, ends in COUNTS.items()},
    "folds": [Interval(Integral, *COUNTS["folds"], closed="both"), HasMethods("split"), None],
    "validation": [StrOptions({"choose"}), None],
    "categorical_features": [StrOptions({"from_dtype"}), "array-like", None],
    "monotone": [dict, None],
    "select": ["boolean"],
    "scoring": [str, callable, None],
    "time_limit": [Interval(Real, 0, None, closed="neither"), None],
    "max_memory": [Interval(Real, 0, None, closed="neither"), str, None],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
    "callbacks": [list, tuple, None],
    "n_jobs": [Integral, None],
}


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Reject values that `CONSTRAINTS` allow: bool as a number, callbacks that no fit can serve."""
    examples = {name: least for name, (least, _) in COUNTS.items()}
    for name, example in {**examples, "time_limit": 60, "max_memory": "4GB"}.items():
        if isinstance(value := parameters[name], bool):
            raise ValueError(
                f"{name} is {value} but a number is expected: pass for example {name}={example!r}, "
                "or None"
            )
    for callback in parameters["callbacks"] or ():
        if getattr(callback, "runs_last", False):
            raise ValueError(
                "callbacks has a Checkpoint but a fit of a table cannot go on from one: leave it "
                "out, and save the fitted model"
            )
        if isinstance(callback, EarlyStopping | ReduceOnPlateau) and callback.monitor != "loss":
            raise ValueError(
                f"callbacks has {type(callback).__name__} of val_loss but a fit of a table has its "
                "own learning rates, and keeps the epoch with the best score of held-out rows: "
                "leave it out; epochs= or time_limit= make the fit shorter"
            )
