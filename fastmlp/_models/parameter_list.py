"""Properties of a model: its weights, biases and so on as lists, and its options."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

from fastmlp._models.network import Model, Network, network_of
from fastmlp._network.tensors import TENSORS, pack, unpack
from fastmlp._validation.arrays import finite, numeric

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class ParameterList(Sequence["NDArray[Any]"]):
    """The weights, or the biases, of a network as a list with one array for each layer.

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

    def __init__(self, network: Network, kind: str) -> None:
        self._network, self._kind = network, kind

    def _read(self) -> list[NDArray[Any]]:
        arrays = self._network.parameters().get(self._kind, [])
        for array in arrays:
            array.flags.writeable = False  # writing to a copy would silently do nothing
        return arrays

    def __len__(self) -> int:
        return len(self._network.spec.tensors.get(self._kind, []))

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

        self._network.assign(self._kind, change)

    def __repr__(self) -> str:
        return repr(self._read())


def spec_property(name: str, meaning: str) -> Any:
    """Return a read-only property of a model: an option of its network's description."""

    def refuse(model: object, value: object) -> None:
        raise AttributeError(
            f"{name} was assigned {value!r:.60} but a network keeps the options that it was made "
            f"with: make a new {type(model).__name__}"
        )

    return property(attrgetter(f"_network.spec.{name}"), refuse, doc=meaning)


def vector_property() -> Any:
    """Return the property of a model for all parameters as one vector."""

    def read(model: Model[Network]) -> NDArray[Any]:
        return pack(*network_of(model).engine.parameters())

    def assign(model: Model[Network], vector: ArrayLike) -> None:
        network, name = network_of(model), "parameters_vector"
        spec = network.spec
        numbers = numeric(vector, name)
        if numbers.shape != (spec.n_parameters,):
            raise ValueError(
                f"{name} has shape {numbers.shape} but {(spec.n_parameters,)} is expected: pass "
                "one number for each parameter of the network"
            )
        with network.lock.held():
            network.take(unpack(finite(numbers, spec.dtype, name), spec.tensors))

    return property(
        read,
        assign,
        doc="""All parameters as one vector (n_parameters,), for one's own optimizers and samplers.

        Weights come first, layer by layer in C order, then biases, then the kinds in the order of
        :meth:`gradients`, whose arrays ``numpy.concatenate([g.ravel() for kind in kinds for g in
        kind])`` brings into the same order. Reading gives a copy; assigning checks and sets all.
        """,
    )


class ParameterProperty(property):
    """The property of a model for one kind of parameter: reading gives a `ParameterList`."""

    def __init__(self, kind: str) -> None:
        super().__init__(
            lambda model: ParameterList(network_of(model), kind),
            lambda model, values: network_of(model).assign(kind, lambda _: values),
        )
        self.__doc__ = TENSORS[kind].meaning  # the class's own would hide an argument doc

    if TYPE_CHECKING:

        def __get__(  # type: ignore[override]
            self, model: Model[Network], owner: type | None = None, /
        ) -> ParameterList: ...
        def __set__(self, model: Model[Network], values: Iterable[ArrayLike], /) -> None: ...
