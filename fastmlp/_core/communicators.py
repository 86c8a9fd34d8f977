"""The communicator protocol for data-parallel training, and its adapters of MPI and torch."""

from __future__ import annotations

import datetime
import sys
import weakref
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.intervals import POSITIVE, check_count
from fastmlp._core.optional import require


class Communicator(Protocol):
    """How several processes that train one network exchange numbers: ``fit(communicator=...)``.

    Take it only if neither mpi4py nor torch is what you have: then it shows which methods yours
    needs.

    Pass a communicator of mpi4py directly, or any object with these two attributes and the method
    ``allreduce``. ``fit`` calls ``allreduce`` in the same order on every rank.

    Attributes
    ----------
    rank : int
        Index of this process, from 0 to ``size - 1``.
    size : int
        Number of processes, at least 1.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> class Alone:
    ...     rank, size = 0, 1
    ...
    ...     def allreduce(self, buffer):
    ...         pass
    >>> x = np.linspace(-1, 1, 200)[:, np.newaxis]
    >>> net = fastmlp.MLP([1, 16, 1], rng=0)
    >>> history = net.fit(x, x**2, epochs=3, communicator=Alone())
    >>> len(history.loss)
    3
    """

    @property
    def rank(self) -> int:
        """Index of this process, from 0."""
        ...

    @property
    def size(self) -> int:
        """Number of processes, at least 1."""
        ...

    def allreduce(self, buffer: NDArray[Any]) -> None:
        """Replace an array by its sum over all ranks, element by element.

        Every rank calls this method with an array of the same length and dtype. It returns once all
        ranks have called it, and gives the same bits on every rank and in every run. An exception
        ends the fit; the fit then sends nothing more.

        Parameters
        ----------
        buffer : array of float32 or float64, shape (n,)
            Contiguous and writable.
        """
        ...


class MPI:
    """Adapter that makes an mpi4py communicator a `Communicator`."""

    def __init__(self, comm: Any) -> None:
        self.rank, self.size = int(comm.Get_rank()), int(comm.Get_size())
        self._comm, self._in_place = comm, sys.modules["mpi4py.MPI"].IN_PLACE

    def allreduce(self, buffer: NDArray[Any]) -> None:
        """Sum an array in place over all processes."""
        self._comm.Allreduce(self._in_place, buffer)


class TorchCommunicator:
    """How several processes train one network by ``torch.distributed``, without MPI.

    Take it in processes that others start, such as the workers of Dask and Ray. Its engine is gloo.

    It needs no launcher, so it works in processes that others start, such as the workers of Dask
    and Ray. Every process makes one, at about the same time; it may be used for many fits, one
    after the other. gloo takes the network of the machine's name; the environment variable
    ``GLOO_SOCKET_IFNAME`` sets another.

    Parameters
    ----------
    address : str
        ``"host:port"``: the machine of rank 0 and a free port there, the same on every rank.
    rank : int
        Index of this process, from 0 to ``size - 1``.
    size : int
        Number of processes, at least 1.
    timeout : float, default=300.0
        Seconds, above 0, that a rank waits for the others, at the start and in each sum. Sums wait
        for the slowest rank, and so for its callbacks.

    Raises
    ------
    ImportError
        If torch is not installed.
    TypeError, ValueError
        If an argument is invalid.
    ConnectionError
        If the processes have not found each other within the timeout.

    Notes
    -----
    If a process dies, the others raise RuntimeError at once; if one hangs, after the timeout. Then
    make new communicators.

    Examples
    --------
    >>> import fastmlp
    >>> rank = fastmlp.TorchCommunicator("node1:29500", rank=1, size=2)  # doctest: +SKIP
    >>> net.fit(X_own, y_own, communicator=rank)  # doctest: +SKIP
    """

    def __init__(self, address: str, rank: int, size: int, timeout: float = 300.0) -> None:
        self.size = check_count("size", size, example=2)
        self.rank = check_count("rank", rank, example=0, least=0)
        host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
        if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
            raise ValueError(
                f"address is {address!r} but the machine of rank 0 and a port are expected: pass "
                "for example '127.0.0.1:29500'"
            )
        if self.rank >= self.size:
            raise ValueError(f"rank is {rank} and size {size} but ranks are 0 to size - 1")
        limit = datetime.timedelta(seconds=POSITIVE.check("timeout", timeout, example=300.0))
        torch = require("TorchCommunicator", "torch")
        distributed = require("TorchCommunicator", "torch.distributed")
        try:
            store = distributed.TCPStore(host, int(port), self.size, self.rank == 0, limit)
            group = distributed.ProcessGroupGloo(store, self.rank, self.size, limit)
        except RuntimeError as error:
            raise ConnectionError(
                f"rank {rank} of {size} has not found the others at {address} within {timeout:g} s "
                f"({error}): start all of them, with an address of rank 0 that they can reach"
            ) from error
        # The group's threads use the interpreter, and abort a process that ends before them.
        self._groups, self._tensor = [group], torch.from_numpy
        weakref.finalize(self, self._groups.clear)

    def allreduce(self, buffer: NDArray[Any]) -> None:
        """Replace an array by its sum over all ranks, element by element.

        Parameters
        ----------
        buffer : array of float32 or float64, shape (n,)
            Contiguous and writable.

        Raises
        ------
        RuntimeError
            If a process has died, or has not sent its array within the timeout.
        """
        self._groups[0].allreduce([self._tensor(buffer)]).wait()


def resolve(value: Any) -> Communicator:
    """Return a `Communicator`, wrapping one of mpi4py; raise TypeError or ValueError if invalid."""
    mpi = sys.modules.get("mpi4py.MPI")  # a caller with an mpi4py communicator has imported mpi4py
    if mpi is not None and isinstance(value, mpi.Comm):
        if not isinstance(value, mpi.Intracomm) or value == mpi.COMM_NULL:
            raise TypeError(
                f"communicator is a {type(value).__name__} that does not sum over one group of "
                "processes: pass for example MPI.COMM_WORLD"
            )
        return MPI(value)
    name = type(value).__name__
    for attribute in ("rank", "size"):
        number = getattr(value, attribute, None)
        if isinstance(number, bool | np.bool_) or not isinstance(number, int | np.integer):
            raise TypeError(
                f"communicator has the type {name}, whose {attribute} is {number!r}, but an "
                "integer is expected: pass a communicator of mpi4py, or an object like "
                "fastmlp.Communicator"
            )
    if not callable(getattr(value, "allreduce", None)):
        raise TypeError(
            f"communicator is a {name} without a method allreduce: pass a communicator of mpi4py, "
            "or an object like fastmlp.Communicator"
        )
    if not 0 <= value.rank < value.size:
        raise ValueError(
            f"communicator has rank {value.rank} and size {value.size} but ranks are 0 to size - 1"
        )
    communicator: Communicator = value
    return communicator
