"""The interface of an engine, which the native engine and the NumPy engine both implement.

``native_engine.Engine`` and ``numpy_engine.Engine`` have exactly these methods, with these names
and defaults, so the same ``MLP`` can use either. docs/architecture.md has the conventions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastmlp._engine.plan import Plan
from fastmlp._engine.thread_pool import Team
from fastmlp._network.data import Data
from fastmlp._network.optimizers import Optimizer
from fastmlp._network.spec import Spec

Arrays = list[NDArray[Any]]


class Held(NamedTuple):
    """Rows that `Engine.train_many` predicts and evaluates after each epoch."""

    rows: Sequence[Data]  # each engine's
    linked: bool = True  # whether to predict with the link of the loss, or the outputs before it


class Epochs(NamedTuple):
    """The results of `Engine.train_many`."""

    losses: NDArray[np.float64]  # (epochs, engines): results of `epoch`
    held_losses: NDArray[np.float64]  # the same: results of `evaluate` on held-out rows, else 0
    predictions: list[NDArray[Any]]  # one an engine, (epochs, held-out rows, heads * m)
    snapshots: Sequence[tuple[Any, ...]] = ()  # one tuple an epoch, one snapshot an engine


class Engine(Protocol):
    """The parameters of a network and the state of its optimizer; all parameters start at 0."""

    @property
    def spec(self) -> Spec:
        """The network."""

    @property
    def level(self) -> str:
        """CPU level of the kernels; "numpy" in the NumPy engine."""

    def parameters(self) -> tuple[Arrays, ...]:
        """Return fresh C-order arrays: weights (fan_in, fan_out), biases (fan_out,), ...

        There is one list for each kind of `Spec.tensors`, for example gains and shifts.
        """

    def set_parameters(self, *kinds: Sequence[NDArray[Any]]) -> None:
        """Copy arrays like those of `parameters` in."""

    def set_bounds(
        self, lower: Sequence[Sequence[NDArray[Any]]], upper: Sequence[Sequence[NDArray[Any]]]
    ) -> None:
        """Keep every parameter between two numbers after each step; `shadow` has no bounds."""

    def snapshot(self) -> Any:
        """Return the current parameters for `restore`; later epochs do not change them."""

    def restore(self, snapshot: Any) -> None:
        """Go back to the parameters of a snapshot."""

    def finite(self) -> bool:
        """Return whether every parameter is finite."""

    def shuffle(self, order: NDArray[np.int64], seed: int) -> None:
        """Permute an index array in place; the seed (64 bits) alone determines the result."""

    def start(self, optimizer: Optimizer) -> None:
        """Prepare an optimizer for the next epochs, with a state of 0; change nothing on error."""

    def optimizer_state(self) -> Any:
        """Return the optimizer's state, which later epochs change; None before the start."""

    def set_optimizer_state(self, state: Any) -> None:
        """Continue with a result of `optimizer_state`."""

    def can_go_on(self, step: int) -> bool:
        """Return whether the state belongs to a complete epoch that ended after `step` steps."""

    def state(self, optimizer: bool = True) -> dict[str, NDArray[Any]]:
        """Return the parameters, and the optimizer's state if it can be continued.

        optimizer_state.py describes the arrays. Without `optimizer` it may be called during epochs.
        """

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue with a state of either engine; one of the same engine continues bit by bit."""

    @property
    def n_summed(self) -> int:
        """Number of elements that `epoch` passes to `Shard.add_up`."""

    def epoch(self, data: Data, plan: Plan) -> float:
        """Train on every batch once and return the mean objective, or one that is not finite.

        If it is not finite (NaN for a parameter), and after any error, the parameters are those
        from before. With a `Plan.share` this is one process's part: the parts add up to the mean.
        """

    @staticmethod
    def train_many(
        engines: Sequence[Any],
        datas: Sequence[Data],
        plans: Sequence[Plan],
        team: Team | None = None,
        epochs: int = 1,
        seeds: Sequence[NDArray[np.uint64]] | None = None,
        held: Held | None = None,
        stores: bool = False,
    ) -> Epochs:
        """Train each engine for some epochs, each on one thread at a time, as `epoch` does.

        A plan holds the rates of all its epochs. If there are `seeds`, the plan's order is shuffled
        in place before each epoch. With `stores`, there are snapshots of each epoch. If a result is
        not finite, and after any error, all engines have their parameters from before; after
        several epochs the states of their optimizers are lost.
        """

    def gradients(
        self,
        data: Data,
        l2: float = 0.0,
        team: Team | None = None,
        l1: float = 0.0,
    ) -> tuple[Any, ...]:
        """Return (objective, [dW], [db], ...) of all rows as one batch, without dropout."""

    def predict(
        self, x: NDArray[Any], team: Team | None = None, linked: bool = True
    ) -> NDArray[Any]:
        """Return the predictions (n, heads * m); if not linked, the outputs before the link."""

    def predict_row(self, x: Any, flat: bool = False) -> NDArray[Any] | None:
        """Return the prediction of one plain finite row, which needs no checks; None otherwise.

        Its shape is (1, C), or (1,) of one output if it is to be flat.
        """

    def evaluate(self, data: Data, team: Team | None = None) -> float:
        """Return the weighted mean loss, without penalty and dropout."""

    def frozen(self) -> Engine:
        """Return an engine with a copy of the parameters, which the next three methods need.

        It has no dropout and rounds nothing to bfloat16.
        """

    def jacobian(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the derivatives of the predictions with respect to x, (n, heads * m, fan_in)."""

    def differentiate(
        self,
        x: NDArray[Any],
        v: NDArray[Any] | None = None,
        p: NDArray[Any] | None = None,
        q: NDArray[Any] | None = None,
        team: Team | None = None,
    ) -> NDArray[Any]:
        """Return derivatives of the outputs z before the link, (n, heads * m), at the inputs x.

        Those in the directions v of x are s, like z. Given p or q, like z, the result is instead
        the gradient of sum(p * s) + sum(q * z) by the inputs, like x.
        """

    def derivatives(
        self, x: NDArray[Any], team: Team | None = None
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return the outputs before the link, (n, heads * m), their jacobians and hessians."""

    def shadow(self) -> Engine:
        """Return another engine for the same network; both can restore the same snapshots."""

    def predictor(
        self,
        n_threads: int | None = None,
        weight_type: str | None = None,
        parameters: Sequence[Any] | None = None,
    ) -> Any:
        """Return a frozen copy of the network with a fast call.

        With a weight type the parameters must be exact in it, those of `narrow.parameters`.
        """
