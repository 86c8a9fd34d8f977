"""Accepted forms of tables: frames, arrays and lists of rows."""

from __future__ import annotations

import os
from collections import Counter
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._validation import check
from fastmlp._validation.arrays import short

LAZY = ("collect", "compute")  # methods of frames that have no rows yet: of polars, of Dask


def is_frame(X: Any) -> bool:
    """Whether this is a data frame: named columns, each a series of its own dtype."""
    return all(hasattr(type(X), name) for name in ("columns", "dtypes", "__getitem__"))


def names_in(X: Any) -> NDArray[Any]:
    """Return the names of a frame's columns, of any type, as objects."""
    return np.asarray(X.columns, object)


def check_frame(X: Any) -> None:
    """Raise an error for a frame that is empty or has two columns of one name."""
    if len(X) == 0 or X.shape[1] == 0:
        raise ValueError(
            f"Found array with {len(X)} sample(s) and {X.shape[1]} feature(s) "
            f"(shape={X.shape}) while a minimum of 1 is required."
        )
    twice = [name for name, n in Counter(map(str, names_in(X))).items() if n > 1]
    if twice:
        raise ValueError(
            f"X has several columns with the name {twice[0]!r} but names that differ are "
            "expected: rename them"
        )


def take_rows(X: Any, rows: Any) -> Any:
    """Return the rows of a frame, series or array at some places."""
    return getattr(X, "iloc", X)[rows]


def mixed_rows(X: Any, places: NDArray[Any]) -> Any:
    """Return rows whose values come from several rows of a frame or array, (rows, columns)."""
    if not is_frame(X):
        return X[places, np.arange(places.shape[1])]
    series = [take_rows(X[name], rows) for name, rows in zip(X.columns, places.T, strict=True)]
    if hasattr(X, "iloc"):
        series = [column.reset_index(drop=True) for column in series]
    return type(X)(dict(zip(X.columns, series, strict=True)))


def _is_single(value: Any) -> bool:
    """Whether a value of a dictionary is one cell rather than a column."""
    return isinstance(value, str | bytes) or not hasattr(value, "__len__")


def gathered(X: Any) -> Any:
    """Return lists, masked arrays, dictionaries and tables of Arrow as arrays and frames.

    Sources, lazy and sparse tables are refused.
    """
    if isinstance(X, str | os.PathLike):
        raise TypeError(
            f"X is {str(X)!r} but a table is expected: read the file, for example by "
            "pandas.read_csv(path), or use the command fastmlp train"
        )
    if is_frame(X):
        for method in LAZY:
            if hasattr(type(X), method):
                raise TypeError(
                    f"X is a {type(X).__name__} but a frame of rows is expected: pass X.{method}()"
                    ", or a part of its rows"
                )
        return X
    if hasattr(X, "to_pandas"):  # Arrow has it
        return X.to_pandas()
    check.no_source(X)
    if hasattr(X, "toarray"):
        raise TypeError(
            f"X is a sparse {X.format} matrix of {X.shape[1]} columns but a table is expected: "
            "pass the table as it was before encoding, with text and categories, or "
            "X.toarray() if it has few columns"
        )
    if isinstance(X, dict) and X and all(map(_is_single, X.values())):
        raise ValueError(
            f"X is {short(X)}, a dict of single values, but columns are expected: pass [X] for one "
            "row, or call predictor() with it"
        )
    if isinstance(X, dict) or (isinstance(X, list) and X and isinstance(X[0], dict)):
        return import_module("pandas").DataFrame(X)
    if isinstance(X, np.ma.MaskedArray):
        return np.ma.array(X, dtype=object if X.dtype.kind in "OUSb" else float).filled(np.nan)
    if isinstance(X, list | tuple) and np.asarray(X).dtype.kind in "US":
        return np.array(X, dtype=object)
    return X
