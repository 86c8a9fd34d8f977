"""Scores of predictions for people, and the targets that judge them beside a constant."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.tabular.outcome.classes import codes_of
from fastmlp.tabular.outcome.loss_rows import LOSSES, MEANS
from fastmlp.tabular.outcome.targets import ClassTarget, NumericTarget, Target

Array = NDArray[Any]

MEANINGS = {
    "rmse": "root mean squared error, in the units of the target: less is better",
    "mae": "mean absolute error, in the units of the target: less is better",
    "r2": "share of the target's variance that is explained: 1 is perfect",
    "pinball_loss": "mean error, in which values above the quantile weigh more or less than others",
    "coverage_90%": "share of targets inside their intervals",
    "accuracy": "share of rows whose class is right",
    "log_loss": "mean negative logarithm of the probability of the true class: less is better",
    "concordance": "share of pairs whose row of the higher risk has the event first: 0.5 is chance",
    "brier_score": "squared error of the curves, mean over time: less is better",
    "brier_score_kaplan_meier": "that of one curve for all rows, by Kaplan and Meier",
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


def target_of(y: Array, classes: Array | None, loss: str = MEANS, level: float = 0.5) -> Target:
    """Return the target that judges predictions of a loss, or probabilities of classes.

    Losses other than those of medians and quantiles predict means, which squared errors judge, or
    numbers close to them.
    """
    if classes is not None:
        return ClassTarget.of(codes_of(y, classes), classes)
    row = LOSSES.get(loss)
    name = loss if row is not None and row.is_robust and not row.has_robust_unit else MEANS
    return NumericTarget.of(y[:, np.newaxis], name, LOSSES[name].made({"quantile": level}))
