"""A scorer of scikit-learn on predictions that exist already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import get_scorer

Array = NDArray[Any]

# How the names of those of scikit-learn's scorers begin that look at labels, not at probabilities.
OF_LABELS = ("accuracy", "balanced_accuracy", "f1", "jaccard", "matthews", "precision", "recall")


class _Said(BaseEstimator):
    """An estimator that says what it was given, whatever X is."""

    def __init__(self, prediction: Any = None, classes: Any = None) -> None:
        self.prediction, self.classes = prediction, classes
        self.classes_ = classes

    def __sklearn_is_fitted__(self) -> bool:
        return True


class SaidNumbers(RegressorMixin, _Said):
    """Of numbers."""

    def predict(self, X: Any) -> Array:
        """Return the numbers."""
        del X
        return np.asarray(self.prediction)


class SaidClasses(ClassifierMixin, _Said):
    """Of probabilities."""

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities."""
        del X
        return np.asarray(self.prediction)

    def predict(self, X: Any) -> Array:
        """Return the likeliest class, or the labels above one half."""
        p = self.predict_proba(X)
        if self.classes is None:
            return (p > 0.5).astype(int)
        return np.asarray(self.classes[p.argmax(axis=1)])


def judges_labels(scoring: Any) -> bool:
    """Whether a scorer is known to look at labels.

    Parameters
    ----------
    scoring : str, callable or None
        As for ``cross_val_score``.
    """
    return isinstance(scoring, str) and scoring.startswith(OF_LABELS)


def scorer_of(
    scoring: Any, kind: type[_Said], classes: Any, y: Array, weights: Array | None
) -> Callable[[Array], float]:
    """Return ``prediction -> score``, by a scorer of scikit-learn.

    Parameters
    ----------
    scoring : str or callable
        As for ``cross_val_score``.
    kind : class
        `SaidNumbers` or `SaidClasses`.
    classes : array or None
        Labels by column.
    y : array
        What is right.
    weights : array or None
        Of the rows.
    """
    score = get_scorer(scoring) if isinstance(scoring, str) else scoring
    options = {} if weights is None else {"sample_weight": weights}
    X = np.zeros((len(y), 1))

    def judge(prediction: Array) -> float:
        said = kind(prediction, classes)
        if y.ndim > 1 and kind is SaidClasses:
            said.classes_ = np.eye(2, y.shape[1], dtype=int)  # as a matrix: they are labels
        return float(score(said, X, y, **options))

    return judge
