"""Scores of predictions, by the names that scikit-learn and its users know."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

LEVEL = 0.9  # of the prediction intervals whose coverage is counted


def of_model(model: Any, X: Any, y: Array, weights: Array | None) -> dict[str, float]:
    """Return the scores of a fitted estimator on rows that it has not seen."""
    if np.ndim(model.predict(X[:1])) > 1:
        raise ValueError("the model predicts several targets but one can be scored: use Python")
    if hasattr(model, "predict_proba"):
        return of_classes(y, model.predict_proba(X), model.classes_, weights)
    found = of_numbers(y, model.predict(X), weights)
    if hasattr(model, "predict_interval"):
        low, high = model.predict_interval(X, LEVEL).T
        found[f"coverage_{LEVEL:.0%}"] = float(
            np.average((low <= y) & (y <= high), weights=weights)
        )
    return found


def of_numbers(y: Array, prediction: Array, weights: Array | None) -> dict[str, float]:
    """Return errors of predicted numbers, both of shape (n,)."""
    from sklearn import metrics

    arguments: Any = {"sample_weight": weights}
    return {
        "rmse": float(metrics.root_mean_squared_error(y, prediction, **arguments)),
        "mae": float(metrics.mean_absolute_error(y, prediction, **arguments)),
        "r2": float(metrics.r2_score(y, prediction, **arguments)),
    }


def of_classes(y: Array, p: Array, classes: Array, weights: Array | None) -> dict[str, float]:
    """Return scores of probabilities of shape (n, classes)."""
    from sklearn import metrics

    truth = codes_of(y, classes)
    right = p.argmax(axis=1) == truth
    given = np.maximum(p[np.arange(len(p)), truth], np.finfo(float).tiny)
    found = {
        "accuracy": float(np.average(right, weights=weights)),
        "log_loss": float(np.average(-np.log(given), weights=weights)),
    }
    if len(classes) == 2 and len(np.unique(truth)) == 2:
        found["roc_auc"] = float(metrics.roc_auc_score(truth, p[:, 1], sample_weight=weights))
    return found


def codes_of(y: Array, classes: Array) -> NDArray[np.int64]:
    """Return the place of each label among the classes.

    Raises
    ------
    ValueError
        If a label is not among them.
    """
    place = {label: k for k, label in enumerate(classes.tolist())}
    labels = y.tolist()
    unknown = next((label for label in labels if label not in place), None)
    if unknown is not None:
        known = ", ".join(map(repr, classes.tolist()[:10]))
        raise ValueError(
            f"the target holds {unknown!r} but the model knows {len(place)} classes ({known}"
            f"{', ...' * (len(place) > 10)}): remove such rows"
        )
    return np.fromiter(map(place.__getitem__, labels), np.int64, len(labels))


def lines(scores: dict[str, float]) -> str:
    """Return scores as text, one a line."""
    return "\n".join(f"{name:<12} {value:.4g}" for name, value in scores.items())
