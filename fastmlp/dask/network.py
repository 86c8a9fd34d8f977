"""One network that all workers train together, each with its own rows of every batch."""

from __future__ import annotations

import copy
import math
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from fastmlp._core.communicators import TorchCommunicator
from fastmlp._core.history import History
from fastmlp._core.intervals import check_count
from fastmlp._core.optional import require
from fastmlp._models.mlp import MLP
from fastmlp._models.network import network_of
from fastmlp.dask import tasks
from fastmlp.tabular.fit.reading import TableChunk

if TYPE_CHECKING:
    pass


def fit(
    net: MLP,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    client: Any = None,
    batch_size: int = 64,
    timeout: float = 300.0,
    **options: Any,
) -> History:
    """Train a network on rows that lie on a cluster of Dask, by all its workers together.

    Each worker has an equal number of successive rows, and its own part of every batch: the result
    is that of one process with these batches, up to rounding. Workers sum by gloo of torch, which
    they need if there are several. Each is busy with its task during the fit.

    Parameters
    ----------
    net : MLP
        The network, which is trained from its current weights.
    X : dask.array.Array or dask.dataframe.DataFrame, shape (n, fan-in)
        Inputs, all numbers.
    y : dask.array.Array or dask.dataframe.Series or DataFrame
        Targets as for ``MLP.fit``, with as many rows in each partition as X.
    sample_weight : dask.array.Array or dask.dataframe.Series, shape (n,), optional
        Weights of the rows.
    client : dask.distributed.Client, optional
        By default the current client.
    batch_size : int, default=64
        Rows of a step of all workers together, rounded up to a multiple of their number.
    timeout : float, default=300.0
        Seconds, above 0, that workers wait for each other.
    **options
        Further options of ``MLP.fit``. Each worker calls callbacks, and evaluates the loss on
        ``validation_data``, arrays in memory.

    Returns
    -------
    History
        Losses, seconds and learning rates, one entry per epoch.

    Raises
    ------
    TypeError, ValueError, DivergenceError
        As ``MLP.fit``, or if partitions differ; the network is unchanged.
    RuntimeError, ConnectionError
        If a worker has died, or keeps the others waiting for longer than the timeout; the network
        is unchanged.
    ImportError
        If the workers do not have torch.

    Examples
    --------
    >>> import fastmlp, fastmlp.dask
    >>> import dask.array as da  # doctest: +SKIP
    >>> X = da.random.default_rng(0).normal(size=(4000, 2), chunks=(1000, 2))  # doctest: +SKIP
    >>> net = fastmlp.MLP([2, 16, 1], rng=0)
    >>> history = fastmlp.dask.fit(net, X, X[:, 0] * X[:, 1], epochs=5)  # doctest: +SKIP
    """
    if not isinstance(net, MLP):
        raise TypeError(f"net is a {type(net).__name__} but an MLP is expected")
    client, delayed = tasks.client_of(client), require("fastmlp.dask", "dask").delayed
    partitions = tasks.blocks({"X": X, "y": y, "sample_weight": sample_weight})
    batch_size = check_count("batch_size", batch_size, example=64)
    with tasks.aside(), tasks.computing(client) as compute:
        blocks = compute([delayed(tasks.rows_of)(k, **block) for k, block in enumerate(partitions)])
        lengths = compute([delayed(lambda rows: len(rows.X))(block) for block in blocks])
        ends = np.cumsum([0, *client.gather(lengths)])
        workers = sorted(client.nthreads())[: ends[-1]]
        if not workers:
            raise ValueError(f"there are {ends[-1]} rows and no worker of Dask for them")
        n, count = int(ends[-1]), len(workers)
        host = urlsplit(workers[0]).hostname if workers[0].startswith("tcp") else None
        port = client.run(_free_port, workers=workers[:1])[workers[0]]
        address = f"{host or '127.0.0.1'}:{port}"
        options["batch_size"] = math.ceil(batch_size / count)
        ranks: list[Any] = []
        for rank, worker in enumerate(workers):
            low, high = n * rank // count - ends, n * (rank + 1) // count - ends
            shares = [
                delayed(TableChunk.take)(block, slice(max(low[k], 0), high[k]))
                for k, block in enumerate(blocks)
                if low[k + 1] < 0 < high[k]
            ]
            place = (address, rank, count, timeout) if count > 1 else None
            task = delayed(_rank)(net, shares, place, options)
            bound = {"workers": [worker], "allow_other_workers": False} if count > 1 else {}
            ranks += compute([task], **bound)
        trained, *_ = _results(client, ranks, workers if count > 1 else [])
    network = network_of(net)
    with network.lock.taken():
        network.take_over(network_of(trained))
    history: History = trained.history
    return history


def _results(client: Any, ranks: Sequence[Any], workers: Sequence[str]) -> list[Any]:
    """Return results; raise the first error. Dask would wait for a worker that died to return."""
    distributed = require("fastmlp.dask", "distributed")
    waiting = list(ranks)
    while waiting:
        with suppress(distributed.TimeoutError):
            distributed.wait(waiting, timeout=1.0, return_when="FIRST_COMPLETED")
        there = client.nthreads()
        gone = [
            w for w, rank in zip(workers, ranks, strict=False) if w not in there and rank in waiting
        ]
        client.gather([rank for rank in waiting if rank.done()])
        waiting = [rank for rank in waiting if not rank.done()]
        if gone:
            raise RuntimeError(f"the worker {gone[0]} has died during the fit: start it again")
    return list(client.gather(ranks))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _rank(net: MLP, pieces: Sequence[TableChunk], place: Any, options: Any) -> MLP | None:
    """Train a copy of the network with the rows of one rank; return that of rank 0."""
    net = copy.deepcopy(net)
    data: list[Any] = [
        np.concatenate(arrays) for arrays in zip(*pieces, strict=True) if arrays[0] is not None
    ]
    x, y, w = [*data, None][:3]
    communicator = place and TorchCommunicator(*place)
    net.fit(x, y, sample_weight=w, communicator=communicator, **options)
    return None if place and place[1] else net
