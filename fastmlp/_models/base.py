"""The state of a model, to which ``Learner`` adds training and ``MLP`` prediction."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fastmlp._core.fit_lock import FitLock
from fastmlp._core.history import History, ResumeState
from fastmlp._engine.exportable import Exportable
from fastmlp._models.parameter_list import ParameterProperty
from fastmlp._network.spec import OPTIONS, Compute, Spec
from fastmlp._network.tensors import TENSORS, name_of
from fastmlp._validation import check

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from fastmlp._engine.protocol import Engine
    from fastmlp._export.layers import Exported
    from fastmlp._network.functions.activation import CustomActivation
    from fastmlp._network.losses import Loss
    from fastmlp._network.names import ActivationName, NormPosition


def _compiled(spec: Spec) -> Engine:
    from fastmlp._engine import native_engine

    return native_engine.engine(spec)


class Model(Exportable):
    """Parameters of one network in one engine, initially 0; the base of ``MLP``, not for users."""

    _engine_type: Callable[[Spec], Engine] = staticmethod(_compiled)
    _flat_y = False  # whether y of the last fit was (n,): predictions are, too (docs/adr/0024)

    def __init__(self, spec: Spec, rng: np.random.Generator) -> None:
        self._spec, self._rng = spec, rng
        self._history: History | None = None
        self._attach()

    def _attach(self) -> None:
        """Create the attributes that are not part of the state: not copied, not pickled."""
        self._engine = self._engine_type(self._spec)
        self._n_weights = self._spec.n_weights
        self._two_headed = self._spec.loss.heads == 2
        self._lock = FitLock()  # allows one fit at a time, and no assignment by other threads
        self._progress: ResumeState | None = None  # for the next partial_fit or a resumed fit
        self._last_plan: tuple[Any, Any, Any] = (), (), None  # of a fit: rows, options, plan

    # One for each row of TENSORS, made below; declared here for type checkers.
    weights: ParameterProperty
    biases: ParameterProperty
    gains: ParameterProperty
    shifts: ParameterProperty
    scales: ParameterProperty
    alphas: ParameterProperty
    linear_weights: ParameterProperty

    @property
    def n_parameters(self) -> int:
        """Number of elements of all weights, biases and other parameters."""
        return self._spec.n_parameters

    def summary(self) -> str:
        """Return a table of the layers: sizes, activations, options, parameters.

        Examples
        --------
        >>> import fastmlp
        >>> print(fastmlp.MLP([4, 16, 3], loss="cross_entropy", rng=0).summary())
        layer  inputs  outputs  activation  options  parameters
            0       4       16  relu                         80
            1      16        3  softmax                      51
        total                                               131
        """
        from fastmlp._models.summary import summary

        return summary(self._spec)

    def _repr_html_(self) -> str:
        """Return the table of the layers for notebooks."""
        from fastmlp._models.summary import as_html

        return as_html(self._spec)

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Inputs, hidden layers, outputs."""
        return self._spec.layer_sizes

    @property
    def activations(self) -> tuple[ActivationName | CustomActivation, ...]:
        """Activation of each hidden layer: its name, or one of the user's own."""
        return self._spec.activations

    @property
    def dropout(self) -> tuple[float, ...]:
        """Drop probability of each hidden layer."""
        return self._spec.dropout

    @property
    def layer_norm(self) -> tuple[NormPosition | None, ...]:
        """Where each hidden layer is normalised: before or after its activation, or not."""
        return self._spec.layer_norm

    @property
    def parametric(self) -> tuple[bool, ...]:
        """Whether the activation of each hidden layer is parametric."""
        return self._spec.parametric

    @property
    def scale(self) -> bool:
        """Whether the inputs are scaled by parameters."""
        return self._spec.scale

    @property
    def skip(self) -> int | None:
        """Hidden layers of a residual block; None without blocks."""
        return self._spec.skip

    @property
    def linear_path(self) -> bool:
        """Whether a linear path leads from the inputs to the outputs."""
        return self._spec.linear_path

    @property
    def compute(self) -> Compute:
        """How training multiplies matrices: "bfloat16", or None for the dtype."""
        return self._spec.compute

    @property
    def loss(self) -> Loss:
        """The loss, as an object of ``fastmlp.losses``."""
        return self._spec.loss

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of weights, arithmetic and predictions."""
        return self._spec.dtype

    @property
    def history(self) -> History | None:
        """History of the last fit, even if interrupted or diverged; None before the first."""
        return self._history

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return copies of all parameters by plain names.

        Returns
        -------
        dict of str to array
            ``layers.0.weight`` (fan_in, fan_out), ``layers.0.bias`` (fan_out,), and of normalised
            layers ``layers.0.gain`` and ``layers.0.shift``, of parametric activations
            ``layers.0.alpha``; ``layers.0.scale`` of the inputs, and ``layers.0.linear_weight``
            (inputs, outputs) of a linear path. PyTorch's weights are transposed.

        Examples
        --------
        >>> import fastmlp
        >>> {name: a.shape for name, a in fastmlp.MLP([3, 2], rng=0).state_dict().items()}
        {'layers.0.weight': (3, 2), 'layers.0.bias': (2,)}
        """
        tensors = zip(self._spec.tensors, self._engine.parameters(), strict=True)
        named = [(k, name_of(kind, k), a) for kind, each in tensors for k, a in enumerate(each)]
        return {name: a for _, name, a in sorted(named, key=lambda one: one[0]) if a.size}

    def load_state_dict(self, state: Mapping[str, ArrayLike]) -> None:
        """Set all parameters, or none if there is an error.

        Parameters
        ----------
        state : mapping of str to array
            Arrays with exactly the names and shapes of :meth:`state_dict`.

        Raises
        ------
        TypeError, ValueError
            If names, shapes or values do not fit; the model is unchanged.
        RuntimeError
            If a fit is running in another thread.
        """
        check.names(state, list(self.state_dict()), "state")
        with self._lock.held():
            parameters = []
            for kind, shapes in self._spec.tensors.items():
                names = [name_of(kind, k) for k in range(len(shapes))]
                arrays = [state.get(name, np.zeros(0)) for name in names]  # (0,) where missing
                parameters.append(check.parameters(arrays, self._spec, kind))
            self._take(parameters)

    def _exported(self) -> Exported:
        from fastmlp._export.layers import exported

        return exported(self._spec, *self._engine.parameters())

    def _assign(self, kind: str, change: Callable[[list[NDArray[Any]]], Any]) -> None:
        """Replace the arrays of one kind by the result of ``change``."""
        with self._lock.held():
            kinds = self._spec.tensors
            parameters = dict(zip(kinds, self._engine.parameters(), strict=True))
            parameters[kind] = check.parameters(change(parameters.get(kind, [])), self._spec, kind)
            self._take([parameters[each] for each in kinds])

    def _take(self, parameters: Sequence[Sequence[NDArray[Any]]]) -> None:
        """Set parameters given by the user; a resumed fit continues with them."""
        self._engine.set_parameters(*parameters)
        if self._lock.trainer is None and self._progress is not None:
            self._progress = self._progress._replace(averaged=None)

    def _stored_progress(self) -> ResumeState | None:
        """Return the state for resuming; a running fit of this thread stores it first."""
        if self._lock.trainer is not None and self._lock.is_mine():
            self._lock.trainer.store()
        return self._progress

    def _undo(self, parameters: bool = True, draws: bool = True) -> Callable[[], None]:
        """Return a function that restores all state that a fit changes."""
        generator = self._rng.bit_generator.state if draws else None
        snapshot = self._engine.snapshot() if parameters else None
        progress, history, flat_y = self._progress, self._history, self._flat_y
        state = self._engine.optimizer_state()

        def undo() -> None:
            self._progress, self._history, self._flat_y = progress, history, flat_y
            self._engine.set_optimizer_state(state)
            if snapshot is not None:
                self._engine.restore(snapshot)
            if generator is not None:
                self._rng.bit_generator.state = generator  # last: it allocates memory, so may fail

        return undo

    def save(self, path: str | os.PathLike[str], *, training: bool = True) -> None:
        """Write the model to a file, for :func:`fastmlp.load`.

        The format is safetensors, which many programs read. The file replaces an older one
        atomically; after a failure the older one is still there.

        Parameters
        ----------
        path : str or path
            Path of the file.
        training : bool
            Whether to write the history and the state from which ``partial_fit`` and ``resume``
            continue; without them, the file is a third of the size after Adam.

        Raises
        ------
        OSError
            If the file cannot be written.
        TypeError
            If the class is not fastmlp's, or the generator is not NumPy's.
        RuntimeError
            If another thread trains the model; callbacks of the fit may save it.

        Examples
        --------
        >>> import fastmlp, os, tempfile
        >>> net = fastmlp.MLP([2, 8, 1], rng=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     net.save(os.path.join(folder, "net.safetensors"))
        """
        from fastmlp._files import storage

        storage.save(self, path, training)

    def __getstate__(self) -> dict[str, Any]:
        return self._lock.read(self._state)

    def _state(self) -> dict[str, Any]:
        """Return a copy of the state, of a model that no other thread trains."""
        state = self.__dict__.copy()
        for name in ("_n_weights", "_two_headed", "_lock", "_last_plan"):
            del state[name]
        del state["_engine"], state["_progress"]
        state["_history"] = self._history and self._history.whole()
        progress = self._stored_progress()
        state["engine"] = self._engine.state(optimizer=progress is not None)
        state["progress"] = progress if "optimizer" in state["engine"] else None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        engine, progress = state.pop("engine"), state.pop("progress")
        self.__dict__.update(state)
        self._attach()
        self._engine.set_state(engine)
        self._progress = progress

    def _frozen(self) -> Self:
        """Return a model for predictions alone, with the parameters of this moment."""
        model = type(self).__new__(type(self))
        vars(model).update(vars(self))
        model._engine = self._engine.twin()
        model._engine.restore(self._engine.snapshot())
        return model

    def __copy__(self) -> Self:
        # A copy that shared the generator would change with the fits of the original.
        return copy.deepcopy(self)

    def __repr__(self) -> str:
        activations = set(self.activations)
        activation = self.activations[0] if len(activations) == 1 else list(self.activations)
        public = {"_models.mlp": "fastmlp", "_models.numpy_mlp": "fastmlp.reference"}
        name = public.get(type(self).__module__.removeprefix("fastmlp."), type(self).__module__)
        facts = {"activation": activation, "loss": self.loss, "dtype": self.dtype.name}
        for option in ("dropout", "layer_norm", "parametric", *OPTIONS):
            value = getattr(self._spec, option)
            if any(value) if isinstance(value, tuple) else value:
                facts[option] = list(value) if isinstance(value, tuple) else value
        shown = "".join(f", {option}={value!r}" for option, value in facts.items())
        return f"{name}.{type(self).__name__}({list(self.layer_sizes)}{shown})"


for kind in TENSORS:
    setattr(Model, kind, ParameterProperty(kind))
