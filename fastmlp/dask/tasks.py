"""Work on a cluster of Dask: its client, partitions of the data, tasks that end together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp._core.optional import require
from fastmlp.tabular.fit.reading import TableChunk
from fastmlp.tabular.table.frames import is_frame

if TYPE_CHECKING:
    pass


def client_of(client: Any) -> Any:
    """Return the client, or the current one if it is None."""
    distributed = require("fastmlp.dask", "distributed")
    try:
        return client or distributed.get_client()
    except ValueError:
        raise ValueError(
            "there is no client of Dask: start one with dask.distributed.Client(), or pass client="
        ) from None


@contextmanager
def aside() -> Iterator[None]:
    """Free the thread of the task that calls a fit, so that the fit's own tasks can run."""
    distributed = require("fastmlp.dask", "distributed")
    try:
        distributed.secede()
        is_task = True
    except ValueError:
        is_task = False
    try:
        yield
    finally:
        if is_task:
            distributed.rejoin()


@contextmanager
def computing(client: Any) -> Iterator[Any]:
    """Return a function that starts tasks, which end with the block, also if it fails."""
    futures: list[Any] = []

    def compute(tasks: list[Any], **where: Any) -> list[Any]:
        started: list[Any] = client.compute(tasks, **where)
        futures.extend(started)
        return started

    try:
        yield compute
    finally:
        for future in futures:
            future.release()


@contextmanager
def explained(remedy: str) -> Iterator[None]:
    """Add a remedy to the error of a worker that died or had too little memory."""
    died = require("fastmlp.dask", "distributed").KilledWorker
    try:
        yield
    except (died, MemoryError) as error:
        error.add_note(f"if the memory of a worker is too small: {remedy}, or give workers more")
        raise


def least_memory(client: Any) -> float:
    """Return the smallest limit of the memory of a worker in bytes, infinity without limits."""
    limits = client.run_on_scheduler(
        lambda dask_scheduler: [w.memory_limit for w in dask_scheduler.workers.values()]
    )
    return min((limit for limit in limits if limit), default=math.inf)


def blocks(collections: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tasks that make the partitions of each row block, by the names of the data."""
    partitions: dict[str, Sequence[Any]] = {}
    for name, data in collections.items():
        if data is None:
            continue
        if not hasattr(data, "to_delayed"):
            raise TypeError(
                f"{name} is a {type(data).__name__} but a frame or array of Dask is expected: pass "
                "for example dask.dataframe.from_pandas(frame, npartitions=8), or use the "
                "estimator without Dask"
            )
        if not is_frame(data) and getattr(data, "ndim", 1) == 2:
            data = data.rechunk({1: -1})
        partitions[name] = np.ravel(data.to_delayed()).tolist()
        count, expected = len(partitions[name]), len(partitions["X"])
        if count != expected:
            raise ValueError(
                f"{name} has {count} partitions but X has {expected}: pass both with the same rows "
                "in each partition"
            )
    blocks = zip(*partitions.values(), strict=True)
    return [dict(zip(partitions, block, strict=True)) for block in blocks]


def rows_of(k: int, X: Any, **others: Any) -> TableChunk:
    """Return the rows of a partition, if X, y, weights and groups have as many."""
    for name, data in others.items():
        if len(data) != len(X):
            raise ValueError(
                f"partition {k} has {len(X)} rows in X but {len(data)} in {name}: divide all of "
                "them alike"
            )
    return TableChunk(X, **others)
