"""Targets as users pass them: arrays that scikit-learn checks, and limits of a loss."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import assert_all_finite, check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from fastmlp._network.target_kinds import KINDS
from fastmlp._validation.arrays import REFUSED_KINDS
from fastmlp.sklearn.validation import plain_labels, refuse_labels, refuse_text
from fastmlp.tabular.outcome.loss_rows import LOSSES
from fastmlp.tabular.table.columns import Array

LARGEST = 1e100  # largest magnitude of targets, so that sums of squares are finite


def finite_numbers(y: ArrayLike) -> Array:
    """Return numbers as float64, (n, outputs); raise ValueError for anything else.

    Some may be NaN, which means missing, but not all.
    """
    refuse_text(y, "TabMLPClassifier")
    array = np.asarray(y)
    kind = array.dtype.kind
    if kind in "mM":
        raise ValueError(
            f"y holds {REFUSED_KINDS[kind][0]} but numbers are expected: pass days, such as "
            "(y - y.min()) / numpy.timedelta64(1, 'D')"
        )
    try:
        options = {"ensure_2d": False, "dtype": np.float64, "ensure_all_finite": "allow-nan"}
        options["copy"] = True  # a fit refers to its targets, which users may change
        checked = check_array(y, **options, input_name="y")
    except OverflowError:
        raise ValueError("y holds integers that are too large for float64: rescale y") from None
    if np.isnan(checked).all():
        raise ValueError(
            "Input y contains NaN alone but some targets are expected: pass other rows"
        )
    return np.asarray(checked.reshape(len(checked), -1))


def numbers_of(loss: str, y: ArrayLike) -> Array:
    """Return targets of a loss, (n, outputs), whose squares have finite sums."""
    with np.errstate(invalid="ignore"):  # scikit-learn adds numbers whose sum may be no number
        numbers = finite_numbers(y)
    KINDS[LOSSES[loss].loss.target_kind].check(numbers, "y", f"loss={loss!r}")
    with np.errstate(over="ignore"):
        largest = np.fmax.reduce(np.abs(numbers), axis=None)
        range_ = np.fmax.reduce(numbers, axis=0) - np.fmin.reduce(numbers, axis=0)
    if largest > LARGEST or np.any((range_ > 0) & (range_ < 1 / LARGEST)):
        raise ValueError(
            f"y has numbers up to {largest:.3g} over ranges from {range_.min():.3g} but up to "
            f"{LARGEST:g} and ranges from {1 / LARGEST:g} are expected: rescale y"
        )
    return numbers


def labels_of(y: ArrayLike) -> Array:
    """Return labels, (n,), or a matrix of 0 and 1, (n, labels)."""
    y = plain_labels(y)
    labels = np.asarray(y)
    refuse_labels(labels, "TabMLPRegressor")
    if labels.dtype.kind == "f":
        assert_all_finite(labels, input_name="y")
    check_classification_targets(y)
    if type_of_target(y).startswith("multilabel"):
        checked = np.asarray(check_array(y, accept_sparse=False, input_name="y"))
        if not np.isin(checked, (0, 1)).all():
            raise ValueError(
                f"y is a matrix of labels with {np.unique(checked)} but 0 and 1 are expected: "
                "use 1 for a label that applies"
            )
        return checked
    return np.asarray(column_or_1d(y, warn=True))
