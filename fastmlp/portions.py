"""What each member of an ensemble learns from, and is measured on: one for all, or its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fastmlp import check
from fastmlp.spec import Data, Spec

Rows = list[NDArray[np.int64]]


@dataclass
class Held:
    """The rows that are measured after each epoch.

    Attributes
    ----------
    data : Data
        All of them.
    apart : list of Data
        Those that each member predicts.
    places : list of slices or arrays of int
        Which of all these are.
    """

    data: Data
    apart: list[Data]
    places: list[Any]

    @classmethod
    def shared(cls, data: Data, n_members: int) -> Self:
        """Return rows that every member predicts."""
        return cls(data, [data] * n_members, [slice(None)] * n_members)

    @classmethod
    def of_rows(cls, data: Data, rows: Sequence[NDArray[np.int64]]) -> Self:
        """Return, in the order of their numbers, the rows that each member holds out."""
        all_of_them = np.unique(np.concatenate(rows))
        apart = [data.at(own) for own in rows]
        return cls(data.at(all_of_them), apart, [np.searchsorted(all_of_them, own) for own in rows])


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
    data = datas[0]
    if any(own.x is not data.x for own in datas):
        raise ValueError(
            "validation_rows is given but the members have data of their own: pass one X and y "
            "for all, and rows, or validation_data"
        )
    if any(own.weights is not data.weights for own in datas):
        data = Data(data.x, data.targets)
    numbers = row_numbers(rows, "validation_rows", datas)
    for k, own in enumerate(numbers):
        if len(np.unique(own)) < len(own):
            raise ValueError(
                f"validation_rows[{k}] has a row twice but each is expected once: use np.unique"
            )
    held = Held.of_rows(data, numbers)
    if held.data.weights is not None and not held.data.weights.any():
        raise ValueError(
            "all rows in validation_rows have the sample weight 0: leave some of the others out"
        )
    return held
