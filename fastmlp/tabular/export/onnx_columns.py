"""The columns of a table as inputs of an ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fastmlp._export.graph import Graph, Name
from fastmlp._export.onnx import INPUT, Value, package
from fastmlp._network.exported import SURROGATES
from fastmlp.tabular.table.columns import Column, Columns, Derived

WIDE = np.dtype(np.float64)
LARGEST = int(np.finfo(WIDE).max)
ML = "ai.onnx.ml"  # domain of LabelEncoder
MISSING_TEXT = ""  # ONNX has no missing strings


@dataclass(frozen=True)
class ValueType:
    """A type of values of an input."""

    dtype: np.dtype[Any]
    holds: Callable[[Any], bool]  # whether it can represent a value; None is a missing one
    code: Callable[[Graph, Sequence[Any], Name], Name]  # adds nodes that turn values into codes
    opset: int  # version of `ML` that these nodes need


def _codes(g: Graph, values: Sequence[Any], x: Name, name: str, key: Callable[[Any], Any]) -> Name:
    keys, codes = {name: list(map(key, values))}, list(range(len(values)))
    return g.LabelEncoder(x, domain=ML, **keys, values_int64s=codes, default_int64=len(codes))


_text_codes = partial(_codes, name="keys_strings", key=lambda v: MISSING_TEXT if v is None else v)
_integer_codes = partial(_codes, name="keys_int64s", key=int)


def _bool_codes(g: Graph, values: Sequence[Any], x: Name) -> Name:
    return _integer_codes(g, values, g.Cast(x, to=package().TensorProto.INT64))


def _number_codes(g: Graph, values: Sequence[Any], x: Name) -> Name:
    onnx = package()
    there = [k for k, value in enumerate(values) if value is not None]
    tensors = {
        "keys_tensor": [float(values[k]) for k in there],
        "values_tensor": there,
        "default_tensor": [len(values)],
    }
    arrays = {
        name: onnx.numpy_helper.from_array(np.array(numbers, WIDE), name)
        for name, numbers in tensors.items()
    }
    code = g.Cast(g.LabelEncoder(x, domain=ML, **arrays), to=onnx.TensorProto.INT64)
    if len(there) == len(values):
        return code
    # Not every runtime finds NaN among the keys of a LabelEncoder.
    return g.Where(g.IsNaN(x), np.array(values.index(None)), code)


def _is_integer(value: Any) -> bool:
    bounds = np.iinfo(np.int64)
    return isinstance(value, int | np.integer) and bounds.min <= int(value) <= bounds.max


def _is_number(value: Any) -> bool:
    """Whether float64 represents a value exactly; missing values are NaN."""
    if value is None or isinstance(value, float | np.floating | np.bool_):
        return True
    is_integer = isinstance(value, int | np.integer)
    return is_integer and abs(int(value)) <= LARGEST and float(value) == value


def _is_text(value: Any) -> bool:
    """Whether a value is a string that UTF-8 can encode, or missing, written as `MISSING_TEXT`."""
    return value is None or (isinstance(value, str) and not SURROGATES.search(value))


# An input has the first type that can represent all values of its column.
KINDS = (
    ValueType(np.dtype(bool), lambda v: isinstance(v, bool | np.bool_), _bool_codes, 3),
    ValueType(np.dtype(np.int64), _is_integer, _integer_codes, 3),
    ValueType(np.dtype(object), _is_text, _text_codes, 3),
    ValueType(WIDE, _is_number, _number_codes, 4),
)
NUMBERS = KINDS[-1]


def _wave(g: Graph, at: Derived, x: Name, codes: Sequence[Name]) -> Name:
    angle = g.Mod(g.Gather(x, at.of, axis=1), at.by, fmod=1)
    return g.Sin(g.Add(g.Mul(angle, 2 * np.pi / at.by), at.phase))


def _difference(g: Graph, at: Derived, x: Name, codes: Sequence[Name]) -> Name:
    return g.Sub(*(g.Gather(x, places, axis=1) for places in (at.of, at.by.astype(int))))


def _rank(g: Graph, at: Derived, x: Name, codes: Sequence[Name]) -> Name:
    code = g.Concat(*(g.Unsqueeze(codes[k], np.array([1])) for k in at.of.tolist()), axis=1)
    rank = g.Cast(code, to=package().TensorProto.DOUBLE)
    return g.Where(g.Less(code, at.by.astype(np.int64)), rank, np.nan)


# The functions that add nodes for derived numbers, (rows, n); see `fastmlp.tabular.table.columns`.
DERIVED: dict[str, Callable[..., Name]] = {"wave": _wave, "difference": _difference, "rank": _rank}


@dataclass(frozen=True)
class Inputs:
    """The inputs of a graph; ``whole`` if one matrix holds all columns, unused ones included."""

    columns: Columns
    kinds: tuple[ValueType, ...]
    whole: bool

    @classmethod
    def of(cls, columns: Columns) -> Inputs:
        """Return one input per used column, or one matrix for arrays; raise if ONNX has no type."""
        if not columns.numbers and not columns.categories:
            raise ValueError(
                "the model uses no column, for all were constant at fit, but a graph needs an "
                "input: fit on columns that vary"
            )
        accepted = (NUMBERS,) if columns.numeric else KINDS
        kinds = tuple(_kind(column, accepted) for _, column in columns.categories)
        return cls(columns, kinds, columns.numeric)

    @property
    def values(self) -> dict[Name, Value]:
        """The inputs by name."""
        if self.whole:
            return {INPUT: Value(WIDE, (len(self.columns.names),))}
        kinds = [NUMBERS] * len(self.columns.numbers) + list(self.kinds)
        used = zip(self.columns.numbers + self.columns.categories, kinds, strict=True)
        return {
            column.name: Value(kind.dtype, (1,))
            for (_, column), kind in sorted(used, key=lambda pair: pair[0][0])
        }

    @property
    def opset(self) -> int:
        """Version of `ML` that the nodes need; 0 for none."""
        return max((kind.opset for kind in self.kinds), default=0)

    def check_names(self, outputs: Collection[Name]) -> None:
        """Raise an error for a column name that an input cannot have."""
        for name in self.values:
            if not name or name in outputs or not _is_text(name):
                raise ValueError(
                    f"a column has the name {name!r} but the inputs of a graph need names of valid "
                    f"text, other than those of its outputs, {', '.join(outputs)}: rename it, and "
                    "fit again"
                )

    def numbers(self, g: Graph) -> Name:
        """Return the numeric columns side by side, float64, (rows, numbers); no name for none."""
        if not self.columns.numbers:
            return ""
        if self.whole:
            return g.Gather(INPUT, np.array([place for place, _ in self.columns.numbers]), axis=1)
        return g.Concat(*(column.name for _, column in self.columns.numbers), axis=1)

    def with_derived(self, g: Graph, x: Name, codes: Sequence[Name]) -> Name:
        """Return numeric columns and the numbers that are computed from them and from codes."""
        derived = [DERIVED[at.kind](g, at, x, codes) for at in self.columns.derived]
        return g.Concat(*filter(None, [x, *derived]), axis=1) if derived else x

    def codes(self, g: Graph) -> list[Name]:
        """Return the codes of each category column, (rows,); unknown values get len(values)."""
        return [
            kind.code(g, column.values or (), self._column(g, place, column))
            for (place, column), kind in zip(self.columns.categories, self.kinds, strict=True)
        ]

    def _column(self, g: Graph, place: int, column: Column) -> Name:
        if self.whole:
            return g.Gather(INPUT, np.array(place), axis=1)
        return g.Squeeze(column.name, np.array([1]))


def _kind(column: Column, kinds: Sequence[ValueType]) -> ValueType:
    """Return the first type that can represent all values of a column."""
    name, values = column.name, column.values or ()
    if MISSING_TEXT in values and None in values:
        raise ValueError(
            f"{name} had empty strings and missing values at fit but in ONNX, which has no missing "
            "strings, an empty one stands for them: fit with one of the two"
        )
    first = next((kind for kind in kinds if all(map(kind.holds, values))), None)
    if first is None:
        shown = ", ".join(repr(v) for v in values[:3])
        raise TypeError(
            f"{name} has categories such as {shown} but those that can be exported are all valid "
            "text, or all numbers that float64 holds: convert the column to text, and fit again"
        )
    return first
