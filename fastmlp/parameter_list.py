"""Weights or biases of a model, seen as a list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, SupportsIndex, overload

from numpy.typing import NDArray

from fastmlp.engine.contract import Engine


class _Model(Protocol):
    """What a list needs of its model."""

    _engine: Engine

    @property
    def layer_sizes(self) -> tuple[int, ...]: ...

    def _assign(self, which: int, name: str, change: Callable[[list[Any]], Any]) -> None: ...


class ParameterList(Sequence[NDArray[Any]]):
    """The weights or the biases of an MLP, one array a layer, seen as a list.

    Reading gives read-only copies. Assigning to an item or a slice checks shapes and values and
    copies them into the model: ``net.weights[0] = 2 * net.weights[0]``.

    Raises
    ------
    TypeError, ValueError
        On assignment, if shapes, types or values do not fit; the model is unchanged.
    RuntimeError
        On assignment, if a fit is running in another thread.

    Examples
    --------
    >>> import fastmlp
    >>> net = fastmlp.MLP([3, 8, 2], rng=0)
    >>> [w.shape for w in net.weights], len(net.biases)
    ([(3, 8), (8, 2)], 2)
    >>> net.biases[1] = [0.5, -0.5]
    >>> net.biases[1].tolist()
    [0.5, -0.5]
    """

    def __init__(self, model: _Model, name: str, which: int) -> None:
        self._model, self._name, self._which = model, name, which

    def _read(self) -> list[NDArray[Any]]:
        arrays: list[NDArray[Any]] = self._model._engine.parameters()[self._which]
        for array in arrays:
            array.flags.writeable = False  # writing to a copy would silently do nothing
        return arrays

    def __len__(self) -> int:
        return len(self._model.layer_sizes) - 1

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return iter(self._read())

    @overload
    def __getitem__(self, index: SupportsIndex) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[NDArray[Any]]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> NDArray[Any] | list[NDArray[Any]]:
        return self._read()[index]

    def __setitem__(self, index: SupportsIndex | slice, value: Any) -> None:
        def change(arrays: list[Any]) -> list[Any]:
            arrays[index] = value
            return arrays

        self._model._assign(self._which, self._name, change)

    def __repr__(self) -> str:
        return repr(self._read())
