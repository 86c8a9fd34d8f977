"""Validation of arrays: numeric, finite, of the model's dtype and the right shape."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmlp._core.intervals import first_non_finite
from fastmlp._network.spec import Spec
from fastmlp._validation.compatibility import refusal


class Frame(Protocol):
    """A data frame: named columns, each a series of its own dtype."""

    @property
    def columns(self) -> Any: ...

    @property
    def dtypes(self) -> Any: ...

    def __getitem__(self, name: Any) -> Any: ...


# Rows that users pass: arrays and what becomes one, frames, columns by name, rows as dictionaries,
# and sparse matrices, which have no types of their own.
TableLike: TypeAlias = "ArrayLike | Frame | Mapping[Any, Any] | Sequence[Mapping[Any, Any]]"

MISSING_TYPES = ("NoneType", "NAType", "NaTType")  # names, as pandas may not be imported

# Rejected dtype kinds of NumPy: a description of the content, and the remedy.
_TO_NUMBERS = (
    "pass .astype(float) of numbers, np.unique(y, return_inverse=True)[1] of labels y, and columns "
    "of text to fastmlp.TabMLPRegressor or TabMLPClassifier"
)
REFUSED_KINDS = {
    **{"U": ("strings", _TO_NUMBERS), "S": ("bytes", _TO_NUMBERS), "T": ("strings", _TO_NUMBERS)},
    "c": ("complex numbers", "pass the real and the imaginary parts as two columns"),
    "M": ("dates", "convert them to numbers, for example to days since a fixed date"),
    "m": ("time differences", "divide by a unit, for example by np.timedelta64(1, 's')"),
    "V": ("records or numbers of another library", "pass a plain 2-D array of floats"),
}


def is_source(x: Any) -> bool:
    """Whether this is a source of blocks: a callable or an iterable that is no array or list."""
    if isinstance(x, (np.ndarray, Sequence, Mapping)):
        return False
    is_array = any(hasattr(x, name) for name in ("__array__", "__dataframe__", "toarray"))
    return not is_array and (callable(x) or hasattr(x, "__iter__"))


def no_source(x: Any, name: str = "X") -> None:
    """Raise TypeError for a source where arrays are expected."""
    if is_source(x):
        raise refusal("source", "Ensemble or estimator", name=name, kind=type(x).__name__)


def check_unmasked(**of_rows: Any) -> None:
    """Raise ValueError if values of rows, such as their targets, are masked."""
    masked: Any = sys.modules.get("numpy.ma")  # importing np.ma here could hang on an interrupt
    for role, values in of_rows.items() if masked else ():
        if not isinstance(values, masked.MaskedArray):
            continue
        mask = np.ascontiguousarray(masked.getmaskarray(values))  # records have one for each field
        if mask.view(bool).any():
            raise ValueError(
                f"{role} has masked entries but a value for each row is expected: drop these rows"
            )


def numeric(value: Any, name: str) -> NDArray[Any]:
    """Return a plain real array (dtype kinds b, i, u, f), without a copy where possible."""
    if type(value) is np.ndarray and value.dtype.kind in "biuf":
        return value
    masked = sys.modules.get("numpy.ma")
    if masked is not None and isinstance(value, masked.MaskedArray):
        raise TypeError(
            f"{name} is a masked array but its mask would be ignored: fill it with "
            f"{name}.filled(value), or drop the masked rows"
        )
    if hasattr(value, "toarray"):
        raise TypeError(
            f"{name} is a sparse {type(value).__name__} but a dense array is expected: "
            f"pass {name}.toarray()"
        )
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(
            f"{name} is not a rectangular array of numbers ({error}): give rows the same length"
        ) from error
    if array.dtype.kind == "O":
        array = _numbers(array, value, name)
    if array.dtype.kind not in "biuf":
        what, remedy = REFUSED_KINDS.get(array.dtype.kind, ("no numbers", "convert it first"))
        raise TypeError(
            f"{name} holds {what} (dtype {array.dtype}) but real numbers are expected: {remedy}"
        )
    return array


def _numbers(array: NDArray[Any], value: Any, name: str) -> NDArray[Any]:
    """Return an object array as float64; strings are rejected, even if they contain numbers."""
    if array.ndim == 0:
        no_source(value, name)
        raise TypeError(f"{name} is {short(value)} but an array of numbers is expected")
    for item in array.flat:
        if isinstance(item, (str, bytes)):
            raise TypeError(
                f"{name} holds {short(item)} but real numbers are expected: {_TO_NUMBERS}"
            )
    try:
        return array.astype(np.float64)
    except OverflowError as error:
        raise ValueError(f"{name} holds a number too large for float64: rescale it") from error
    except Exception as error:  # objects may raise anything in their conversion
        raise TypeError(
            f"{name} holds objects that are not real numbers ({error}): convert it first"
        ) from error


def finite(
    array: NDArray[Any], dtype: np.dtype[Any], name: str, remedy: str = "drop or fill such entries"
) -> NDArray[Any]:
    """Return the array in this dtype, without a copy if it has it; reject NaN and infinity."""
    converted = cast(array, dtype)
    if array.dtype.kind == "f":
        index = first_non_finite(converted)
        if index is not None:
            where = f"{name}[{', '.join(map(str, index))}] is {array[index]}"
            if np.isfinite(array[index]):
                raise ValueError(f"{where}, too large for {dtype}: rescale, or use dtype='float64'")
            raise ValueError(f"{where} but finite numbers are expected: {remedy}")
    return converted


def finite_or_nan(array: NDArray[Any], dtype: np.dtype[Any], name: str) -> NDArray[Any]:
    """Return the array in this dtype like `finite`, but with NaN where it has NaN."""
    if array.dtype.kind != "f" or not np.isnan(array).any():
        return finite(array, dtype, name)
    finite(np.where(np.isnan(array), 0, array), dtype, name)
    return cast(array, dtype)


def like(value: Any, shape: tuple[int, ...], dtype: np.dtype[Any], name: str) -> NDArray[Any]:
    """Return finite C-ordered numbers (n, m), one row for each row of X; (n,) if m is 1.

    One row may also be flat, (m,).
    """
    array = numeric(value, name)
    if array.ndim == 1 and (shape[0] == 1 or shape[1] == 1) and array.size == np.prod(shape):
        array = array.reshape(shape)
    if array.shape != shape:
        raise ValueError(
            f"{name} has shape {array.shape} but {shape} is expected: pass one row for each of X"
        )
    return np.ascontiguousarray(finite(array, dtype, name))


def cast(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the array aligned and in this dtype, itself if it is; overflow gives infinity."""
    if array.dtype == dtype and array.flags.aligned:
        return array
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return array.astype(dtype)


def names(state: Any, expected: Sequence[str], name: str) -> None:
    """Raise an error unless a mapping has exactly the expected keys."""
    if not isinstance(state, Mapping):
        raise TypeError(f"{name} is {short(state)} but a dict of names and arrays is expected")
    wrong = {
        "lacks": [key for key in expected if key not in state],
        "has also": [str(key) for key in state if key not in expected],
    }
    for what, keys in wrong.items():
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise ValueError(
                f"{name} {what} {', '.join(keys[:3])}{more} but exactly {expected[0]} to "
                f"{expected[-1]} are expected: those of a model with the same layers"
            )


def parameters(
    values: Iterable[ArrayLike], spec: Spec, kind: str, name: str = ""
) -> list[NDArray[Any]]:
    """Return all tensors of one kind as finite arrays, one per layer, with the layers' shapes."""
    name, shapes = name or kind, spec.tensors.get(kind, [])
    if not isinstance(values, Iterable) or isinstance(values, (str, bytes)):
        raise TypeError(f"{name} is {short(values)} but a list of arrays is expected")
    values = list(values)
    if len(values) != len(shapes):
        raise ValueError(
            f"{name} has the length {len(values)} but {len(shapes)} is expected: pass all arrays"
        )
    checked = []
    for layer, (value, shape) in enumerate(zip(values, shapes, strict=True)):
        array = numeric(value, f"{name}[{layer}]")
        if array.shape != shape:
            raise ValueError(
                f"{name}[{layer}] has shape {array.shape} but {shape} is expected: "
                "the shapes follow from layer_sizes, weights are (fan_in, fan_out)"
            )
        checked.append(np.ascontiguousarray(finite(array, spec.dtype, f"{name}[{layer}]")))
    return checked


def is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, NaT or pandas.NA."""
    if type(value).__name__ in MISSING_TYPES:
        return True
    return isinstance(value, float | np.floating) and bool(value != value)


def short(value: Any) -> str:
    """Return the start of a value's repr and its type, for an error message."""
    text = re.sub(r"\n\s*", " ", repr(value))  # arrays have several lines
    return f"{text[:60]}{'...' if len(text) > 60 else ''} ({type(value).__name__})"


def bad_rows(shape: tuple[int, ...], n_in: int) -> ValueError:
    """Return the error for a predictor's input x of the wrong shape."""
    return ValueError(
        f"x has shape {shape} but ({n_in},) or (n, {n_in}) is expected: "
        "pass one row, or one row a sample"
    )


def bad_out(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> ValueError:
    """Return the error for an ``out`` that cannot hold a predictor's result."""
    text = f"of the type {type(out).__name__}"
    if isinstance(out, np.ndarray):
        flags = out.flags
        text += f", shape {out.shape}, dtype {out.dtype}" + ", read-only" * (not flags.writeable)
        text += ", not C-contiguous" * (not flags.c_contiguous)
    return ValueError(
        f"out is {text} but a writable C-contiguous array of shape {shape} and dtype {dtype} "
        "is expected: make it with np.empty, or leave it out"
    )
