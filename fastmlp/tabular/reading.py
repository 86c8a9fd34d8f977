"""Reading the rows of a fit, as many as its time and memory allow, from a table or a source."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array
from sklearn.utils.validation import _check_sample_weight, check_consistent_length

from fastmlp._training.arrow import ArrowBlocks
from fastmlp.sklearn.validation import refuse_text
from fastmlp.tabular import data_warnings, folds, sources
from fastmlp.tabular.budget import PILOT_ROWS, Budget, Plan, sample, taken
from fastmlp.tabular.columns import DATE_KINDS, Array, Columns, Table
from fastmlp.tabular.encoding import with_missing
from fastmlp.tabular.folds import FitRows

# Rows with a smaller fraction of the largest weight count as 0: their influence is below rounding,
# and they are 0 in float32.
LIGHTEST = np.finfo(float).eps


class Read(NamedTuple):
    """Rows that have been read: those of the fit with their target, and all of the table.

    ``used`` are the indices of those with a weight above 0, which the fit has; ``y`` are labels or
    numbers of all; ``notes`` tell what was left out, and ``preset`` is the user's or a smaller one.
    """

    data: FitRows
    table: Table
    y: Array
    used: NDArray[np.int64]
    plan: Plan


def read_table(
    model: Any, X: Any, y: Any, sample_weight: Any, groups: Any, budget: Budget, seed: Array
) -> Read:
    """Read a table in memory; set ``rows_`` of the estimator."""
    data_warnings.check_order(X, y=y, sample_weight=sample_weight, groups=groups)
    if np.ma.is_masked(y):
        raise ValueError("y has masked entries but targets are expected: drop these rows")
    X = model._checked(X, reset=True)
    y = model._read_target(y)
    check_consistent_length(X, y)
    n = len(y)
    if n < 2:
        raise ValueError(f"n_samples={n} but at least 2 rows are expected")
    used, weights = used_rows(model, y, sample_weight)
    target = model._target(y[used], weights)
    if groups is not None:
        groups = folds.numbered(groups)
        check_consistent_length(X, groups)
        groups = groups[used]
    began, some = time.monotonic(), X
    if n > 2 * PILOT_ROWS:
        some = taken(X, np.arange(0, n, n // PILOT_ROWS))
    columns = Columns.of(some, model.categorical_features)
    table = columns.read(some)
    seconds = (time.monotonic() - began) / len(table)
    plan = budget.plan(len(used), columns, len(with_missing(table)), target, seconds)
    model.rows_ = None
    if plan.rows < len(used):
        chosen = sample(len(used), plan.rows, np.random.default_rng([*seed, 1]))
        model.rows_ = rows = used[chosen]
        X, y, used = taken(X, rows), y[rows], np.arange(len(rows))
        weights = None if weights is None else weights[chosen] / weights[chosen].mean()
        groups = None if groups is None else groups[chosen]
        target = model._target(y, weights)
    if len(y) > len(table) or model.rows_ is not None:
        columns = Columns.of(X, model.categorical_features)
        table = columns.read(X)
    return _read(columns, table, y, used, weights, groups, target, plan)


def read_source(model: Any, source: ArrowBlocks, budget: Budget, seed: Array) -> Read:
    """Read a source; set ``rows_`` and the names of the columns of the estimator."""
    has_labels, began = (
        hasattr(model, "classes_") or hasattr(model, "predict_proba"),
        time.monotonic(),
    )
    found = sources.scan(source, model.categorical_features, has_labels)
    seconds = (time.monotonic() - began) / found.rows
    model.feature_names_in_ = np.array(found.columns.names, object)
    model.n_features_in_ = len(found.columns.names)
    target = model._target(model._read_target(found.y))
    plan = budget.plan(found.rows, found.columns, found.missing, target, seconds)
    model.rows_ = None
    if plan.rows < found.rows:
        model.rows_ = sample(found.rows, plan.rows, np.random.default_rng([*seed, 1]))
    columns, table, y, sample_weight = sources.read(source, found, model.rows_, has_labels)
    y = model._read_target(y)
    if len(y) < 2:
        raise ValueError(f"n_samples={len(y)} but at least 2 rows are expected")
    used, weights = used_rows(model, y, sample_weight)
    target = model._target(y[used], weights)
    return _read(columns, table, y, used, weights, None, target, plan)


def _read(
    columns: Columns,
    table: Table,
    y: Array,
    used: NDArray[np.int64],
    weights: Array | None,
    groups: Array | None,
    target: Any,
    plan: Plan,
) -> Read:
    rows = table if len(used) == len(table) else table.take(used)
    copies, noted = (None, []) if groups is not None else folds.copied(rows, target.y)
    plan.notes[:0] = noted
    more = weights, groups, copies, plan.given, plan.memory
    return Read(FitRows(columns, rows, target, *more), table, y, used, plan)


def refuse_beside_source(**given: Any) -> None:
    """Raise TypeError for an argument that has no use beside a source."""
    for name, value in given.items():
        if value is not None:
            remedy = {"y": "ArrowBlocks(data, target)", "sample_weight": "ArrowBlocks(weight=...)"}
            raise TypeError(
                f"{name} is given beside a source but belongs into it: use "
                f"{remedy.get(name, 'a table in memory')}"
            )


def used_rows(model: Any, y: Array, sample_weight: Any) -> tuple[Array, Array | None]:
    """Return the rows with a positive weight, and their weights, mean 1; None if equal."""
    given = None
    if sample_weight is not None:
        given = _check_sample_weight(sample_weight, y, dtype=np.float64, ensure_non_negative=True)
    weights = model._weights(y, given)
    if weights is None:
        return np.arange(len(y)), None
    with np.errstate(over="ignore"):
        total = weights.sum()
    if not np.isfinite(total) or np.any(weights < 0):
        raise ValueError(
            f"the weights of the rows are from {weights.min()} to {weights.max()}, in sum "
            f"{total}, but numbers of at least 0 with a finite sum are expected: correct "
            "sample_weight or class_weight"
        )
    heaviest = weights.max()
    rows = np.flatnonzero(weights > LIGHTEST * heaviest)
    if len(rows) < 2:
        raise ValueError(
            f"{len(rows)} rows have a weight above 0, and above {LIGHTEST:.1g} times that of "
            f"the heaviest, {heaviest:g}, but at least 2 are expected: correct sample_weight "
            "or class_weight"
        )
    kept = weights[rows]
    return rows, None if np.all(kept == kept[0]) else kept / kept.mean()


def finite_numbers(y: Any) -> Array:
    """Return numbers as float64, (n, outputs); raise ValueError for anything else."""
    refuse_text(y, "TabMLPClassifier")
    if np.asarray(y).dtype.kind in DATE_KINDS:
        raise ValueError("y holds dates but numbers are expected: pass days since one of them")
    try:
        checked = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
    except OverflowError:
        raise ValueError("y holds integers that are too large for float64: rescale y") from None
    return np.asarray(checked.reshape(len(checked), -1))
