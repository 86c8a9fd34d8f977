"""Training and validation data of the members: shared by all, or one set per member."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastmlp._engine.plan import Plan
from fastmlp._network.data import Data
from fastmlp._network.spec import Spec
from fastmlp._training.planning import GivenRows
from fastmlp._validation import check

T = TypeVar("T")
RowNumbers = list[NDArray[np.int64]]


@dataclass
class ValidationData:
    """The rows to evaluate after each epoch."""

    apart: list[Data]  # each member's
    data: Data | None = None  # all rows; None if members have their own data
    places: list[Any] = field(default_factory=list)  # indices of each member's rows in ``data``

    @classmethod
    def shared(cls, data: Data, n_members: int) -> Self:
        """Return validation data that every member predicts."""
        return cls([data] * n_members, data, [slice(None)] * n_members)

    @classmethod
    def of_rows(cls, datas: Sequence[Data], rows: RowNumbers) -> Self:
        """Return validation data from row numbers per member, sorted by row number."""
        values = {id(samples): samples.of_values() for samples in datas}
        datas = [values[id(samples)] for samples in datas]
        data = datas[0]
        apart = [samples.part(numbers) for samples, numbers in zip(datas, rows, strict=True)]
        if any(samples.x is not data.x or samples.weights is not data.weights for samples in datas):
            return cls(apart)
        union = np.unique(np.concatenate(rows))
        return cls(apart, data.part(union), [np.searchsorted(union, numbers) for numbers in rows])


def datas(given: GivenRows, spec: Spec, n_members: int) -> list[Data]:
    """Return the data of each member; shared arrays are checked and stored once."""
    X, y, sample_weight, dy, dy_weight = given
    apart, weighted = _is_apart(X, 2), _is_apart(sample_weight, 1)
    if isinstance(sample_weight, np.ndarray) and sample_weight.shape[1:] == (spec.n_outputs,):
        weighted = False  # it has a weight for each target
    arguments = ("X", X, apart), ("y", y, apart), ("sample_weight", sample_weight, weighted)
    for name, value, is_apart in (*arguments, ("dy", dy, apart and dy is not None)):
        if is_apart and (not hasattr(value, "__len__") or len(value) != n_members):
            remedy = " as X has" if name == "y" else ", or an array for all"
            raise ValueError(
                f"{name} has {len(value) if hasattr(value, '__len__') else 'no'} entries but "
                f"one for each of the {n_members} members is expected{remedy}"
            )
    if apart:
        weights = sample_weight if weighted else [sample_weight] * n_members
        slopes = [None] * n_members if dy is None else dy
        return [
            of_member(k, check.data, *arrays, spec, slope, dy_weight)
            for k, (*arrays, slope) in enumerate(zip(X, y, weights, slopes, strict=True))
        ]
    if not weighted:
        return [check.data(X, y, sample_weight, spec, dy, dy_weight)] * n_members
    shared = check.data(X, y, None, spec, dy, dy_weight)
    y_checked, slopes = shared.targets, shared.jacobians
    checked = [
        of_member(k, check.row_weights, y_checked, slopes, weights, spec)
        for k, weights in enumerate(sample_weight)
    ]
    return [replace(shared, weights=w, output_weights=factors) for w, factors in checked]


def of_member(k: int, checked: Callable[..., T], *arguments: Any) -> T:
    """Check one member's data; errors get a note with the member's number."""
    try:
        return checked(*arguments)
    except (TypeError, ValueError) as error:
        error.add_note(f"in the data of member {k}")
        raise


def _is_apart(value: Any, ndim: int) -> bool:
    """Whether a value holds one array of at least this dimension per member."""
    if not isinstance(value, list | tuple | np.ndarray):
        return False
    with contextlib.suppress(ValueError, IndexError):  # e.g. rows of unequal length
        return [np.ndim(entry) >= ndim for entry in value[:1]] == [True]
    return False


def row_numbers(rows: Any, name: str, datas: Sequence[Data]) -> RowNumbers:
    """Return int64 copies of each member's row numbers, at least one, from 0 to n - 1."""
    has_length = hasattr(rows, "__len__")
    if not has_length or len(rows) != len(datas):
        size = f"{len(rows)} entries" if has_length else f"type {type(rows).__name__}"
        raise ValueError(
            f"{name} has {size} but an array of row numbers for each of the {len(datas)} members "
            "is expected: pass a list of such arrays"
        )
    pairs = enumerate(zip(rows, datas, strict=True))
    return [_checked_rows(numbers, data.rows, f"{name}[{k}]") for k, (numbers, data) in pairs]


def _checked_rows(value: Any, n: int, name: str) -> NDArray[np.int64]:
    array = np.asarray(value)
    if array.ndim != 1 or array.dtype.kind not in "iu" or len(array) == 0:
        raise ValueError(
            f"{name} is {check.short(value)} but a flat array of at least one row number is "
            "expected: for a mask use np.flatnonzero(mask)"
        )
    for extreme in (array.min(), array.max()):
        if not 0 <= extreme < n:
            raise ValueError(
                f"{name} holds {extreme} but row numbers from 0 to {n - 1} are expected"
            )
    return array.astype(np.int64)


def held_out(rows: Any, datas: Sequence[Data]) -> ValidationData:
    """Return the validation rows of each member."""
    numbers = row_numbers(rows, "validation_rows", datas)
    for k, rows_of_member in enumerate(numbers):
        if len(np.unique(rows_of_member)) < len(rows_of_member):
            raise ValueError(
                f"validation_rows[{k}] has a row twice but each is expected once: use np.unique"
            )
    held = ValidationData.of_rows(datas, numbers)
    for k, data in enumerate(held.apart):
        _some_weight(data.weights, f"validation_rows[{k}]", "hold out other rows")
    return held


def learned(rows: Any, datas: Sequence[Data]) -> RowNumbers:
    """Return the training rows of each member."""
    numbers = row_numbers(rows, "rows", datas)
    for k, (rows_of_member, data) in enumerate(zip(numbers, datas, strict=True)):
        weights = None if data.weights is None else data.weights[rows_of_member]
        _some_weight(weights, f"rows[{k}]", "let it learn from other rows")
    return numbers


def _some_weight(weights: NDArray[Any] | None, name: str, remedy: str) -> None:
    if weights is not None and not weights.any():
        raise ValueError(
            f"{name} has rows of sample weight 0 alone but one above 0 is expected: {remedy}"
        )


def fingerprint_data(
    data: Sequence[Data], plans: Sequence[Plan], held: ValidationData | None
) -> list[tuple[Data | None, ...]]:
    """Return for each member all data that it uses in a fit."""
    orders = [plan.order for plan in plans]
    rows = [None if order is None else Data(order[:, np.newaxis], order) for order in orders]
    held_out = [None] * len(data) if held is None else held.apart
    return list(zip(data, rows, held_out, strict=True))
