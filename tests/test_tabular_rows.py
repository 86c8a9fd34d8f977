"""One row of a table as the inputs of all members: the bits of a table, and what is refused."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from fastmlp.tabular.columns import Columns
from fastmlp.tabular.encoding import CLIP, FAR, NARROWEST, Encoding, one_hot
from fastmlp.tabular.rows import RowEncoder, plain


def test_plain_rows_are_read_and_others_left_to_others() -> None:
    places = np.array([2, 0])
    for row in ([1.5, "a", 2.5], (1.5, None, 2.5), np.array([1.5, 0, 2.5])):
        np.testing.assert_array_equal(plain(row, places), [2.5, 1.5])
    for odd in (np.nan, np.inf, -np.inf, None, "1", True, 1, np.float32(1)):
        assert plain([odd, 0.0, 1.0], places) is None
    assert plain([], places[:0]).shape == (0,)
    with pytest.raises(IndexError):
        plain([1.0], places)


def encoders(rng: np.random.Generator) -> tuple[Any, Any]:
    """Return encodings of one table by several of its rows, and all of them as one function."""
    n = 90
    X = np.empty((n, 6), object)
    X[:, 0], X[:, 1] = rng.normal(size=n), rng.integers(0, 3, n) * 1.0
    X[:, 2] = np.where(rng.random(n) < 0.3, np.nan, 1e308 * rng.uniform(-1, 1, n))
    X[:, 3], X[:, 4] = [f"{k % 80}" for k in range(n)], [f"{k % 2}" for k in range(n)]
    X[:, 5] = [f"{k % 5}" for k in range(n)]
    columns = Columns.of(X)
    table = columns.read(X)
    found = []
    for bins in (0, 1, 7):
        rows = [rng.permutation(n)[: n // 2] for _ in range(3)]
        each = [Encoding.of(table, columns, k, np.array([2]), bins) for k in rows]
        numbers = zip(*(encoding.numbers for encoding in each), strict=True)
        tables = [one_hot(np.arange(len(k), dtype=np.int32), k | True) for k in each[0].known]
        known = np.stack([np.concatenate(encoding.known) for encoding in each])
        stacked = tuple(map(np.stack, numbers))
        found.append(
            (each, RowEncoder(stacked, known, tables, np.array([2]), (CLIP, FAR, NARROWEST)))
        )
    return table, found


def test_inputs_of_all_members_have_the_bits_of_each() -> None:
    table, found = encoders(np.random.default_rng(0))
    odd = [np.nan, 0.0, -0.0, 5e-324, 1e300, -1e300]
    for each, encoder in found:
        again = pickle.loads(pickle.dumps(encoder))
        for k in range(len(table)):
            row = table.take(np.array([k]))
            numbers, codes = row.numbers.copy(), row.codes.copy()
            if k < 18:
                numbers[0, k % 3], codes[0, k % 3] = odd[k // 3], -1
            row = row.replaced("numbers", numbers).replaced("codes", codes)
            right = np.concatenate([encoding.inputs(row) for encoding in each])
            assert encoder(numbers[0], codes[0]).tobytes() == right.tobytes()
            assert again(numbers[0], codes[0]).tobytes() == right.tobytes()


def test_an_encoder_looks_at_what_it_is_given() -> None:
    _, encoder = encoders(np.random.default_rng(1))[1][0]
    numbers, codes = np.zeros(3), np.zeros(3, np.int32)
    for wrong in ((numbers[:2], codes), (numbers, codes[:2]), (numbers, codes + 99)):
        with pytest.raises(ValueError, match="expected"):
            encoder(*wrong)
    (given, known, *rest) = encoder.__reduce__()[1]
    with pytest.raises(ValueError, match="of the same members and numbers"):
        type(encoder)((given[0], given[1][:, 1:], given[2]), known, *rest)
    with pytest.raises(ValueError, match="known has shape"):
        type(encoder)(given, known[:, 1:], *rest)
    with pytest.raises(ValueError, match="with_missing"):
        type(encoder)(given, known, rest[0], np.array([3]), rest[2])
