"""Sparse rows: checked, canonical, and never dense."""

import copy
import pickle
import sys

import numpy as np
import pytest
from scipy import sparse
from trials import peak_of

import fastmlp
from fastmlp._network.sparse import concatenated, rows_of

RNG = np.random.default_rng(7)
MATRIX = sparse.random_array((40, 30), density=0.1, format="csr", rng=RNG)
MATRIX.data[3] = 0.0  # an explicit zero
DENSE = MATRIX.toarray()
FORMS = ("csr", "csc", "coo", "lil", "dok", "dia", "bsr")
INDICES = ("i1", "u1", "i4", "i8", "u8", ">i4", ">i8")

ROWS = {
    "slice": slice(3, 17),
    "all": slice(None),
    "empty slice": slice(9, 4),
    "step": slice(1, 30, 3),
    "backwards": slice(None, None, -1),
    "mask": RNG.random(40) < 0.3,
    "no row": np.zeros(40, bool),
    "numbers": np.array([5, 5, -1, 0, 39]),
}


def same(rows, dense, dtype=None):
    """Check all that an engine trusts, and the values."""
    n, n_columns = rows.shape
    assert (n, n_columns) == dense.shape
    assert (rows.indptr.dtype, rows.indices.dtype) == (np.int64, np.int32)
    assert rows.dtype == (dense.dtype if dtype is None else dtype)
    for array in (rows.indptr, rows.indices, rows.values):
        assert array.flags.c_contiguous
        assert array.flags.aligned
        assert array.dtype.isnative
    assert rows.indptr[0] == 0
    assert rows.indptr[-1] == len(rows.indices) == len(rows.values) == rows.nnz
    for begin, end in zip(rows.indptr, rows.indptr[1:], strict=False):
        columns = rows.indices[begin:end]
        assert (np.diff(columns) > 0).all()
        assert columns.size == 0 or 0 <= columns[0] <= columns[-1] < n_columns
    np.testing.assert_array_equal(np.asarray(rows), dense)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["array", "matrix"])
def test_every_format_of_scipy(form, kind, dtype):
    matrix = getattr(sparse, f"{form}_{kind}")(MATRIX.astype(dtype))
    same(rows_of(matrix), DENSE.astype(dtype))


@pytest.mark.parametrize("dtype", INDICES)
def test_every_type_of_index(dtype):
    arrays = MATRIX.indptr, MATRIX.indices, MATRIX.data
    small = np.iinfo(dtype).max < MATRIX.nnz
    indptr = arrays[0] if small else arrays[0].astype(dtype)
    same(fastmlp.SparseRows(indptr, arrays[1].astype(dtype), arrays[2], 30), DENSE)


@pytest.mark.parametrize("dtype", ["float16", "int8", "uint64", "bool", "longdouble", ">f8", ">f4"])
def test_every_type_of_value(dtype):
    values = (MATRIX.data * 5).astype(dtype)
    rows = fastmlp.SparseRows(MATRIX.indptr, MATRIX.indices, values, 30)
    dense = sparse.csr_array((values.astype(float), MATRIX.indices, MATRIX.indptr), MATRIX.shape)
    same(rows, dense.toarray().astype(rows.dtype), "float32" if dtype == ">f4" else "float64")


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8"])
def test_unsorted_and_repeated_columns_are_summed_in_their_order(dtype):
    values = np.array([100, 1, 2, 100, 3, 100]).astype(dtype)
    rows = fastmlp.SparseRows([0, 0, 5, 5, 6], [2, 1, 2, 2, 0, 3], values, 4)
    dense = np.zeros((4, 4), rows.dtype)
    dense[1, :3], dense[3, 3] = (3, 1, 202), 100
    same(rows, dense)
    tiny = np.array([1.0, 1e-20, -1.0])  # another order would give 1e-20
    assert fastmlp.SparseRows([0, 3], [0, 0, 0], tiny, 1).values.tolist() == [0.0]


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
@pytest.mark.parametrize("size", [1, 7, 50, 10_000])
def test_values_are_sorted_in_blocks_between_which_signals_take_effect(form, size, monkeypatch):
    order = RNG.permutation(MATRIX.nnz)
    matrix = sparse.coo_array(MATRIX)
    rows, columns = matrix.row[order], matrix.col[order]
    twice = [np.concatenate([part, part[::3]]) for part in (rows, columns, matrix.data[order])]
    expected = DENSE.copy()
    np.add.at(expected, (rows[::3], columns[::3]), matrix.data[order][::3])
    matrix = sparse.coo_array((twice[2], (twice[0], twice[1])), MATRIX.shape)
    if form == "csr":  # which SciPy sums: values that ascend in no row are left as they are
        by_row = np.argsort(twice[0], kind="stable")
        indptr = np.searchsorted(twice[0][by_row], np.arange(41))
        matrix = sparse.csr_array((twice[2][by_row], twice[1][by_row], indptr), MATRIX.shape)
    elif form == "csc":
        by_column = np.argsort(twice[1], kind="stable")
        indptr = np.searchsorted(twice[1][by_column], np.arange(31))
        matrix = sparse.csc_array((twice[2][by_column], twice[0][by_column], indptr), MATRIX.shape)
    sizes, argsort = [], np.argsort
    monkeypatch.setattr("fastmlp._network.sparse.SORTED", size)
    monkeypatch.setattr(np, "argsort", lambda a, **how: sizes.append(len(a)) or argsort(a, **how))
    found = rows_of(matrix)
    assert max(sizes) <= max(size, np.bincount(twice[0]).max())
    monkeypatch.undo()
    same(found, expected)


def test_what_is_canonical_is_not_copied():
    rows = rows_of(MATRIX)
    assert np.shares_memory(rows.values, MATRIX.data)
    assert rows.astype("float64") is rows
    assert rows_of(rows) is rows
    assert np.shares_memory(rows[2:9].indices, rows.indices)
    assert not np.shares_memory(rows.indices, MATRIX.indices)  # which anybody may change
    with pytest.raises(ValueError, match="read-only"):
        rows.indices[0] = 10**6


@pytest.mark.parametrize("name", ROWS)
def test_rows(name):
    same(rows_of(MATRIX)[ROWS[name]], DENSE[ROWS[name]])


@pytest.mark.parametrize("rows", [3, np.array([[1]]), np.int64(0)])
def test_other_indices_are_refused(rows):
    with pytest.raises(TypeError, match="a slice, mask or flat array is expected"):
        rows_of(MATRIX)[rows]


def test_rows_that_are_joined_copied_and_transposed():
    rows = rows_of(MATRIX)
    same(concatenated([rows[5:7], rows[:0], rows]), np.concatenate([DENSE[5:7], DENSE]))
    same(rows.T, DENSE.T)
    assert repr(rows) == f"SparseRows(40 x 30, float64, {MATRIX.nnz} values)"


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda rows: pickle.loads(pickle.dumps(rows)),
}


@pytest.mark.parametrize("name", COPIES)
def test_copies_and_pickles_are_as_safe_as_the_rows(name):
    for shape in ((40, 30), (40, 1), (0, 30)):
        rows = rows_of(MATRIX[: shape[0], : shape[1]])
        other = COPIES[name](rows)
        same(other, DENSE[: shape[0], : shape[1]])
        for array in (other.indptr, other.indices):
            assert not array.flags.writeable
    buffers = []
    stored = pickle.dumps(rows_of(MATRIX), 5, buffer_callback=buffers.append)
    damaged = [bytearray(buffer) for buffer in buffers]
    damaged[1][:4] = (30).to_bytes(4, sys.byteorder)  # damaged[1] are the indices
    with pytest.raises(ValueError, match=r"indices\[0\] is 30 but integers from 0 to 29"):
        pickle.loads(stored, buffers=damaged)


def test_products():
    rows, dense = rows_of(MATRIX), RNG.normal(size=(30, 4))
    np.testing.assert_allclose(rows @ dense, DENSE @ dense, rtol=1e-12)
    same(rows * dense[:, 0], DENSE * dense[:, 0])
    same(dense[:, 0] * rows, DENSE * dense[:, 0])
    for factor in (2, 0.5, np.float64(3)):
        same(rows * factor, DENSE * factor)
        same(factor * rows, DENSE * factor)
    for wrong in (np.ones(29), np.ones((40, 30)), [1.0, 2.0]):
        with pytest.raises(ValueError, match="a number, or one for each of the 30 columns, is exp"):
            rows * wrong
    with pytest.raises(TypeError):
        np.multiply(rows, dense[:, 0])  # would be dense


SPARE = sparse.csr_array(MATRIX)
SPARE.data, SPARE.indices = np.r_[SPARE.data, np.nan], np.r_[SPARE.indices, 99].astype("i4")


def test_room_to_spare_is_no_error():
    same(rows_of(SPARE), DENSE)
    same(rows_of(sparse.csr_array((0, 3))), np.zeros((0, 3)))
    same(fastmlp.SparseRows([0, 0], [], [], 3), np.zeros((1, 3)))


GOOD = {"indptr": [0, 2, 2, 3], "indices": [0, 3, 1], "values": [1.0, 2.0, 3.0], "n_columns": 4}
# name: (changed arguments, exception, words of the message)
BAD = {
    "indptr shrinks": ({"indptr": [0, 3, 2, 3]}, ValueError, ["indptr", "after indptr[1]"]),
    "indptr begins late": ({"indptr": [1, 2, 2, 3]}, ValueError, ["begins with 1"]),
    "indptr ends early": ({"indptr": [0, 2, 2, 2]}, ValueError, ["ends with 2", "0 to 3"]),
    "indptr ends late": ({"indptr": [0, 2, 2, 4]}, ValueError, ["indptr[3] is 4", "0 to 3"]),
    "indptr negative": ({"indptr": [0, -1, 2, 3]}, ValueError, ["indptr[1] is -1"]),
    "indptr overflows": ({"indptr": np.array([0, 2**63, 2, 3], "u8")}, ValueError, [str(2**63)]),
    "indptr wraps": ({"indptr": [0, 2**32 + 2, 2, 3]}, ValueError, [str(2**32 + 2)]),
    "indptr empty": ({"indptr": []}, ValueError, ["indptr has the length 0"]),
    "indptr of floats": ({"indptr": [0.0, 2, 2, 3]}, TypeError, ["indptr", "integers"]),
    "indptr 2-D": ({"indptr": [[0, 2, 2, 3]]}, TypeError, ["indptr", "(1, 4)", "flat"]),
    "indices high": ({"indices": [0, 4, 1]}, ValueError, ["indices[1] is 4", "0 to 3"]),
    "indices negative": ({"indices": [0, 3, -1]}, ValueError, ["indices[2] is -1"]),
    "indices wrap": ({"indices": [0, 2**32 + 1, 1]}, ValueError, [str(2**32 + 1)]),
    "indices uint64": (
        {"indices": np.array([0, 2**64 - 1, 1], "u8")}, ValueError, [str(2**64 - 1)]
    ),
    "indices of floats": ({"indices": [0.0, 3, 1]}, TypeError, ["indices", "integers"]),
    "indices of bools": ({"indices": [True, False, True]}, TypeError, ["indices"]),
    "indices short": ({"indices": [0, 3]}, ValueError, ["2 indices but 3 values"]),
    "values short": ({"values": [1.0, 2.0]}, ValueError, ["3 indices but 2 values"]),
    "values 2-D": ({"values": [[1.0, 2.0, 3.0]]}, TypeError, ["values", "flat"]),
    "values strings": ({"values": ["1", "2", "3"]}, TypeError, ["values", "real numbers"]),
    "values complex": ({"values": [1j, 2, 3]}, TypeError, ["values", "complex128"]),
    "values objects": ({"values": np.array([1, 2, None])}, TypeError, ["values", "object"]),
    "values masked": ({"values": np.ma.masked_less([1.0, 2, 3], 2)}, TypeError, ["MaskedArray"]),
    "nan": ({"values": [1.0, np.nan, 3]}, ValueError, ["SparseRows[0, 3] is nan", "drop or fill"]),
    "inf after an empty row": ({"values": [1, 2, np.inf]}, ValueError, ["[2, 1] is inf"]),
    "a sum is inf": (
        {"values": [1e308, 1e308, 3], "indices": [1, 1, 1]}, ValueError, ["[0, 1] is inf"]
    ),
    "no columns": ({"n_columns": 0}, ValueError, ["n_columns", "at least 1"]),
    "n_columns of floats": ({"n_columns": 4.0}, TypeError, ["n_columns", "integer"]),
    "n_columns huge": ({"n_columns": 2**31}, ValueError, [str(2**31 - 1)]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_refused(name):
    changes, exception, words = BAD[name]
    with pytest.raises((TypeError, ValueError)) as caught:
        fastmlp.SparseRows(**GOOD | changes)
    assert caught.type is exception, caught.value
    for word in words:
        assert word in str(caught.value)


SPOILED = {
    **{f"{form} {what}": (form, what) for form in ("csr", "csc", "bsr") for what in
       ("indices low", "indices high", "indptr low", "indptr high", "indptr falls", "data nan")},
    **{f"coo {what}": ("coo", what) for what in
       ("row low", "row high", "col low", "col high", "data nan", "data short")},
    "csr indptr short": ("csr", "indptr short"),
    "csc indptr short": ("csc", "indptr short"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILED)
def test_damaged_matrices_of_scipy_are_refused(name):
    form, what = SPOILED[name]
    matrix = getattr(sparse, f"{form}_matrix")(DENSE)
    attribute, how = what.split()
    array = getattr(matrix, attribute).copy()
    if how == "short":
        array = array[:-2]
    else:
        value = {"low": -5, "high": 10**6, "falls": 0, "nan": np.nan}[how]
        array[len(array) // 2] = value
    setattr(matrix, attribute, array)
    with pytest.raises(ValueError, match=r"X|repeats|negative|broadcast|axis"):
        rows_of(matrix)


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
def test_a_bad_value_is_named_by_its_place(form):
    matrix = getattr(sparse, f"{form}_matrix")(DENSE)
    row, column = map(int, np.argwhere(DENSE)[17])
    matrix.data[matrix.data == DENSE[row, column]] = np.inf
    with pytest.raises(ValueError, match=rf"X\[{row}, {column}\] is inf"):
        rows_of(matrix)
    matrix.data[matrix.data == np.inf] = 1e300
    with pytest.raises(ValueError, match=rf"X\[{row}, {column}\] is 1e\+300, too large for"):
        rows_of(matrix).astype("float32", "X")


def test_a_huge_shape_costs_what_is_stored():
    big = sparse.csr_array(([1.0, 2.0], ([0, 2], [2**31 - 2, 5])), shape=(3, 2**31 - 1))
    peak, rows = peak_of(lambda: rows_of(big))
    assert peak < 10_000
    assert rows.indices.tolist() == [2**31 - 2, 5]
    with pytest.raises(ValueError, match=r"X\.indices\[0\] is"):
        rows_of(sparse.csr_array((big.data, [2**31, 5], big.indptr), shape=(3, 2**31 - 1)))
