"""What each member of an ensemble learns from, and is measured on: one for all, or its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fastmlp import check
from fastmlp.spec import Data, Plan, Spec

Rows = list[NDArray[np.int64]]


@dataclass
class Held:
    """The rows that are measured after each epoch.

    Attributes
    ----------
    apart : list of Data
        Those that each member predicts.
    data : Data or None
        All of them; None if members have data of their own, so that no row is that of another.
    places : list of slices or arrays of int
        Which of all these each member's are.
    """

    apart: list[Data]
    data: Data | None = None
    places: list[Any] = field(default_factory=list)

    @classmethod
    def shared(cls, data: Data, n_members: int) -> Self:
        """Return rows that every member predicts."""
        return cls([data] * n_members, data, [slice(None)] * n_members)

    @classmethod
    def of_rows(cls, datas: Sequence[Data], rows: Rows) -> Self:
        """Return, in the order of their numbers, the rows that each member holds out."""
        data = datas[0]
        apart = [own.part(numbers) for own, numbers in zip(datas, rows, strict=True)]
        if any(own.x is not data.x or own.weights is not data.weights for own in datas):
            return cls(apart)
        union = np.unique(np.concatenate(rows))
        return cls(apart, data.part(union), [np.searchsorted(union, numbers) for numbers in rows])


def datas(X: Any, y: Any, sample_weight: Any, spec: Spec, n_members: int) -> list[Data]:
    """Return the data of each member; what is one for all is checked, and kept, once."""
    apart, weighted = _is_apart(X, 2), _is_apart(sample_weight, 1)
    for name, value, is_apart in (
        ("X", X, apart),
        ("y", y, apart),
        ("sample_weight", sample_weight, weighted),
    ):
        if is_apart and (not hasattr(value, "__len__") or len(value) != n_members):
            raise ValueError(
                f"{name} has {len(value) if hasattr(value, '__len__') else 'no'} entries but "
                f"one for each of the {n_members} members is expected, or an array for all"
            )
    if apart:
        weights = sample_weight if weighted else [sample_weight] * n_members
        return [check.data(*each, spec) for each in zip(X, y, weights, strict=True)]
    if not weighted:
        return [check.data(X, y, sample_weight, spec)] * n_members
    shared = check.data(X, y, None, spec)
    checked = [check.sample_weights(each, shared.rows, spec.dtype) for each in sample_weight]
    return [Data(shared.x, shared.targets, each) for each in checked]


def _is_apart(value: Any, ndim: int) -> bool:
    """Whether it is one of such arrays for each member."""
    is_sequence = isinstance(value, list | tuple | np.ndarray)
    return is_sequence and len(value) > 0 and np.ndim(value[0]) >= ndim


def row_numbers(rows: Any, name: str, datas: Sequence[Data]) -> Rows:
    """Return the numbers of rows of each member."""
    if not hasattr(rows, "__len__") or len(rows) != len(datas):
        raise ValueError(
            f"{name} has type {type(rows).__name__} but an array of row numbers for "
            f"each of the {len(datas)} members is expected"
        )
    pairs = enumerate(zip(rows, datas, strict=True))
    return [check.row_numbers(own, data.rows, f"{name}[{k}]") for k, (own, data) in pairs]


def held_out(rows: Any, datas: Sequence[Data]) -> Held:
    """Return the rows that each member is measured on."""
    numbers = row_numbers(rows, "validation_rows", datas)
    for k, own in enumerate(numbers):
        if len(np.unique(own)) < len(own):
            raise ValueError(
                f"validation_rows[{k}] has a row twice but each is expected once: use np.unique"
            )
    held = Held.of_rows(datas, numbers)
    for k, data in enumerate(held.apart):
        if data.weights is not None and not data.weights.any():
            raise ValueError(
                f"validation_rows[{k}] has rows of sample weight 0 alone but one above 0 is "
                "expected: hold out other rows"
            )
    return held


def seen(
    k: int, datas: Sequence[Data], plans: Sequence[Plan], held: Held | None
) -> tuple[Data | None, ...]:
    """Return all that a member sees of the data in a fit, for a fingerprint."""
    order = plans[k].order
    rows = None if order is None else Data(order[:, np.newaxis], order)
    return datas[k], rows, None if held is None else held.apart[k]
