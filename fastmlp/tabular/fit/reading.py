"""Reading the rows of a fit, as many as its time and memory allow, from a table or a source."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array
from sklearn.utils.validation import (
    _check_feature_names,
    _check_n_features,
    _check_sample_weight,
    _get_feature_names,
    check_consistent_length,
)

from fastmlp._core.keywords import near
from fastmlp._core.user_warnings import warn
from fastmlp._training.sources import is_table_source
from fastmlp._validation.arrays import TableLike, check_unmasked, short
from fastmlp.tabular.outcome import periods
from fastmlp.tabular.outcome.targets import RowWeights, Target
from fastmlp.tabular.plan import folds
from fastmlp.tabular.plan.folds import FitRows, Folds
from fastmlp.tabular.recipe import monotone
from fastmlp.tabular.recipe.budget import (
    KEPT_SHARE,
    PILOT_ROWS,
    READING_SHARE,
    Budget,
    TablePlan,
    sample,
)
from fastmlp.tabular.table import data_warnings
from fastmlp.tabular.table.columns import Array, Columns, Table
from fastmlp.tabular.table.encoding import with_missing
from fastmlp.tabular.table.frames import (
    check_frame,
    gathered,
    is_frame,
    names_in,
    take_rows,
)

if TYPE_CHECKING:
    from fastmlp._training.arrow import ArrowBlocks
    from fastmlp.tabular.sources.sampling import SourceSample

# Rows with a smaller fraction of the largest weight count as 0: their influence is below rounding,
# and they are 0 in float32.
LIGHTEST = np.finfo(float).eps


class TableChunk(NamedTuple):
    """Some rows: a frame or array, its targets, and weights, groups and folds if there are any."""

    X: Any
    y: Any
    sample_weight: ArrayLike | None = None
    groups: Any = None  # see `folds.numbered`, or the name of a column
    folds: Any = None  # see `folds.pairs_of`
    time: Any = None  # see `periods.times_of`, or the name of a column

    def take(self, places: Array) -> TableChunk:
        """Return the rows at some places."""
        return TableChunk(*(None if part is None else take_rows(part, places) for part in self))

    def used(self) -> Array:
        """Return the places of the rows whose weight is not 0."""
        weight = self.sample_weight
        return np.flatnonzero(np.full(len(self.X), True) if weight is None else weight != 0)


class Rows(NamedTuple):
    """Rows as they were read, before those without a weight are left out."""

    target: Target
    feature_names: Array | None
    columns: Columns
    table: Table
    sample_weight: ArrayLike | None
    groups: Array | None
    folds: Folds | None
    times: Array | None
    sampled: Array | None
    plan: TablePlan


def _check_one_way(parameters: Mapping[str, Any], rows: TableChunk) -> None:
    """Raise ValueError unless at most one argument decides which rows are held out."""
    folds_of_user = parameters["folds"] if rows.folds is None else rows.folds
    is_splitter = folds_of_user is not None and not isinstance(folds_of_user, Integral)
    ways = {
        "time": rows.time is not None,
        "validation='choose'": parameters["validation"] is not None,
        "folds": is_splitter,
    }
    chosen = [name for name, is_chosen in ways.items() if is_chosen]
    if rows.groups is not None and "validation='choose'" in chosen:
        chosen.append("groups")
    if len(chosen) > 1:
        raise ValueError(
            f"{' and '.join(chosen)} are passed but one of them alone decides which rows are held "
            "out: leave out the others"
        )


def _with_validation(
    rows: Rows, validation: tuple[Table, Target] | None, chunk: TableChunk
) -> Rows:
    """Return rows with the validation rows behind them, which the one fold holds out."""
    if validation is None:
        raise ValueError(
            "validation is 'choose' but there are no rows for it: pass X_val and y_val"
        )
    (table, target), n = validation, len(rows.table)
    y = target.y
    weights, sampled, held_out = rows.sample_weight, rows.sampled, np.arange(n, n + len(y))
    if weights is not None:
        weights = np.broadcast_to(weights, n)
        weights = np.append(weights, np.full(len(y), weights.max()))
    if sampled is not None:
        first = rows.plan.total_rows if is_table_source(chunk.X) else len(chunk.X)
        sampled = np.append(sampled, first + np.arange(len(y)))
    rows.plan.notes.append(f"the {len(y):,} rows of X_val have chosen epochs and weights")
    return rows._replace(
        target=target.with_rows(np.concatenate([rows.target.y, y])),
        table=rows.table.joined(table),
        sample_weight=weights,
        folds=[(np.arange(n), held_out)],
        sampled=sampled,
    )


@dataclass(frozen=True, eq=False)
class Reading:
    """The rows of a fit."""

    rows: Rows
    used: Array  # the places of those with a weight above 0
    data: FitRows  # those rows
    validation: tuple[Table, Target] | None  # rows that only score; see `other_rows`

    def with_columns(self, columns: Columns) -> Reading:
        """Return the same rows with columns that are made of these, see `Columns.part`."""
        whole, data = self.rows.columns, self.data.with_columns(columns)
        rows = self.rows._replace(columns=columns, table=columns.part(self.rows.table, whole))
        validation = self.validation
        if validation is not None:
            table, target = validation
            validation = columns.part(table, whole), target
        return replace(self, rows=rows, data=data, validation=validation)


@dataclass(frozen=True)
class Reader:
    """Reads as many rows of a fit as its budget allows; ``target_class`` is one of `targets`."""

    target_class: Any
    parameters: Mapping[str, Any]
    budget: Budget
    rng: np.random.Generator

    def read(
        self,
        chunk: TableChunk,
        columns: Columns | None,
        X_val: TableLike | None,
        y_val: ArrayLike | None,
    ) -> Reading:
        """Read a table or a source, and other rows.

        The columns are measured on these rows, unless those of a larger table are passed, whose fit
        has warned of suspicious ones.
        """
        _check_one_way(self.parameters, chunk)
        if is_table_source(chunk.X):
            by_name = {"time": None} | ({"groups": None} if _is_name(chunk.groups) else {})
            for name, value in chunk._replace(X=None, **by_name)._asdict().items():
                if value is not None:
                    raise TypeError(
                        f"{name} is given beside a source, which has its own targets and weights: "
                        f"leave {name} out, or pass a table in memory"
                    )
            rows = self.source(chunk.X)
            if chunk.time is not None:
                rows = rows._replace(times=_times_in(rows, chunk.time))
            if chunk.groups is not None:
                rows = rows._replace(groups=_groups_in(rows, chunk.groups))
        else:
            X, y = with_target(**chunk._asdict())
            chunk = chunk._replace(X=X, y=y)
            rows = self.table(chunk, columns)
        of_fit = layout_of(rows.columns, rows.feature_names, self.target_class.estimator)
        names = "X_val and y_val"
        validation = other_rows(rows.target, rows.columns, of_fit, X_val, y_val, names)
        if self.parameters["validation"] is not None:
            rows, validation = _with_validation(rows, validation, chunk), None
        if columns is None:
            self.target_class.warn_of(self.parameters)
        used, data = self._rows_of_fit(rows, warns=columns is None)
        return Reading(rows, used, data, validation)

    def _rows_of_fit(self, rows: Rows, warns: bool) -> tuple[Array, FitRows]:
        """Return the places of rows with a weight, and these rows; add notes to the plan."""
        table, plan, groups, pairs = rows.table, rows.plan, rows.groups, rows.folds
        used, weights = used_rows(rows.target, self.parameters, rows.sample_weight)
        target = rows.target.of_rows(used, weights)
        part = table if len(used) == len(table) else table.take(used)
        copies = None
        if pairs is not None and len(used) < len(table):
            pairs = folds.of_rows(pairs, used, len(table))
        if groups is not None:
            groups = groups[used]
        elif pairs is None and rows.times is None:
            copies, notes = folds.copied(part, target.y)
            plan.notes[:0] = notes
        plan.notes += data_warnings.check_targets(rows.target.y, warns)
        plan.notes += data_warnings.check_columns(rows.columns, part, warns)
        data = FitRows(
            rows.columns,
            part,
            target,
            weights=weights,
            groups=groups,
            copies=copies,
            total_rows=plan.total_rows,
            memory=plan.memory,
            folds=pairs,
            times=None if rows.times is None else rows.times[used],
            signs=monotone.signs_of(self.parameters["monotone"], rows.columns, target),
            group_parts=folds.parts_for(plan.preset.networks_of(plan.total_rows)),
        )
        return used, data

    def table(self, chunk: TableChunk, of_larger: Columns | None) -> Rows:
        """Read a table in memory, or a sample of its rows."""
        X, y, sample_weight, groups, chosen, time_of_rows = chunk
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        X = checked(X, self.target_class.estimator)
        names = names_of(X)
        target = self.target_class.of_fit(self.parameters, y)
        check_consistent_length(X, target.y)
        n = len(target.y)
        if groups is not None:
            groups = folds.numbered(column_of(X, groups, "groups"))
            check_consistent_length(X, groups)
        pairs, times = _pairs(self.parameters, X, target, groups, chosen), None
        budget = self.budget
        if time_of_rows is not None:
            times = periods.times_of(column_of(X, time_of_rows, "time"), n)
        if pairs is not None:
            budget = replace(budget, preset=budget.preset.with_folds(len(pairs)))
        used, weights = used_rows(target, self.parameters, sample_weight)
        began, pilot = time.monotonic(), X
        if n > 2 * PILOT_ROWS:
            pilot = take_rows(X, np.arange(0, n, n // PILOT_ROWS))
        columns = of_larger or Columns.of(pilot, self.parameters["categorical_features"])
        table = columns.read(pilot)
        seconds = (time.monotonic() - began) / len(table)
        of_used, missing = target.of_rows(used, weights), len(with_missing(columns, table))
        plan = budget.plan(len(used), columns, missing, of_used, seconds)
        sampled = None
        if plan.rows < len(used):
            sampled = used[sample(len(used), plan.rows, self.rng)]
            if sample_weight is not None:
                sample_weight = np.broadcast_to(sample_weight, n)
            chunk = TableChunk(X, target.y, sample_weight, groups, time=times).take(sampled)
            X, y, sample_weight, groups, _, times = chunk
            target = target.with_rows(y)
            pairs = pairs and folds.of_rows(pairs, sampled, n)
        if n > len(table) or sampled is not None:
            columns = of_larger or Columns.of(X, self.parameters["categorical_features"])
            table = columns.read(X)
        return Rows(
            target, names, columns, table, sample_weight, groups, pairs, times, sampled, plan
        )

    def source(self, source: ArrowBlocks) -> Rows:
        """Read a source, or a sample of its rows."""
        from fastmlp.tabular.sources import tables as sources

        sources.check_roles(source)
        if self.budget.deadline is not None or self.budget.is_limited:
            return self._source_once(source)
        has_labels, began = self.target_class.kind == "classes", time.monotonic()
        categorical = self.parameters["categorical_features"]
        scan = sources.scan(source, source.batches(), categorical, has_labels)
        seconds = (time.monotonic() - began) / scan.rows
        target = self.target_class.of_fit(self.parameters, scan.y)
        n = scan.rows if source.weight is None else int(np.count_nonzero(scan.has_weight))
        plan = self.budget.plan(n, scan.columns, scan.missing, target, seconds)
        sampled = None
        if plan.rows < n:
            sampled = sample(n, plan.rows, self.rng)
            if source.weight is not None:
                sampled = np.flatnonzero(scan.has_weight)[sampled]
        read = sources.read(source.batches(), scan, sampled)
        return self._of_source(read, sampled, plan)

    def _source_once(self, source: ArrowBlocks) -> Rows:
        """Read a source once, within its share of the limits; use as many rows as can be learned.

        The columns are those of the rows that are used, as of a table in memory.
        """
        from fastmlp.tabular.sources import sampling, tables as sources

        has_labels, began = self.target_class.kind == "classes", time.monotonic()
        categorical = self.parameters["categorical_features"]
        until = np.inf
        if self.budget.deadline is not None:
            until = began + READING_SHARE * (self.budget.deadline - began)
        rows = sampling.sampled(source, until, KEPT_SHARE * self.budget.memory, self.rng)
        notes = _noted(rows, time.monotonic() - began)
        began, pilot = time.monotonic(), rows.taken(PILOT_ROWS)
        scan = sources.scan(source, pilot.batches(), categorical, has_labels)
        sources.read(pilot.batches(), scan, None)
        seconds = (time.monotonic() - began) / scan.rows
        y = sources.targets_of(rows.batches(), scan)
        target = self.target_class.of_fit(self.parameters, y)
        n = rows.with_weight
        plan = self.budget.plan(n, scan.columns, scan.missing, target, seconds)
        plan.notes[:0] = notes
        if plan.rows < n:
            rows = rows.taken(plan.rows)
        sampled = rows.numbers if len(rows) < rows.total else None
        scan = sources.scan(source, rows.batches(), categorical, has_labels)
        read = sources.read(rows.batches(), scan, None)
        del rows, pilot
        return self._of_source(read, sampled, plan)

    def _of_source(self, read: Any, sampled: Array | None, plan: TablePlan) -> Rows:
        """Return the rows of a source, the result of `sources.read`, and their target.

        The target for the plan was one of more rows, or of the first block and the labels of all.
        """
        from fastmlp.tabular.sources import sampling

        sampling.release()
        columns, table, y, weights = read
        target = self.target_class.of_fit(self.parameters, y)
        names = np.array(columns.names, object)
        pairs = _pairs(self.parameters, table.numbers, target, None, None)
        if pairs is not None:
            plan.preset = plan.preset.with_folds(len(pairs))
        return Rows(target, names, columns, table, weights, None, pairs, None, sampled, plan)


def _pairs(
    parameters: Mapping[str, Any], X: TableLike, target: Target, groups: Any, chosen: Any
) -> Folds | None:
    """Return the user's folds, those of ``fit`` or else of the parameter; None for random ones."""
    if isinstance(chosen, Integral):
        raise ValueError(
            f"folds is {chosen!r} but the fold of each row, pairs of rows or a splitter is "
            "expected: pass a number of folds to the estimator"
        )
    if chosen is None:
        chosen = parameters["folds"]
    is_number = chosen is None or isinstance(chosen, Integral)
    return None if is_number else folds.pairs_of(chosen, X, target.original_y, groups)


def _is_name(value: Any) -> bool:
    """Whether a value may be the name of a column."""
    return isinstance(value, str | Integral) and not isinstance(value, bool)


def _has_column(X: Any, name: Any) -> bool:
    """Whether a table is a frame with a column of this name."""
    return is_frame(X) and name in list(X.columns)


def _names(X: Any) -> list[str]:
    """Return the names of the columns of a frame, as text; none of another table."""
    return [str(name) for name in X.columns] if is_frame(X) else []


def _meant(X: Any, name: Any) -> str | None:
    """Ask for the name of a column of which another one may be a typing error."""
    columns = {str(column): column for column in X.columns} if is_frame(X) else {}
    close = near(str(name), columns)
    return close and f"did you mean {columns[close]!r}?"  # a number has no quotes


def with_target(X: Any, y: Any, role: str = "y", **of_rows: Any) -> tuple[Any, Any]:
    """Return a table and its targets; a name is that of the column of a frame that has them.

    Masked ones are refused. It warns if the index of the targets, weights or groups has the order
    of other rows. The role of the targets is their name in messages.
    """
    check_unmasked(**{role: y}, **of_rows)
    data_warnings.check_order(X, **{role: y}, **of_rows)
    are_names = isinstance(y, list) and all(_is_name(name) and _has_column(X, name) for name in y)
    if are_names and 0 < len(y) != len(X):
        raise TypeError(
            f"{role} is {short(y)}, names of columns, but targets or one name are expected: pass "
            f"the frame of these columns as {role}, and as X the frame of the others"
        )
    if not _is_name(y):
        return X, y
    X = gathered(X)
    if not _has_column(X, y):
        names = f", or one of the names {', '.join(_names(X)[:20])}" if is_frame(X) else ""
        raise TypeError(
            f"{role} is {y!r} but one target for each row of X, or the name of a column of a frame "
            f"is expected: {_meant(X, y) or f'pass an array of targets{names}'}"
        )
    return X[[column for column in X.columns if column != y]], X[y]


def target_names(y: Any) -> list[str]:
    """Return the names of targets: of a frame, of a series, or of a column; empty without any."""
    names = list(y.columns) if is_frame(y) else [y if _is_name(y) else getattr(y, "name", "")]
    return [str(name) for name in names if _is_name(name) and str(name)]


def column_of(X: Any, values: Any, role: str) -> Any:
    """Return values of rows, such as their times; a name is that of a column of a frame."""
    if not _is_name(values):
        return values
    if not _has_column(X, values):
        raise ValueError(
            f"{role} is {values!r} but X has no column of that name: "
            f"{_meant(X, values) or 'pass a value for each row'}"
        )
    return X[values]


def _times_in(rows: Rows, name: Any) -> Array:
    """Return the times of rows of a source, which a column of numbers holds."""
    names = [column.name for _, column in rows.columns.numbers]
    if not isinstance(name, str) or name not in names:
        raise _no_column(rows, "time", name, "a column of numbers or dates, which")
    return periods.of_numbers(rows.columns, names.index(name), rows.table)


def _groups_in(rows: Rows, name: Any) -> Array:
    """Return the groups of rows of a source, which a column holds."""
    columns, table = rows.columns, rows.table
    # Derived numbers follow those of the columns.
    for (_, column), numbers in zip(columns.numbers, table.numbers.T, strict=False):
        if column.name == name:
            return folds.numbered(numbers)
    for (_, column), codes in zip(columns.categories, table.codes.T, strict=True):
        if column.name == name:
            return folds.numbered(np.array(column.values, object)[codes])
    raise _no_column(rows, "groups", name, "a column, whose values")


def _no_column(rows: Rows, role: str, name: Any, expected: str) -> ValueError:
    """Return the error for a name that is not that of a column that the fit uses."""
    left_out = rows.columns.left_out
    reason = left_out.get(name) if isinstance(name, str) else None
    unused = f", and this one is left out: {reason}" if reason else ""
    return ValueError(
        f"{role} is {short(name)} but the name of {expected} are not all the same, is expected "
        f"beside a source{unused}"
    )


def _noted(rows: SourceSample, seconds: float) -> list[str]:
    """Return notes on rows of a source that were not read, or not kept; warn about a stream."""
    notes, was_read = [], f"the source was read for {seconds:.3g} s"
    if rows.seen < rows.total and rows.source.is_counted:
        notes = [
            f"{was_read}, which time_limit allows: {rows.seen:,} of {rows.total:,} rows, in "
            "random row groups"
        ]
    elif rows.seen < rows.total:
        notes = [
            f"{was_read}, which time_limit allows, and not to its "
            f"end: the fit uses rows of the first {rows.seen:,} alone; raise time_limit, or let "
            "the source yield its rows in random order"
        ]
        warn(notes[0])
    if len(rows) < rows.seen:
        text = f"{len(rows):,} of {rows.seen:,} rows were kept while reading, a random sample"
        notes.append(f"{text}: more did not fit into memory")
    return notes


def checked(X: TableLike, estimator: str) -> Any:
    """Return a table in memory: a frame, or an array of numbers, text or objects, (n, columns).

    Messages mention the name of the estimator.
    """
    X = gathered(X)
    if is_frame(X):
        check_frame(X)
        return X
    with np.errstate(invalid="ignore"):  # scikit-learn sums infinities
        allowed = {"dtype": None, "ensure_all_finite": "allow-nan"}
        return check_array(X, **allowed, input_name="X", estimator=estimator)


def checked_again(X: Any, columns: Columns, fitted: Any) -> Any:
    """Return a table like that of a fit: a frame's columns by name, others as scikit-learn does.

    ``fitted`` is an estimator, or an object with its name and attributes, see `layout_of`.
    """
    X = gathered(X)
    if is_frame(X):
        check_frame(X)
        names = {str(name): name for name in X.columns}
        if columns.named and tuple(names) == columns.names:
            return X
        if columns.named and names.keys() >= {*columns.names}:
            # In any order, without columns that the fit did not have.
            return X[[names[name] for name in columns.names]]
    if not (is_frame(X) and _is_unknown_frame(X)):
        _check_feature_names(fitted, X, reset=False)
    if not is_frame(X):
        X = checked(X, type(fitted).__name__)
    _check_n_features(fitted, X, reset=False)
    return X


def other_rows(
    target: Target,
    columns: Columns,
    fitted: Any,
    X: TableLike | None,
    y: Any,
    names: str,
    sample_weight: ArrayLike | None = None,
) -> tuple[Table, Target] | None:
    """Return other rows as a table and the target of a fit for them; None without rows.

    For ``fitted`` see `checked_again`; ``names`` are those of X and y in messages.
    """
    if (X is None) != (y is None):
        raise ValueError(f"{names} belong together: pass both, or neither")
    if X is None:
        return None
    X, y = with_target(X, y, sample_weight=sample_weight)
    table, others = columns.read(checked_again(X, columns, fitted)), target.read(y)
    check_consistent_length(table.numbers, others.y)
    return table, others


def names_of(X: TableLike) -> Array | None:
    """Return the names of a frame's columns if they are all text."""
    if is_frame(X) and _is_unknown_frame(X):
        return names_in(X)
    return _get_feature_names(X)  # type: ignore[no-any-return]


def _is_unknown_frame(X: Any) -> bool:
    """Whether scikit-learn does not know that this frame has names, all of text."""
    return _get_feature_names(X) is None and all(isinstance(name, str) for name in X.columns)


def layout_of(columns: Columns, feature_names: Array | None, estimator: str) -> Any:
    """Return an object with the attributes in which scikit-learn's estimators store columns."""
    attributes: dict[str, Any] = {"n_features_in_": len(columns.names)}
    if feature_names is not None:
        attributes["feature_names_in_"] = feature_names
    return type(estimator, (), attributes)()


def used_rows(
    target: Target, parameters: Mapping[str, Any], sample_weight: ArrayLike | None, least: int = 2
) -> tuple[Array, RowWeights]:
    """Return the rows with a positive weight, and their weights."""
    y = target.y
    if len(y) < least:
        raise ValueError(
            f"n_samples={len(y)} but at least {least} rows are expected: pass more rows"
        )
    given = None
    if sample_weight is not None:
        folds.check_values("sample_weight", sample_weight)
        checks = {"dtype": np.float64, "ensure_non_negative": True}
        given = _check_sample_weight(sample_weight, y, **checks)
    of_rows = target.row_weights(parameters, given)
    weights = of_rows.training
    if weights is None:
        return np.arange(len(y)), of_rows
    with np.errstate(over="ignore"):
        total = weights.sum()
    if not np.isfinite(total) or np.any(weights < 0):
        raise ValueError(
            f"the weights of the rows are from {weights.min()} to {weights.max()}, in sum "
            f"{total}, but numbers of at least 0 with a finite sum are expected: correct "
            "sample_weight or class_weight"
        )
    heaviest = weights.max()
    if heaviest == 0:
        raise ValueError(
            "no row has a weight above 0 and a target: correct sample_weight or class_weight, or "
            "pass other rows"
        )
    rows = np.flatnonzero(weights > LIGHTEST * heaviest)
    if len(rows) < least:
        raise ValueError(
            f"{len(rows)} rows have a weight above 0, and above {LIGHTEST:.1g} times that of "
            f"the heaviest, {heaviest:g}, but at least {least} are expected: correct sample_weight "
            "or class_weight"
        )
    training, scores = _relative(weights, rows), _relative(of_rows.scores, rows)
    return rows, of_rows._replace(training=training, scores=scores)


def _relative(weights: Array | None, rows: Array) -> Array | None:
    """Return the weights of some rows, mean 1; None if they are equal."""
    if weights is None or np.all(weights[rows] == weights[rows[0]]):
        return None
    return np.asarray(weights[rows] / weights[rows].mean())
