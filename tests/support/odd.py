"""What people pass to a function: arrays in every form, and values of every kind, good and bad."""

from __future__ import annotations

import decimal
import fractions
import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import scipy.sparse

# Values that some parameter may take, and most must refuse.
VALUES: tuple[Any, ...] = (
    *(None, True, False, np.bool_(True)),
    *(0, 1, 2, -1, 7, 2**31, 2**32 + 1, 2**63, 2**64, -(2**63), 10**400),
    *(0.0, -0.0, 0.5, 1.0, -1.5, 1e-320, 1e-40, 1e38, 1e308, -1e308),
    *(float("nan"), float("inf"), -float("inf"), 1j, 1.0 + 0j),
    *(np.float32(0.25), np.float64("nan"), np.int8(3), np.int8(-3), np.uint64(2**64 - 1)),
    *(np.float16(0.5), np.longdouble(0.5), np.complex64(1)),
    *("", "relu", "adam", "auto", "1", "\0", "\ud800", "x" * 1000, b"relu", bytearray(b"3")),
    *([], (), {}, set(), [1], [0.5], [None], ["relu"], [float("nan")], [[1]], (2, 3), {"a": 1}),
    *(np.array(3), np.array([3]), np.array([]), np.array(0.5), np.array("relu"), np.zeros((2, 2))),
    *(decimal.Decimal("0.5"), fractions.Fraction(1, 2), decimal.Decimal("nan")),
    *(object(), object, int, len, lambda *_: None, lambda *_: True, Ellipsis, NotImplemented),
    *(np.datetime64("2020-01-01"), np.timedelta64(1, "s"), np.dtype("float32"), slice(2), range(2)),
    *(memoryview(b"1"), iter(()), pandas.NA, pandas.Timestamp(0), Path("relu"), KeyError("relu")),
)


class Plain(np.ndarray):
    """An array with a name of its own."""


class Lookalike:
    """Something that becomes an array when NumPy asks, and nothing else."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.array.astype(dtype or self.array.dtype)


def misaligned(array: np.ndarray) -> np.ndarray:
    """Return a copy one byte off."""
    result = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    result[...] = array
    return result


def read_only(array: np.ndarray) -> np.ndarray:
    """Return a copy that cannot be written to."""
    result = array.copy()
    result.flags.writeable = False
    return result


def mapped(array: np.ndarray) -> np.ndarray:
    """Return a copy in a file, mapped into memory for reading."""
    if not array.nbytes:
        return array
    with tempfile.TemporaryDirectory() as folder:  # the file lives on while it is mapped
        np.save(Path(folder) / "a.npy", array)
        return np.load(Path(folder) / "a.npy", mmap_mode="r")


def field(array: np.ndarray) -> np.ndarray:
    """Return the column of records: strides that are no multiple of the element's size."""
    records = np.zeros(array.shape, [("x", array.dtype), ("other", np.int8)])
    records["x"] = array
    return records["x"]


def reversed_twice(array: np.ndarray) -> np.ndarray:
    """Return the same values with negative strides."""
    flip = (slice(None, None, -1),) * array.ndim
    return array[flip].copy()[flip]


def every_other(array: np.ndarray) -> np.ndarray:
    """Return every other element of a larger array, along all axes."""
    spread = array
    for axis in range(array.ndim):
        spread = np.repeat(spread, 2, axis=axis)
    return spread[(slice(None, None, 2),) * array.ndim]


def polars_form(array: np.ndarray) -> Any:
    """Return a form of polars, whose allocator crashes under ThreadSanitizer if it is loaded."""
    import polars

    return polars.DataFrame(array) if array.ndim == 2 else polars.Series(array)


# Forms of the same values: to be accepted with the result of a plain array, or to be refused.
SAME: dict[str, Callable[[np.ndarray], Any]] = {
    "C order": np.copy,
    "F order": np.asfortranarray,
    "negative strides": reversed_twice,
    "every other": every_other,
    "field of records": field,
    "read-only": read_only,
    "memory-mapped": mapped,
    "misaligned": misaligned,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "subclass": lambda a: a.view(Plain),
    "matrix": lambda a: np.matrix(a) if a.ndim == 2 else a,
    "longdouble": lambda a: a.astype(np.longdouble),
    "objects": lambda a: a.astype(object),
    "lists": np.ndarray.tolist,
    "tuples": lambda a: tuple(map(tuple, a.tolist())) if a.ndim == 2 else tuple(a.tolist()),
    "memoryview": memoryview,
    "decimals": lambda a: np.vectorize(decimal.Decimal, otypes=[object])(a.astype(float)),
    "pandas": lambda a: pandas.DataFrame(a) if a.ndim == 2 else pandas.Series(a),
    "pandas, nullable": lambda a: (
        pandas.DataFrame(a) if a.ndim == 2 else pandas.Series(a)
    ).convert_dtypes(),
    "polars": polars_form,
    "lookalike": Lookalike,
    "masked": np.ma.masked_array,
    "csr": lambda a: scipy.sparse.csr_matrix(a) if a.ndim == 2 else a,
    "csc array": lambda a: scipy.sparse.csc_array(a) if a.ndim == 2 else a,
    "coo": lambda a: scipy.sparse.coo_matrix(a) if a.ndim == 2 else a,
}


# Forms that carry more than the values of a plain array has, which most functions refuse.
MORE = ("masked", "csr", "csc array", "coo")


def replaced(value: Any, dtype: Any = None) -> Callable[[np.ndarray], Any]:
    """Return what puts a value somewhere into an array, perhaps one of another dtype."""

    def replace(array: np.ndarray) -> np.ndarray:
        result = array.astype(dtype or np.result_type(array.dtype, type(value)))
        if result.size:
            result[np.unravel_index(result.size // 2, result.shape)] = value
        return result

    return replace


def broken_sparse(array: np.ndarray) -> Any:
    """Return a sparse matrix with an index beyond its columns, as only a hand can make it."""
    matrix = scipy.sparse.csr_matrix(array)
    if matrix.nnz:
        matrix.indices[-1] = 10**6
    return matrix


# Other values, other shapes, other kinds: mostly to be refused, all to be survived.
OTHER: dict[str, Callable[[np.ndarray], Any]] = {
    "float16": lambda a: a.astype(np.float16),
    "int8": lambda a: a.astype(np.int8),
    "uint64": lambda a: np.abs(a).astype(np.uint64),
    "bool": lambda a: a > 0,
    "NaN": replaced(float("nan")),
    "infinity": replaced(float("inf")),
    "1e300": replaced(1e300),
    "1e30": replaced(1e30),
    "denormal": replaced(1e-42),
    "negative": replaced(-2.5),
    "2**40": replaced(2.0**40),
    "complex": lambda a: a.astype(complex),
    "strings": lambda a: a.astype(str),
    "bytes": lambda a: a.astype("S8"),
    "dates": lambda a: a.astype("i8").astype("M8[s]"),
    "records": lambda a: np.zeros(a.shape, [("a", float), ("b", int)]),
    "None inside": replaced(None, object),
    "string inside": replaced("1", object),
    "huge integer inside": replaced(10**400, object),
    "array inside": replaced(np.zeros(2), object),
    "ragged": lambda a: [*a.tolist(), [1.0]],
    "no rows": lambda a: a[:0],
    "no columns": lambda a: a[:, :0] if a.ndim == 2 else a,
    "one row more": lambda a: np.concatenate([a, a[:1]]),
    "one column more": lambda a: np.hstack([a, a]) if a.ndim == 2 else a,
    "transposed": np.transpose,
    "one axis more": lambda a: a[..., np.newaxis],
    "one axis fewer": np.ravel,
    "one value": lambda a: a.dtype.type(0),
    "one row, broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
    "windows": lambda a: (
        np.lib.stride_tricks.sliding_window_view(
            np.resize(a, sum(a.shape) - 1), a.shape[1]
        ) if a.ndim == 2 and a.size else a
    ),
    "sparse with a wrong index": lambda a: broken_sparse(a) if a.ndim == 2 else a,
    "frame with text": lambda a: pandas.DataFrame({"a": ["x"] * len(a), "b": ["y"] * len(a)}),
    "masked somewhere": lambda a: np.ma.masked_array(a, mask=a > 0),
    "generator": iter,
    "dictionary": lambda a: dict(enumerate(a.tolist())),
}  # fmt: skip


def contents(value: Any) -> str:
    """Return a digest of what an argument holds, to see whether a call has changed it."""
    found = hashlib.sha256()
    for part in _parts(value):
        found.update(part)
    return found.hexdigest()


def _parts(value: Any) -> Any:
    if isinstance(value, np.ma.MaskedArray):
        yield from _parts(np.asarray(value.data))
        yield from _parts(np.ma.getmaskarray(value))
    elif isinstance(value, np.ndarray) and value.dtype != object:
        yield f"{value.shape}{value.strides}{value.dtype}{value.flags.writeable}".encode()
        yield value.tobytes()
    elif scipy.sparse.issparse(value):
        for name in ("data", "indices", "indptr", "row", "col"):
            yield from _parts(getattr(value, name, None))
    elif isinstance(value, Lookalike):
        yield from _parts(value.array)
    elif hasattr(value, "to_numpy"):  # a frame or a column
        yield repr((value.to_numpy().tolist(), getattr(value, "columns", None))).encode()
    elif isinstance(value, memoryview | bytes | bytearray):
        yield bytes(value)
    elif isinstance(value, list | tuple):
        yield str(len(value)).encode()
        for item in value:
            yield from _parts(item)
    elif type(value).__repr__ is not object.__repr__:
        yield repr(value).encode()
