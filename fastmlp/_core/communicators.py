"""The communicator protocol for data-parallel training, and its MPI adapter."""

from __future__ import annotations

import sys
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Communicator(Protocol):
    """Processes or threads that train one model together: the type of ``fit(communicator=...)``.

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
                f"communicator is a {name} whose {attribute} is {number!r} but an integer is "
                "expected: pass a communicator of mpi4py, or an object like fastmlp.Communicator"
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
