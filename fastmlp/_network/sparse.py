"""Rows of a matrix that is mostly zeros, as their stored values and columns (CSR).

SciPy is not needed: its matrices are recognised by their attributes. None of its compiled functions
reads the index arrays, which anybody can have changed, before they are checked here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastmlp._core.intervals import check_count, first_non_finite
from fastmlp._network.activations import Array

MAX_COLUMNS = 2**31 - 1
MAX_ROWS = 2**32  # so that places, rows times columns, are 64-bit integers
PRODUCT_ROWS = 1024  # rows of a product at a time, whose terms are held in memory
SORTED = 2**19  # values that NumPy sorts in one call, which no signal interrupts

Arrays = tuple[NDArray[np.int64], NDArray[np.int32], Array]  # indptr, indices, values


@dataclass(frozen=True, eq=False, repr=False, init=False, slots=True)
class SparseRows:
    """Rows of numbers of which most are 0, such as counts of words, stored without the zeros.

    Take it for thousands of columns of which a row uses a few; every ``X`` of a network may be such
    rows.

    They are stored like a CSR matrix of SciPy, which is accepted as ``X``, too: row i has the
    values ``values[indptr[i]:indptr[i + 1]]`` in the columns ``indices[indptr[i]:indptr[i + 1]]``,
    and 0 in all others.

    Parameters
    ----------
    indptr : array-like of integers, shape (n + 1,)
        Where each row begins, then the number of stored values: from 0, never falling.
    indices : array-like of integers, shape (stored,)
        Column of each value, from 0 to ``n_columns - 1``, in any order; values of a row that have
        the same column are summed.
    values : array-like of numbers, shape (stored,)
        Finite values, some of which may be 0: float32, or else converted to float64. They are not
        copied if the columns of each row ascend.
    n_columns : int
        Number of columns, from 1 to 2**31 - 1.

    Attributes
    ----------
    shape : tuple of int
        ``(n, n_columns)``; ``indptr`` (int64), ``indices`` (int32) and ``values`` can be read, too.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> import fastmlp
    >>> x = fastmlp.SparseRows([0, 2, 2, 3], [4, 1, 0], [0.5, 2.0, 1.0], n_columns=5)
    >>> x
    SparseRows(3 x 5, float64, 3 values)
    >>> x[:2].toarray()
    array([[0. , 2. , 0. , 0. , 0.5],
           [0. , 0. , 0. , 0. , 0. ]])
    >>> fastmlp.MLP([5, 4, 1], rng=0).predict(x).shape
    (3, 1)
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: Array
    shape: tuple[int, int]

    ndim: ClassVar[int] = 2
    __array_ufunc__ = None  # NumPy's functions would make the rows dense

    def __init__(
        self, indptr: ArrayLike, indices: ArrayLike, values: ArrayLike, n_columns: int
    ) -> None:
        columns = check_count("n_columns", n_columns, example=10_000)
        if columns > MAX_COLUMNS:
            raise ValueError(f"n_columns is {columns} but at most {MAX_COLUMNS} is expected")
        shape = np.size(indptr) - 1, columns
        self._set(_canonical(indptr, indices, values, shape, "SparseRows"), columns)

    def _set(self, arrays: Arrays, n_columns: int) -> SparseRows:
        """Set checked arrays; those of indices become read-only, as native code trusts them."""
        for array in arrays[:2]:
            array.flags.writeable = False
        shape = len(arrays[0]) - 1, n_columns
        for name, value in zip(self.__slots__, (*arrays, shape), strict=True):
            object.__setattr__(self, name, value)
        return self

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the values."""
        return self.values.dtype

    @property
    def nnz(self) -> int:
        """Number of stored values."""
        return len(self.values)

    @property
    def nbytes(self) -> int:
        """Number of bytes of the arrays."""
        return self.values.nbytes + self.indices.nbytes + self.indptr.nbytes

    @property
    def T(self) -> SparseRows:
        """The columns as rows."""
        return _of_coordinates(self.indices, self._rows(), self.values, self.shape[::-1])

    def astype(self, dtype: DTypeLike, name: str = "SparseRows") -> SparseRows:
        """Return the rows in a dtype; raise ValueError for a value that is too large for it."""
        if self.dtype == dtype:
            return self
        values = _finite(self.values, np.dtype(dtype), self.indptr, self.indices, name)
        return _made((self.indptr, self.indices, values), self.shape[1])

    def copy(self) -> SparseRows:
        """Return the same rows in new memory."""
        return concatenated([self])

    def toarray(self) -> Array:
        """Return all rows as an array, zeros included."""
        dense = np.zeros(self.shape, self.dtype)
        dense[self._rows(), self.indices] = self.values
        return dense

    def __array__(self, dtype: DTypeLike | None = None, copy: Any = None) -> Array:
        return self.toarray().astype(dtype or self.dtype, copy=False)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> SparseRows:
        """Return the rows in a slice, mask or array of row numbers."""
        if isinstance(rows, slice) and rows.step in (None, 1):
            first, end, _ = rows.indices(len(self))
            indptr = self.indptr[first : max(first, end) + 1]
            stored = slice(indptr[0], indptr[-1])
            return _made(
                (indptr - indptr[0], self.indices[stored], self.values[stored]), self.shape[1]
            )
        chosen = np.arange(len(self))[rows]
        if chosen.ndim != 1:
            raise TypeError(f"rows are {rows!r} but a slice, mask or flat array is expected")
        lengths = np.diff(self.indptr)[chosen]
        indptr = _pointers_of(lengths)
        stored = np.arange(indptr[-1]) + np.repeat(self.indptr[chosen] - indptr[:-1], lengths)
        return _made((indptr, self.indices[stored], self.values[stored]), self.shape[1])

    def __mul__(self, factors: Any) -> SparseRows:
        """Return the rows times a number, or with each column times its own, (n_columns,)."""
        if np.ndim(factors) and np.shape(factors) != self.shape[1:]:
            raise ValueError(
                f"the factor has shape {np.shape(factors)} but a number, or one for each of the "
                f"{self.shape[1]} columns, is expected: multiply toarray() by others"
            )
        values = self.values * (np.asarray(factors)[self.indices] if np.ndim(factors) else factors)
        return _made((self.indptr, self.indices, values), self.shape[1])

    __rmul__ = __mul__

    def __matmul__(self, dense: Array) -> Array:
        """Return the product (n, O) with an array (n_columns, O)."""
        product = np.zeros((len(self), dense.shape[1]), np.result_type(self.dtype, dense))
        for first in range(0, len(self), PRODUCT_ROWS):
            part = self[first : first + PRODUCT_ROWS]
            filled = np.flatnonzero(np.diff(part.indptr))
            terms = part.values[:, np.newaxis] * dense[part.indices]
            if len(filled):
                product[first + filled] = np.add.reduceat(terms, part.indptr[filled])
        return product

    def __reduce__(self) -> tuple[Any, ...]:
        return _checked, (self.indptr, self.indices, self.values, self.shape)

    def __repr__(self) -> str:
        n, columns = self.shape
        return f"SparseRows({n:,} x {columns:,}, {self.dtype}, {self.nnz:,} values)"

    def _rows(self) -> NDArray[np.int64]:
        """Return the row of each value."""
        return np.repeat(np.arange(len(self)), np.diff(self.indptr))


def is_sparse(X: Any) -> bool:
    """Whether this is `SparseRows`, or a matrix or 2-D array of ``scipy.sparse``."""
    if type(X) is SparseRows:
        return True
    return hasattr(X, "tocoo") and hasattr(X, "format") and len(X.shape) == 2


def rows_of(X: Any, name: str = "X") -> SparseRows:
    """Return a sparse matrix as checked rows, in float32 or float64."""
    if type(X) is SparseRows:
        return X
    if X.format == "csr":
        stored = slice(X.indptr[-1:].sum())  # SciPy allows room to spare
        return _checked(X.indptr, X.indices[stored], X.data[stored], X.shape, name)
    if X.format == "csc":
        stored = slice(X.indptr[-1:].sum())
        rows = X.indices[stored]
        indptr = _pointers(X.indptr, X.shape[1], len(rows), name)
        columns = np.repeat(np.arange(X.shape[1]), np.diff(indptr))
        return _of_coordinates(rows, columns, X.data[stored], X.shape, name)
    matrix = X.tocoo()
    return _of_coordinates(matrix.row, matrix.col, matrix.data, X.shape, name)


def concatenated(parts: Sequence[SparseRows]) -> SparseRows:
    """Return the rows of all parts, in new memory."""
    indptr = _pointers_of(np.concatenate([np.diff(part.indptr) for part in parts]))
    indices = np.concatenate([part.indices for part in parts])
    values = np.concatenate([part.values for part in parts])
    return _made((indptr, indices, values), parts[0].shape[1])


def _checked(
    indptr: ArrayLike,
    indices: ArrayLike,
    values: ArrayLike,
    shape: Sequence[int],
    name: str = "SparseRows",
) -> SparseRows:
    """Return rows of arrays that anybody can have changed, such as those of a pickle."""
    return _made(_canonical(indptr, indices, values, shape, name), shape[1])


def _made(arrays: Arrays, n_columns: int) -> SparseRows:
    """Return rows of checked arrays."""
    return object.__new__(SparseRows)._set(arrays, n_columns)


def _of_coordinates(
    rows: ArrayLike,
    columns: ArrayLike,
    values: ArrayLike,
    shape: Sequence[int],
    name: str = "SparseRows",
) -> SparseRows:
    """Return rows of values at checked places."""
    rows = _integers(rows, shape[0] - 1, f"{name}.row")
    columns = _integers(columns, shape[1] - 1, f"{name}.col", np.int32)
    values = _floats(values, name, rows, columns)
    return _made(_summed(*_by_rows(rows, columns, values, shape[0]), shape[1], name), shape[1])


def _canonical(
    indptr: ArrayLike, indices: ArrayLike, values: ArrayLike, shape: Sequence[int], name: str
) -> Arrays:
    """Return checked arrays: columns of each row ascending, values of the same place summed."""
    columns = _integers(indices, shape[1] - 1, f"{name}.indices", np.int32)
    values = _floats(values, name, columns)
    indptr = _pointers(indptr, shape[0], len(columns), name)
    ascends = columns[1:] > columns[:-1]
    starts = indptr[(indptr > 0) & (indptr < len(columns))]
    ascends[starts - 1] = True
    if not ascends.all():
        return _summed(indptr, columns, values, shape[1], name)
    return indptr, columns, _finite(values, values.dtype, indptr, columns, name)


def _by_rows(rows: Array, columns: Array, values: Array, n: int) -> Arrays:
    """Return columns and values row by row, those of each row in their order."""
    indptr = _pointers_of(np.bincount(rows, minlength=n))
    free = indptr[:-1].copy()  # where the next value of each row goes
    columns_by_row, values_by_row = np.empty_like(columns), np.empty_like(values)
    for first in range(0, len(rows), SORTED):
        part = slice(first, first + SORTED)
        order = np.argsort(rows[part], kind="stable")
        found, starts, counts = np.unique(rows[part][order], return_index=True, return_counts=True)
        places = np.arange(len(order)) + np.repeat(free[found] - starts, counts)
        columns_by_row[places], values_by_row[places] = columns[part][order], values[part][order]
        free[found] += counts
    return indptr, columns_by_row, values_by_row


def _summed(indptr: Array, columns: Array, values: Array, n_columns: int, name: str) -> Arrays:
    """Return the arrays with ascending columns, values of the same place summed in order."""
    lengths, parts, first = np.zeros(len(indptr) - 1, np.int64), [], 0
    while first < len(lengths):
        end = int(np.searchsorted(indptr, indptr[first] + SORTED, "right")) - 1
        rows = slice(first, max(first + 1, end))
        stored = slice(indptr[first], indptr[rows.stop])
        numbers = np.arange(rows.stop - first)
        places = np.repeat(numbers, np.diff(indptr[first : rows.stop + 1])) * n_columns
        part = _summed_in_order(places + columns[stored], columns[stored], values[stored])
        lengths[rows] = np.diff(
            np.searchsorted(part[0], np.append(numbers, len(numbers)) * n_columns)
        )
        parts.append(part[1:])
        first = rows.stop
    indptr = _pointers_of(lengths)
    columns, values = map(np.concatenate, zip((columns[:0], values[:0]), *parts, strict=True))
    return indptr, columns, _finite(values, values.dtype, indptr, columns, name)


def _summed_in_order(places: Array, columns: Array, values: Array) -> tuple[Array, Array, Array]:
    """Return the arrays in the order of the places, each of which occurs once."""
    order = np.argsort(places, kind="stable")
    places, columns, values = places[order], columns[order], values[order]
    is_new = np.ones(len(order), bool)
    is_new[1:] = places[1:] != places[:-1]
    if is_new.all():
        return places, columns, values
    sums = np.zeros(np.count_nonzero(is_new), values.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        np.add.at(sums, np.cumsum(is_new) - 1, values)
    return places[is_new], columns[is_new], sums


def _pointers_of(lengths: NDArray[Any]) -> NDArray[np.int64]:
    """Return where rows of these lengths begin, then their end."""
    indptr = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    return indptr


def _pointers(indptr: Any, n: int, n_stored: int, name: str) -> NDArray[np.int64]:
    """Return a checked copy of ``indptr``."""
    copied = _integers(indptr, n_stored, f"{name}.indptr")
    if len(copied) != n + 1 or not 0 <= n < MAX_ROWS:
        raise ValueError(
            f"{name}.indptr has the length {len(copied)} but one more than the number of rows, at "
            f"most {MAX_ROWS}, is expected"
        )
    falls = copied[1:] < copied[:-1]
    if copied[0] or copied[-1] != n_stored or falls.any():
        fall = f" and falls after indptr[{np.argmax(falls)}]" if falls.any() else ""
        raise ValueError(
            f"{name}.indptr begins with {copied[0]}, ends with {copied[-1]}{fall} but numbers from "
            f"0 to {n_stored}, the number of values, are expected, none less than the one before"
        )
    return copied


def _integers(
    array: ArrayLike, highest: int, name: str, dtype: DTypeLike = np.int64
) -> NDArray[Any]:
    """Return a copy of integers from 0 to ``highest``, checked after it was made."""
    copied = _flat(array, "iu", name, "integers").copy()
    wrong = (copied < 0) | (copied > highest)
    if wrong.any():
        k = int(np.argmax(wrong))
        raise ValueError(
            f"{name}[{k}] is {copied[k]} but integers from 0 to {highest} are expected: the matrix "
            "is damaged, or its shape is wrong"
        )
    return copied.astype(dtype, copy=False)


def _floats(values: ArrayLike, name: str, *indices: Array) -> Array:
    """Return real numbers, one for each index, in float32, if they have it, or float64."""
    plain = _flat(values, "biuf", f"{name}.values", "real numbers")
    for array in indices:
        if len(array) != len(plain):
            n = f"{len(array)} indices but {len(plain)} values"
            raise ValueError(f"{name} has {n}: pass one for each value")
    with np.errstate(over="ignore"):
        return plain.astype(np.float32 if plain.dtype.char == "f" else np.float64, copy=False)


def _flat(array: ArrayLike, kinds: str, name: str, what: str) -> NDArray[Any]:
    """Return a 1-D array of these kinds of dtypes."""
    plain = np.asarray(array)
    if not plain.size and plain.ndim == 1 and plain.dtype.kind not in kinds:
        return plain.astype(np.int64)  # an empty list has another dtype
    if plain.ndim != 1 or plain.dtype.kind not in kinds or hasattr(array, "filled"):  # masked
        raise TypeError(
            f"{name} has type {type(array).__name__}, shape {plain.shape} and dtype {plain.dtype} "
            f"but a flat array of {what} is expected"
        )
    return plain


def _finite(values: Array, dtype: np.dtype[Any], indptr: Array, indices: Array, name: str) -> Array:
    """Return the values aligned in a dtype; reject NaN and infinity, by row and column."""
    converted, flags = values, values.flags
    if values.dtype != dtype or not (flags.c_contiguous and flags.aligned):
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            converted = values.astype(dtype)
    index = first_non_finite(converted)
    if index is None:
        return converted
    k = index[0]
    row = int(np.searchsorted(indptr, k, "right")) - 1
    where = f"{name}[{row}, {indices[k]}] is {values[k]}"
    if np.isfinite(values[k]):
        raise ValueError(f"{where}, too large for {dtype}: rescale, or use float64")
    raise ValueError(f"{where} but finite numbers are expected: drop or fill such entries")
