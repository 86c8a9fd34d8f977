"""What a model is, without what it does: spec, engine, generator, parameters, copies, turns.

``MLP`` adds training and prediction. Users see weights and biases as plain lists of arrays; how
the engine keeps them is the engine's own matter.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self, SupportsIndex, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmlp import check
from fastmlp.engine.contract import Engine
from fastmlp.export.exportable import Exportable
from fastmlp.export.layers import Exported, exported
from fastmlp.losses import Loss
from fastmlp.records import Continuation, History
from fastmlp.spec import Spec
from fastmlp.turn import Turn


def _compiled(spec: Spec) -> Engine:
    from fastmlp.engine import backend  # not before it is needed: fastmlp.reference does without

    return backend.engine(spec)


class Network(Exportable):
    """Parameters of one network in one engine; base of ``MLP``, not for users.

    Parameters
    ----------
    spec : Spec
        The shape of the network; all parameters are 0 at first.
    rng : numpy.random.Generator
        Source of everything random.
    """

    _engine_type: Callable[[Spec], Engine] = staticmethod(_compiled)

    def __init__(self, spec: Spec, rng: np.random.Generator) -> None:
        self._spec, self._rng = spec, rng
        self._history: History | None = None
        self._attach()

    def _attach(self) -> None:
        """Make what is not part of the model's state, and so is neither copied nor pickled."""
        self._engine = self._engine_type(self._spec)
        self._n_weights = sum(fan_in * fan_out for fan_in, fan_out in self._spec.shapes)
        self._two_headed = self._spec.loss.heads == 2
        self._turn = Turn()  # one fit at a time, and no assignment by others meanwhile
        self._progress: Continuation | None = None  # between calls of partial_fit

    @property
    def weights(self) -> ParameterList:
        """Weights, a list of (fan_in, fan_out) arrays; see :class:`ParameterList`."""
        return ParameterList(self, "weights", 0)

    @weights.setter
    def weights(self, values: Iterable[ArrayLike]) -> None:
        self._assign(0, "weights", lambda _: values)

    @property
    def biases(self) -> ParameterList:
        """Biases, a list of (fan_out,) arrays; see :class:`ParameterList`."""
        return ParameterList(self, "biases", 1)

    @biases.setter
    def biases(self, values: Iterable[ArrayLike]) -> None:
        self._assign(1, "biases", lambda _: values)

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Inputs, hidden layers, outputs."""
        return self._spec.layer_sizes

    @property
    def activations(self) -> tuple[str, ...]:
        """Activation of each hidden layer."""
        return self._spec.activations

    @property
    def dropout(self) -> tuple[float, ...]:
        """Drop probability of each hidden layer."""
        return self._spec.dropout

    @property
    def loss(self) -> Loss:
        """The loss, as an object of ``fastmlp.losses``."""
        return self._spec.loss

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of weights, arithmetic and predictions."""
        return self._spec.dtype

    @property
    def history(self) -> History | None:
        """Of the last fit, also of one that was interrupted or diverged; None before the first."""
        return self._history

    def _exported(self) -> Exported:
        return exported(self._spec, *self._engine.parameters())

    def _assign(self, which: int, name: str, change: Callable[[list[NDArray[Any]]], Any]) -> None:
        """Put what ``change`` makes of the arrays of now in their place."""
        # A callback of a running fit may assign: it runs in the thread of that fit, between epochs.
        with contextlib.nullcontext() if self._turn.is_mine() else self._turn.taken():
            parameters = list(self._engine.parameters())
            shapes = [array.shape for array in parameters[which]]
            values = change(parameters[which])
            parameters[which] = check.parameters(values, shapes, self._spec.dtype, name)
            self._engine.set_parameters(*parameters)

    @contextlib.contextmanager
    def _kept(self, is_done: Callable[[], bool] | None = None) -> Iterator[None]:
        """Put back what a fit has changed if no epoch of it has ended.

        Epochs put parameters back themselves; a pass that is not done before its call is over
        (``is_done`` is None) may be interrupted after the epoch has ended, and is taken back here.
        """
        generator = self._rng.bit_generator.state
        parameters = self._engine.snapshot() if is_done is None else None
        before = self._progress, self._history, self._engine.optimizer_state()
        try:
            yield
        except BaseException:
            if is_done is None or not is_done():
                self._rng.bit_generator.state = generator
                self._progress, self._history, state = before
                self._engine.set_optimizer_state(state)
                if parameters is not None:
                    self._engine.restore(parameters)
            raise

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for name in ("_engine", "_n_weights", "_two_headed", "_turn", "_progress"):
            del state[name]
        state["_history"] = self._history and self._history.whole()
        state["parameters"] = self._engine.parameters()
        state["optimizer"] = None
        if self._progress is not None and self._turn.is_free():  # its state stands still
            steps = self._engine.plain_optimizer_state()
            state["optimizer"] = steps and (self._progress, steps)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        parameters, optimizer = state.pop("parameters"), state.pop("optimizer", None)
        self.__dict__.update(state)
        self._attach()
        self._engine.set_parameters(*parameters)
        if optimizer is not None:
            self._progress, steps = optimizer
            self._engine.set_plain_optimizer_state(steps)

    def __copy__(self) -> Self:
        # A copy that shared the generator would change with the fits of the original.
        return copy.deepcopy(self)

    def __repr__(self) -> str:
        activations = set(self.activations)
        activation = self.activations[0] if len(activations) == 1 else list(self.activations)
        name = type(self).__module__.removesuffix(".mlp")
        dropout = f", dropout={list(self.dropout)}" if any(self.dropout) else ""
        return (
            f"{name}.{type(self).__name__}({list(self.layer_sizes)}, activation={activation!r}, "
            f"loss={self.loss!r}, dtype={self.dtype.name!r}{dropout})"
        )


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

    def __init__(self, model: Network, name: str, which: int) -> None:
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
