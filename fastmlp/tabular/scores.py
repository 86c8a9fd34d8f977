"""Scores of predictions for people, and the targets that judge them beside a constant."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.tabular.loss_rows import LOSSES, MEANS
from fastmlp.tabular.targets import ClassTarget, NumericTarget

Array = NDArray[Any]

MOST_SHOWN = 10  # classes in an error message
MEANINGS = {
    "rmse": "root mean squared error, in the units of the target: less is better",
    "mae": "mean absolute error, in the units of the target: less is better",
    "r2": "share of the target's variance that is explained: 1 is perfect",
    "pinball_loss": "mean error, in which values above the quantile weigh more or less than others",
    "coverage_90%": "share of targets inside their intervals",
    "accuracy": "share of rows whose class is right",
    "log_loss": "mean negative logarithm of the probability of the true class: less is better",
    "roc_auc": "probability that a row of the last class is ranked above one of the first",
}


def scores(y: Array, p: Array, classes: Array | None, weights: Array | None) -> dict[str, float]:
    """Return the scores of numbers (n,) or, with classes, of probabilities (n, classes)."""
    from sklearn import metrics

    if classes is None:
        scorers = {"rmse": metrics.root_mean_squared_error, "mae": metrics.mean_absolute_error}
        if len(y) > 1:  # one row has no variance
            scorers["r2"] = metrics.r2_score
        values = {name: score(y, p, sample_weight=weights) for name, score in scorers.items()}
    else:
        truth = codes_of(y, classes)
        of_truth = np.maximum(p[np.arange(len(p)), truth], np.finfo(float).tiny)
        values = {
            "accuracy": np.average(p.argmax(axis=1) == truth, weights=weights),
            "log_loss": np.average(-np.log(of_truth), weights=weights),
        }
        if len(classes) == 2 and len(np.unique(truth)) == 2:
            values["roc_auc"] = metrics.roc_auc_score(truth, p[:, 1], sample_weight=weights)
    return {name: float(score) for name, score in values.items()}


def target_of(y: Array, classes: Array | None, loss: str = MEANS, level: float = 0.5) -> Any:
    """Return the target that judges predictions of a loss, or probabilities of classes.

    Losses other than those of medians and quantiles predict means, which squared errors judge, or
    numbers close to them.
    """
    if classes is not None:
        return ClassTarget(codes_of(y, classes), len(classes))
    row = LOSSES.get(loss)
    name = loss if row is not None and row.is_robust and not row.has_robust_unit else MEANS
    return NumericTarget(y[:, np.newaxis], name, LOSSES[name].made({"quantile": level}))


def codes_of(y: Array, classes: Array) -> NDArray[np.int64]:
    """Return the index of each label in the classes; raise ValueError for an unknown label."""
    codes = {label: k for k, label in enumerate(classes.tolist())}
    for label in y.tolist():
        if label not in codes:
            shown = ", ".join(map(repr, classes.tolist()[:MOST_SHOWN]))
            raise ValueError(
                f"the target holds {label!r} but the model knows {len(codes)} classes ({shown}"
                f"{', ...' * (len(codes) > MOST_SHOWN)}): remove such rows"
            )
    return np.fromiter(map(codes.__getitem__, y.tolist()), np.int64, len(y))
