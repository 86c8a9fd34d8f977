"""What an engine is: the seam between the native side and the reference, which both satisfy.

``native_engine.Engine`` and ``numpy_engine.Engine`` have these methods, with these names and
defaults, and no others; the same ``MLP`` drives either. docs/architecture.md has the conventions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmlp._engine.plan import Plan
from fastmlp._engine.thread_pool import Team
from fastmlp._network.data import Data
from fastmlp._network.optimizers import Optimizer
from fastmlp._network.spec import Spec

Arrays = list[NDArray[Any]]


class Epochs(NamedTuple):
    """What epochs of many engines have come to.

    Attributes
    ----------
    losses : array of float64, shape (epochs, engines)
        What `epoch` returns.
    held_losses : array of float64, shape (epochs, engines)
        What `evaluate` returns on the rows that are held out; 0 without such.
    predictions : list of arrays, shape (epochs, rows, heads * m)
        Of these rows, of each engine; outputs before the link if these were asked for.
    """

    losses: NDArray[np.float64]
    held_losses: NDArray[np.float64]
    predictions: list[NDArray[Any]]


class Predictor(Protocol):
    """A trained network as a function: a frozen copy of the weights, made by ``MLP.predictor``."""

    @property
    def spec(self) -> Spec:
        """The network."""
        ...

    @property
    def level(self) -> str:
        """CPU level of the kernels; of the reference "numpy"."""
        ...

    @property
    def n_threads(self) -> int | None:
        """The most threads for large batches; None is the default of the machine."""
        ...

    @property
    def function_address(self) -> int:
        """Of the C function; the native side has one, the reference raises AttributeError."""
        ...

    @property
    def context_address(self) -> int:
        """First argument of the C function."""
        ...

    @property
    def capsule(self) -> Any:
        """Both addresses as a PyCapsule."""
        ...

    def parameters(self) -> tuple[Arrays, ...]:
        """Return copies of (weights, biases), as `Engine.parameters`."""
        ...

    def _exported(self) -> Any:
        """Return the network as plain arrays, see `fastmlp._export.layers`."""
        ...

    def to_onnx(self, path: Any = None) -> Any:
        """Return the network as ONNX, see `fastmlp._engine.exportable`."""
        ...

    def to_c(self, path: Any, *, weights: str | None = None, X: Any = None) -> Any:
        """Write the network as C, see `fastmlp._engine.exportable`."""
        ...

    def __call__(self, x: ArrayLike, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Predict one row, (I,) to (C,), or a batch, (n, I) to (n, C)."""
        ...

    def jacobian(self, x: ArrayLike) -> NDArray[Any]:
        """Return d prediction / d x, (C, I) for one row or (n, C, I)."""
        ...

    def save(self, path: str | PathLike[str]) -> None:
        """Write the predictor to a file, for ``fastmlp.load``."""
        ...


class Engine(Protocol):
    """A network's parameters and optimizer state; at first all parameters are 0."""

    @property
    def spec(self) -> Spec:
        """The network."""
        ...

    @property
    def level(self) -> str:
        """CPU level of the kernels; of the reference "numpy"."""
        ...

    def parameters(self) -> tuple[Arrays, ...]:
        """Return (weights, biases): fresh C-order arrays (fan_in, fan_out) and (fan_out,).

        With layer normalisation (weights, biases, gains, shifts), and so on: the kinds of
        `Spec.tensors`.
        """
        ...

    def set_parameters(self, *kinds: Sequence[NDArray[Any]]) -> None:
        """Copy the like of what `parameters` returns in."""
        ...

    def snapshot(self) -> Any:
        """Return the parameters of now, which later epochs do not change, for `restore`."""
        ...

    def restore(self, snapshot: Any) -> None:
        """Return to the parameters of a snapshot."""
        ...

    def finite(self) -> bool:
        """Return whether every parameter is finite."""
        ...

    def shuffle(self, order: NDArray[np.int64], seed: int) -> None:
        """Permute an index array in place; the seed alone (64 bits) says how."""
        ...

    def start(self, optimizer: Optimizer) -> None:
        """Zero the state of an optimizer, the one of the epochs to come; all of it, or nothing."""
        ...

    def optimizer_state(self) -> Any:
        """Return the optimizer's state, which epochs go on to change; None before the start."""
        ...

    def set_optimizer_state(self, state: Any) -> None:
        """Go on with what `optimizer_state` has returned."""
        ...

    def can_go_on(self, step: int) -> bool:
        """Return whether there is such a state, of a whole epoch that ended after `step` steps."""
        ...

    def state(self, optimizer: bool = True) -> dict[str, NDArray[Any]]:
        """Return parameters, and the optimizer's state if it can go on; see optimizer_state.py.

        Without `optimizer`, parameters only, also while epochs go on.
        """
        ...

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on with a state of either engine: of the same kind, with the same bits."""
        ...

    @property
    def n_summed(self) -> int:
        """Elements of what `epoch` gives to `Share.add_up`."""
        ...

    def epoch(self, data: Data, plan: Plan) -> float:
        """Train on every batch once and return the mean objective, or one that is not finite.

        In that case (NaN for a weight), and after any error, the parameters are those of before.
        With a `Plan.share`, this process's part of that mean: those of all add up to it.
        """
        ...

    @staticmethod
    def train_many(
        engines: Sequence[Any],
        datas: Sequence[Data],
        plans: Sequence[Plan],
        team: Team | None = None,
        epochs: int = 1,
        seeds: Sequence[NDArray[np.uint64]] | None = None,
        held: Sequence[Data] | None = None,
        linked: bool = True,
    ) -> Epochs:
        """Take epochs of each of many engines, each on one thread at a time; as `epoch` alone.

        A plan has the rates of all of them. Before an epoch the plan's order is shuffled in its
        place by its own seed, if there are seeds. After it the rows of `held` are predicted, linked
        or not, and evaluated. If a result is not finite, and after any error, all have the
        parameters of before; after several epochs their optimizers' states are lost.
        """
        ...

    def gradients(
        self,
        data: Data,
        l2: float = 0.0,
        team: Team | None = None,
        l1: float = 0.0,
        plan: Plan | None = None,
    ) -> tuple[Any, ...]:
        """Return (objective, [dW], [db], ...) of all rows as one batch.

        Without dropout, or with that of the first batch of a plan.
        """
        ...

    def predict(
        self, x: NDArray[Any], team: Team | None = None, linked: bool = True
    ) -> NDArray[Any]:
        """Return the predictions (n, heads * m); if not linked, the outputs before the link."""
        ...

    def predict_row(self, x: Any) -> NDArray[Any] | None:
        """Return the prediction if x is one plain finite row, else None: a way past the checks."""
        ...

    def evaluate(self, data: Data, team: Team | None = None) -> float:
        """Return the weighted mean loss, without penalty and dropout."""
        ...

    def jacobian(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the derivatives of the predictions with respect to x, (n, heads * m, fan_in)."""
        ...

    def twin(self) -> Engine:
        """Return another engine for the same network; snapshots are for both."""
        ...

    def predictor(self, n_threads: int | None = None) -> Predictor:
        """Return a frozen copy behind a fast call."""
        ...
