"""Scores of predictions for people, beside those of a prediction that is the same for all rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def constant_scores(
    y: Array, classes: Array | None, weights: Array | None
) -> tuple[str, dict[str, float]]:
    """Return the name and the scores of the best prediction that is the same for all rows."""
    if classes is None:
        return "the mean", scores(y, np.full(len(y), np.average(y, weights=weights)), None, weights)
    is_class = y[:, np.newaxis] == classes
    shares = np.broadcast_to(np.average(is_class, 0, weights), is_class.shape)
    return "the class shares", scores(y, shares, classes, weights)


def is_worthless(values: dict[str, float], constant: dict[str, float]) -> bool:
    """Whether scores are no better than those of a constant."""
    score = next(name for name in ("log_loss", "rmse") if name in values)
    return values[score] >= constant[score]


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
