"""Network: all state of one network, in one value that models, fits, tables and files share.

`fastmlp.MLP` is a face over one Network, and adds only what users call. The algorithm of a fit is
in `fit` and `trainer`; this module has what must stay together: state, its copies and its undoing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np

from fastmlp._core.fit_lock import FitLock
from fastmlp._core.history import History, ResumeState
from fastmlp._engine import compiled, optimizer_state
from fastmlp._engine.optimizer_state import OptimizerState
from fastmlp._engine.thread_count import call_team
from fastmlp._network.activations import Array
from fastmlp._network.tensors import name_of
from fastmlp._training.planning import PlanCache
from fastmlp._validation import check

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastmlp._engine.protocol import Engine
    from fastmlp._network.spec import Predictions, Spec

Parameters: TypeAlias = "Sequence[Sequence[NDArray[Any]]]"  # for each kind an array a layer
EngineMaker: TypeAlias = "Callable[[Spec], Engine]"


class NetworkState(NamedTuple):
    """What files, copies and pickles hold of a network."""

    spec: Spec
    rng: np.random.Generator
    history: History | None
    resume_state: ResumeState | None  # None where the engine's arrays have no optimizer's state
    flat_y: bool
    engine: dict[str, Any]  # arrays of the parameters, and of the optimizer


class Network:
    """All state of one network: its description, parameters, generator, and what a fit leaves.

    Parameters
    ----------
    spec : Spec
        Layers, activations, loss, dtype and other options.
    rng : numpy.random.Generator
        Source of shuffles and of the masks of dropout.
    make_engine : callable, Spec -> Engine
        Makes the engine that holds the parameters and computes: native, or NumPy's.
    """

    __slots__ = (
        "engine",
        "flat_y",
        "has_heads",
        "history",
        "lock",
        "make_engine",
        "n_weights",
        "plan_cache",
        "resume_state",
        "rng",
        "spec",
    )

    def __init__(
        self, spec: Spec, rng: np.random.Generator, make_engine: EngineMaker = compiled
    ) -> None:
        self.spec, self.rng, self.make_engine = spec, rng, make_engine
        self.engine: Any = make_engine(spec)
        self.n_weights: int = spec.n_weights
        self.has_heads = spec.has_heads
        self.lock = FitLock()  # allows one fit at a time, and no assignment by other threads
        self.plan_cache = PlanCache(spec)
        self.history: History | None = None
        self.resume_state: ResumeState | None = None  # later training goes on with it
        self.flat_y = False  # whether y was (n,) in the last fit; see `learn_shape`

    @classmethod
    def of(
        cls,
        spec: Spec,
        parameters: Parameters,
        rng: np.random.Generator,
        optimizer: OptimizerState | None = None,
    ) -> Network:
        """Return a network with these parameters, and an optimizer to continue with."""
        network = cls(spec, rng)
        if optimizer is None:
            network.engine.set_parameters(*parameters)
            return network
        arrays = optimizer_state.to_arrays(spec, tuple(map(list, parameters)), optimizer)
        network.engine.set_state(arrays)
        network.resume_state = ResumeState(optimizer.kind, optimizer.step, 0)
        return network

    @classmethod
    def restored(cls, state: NetworkState, make_engine: EngineMaker = compiled) -> Network:
        """Return a network with the state of another one."""
        network = cls(state.spec, state.rng, make_engine)
        network._restore(state)
        return network

    def _restore(self, state: NetworkState) -> None:
        self.engine.set_state(state.engine)
        self.resume_state, self.history = state.resume_state, state.history
        self.learn_shape(state.flat_y)

    def take_over(self, other: Network) -> None:
        """Take over all state of a network of the same shape; the generators stay apart."""
        state = other.state()
        self.rng.bit_generator.state = state.rng.bit_generator.state
        self._restore(state)

    # What a network is part of: one alone is a group of one.

    @property
    def members(self) -> tuple[Network, ...]:
        """The networks that a fit of this one trains."""
        return (self,)

    # Predictions.

    def learn_shape(self, flat_y: bool) -> None:
        """Remember whether y was (n,): predictions are, too (docs/adr/0024)."""
        self.flat_y = flat_y

    def shaped(self, z: NDArray[Any]) -> Predictions:
        """Return predictions (..., heads * outputs) in the shape of the user's targets."""
        if not self.has_heads:
            return z[..., 0] if self.flat_y else z
        return self.spec.loss.shaped(z, self.flat_y)

    def predict(self, x: Array, link: bool = True) -> Predictions:
        """Return the predictions of checked rows in the shape of the user's targets."""
        with call_team(self.n_weights, x.shape[0]) as team:
            return self.shaped(self.engine.predict(x, team, link))

    def frozen(self) -> Network:
        """Return a network for predictions alone, with the parameters of this moment."""
        network = Network.__new__(Network)
        for name in self.__slots__:
            setattr(network, name, getattr(self, name))
        network.engine = self.engine.shadow()
        network.engine.restore(self.engine.snapshot())
        return network

    # Parameters.

    def parameters(self) -> dict[str, list[NDArray[Any]]]:
        """Return copies of all parameters by kind, one array a layer."""
        return dict(zip(self.spec.tensors, self.engine.parameters(), strict=True))

    def named_parameters(self) -> dict[str, NDArray[Any]]:
        """Return copies of all parameters by plain names, layer by layer."""
        named = [
            (k, name_of(kind, k), array)
            for kind, arrays in self.parameters().items()
            for k, array in enumerate(arrays)
        ]
        return {name: a for _, name, a in sorted(named, key=lambda one: one[0]) if a.size}

    def assign(self, kind: str, change: Callable[[list[NDArray[Any]]], Any]) -> None:
        """Replace the arrays of one kind by the checked result of ``change``."""
        with self.lock.held():
            parameters = self.parameters()
            changed = change(parameters.get(kind, []))
            parameters[kind] = check.parameters(changed, self.spec, kind)
            self.take([parameters[name] for name in self.spec.tensors])

    def set_named_parameters(self, arrays: Mapping[str, Any]) -> None:
        """Set all parameters, checked, by the names of `named_parameters`."""
        with self.lock.held():
            parameters = []
            for kind, shapes in self.spec.tensors.items():
                names = [name_of(kind, k) for k in range(len(shapes))]
                of_kind = [arrays.get(name, np.zeros(0)) for name in names]  # (0,) where missing
                parameters.append(check.parameters(of_kind, self.spec, kind))
            self.take(parameters)

    def take(self, parameters: Parameters) -> None:
        """Set parameters given by the user; a resumed fit continues with them."""
        self.engine.set_parameters(*parameters)
        if self.lock.trainer is None and self.resume_state is not None:
            self.resume_state = self.resume_state._replace(averaged=None)

    def share_generator(self, other: Network) -> None:
        """Draw from the generator of another network from now on."""
        self.rng = other.rng

    # Fits.

    def begin(self) -> History:
        """Begin a new fit: forget the last one; return the new history."""
        self.resume_state, self.history = None, History()
        return self.history

    def go_on(self) -> History:
        """Continue the last fit: return its history, which grows."""
        assert self.history is not None
        self.history = self.history.resumed()
        return self.history

    def optimizer_state(self) -> OptimizerState | None:
        """Return a copy of the state of the optimizer, None without any."""
        return optimizer_state.from_arrays(self.state().engine, self.spec)[1]

    def keep(self, resume_state: ResumeState | None) -> None:
        """Keep the state from which the next fit may continue."""
        self.resume_state = resume_state

    def stored_resume_state(self) -> ResumeState | None:
        """Return the state for resuming; a running fit of this thread stores it first."""
        if self.lock.trainer is not None and self.lock.is_mine():
            self.lock.trainer.store()
        return self.resume_state

    def undo(self, parameters: bool = True, draws: bool = True) -> Callable[[], None]:
        """Return a function that restores all state that a fit changes."""
        resume_state, history, flat_y = self.resume_state, self.history, self.flat_y
        engine, generator = self.engine, self.rng.bit_generator
        of_optimizer = engine.optimizer_state()
        snapshot = engine.snapshot() if parameters else None
        generator_state = generator.state if draws else None

        def undo() -> None:
            self.resume_state, self.history = resume_state, history
            self.learn_shape(flat_y)
            engine.set_optimizer_state(of_optimizer)
            if snapshot is not None:
                engine.restore(snapshot)
            if generator_state is not None:
                generator.state = generator_state  # last: it allocates memory, so may fail

        return undo

    # Copies, pickles and files.

    def state(self) -> NetworkState:
        """Return a copy of the state; raise RuntimeError if another thread trains the network."""
        return self.lock.read(self._state)

    def _state(self) -> NetworkState:
        resume_state = self.stored_resume_state()
        engine = self.engine.state(optimizer=resume_state is not None)
        return NetworkState(
            self.spec,
            self.rng,
            self.history and self.history.whole(),
            resume_state if "optimizer" in engine else None,
            self.flat_y,
            engine,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.state()._asdict(), "make_engine": self.make_engine}

    def __setstate__(self, state: dict[str, Any]) -> None:
        fields = dict(state)
        Network.__init__(self, fields["spec"], fields["rng"], fields.pop("make_engine"))
        self._restore(NetworkState(**fields))


Held = TypeVar("Held", covariant=True)


class Model(Protocol[Held]):
    """An MLP, which has a `Network`, or an Ensemble, which has `Networks`."""

    @property
    def _network(self) -> Held: ...


def network_of(model: Model[Held]) -> Held:
    """Return the `Network` of an MLP, or the `Networks` of an Ensemble."""
    return model._network


def undo_all(undos: Iterable[Callable[[], None]]) -> None:
    """Call all functions, even if one fails."""
    with ExitStack() as stack:
        for undo in undos:
            stack.callback(undo)
