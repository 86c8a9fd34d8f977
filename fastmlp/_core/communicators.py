"""What processes that train together exchange numbers by: the protocol, and MPI's side of it."""

from __future__ import annotations

import sys
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Communicator(Protocol):
    """Processes, or threads, that train one model together: what ``fit(communicator=...)`` takes.

    Communicators of mpi4py are taken as they are; any other object needs these three attributes.
    ``fit`` uses nothing else, always in the same order on every rank.

    Attributes
    ----------
    rank : int
        Number of this process, from 0.
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
        """Number of this process."""
        ...

    @property
    def size(self) -> int:
        """Number of processes."""
        ...

    def allreduce(self, buffer: NDArray[Any]) -> None:
        """Replace an array by its sum over all ranks, element by element.

        Called by every rank with arrays of one length and dtype; returns when all have called, with
        the same bits on every rank, and for the same arrays always the same. An exception ends the
        fit: from then on nothing more is sent.

        Parameters
        ----------
        buffer : array of float32 or float64, shape (n,)
            Contiguous and writable.
        """
        ...


class MPI:
    """A communicator of mpi4py as a `Communicator`.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        Whose processes train.
    """

    def __init__(self, comm: Any) -> None:
        self.rank, self.size = int(comm.Get_rank()), int(comm.Get_size())
        self._comm, self._in_place = comm, sys.modules["mpi4py.MPI"].IN_PLACE

    def allreduce(self, buffer: NDArray[Any]) -> None:
        """Sum in place over all processes."""
        self._comm.Allreduce(self._in_place, buffer)


def resolve(value: Any) -> Communicator:
    """Return what the user gave as a `Communicator`.

    Raises
    ------
    TypeError, ValueError
        If it is none.
    """
    mpi = sys.modules.get("mpi4py.MPI")  # who has one of its communicators has imported it
    if mpi is not None and isinstance(value, mpi.Comm):
        if not isinstance(value, mpi.Intracomm) or value == mpi.COMM_NULL:
            raise TypeError(
                f"communicator is a {type(value).__name__} that sums over no one group of "
                "processes: pass for example MPI.COMM_WORLD"
            )
        return MPI(value)
    name = type(value).__name__
    for attribute in ("rank", "size"):
        number = getattr(value, attribute, None)
        if isinstance(number, bool | np.bool_) or not isinstance(number, int | np.integer):
            raise TypeError(
                f"communicator is a {name} whose {attribute} is {number!r} but an integer is "
                "expected: pass a communicator of mpi4py, or what fastmlp.Communicator describes"
            )
    if not callable(getattr(value, "allreduce", None)):
        raise TypeError(
            f"communicator is a {name} without a method allreduce: pass a communicator of mpi4py, "
            "or what fastmlp.Communicator describes"
        )
    if not 0 <= value.rank < value.size:
        raise ValueError(
            f"communicator has rank {value.rank} and size {value.size} but ranks are 0 to size - 1"
        )
    communicator: Communicator = value
    return communicator
