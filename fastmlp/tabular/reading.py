"""Reading the rows of a fit, as many as its time and memory allow, from a table or a source."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array
from sklearn.utils.validation import _check_sample_weight, check_consistent_length

from fastmlp._core.user_warnings import warn
from fastmlp._training.arrow import ArrowBlocks
from fastmlp._validation.arrays import REFUSED_KINDS
from fastmlp.sklearn.validation import refuse_text
from fastmlp.tabular import data_warnings, folds, sampling, sources
from fastmlp.tabular.budget import (
    KEPT_SHARE,
    PILOT_ROWS,
    READING_SHARE,
    Budget,
    Plan,
    sample,
    taken,
)
from fastmlp.tabular.columns import Array, Columns, Table
from fastmlp.tabular.encoding import with_missing
from fastmlp.tabular.folds import FitRows
from fastmlp.tabular.sampling import SourceSample

# Rows with a smaller fraction of the largest weight count as 0: their influence is below rounding,
# and they are 0 in float32.
LIGHTEST = np.finfo(float).eps


def read(
    model: Any, X: Any, y: Any, sample_weight: Any, groups: Any, budget: Budget, seed: Array
) -> tuple[FitRows, Table, Array, NDArray[np.int64], Plan]:
    """Read a table or a source, and set ``rows_`` of the estimator and the names of its columns.

    Returns the rows with a weight above 0; all rows, their checked labels or numbers, and the
    places of the former among them; and the plan.
    """
    rng, model.rows_ = np.random.default_rng([*seed, 1]), None
    if isinstance(X, ArrowBlocks):
        for name, value in {"y": y, "sample_weight": sample_weight, "groups": groups}.items():
            if value is not None:
                raise TypeError(
                    f"{name} is given beside a source, which has its own targets and weights: "
                    f"leave {name} out, or pass a table in memory"
                )
        columns, table, y, sample_weight, plan = _source(model, X, budget, rng)
    else:
        given = X, y, sample_weight, groups
        columns, table, y, sample_weight, groups, plan = _table(model, *given, budget, rng)
    used, weights, in_scores = used_rows(model, y, sample_weight)
    target = model._target(y[used], weights, in_scores)
    target.weighting = model._weighting(in_scores, sample_weight)
    rows = table if len(used) == len(table) else table.take(used)
    if groups is not None:
        groups, copies = groups[used], None
    else:
        copies, noted = folds.copied(rows, target.y)
        plan.notes[:0] = noted
    plan.notes += model._data_notes(columns, rows)
    of_rows = weights, groups, copies, plan.given, plan.memory, in_scores
    return FitRows(columns, rows, target, *of_rows), table, y, used, plan


def _table(
    model: Any, X: Any, y: Any, sample_weight: Any, groups: Any, budget: Budget, rng: Any
) -> tuple[Columns, Table, Array, Any, Array | None, Plan]:
    """Read a table in memory, or a sample of its rows."""
    data_warnings.check_order(X, y=y, sample_weight=sample_weight, groups=groups)
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None")
    if np.ma.is_masked(y):
        raise ValueError("y has masked entries but targets are expected: drop these rows")
    X = model._checked(X, reset=True)
    y = model._read_target(y)
    check_consistent_length(X, y)
    n = len(y)
    if groups is not None:
        groups = folds.numbered(groups)
        check_consistent_length(X, groups)
    used, *weights = used_rows(model, y, sample_weight)
    began, some = time.monotonic(), X
    if n > 2 * PILOT_ROWS:
        some = taken(X, np.arange(0, n, n // PILOT_ROWS))
    columns = model._columns_of(some)
    table = columns.read(some)
    seconds = (time.monotonic() - began) / len(table)
    target = model._target(y[used], *weights)
    plan = budget.plan(len(used), columns, len(with_missing(table)), target, seconds)
    if plan.rows < len(used):
        model.rows_ = rows = used[sample(len(used), plan.rows, rng)]
        X, y = taken(X, rows), y[rows]
        groups = None if groups is None else groups[rows]
        sample_weight = None if sample_weight is None else np.broadcast_to(sample_weight, n)[rows]
    if n > len(table) or model.rows_ is not None:
        columns = model._columns_of(X)
        table = columns.read(X)
    return columns, table, y, sample_weight, groups, plan


def _source(
    model: Any, source: ArrowBlocks, budget: Budget, rng: Any
) -> tuple[Columns, Table, Array, Array | None, Plan]:
    """Read a source, or a sample of its rows."""
    if not source.targets:
        raise ValueError("the source has no target: pass ArrowBlocks(data, target)")
    if budget.deadline is not None:
        return _source_in_time(model, source, budget, budget.deadline, rng)
    has_labels, began = hasattr(model, "predict_proba"), time.monotonic()
    found = sources.scan(source, source.batches(), model.categorical_features, has_labels)
    seconds = (time.monotonic() - began) / found.rows
    _set_names(model, found.columns)
    target = model._target(model._read_target(found.y))
    n = found.rows if source.weight is None else int(np.count_nonzero(found.has_weight))
    plan = budget.plan(n, found.columns, found.missing, target, seconds)
    if plan.rows < n:
        rows = sample(n, plan.rows, rng)
        model.rows_ = rows if source.weight is None else np.flatnonzero(found.has_weight)[rows]
    given = found, model.rows_, has_labels
    columns, table, y, weights = sources.read(source, source.batches(), *given)
    return columns, table, model._read_target(y), weights, plan


def _source_in_time(
    model: Any, source: ArrowBlocks, budget: Budget, deadline: float, rng: Any
) -> tuple[Columns, Table, Array, Array | None, Plan]:
    """Read a source once, for a share of the time, and use as many of its rows as can be learned.

    The columns are those of the rows that are used, as of a table in memory.
    """
    has_labels, began = hasattr(model, "predict_proba"), time.monotonic()
    until = began + READING_SHARE * (deadline - began)
    rows = sampling.sampled(source, until, KEPT_SHARE * budget.memory, rng)
    notes = _noted(rows, time.monotonic() - began)
    began, pilot = time.monotonic(), rows.taken(PILOT_ROWS)
    found = sources.scan(source, pilot.batches(), model.categorical_features, has_labels)
    sources.read(source, pilot.batches(), found, None, has_labels)
    seconds = (time.monotonic() - began) / found.rows
    _set_names(model, found.columns)
    y = model._read_target(sources.targets_of(source, rows.batches(), has_labels))
    n, target = rows.with_weight, model._target(y)
    plan = budget.plan(n, found.columns, found.missing, target, seconds)
    plan.notes[:0] = notes
    if plan.rows < n:
        rows = rows.taken(plan.rows)
    if len(rows) < rows.seen or not rows.is_whole:
        model.rows_ = rows.numbers
    found = sources.scan(source, rows.batches(), model.categorical_features, has_labels)
    columns, table, y, weights = sources.read(source, rows.batches(), found, None, has_labels)
    return columns, table, model._read_target(y), weights, plan


def _noted(rows: SourceSample, seconds: float) -> list[str]:
    """Return notes on rows of a source that were not read, with a warning, or not kept."""
    notes = []
    if not rows.is_whole:
        notes = [
            f"the source was read for {seconds:.3g} s, which time_limit allows, and not to its "
            f"end: the fit uses rows of the first {rows.seen:,} alone; raise time_limit, or let "
            "the source yield its rows in random order"
        ]
        warn(notes[0])
    if len(rows) < rows.seen:
        text = f"{len(rows):,} of {rows.seen:,} rows were kept while reading, a random sample"
        notes.append(f"{text}: more did not fit into memory")
    return notes


def _set_names(model: Any, columns: Columns) -> None:
    """Set the names of the columns of a source."""
    model.feature_names_in_ = np.array(columns.names, object)
    model.n_features_in_ = len(columns.names)


def used_rows(model: Any, y: Array, sample_weight: Any) -> tuple[Array, Array | None, Array | None]:
    """Return the rows with a positive weight, and their weights in training and in scores."""
    if len(y) < 2:
        raise ValueError(f"n_samples={len(y)} but at least 2 rows are expected")
    given = None
    if sample_weight is not None:
        given = _check_sample_weight(sample_weight, y, dtype=np.float64, ensure_non_negative=True)
    weights = model._weights(y, given)
    if weights is None:
        return np.arange(len(y)), None, None
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
    return rows, _relative(weights, rows), _relative(model._in_scores(given, weights), rows)


def _relative(weights: Array | None, rows: Array) -> Array | None:
    """Return the weights of some rows, mean 1; None if they are equal."""
    if weights is None or np.all(weights[rows] == weights[rows[0]]):
        return None
    return np.asarray(weights[rows] / weights[rows].mean())


def finite_numbers(y: Any) -> Array:
    """Return numbers as float64, (n, outputs); raise ValueError for anything else."""
    refuse_text(y, "TabMLPClassifier")
    kind = np.asarray(y).dtype.kind
    if kind in "mM":
        raise ValueError(f"y holds {REFUSED_KINDS[kind][0]} but numbers are expected: pass days")
    try:
        checked = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
    except OverflowError:
        raise ValueError("y holds integers that are too large for float64: rescale y") from None
    return np.asarray(checked.reshape(len(checked), -1))
