"""Files of a source that are replaced, overwritten, cut off or removed during an epoch."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import trials
from pyarrow import parquet
from states import state

import fastmlp

NAMES = ("a", "b", "y")
OLD, NEW = 0, 100  # what is added to the numbers of a column: 1, 2 and 3


def layout(rng: np.random.Generator) -> dict[str, Any]:
    """Return how a file is written: its number of rows, and row groups and pages of any size."""
    n = int(rng.integers(50, 500))
    return {
        "n": n,
        "row_group_size": int(rng.integers(1, n + 1)),
        "compression": str(rng.choice(["none", "snappy"])),
        "use_dictionary": bool(rng.integers(2)),
        "data_page_size": int(rng.integers(64, 4096)),
    }


def write(rng: np.random.Generator, path: Path, n: int, version: int, **options: Any) -> None:
    """Write equal rows, by which each number says its column and the version of its file."""
    order = rng.permutation(NAMES).tolist()
    columns = {name: np.full(n, 1.0 + NAMES.index(name) + version) for name in order}
    parquet.write_table(pyarrow.table(columns), path, **options)
    os.utime(path, ns=(0, int(rng.integers(1, 10**15))))


Options = dict[str, Any]
Change = Callable[[np.random.Generator, Path, Options], None]


def moved(rng: np.random.Generator, path: Path, like: Options) -> None:
    """Put another file in the place of one, as careful programs do."""
    write(rng, path.with_suffix(".new"), version=NEW, **like)
    path.with_suffix(".new").replace(path)


def overwritten(rng: np.random.Generator, path: Path, like: Options) -> None:
    """Write other rows into the same file."""
    write(rng, path, version=NEW, **like)


def cut_off(rng: np.random.Generator, path: Path, like: Options) -> None:
    """Leave a part of a file."""
    os.truncate(path, int(rng.integers(path.stat().st_size)))


def removed(rng: np.random.Generator, path: Path, like: Options) -> None:
    """Remove a file."""
    path.unlink()


def replaced(change: Change) -> trials.Trial:
    """Change a file in a random batch of some fits: an error names it, or a fit is undisturbed."""

    def trial(rng: np.random.Generator) -> Iterator[float]:
        for _ in range(10):
            with tempfile.TemporaryDirectory() as folder:
                disturbed(rng, change, Path(folder))
            yield 0.0

    return trial


def disturbed(rng: np.random.Generator, change: Change, folder: Path) -> None:
    """Make a fit, and another one that is disturbed.

    Rows of another version, and columns in each other's place, would give other bits.
    """
    paths = [folder / f"{k}.parquet" for k in range(int(rng.integers(1, 4)))]
    layouts = [layout(rng) for _ in paths]
    for path, like in zip(paths, layouts, strict=True):
        write(rng, path, version=OLD, **like)
    source = fastmlp.ArrowBlocks(folder, "y", features=["a", "b"], rows=50)
    options = {"epochs": 1, "batch_size": 20, "shuffle": bool(rng.integers(2))}
    whole, cut, untrained = (fastmlp.MLP([2, 3, 1], rng=0) for _ in range(3))
    steps: list[int] = []
    whole.fit(source, callbacks=[OnBatch(steps.append)], **options)
    k, step = int(rng.integers(len(paths))), rng.choice(steps)
    chosen, like = paths[k], layouts[k] if rng.integers(2) else layout(rng)
    what = f"{change.__name__}: {layouts}, file {k} by {like} in batch {step}, {options}"
    trials.note(what)
    disturb = OnBatch(lambda now: change(rng, chosen, like) if now == step else None)
    try:
        cut.fit(source, callbacks=[disturb], **options)
    except (ValueError, OSError) as error:
        said = "".join([str(error), *getattr(error, "__notes__", ())])
        assert chosen.name in said, f"{what}: {said} does not name the file"
        assert state(cut) == state(untrained), f"{what}: an error leaves another network"
    else:
        assert state(cut) == state(whole), f"{what}: rows of another file were learned"


class OnBatch:
    """A callback that passes the number of each step on."""

    def __init__(self, call: Callable[[int], None]) -> None:
        self.call = call

    def __call__(self, _: fastmlp.State) -> None:
        """Do nothing after an epoch."""

    def on_batch(self, _: fastmlp.State, batch: fastmlp.Batch) -> None:
        """Do something after a batch."""
        self.call(batch.step)


CHANGES: dict[str, trials.Trial] = {
    change.__name__.replace("_", " "): replaced(change)
    for change in (moved, overwritten, cut_off, removed)
}
