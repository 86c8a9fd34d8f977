"""Scores of predictions, named as in scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

LEVEL = 0.9  # of the prediction intervals whose coverage is counted
MOST_SHOWN = 10  # known classes in an error message


def of_model(model: Any, X: Any, y: Array, weights: Array | None) -> dict[str, float]:
    """Return the scores of a fitted estimator on rows that it has not seen."""
    prediction, classes = model.predict(X), getattr(model, "classes_", None)
    if np.ndim(prediction) > 1:
        raise ValueError("the model predicts several targets but one can be scored: use Python")
    if classes is not None:
        return of_predictions(y, model.predict_proba(X), classes, weights)
    if y.dtype.kind not in "iufb":
        raise ValueError("the target holds text but the model predicts numbers: name another one")
    found = of_predictions(y, prediction, None, weights)
    if hasattr(model, "predict_interval"):
        low, high = model.predict_interval(X, LEVEL).T
        inside = np.average((low <= y) & (y <= high), weights=weights)
        found[f"coverage_{LEVEL:.0%}"] = float(inside)
    return found


def of_predictions(
    y: Array, p: Array, classes: Array | None, weights: Array | None
) -> dict[str, float]:
    """Return the scores of numbers (n,) or, with classes, of probabilities (n, classes)."""
    from sklearn import metrics

    if classes is None:
        scorers = {"rmse": metrics.root_mean_squared_error, "mae": metrics.mean_absolute_error}
        if len(y) > 1:  # one row has no variance
            scorers["r2"] = metrics.r2_score
        found = {name: score(y, p, sample_weight=weights) for name, score in scorers.items()}
    else:
        truth = codes_of(y, classes)
        given = np.maximum(p[np.arange(len(p)), truth], np.finfo(float).tiny)
        found = {
            "accuracy": np.average(p.argmax(axis=1) == truth, weights=weights),
            "log_loss": np.average(-np.log(given), weights=weights),
        }
        if len(classes) == 2 and len(np.unique(truth)) == 2:
            found["roc_auc"] = metrics.roc_auc_score(truth, p[:, 1], sample_weight=weights)
    return {name: float(score) for name, score in found.items()}


def codes_of(y: Array, classes: Array) -> NDArray[np.int64]:
    """Return the index of each label in the classes; raise ValueError for an unknown label."""
    place = {label: k for k, label in enumerate(classes.tolist())}
    for label in y.tolist():
        if label not in place:
            known = ", ".join(map(repr, classes.tolist()[:MOST_SHOWN]))
            raise ValueError(
                f"the target holds {label!r} but the model knows {len(place)} classes ({known}"
                f"{', ...' * (len(place) > MOST_SHOWN)}): remove such rows"
            )
    return np.fromiter(map(place.__getitem__, y.tolist()), np.int64, len(y))


def lines(scores: dict[str, float]) -> str:
    """Return scores as text, one a line."""
    return "\n".join(f"{name:<12} {value:.4g}" for name, value in scores.items())
