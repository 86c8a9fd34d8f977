"""Who learns from which rows: folds, by classes and by groups."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.tabular.columns import is_missing

Rows = NDArray[np.int64]


def assign(
    n: int,
    folds: int,
    rng: np.random.Generator,
    classes: NDArray[Any] | None = None,
    groups: NDArray[Any] | None = None,
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

    Examples
    --------
    >>> assign(6, 3, np.random.default_rng(0), classes=np.array([0, 0, 0, 1, 1, 1])).tolist()
    [1, 2, 0, 0, 2, 1]
    """
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
