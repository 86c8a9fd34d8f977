"""scikit-learn's scorers applied to existing predictions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

import numpy as np
from sklearn.metrics import get_scorer, get_scorer_names

from fastmlp._core.keywords import equivalent
from fastmlp._validation.arrays import TableLike
from fastmlp.sklearn.bases import BaseEstimator, ClassifierMixin, RegressorMixin
from fastmlp.tabular.outcome.calibration import means_of, most_probable
from fastmlp.tabular.outcome.targets import ClassTarget, Target
from fastmlp.tabular.table.columns import Array

Scorer: TypeAlias = Callable[[Array], float] | None  # out-of-fold predictions have this score


class _FixedPredictions(BaseEstimator):
    """An estimator that returns fixed predictions for any X."""

    remedy: ClassVar[str]  # message for scorers that need other predictions

    def __init__(self, prediction: Any = None, target: Any = None) -> None:
        self.prediction, self.target = prediction, target

    def __sklearn_is_fitted__(self) -> bool:
        return True


class FixedNumbers(RegressorMixin, _FixedPredictions):
    """A regressor that returns fixed numbers."""

    remedy = "a scorer of regressions, such as 'r2'"

    def predict(self, X: TableLike) -> Array:
        """Return the numbers."""
        return means_of(self.prediction, self.target.outputs)


class FixedClasses(ClassifierMixin, _FixedPredictions):
    """A classifier that returns fixed probabilities."""

    remedy = "a scorer of classes or probabilities, such as 'accuracy'"

    @property
    def classes_(self) -> Array:
        """The classes; of several labels a matrix, which marks them."""
        target = self.target
        return np.eye(2, target.outputs, dtype=int) if target.has_labels else target.classes

    def predict_proba(self, X: TableLike) -> Array:
        """Return the probabilities."""
        return np.asarray(self.prediction)

    def predict(self, X: TableLike) -> Array:
        """Return the most probable class, or the labels with a probability above one half."""
        return most_probable(self.prediction, self.target.classes, self.target.has_labels)


FIXED: dict[str, type[_FixedPredictions]] = {"numbers": FixedNumbers, "classes": FixedClasses}


def _named(name: str) -> Any:
    """Return a scorer of scikit-learn; raise ValueError, with the name that may be meant."""
    names = get_scorer_names()
    if name not in names:
        remedy = equivalent(name, names) or "sklearn.metrics.get_scorer_names() returns all names"
        raise ValueError(
            f"scoring is {name!r} but no scorer of scikit-learn has that name: {remedy}"
        )
    return get_scorer(name)


def scorer_of(
    scoring: str | Callable[..., float] | None, target: Target, weights: Array | None
) -> Scorer:
    """Return a function from predictions of a target's rows to their score; None without one."""
    if scoring is None:
        return None
    if target.without_scorer:
        raise ValueError(f"scoring is {scoring!r} but {target.without_scorer}: leave scoring out")
    score = _named(scoring) if isinstance(scoring, str) else scoring
    kind, y, classes = FIXED[target.kind], target.original_y, np.empty(0)
    if isinstance(target, ClassTarget) and not target.has_labels:
        classes = target.classes
    try:
        inspect.signature(score).bind(*range(3))
    except ValueError:
        pass  # unknown signature
    except TypeError:
        raise TypeError(
            f"scoring={scoring!r} cannot be called with an estimator, X and y as scorers are: pass "
            "sklearn.metrics.make_scorer of a metric, or the name of a scorer such as 'accuracy'"
        ) from None
    options = {} if weights is None else {"sample_weight": weights}
    X = np.zeros((len(y), 1))

    def scorer(prediction: Array) -> float:
        try:
            return float(score(kind(prediction, target), X, y, **options))
        except AttributeError as error:
            if kind.__name__ not in str(error):
                raise
            raise ValueError(
                f"scoring={scoring!r} needs values that are not predicted out of fold "
                f"({str(error).replace(kind.__name__, 'this')}): use {kind.remedy}"
            ) from error
        except ValueError as error:
            if "multi_class" in str(error):
                raise ValueError(
                    f"scoring={scoring!r} ranks two classes but y has {len(classes)}: pass "
                    "'roc_auc_ovr', the mean over classes against the others"
                ) from error
            absent = np.setdiff1d(classes, y).tolist()
            if not absent:
                raise
            raise ValueError(
                f"scoring={scoring!r} cannot score classes without a row of weight above 0, "
                f"{absent} ({error}): drop their rows, or use a scorer such as 'accuracy'"
            ) from error
        except TypeError as error:
            if not options or "sample_weight" not in str(error):
                raise
            raise TypeError(
                f"scoring={scoring!r} takes no sample_weight but the rows have different weights "
                f"({error}): use a scorer that takes them, or leave out sample_weight and "
                "class_weight"
            ) from error

    return scorer
