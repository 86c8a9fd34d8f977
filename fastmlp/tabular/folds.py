"""Who learns from which rows: folds, by classes, by groups, and by rows that are copies."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.tabular.columns import Table, is_missing

Rows = NDArray[np.int64]

FEW_ALIKE = 0.05  # of the rows: fewer are not worth a note
MOST_ALIKE = 10  # rows that are equal, on average, for them to be taken for copies
CONTINUOUS = 0.5  # of the different rows: in a grid no column has more values of its own


def assign(
    n: int,
    folds: int,
    rng: np.random.Generator,
    classes: NDArray[Any] | None = None,
    groups: NDArray[Any] | None = None,
    copies: Rows | None = None,
) -> Rows:
    """Return the fold of each row, all of about the same size.

    Parameters
    ----------
    n : int
        Rows.
    folds : int
        At least 2, and at most as many as rows, or groups.
    rng : numpy.random.Generator
        Of the order.
    classes : array of int, shape (n,), optional
        The rows of each are divided evenly: two of one class are never in the same fold.
    groups : array, shape (n,), optional
        Rows of one group are in one fold.
    copies : array of int, shape (n,), optional
        Numbers of different rows, from 0: copies of a row are in one fold, and count as one row.

    Examples
    --------
    >>> assign(6, 3, np.random.default_rng(0), classes=np.array([0, 0, 0, 1, 1, 1])).tolist()
    [1, 2, 0, 0, 2, 1]
    """
    if copies is not None:
        first = np.unique(copies, return_index=True)[1]
        return assign(len(first), folds, rng, None if classes is None else classes[first])[copies]
    order = rng.permutation(n)
    if groups is not None:
        return _by_groups(order, folds, groups)
    if classes is not None:  # one class after the other, each in random order
        order = order[np.argsort(classes[order], kind="stable")]
    fold = np.empty(n, np.int64)
    fold[order] = np.arange(n) % folds
    return fold


def numbered(groups: Any) -> Rows:
    """Return the number of the group of each row.

    Raises
    ------
    ValueError
        If one is missing, or they are no row of things that can be sorted.
    """
    given = np.asarray(groups)
    if given.ndim != 1 and given.shape[1:] != (1,):
        raise ValueError(f"groups has shape {given.shape} but one group for each row is expected")
    given = given.reshape(-1)
    if given.dtype.kind in "fO" and any(map(is_missing, given.tolist())):
        raise ValueError("groups has missing ones but a group is expected for each row: name them")
    try:
        return np.unique(given, return_inverse=True)[1]
    except TypeError as error:
        raise ValueError(
            f"groups are of types that do not compare ({error}): convert them"
        ) from None


def copied(table: Table, y: NDArray[Any]) -> tuple[Rows | None, list[str]]:
    """Return the numbers of different rows if others are copies of them, and a note.

    Rows that are equal by chance, as those of a few categories are, stand for new rows that will be
    equal to them too, and are left to the folds. Copies (a bootstrap sample, a class that was
    filled up, files that were joined twice) would let members learn from the rows that they are
    judged on. Rows are taken for copies if a column is continuous, and if equal rows have equal
    targets.

    Parameters
    ----------
    table : Table
        The rows.
    y : array, shape (n,) or (n, outputs)
        Their targets.
    """
    n, numbers = len(table), np.ascontiguousarray(table.numbers.T) + 0.0  # -0.0 has other bits
    columns = [*numbers.view(np.uint64), *np.ascontiguousarray(table.codes.T).astype(np.uint64)]
    alike = _different(columns, n)
    different = alike.max() + 1
    if different == n:
        return None, []
    targets = np.ascontiguousarray(y.reshape(n, -1).T, np.float64).view(np.uint64)
    both = _different([*columns, *targets], n)
    equal = n - (both.max() + 1)
    is_pure = equal == n - different
    if (
        is_pure
        and different * MOST_ALIKE >= n
        and different > 1
        and any(len(np.unique(column)) > CONTINUOUS * different for column in columns)
    ):
        return alike, [f"{equal:,} rows are copies of others, and in the folds of these"]
    if equal < FEW_ALIKE * n:
        return None, []
    return None, [
        f"{equal:,} rows are equal to others, target included: if they are copies, scores and "
        "intervals are too good, and groups=, a number for each different row, keeps them together"
    ]


def _different(columns: list[NDArray[np.uint64]], n: int) -> Rows:
    """Return the number of each different row, by 64 bits that are mixed from its columns."""
    mixed = np.zeros(n, np.uint64)
    for column in columns:
        mixed = (mixed ^ column) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(32)
    return np.unique(mixed, return_inverse=True)[1].reshape(n)


def _by_groups(order: Rows, folds: int, groups: NDArray[Any]) -> Rows:
    """Give each group, the largest first, to the fold that has the fewest rows."""
    _, number = np.unique(groups, return_inverse=True)
    sizes = np.bincount(number)
    of_group, filled = np.empty(len(sizes), np.int64), np.zeros(folds, np.int64)
    first_seen = dict.fromkeys(number[order].tolist())  # random among groups of equal size
    for group in sorted(first_seen, key=lambda g: -sizes[g]):
        of_group[group] = np.argmin(filled)
        filled[of_group[group]] += sizes[group]
    return of_group[number]
