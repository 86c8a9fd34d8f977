"""State of the NumPy engine (parameters and optimizer), and training of many such engines."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastmlp._engine import optimizer_state
from fastmlp._engine.numpy import random
from fastmlp._engine.numpy.layers import Parameters
from fastmlp._engine.numpy.penalties import flat
from fastmlp._engine.plan import Plan
from fastmlp._engine.protocol import Epochs
from fastmlp._engine.thread_pool import Team
from fastmlp._network.activations import Array
from fastmlp._network.data import Data
from fastmlp._network.optimizers import Optimizer
from fastmlp._network.spec import Spec


class EngineState:
    """Base of the NumPy engine.

    Parameters are replaced and never written to, so other threads always read a consistent state.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        kinds = spec.tensors.values()
        self._parameters = tuple([np.zeros(s, spec.dtype) for s in shapes] for shapes in kinds)
        self._steps: optimizer_state.OptimizerProgress | None = None

    def parameters(self) -> Parameters:
        """Return copies of the weights (I, O), biases (O,) and other kinds of `Spec.tensors`."""
        return copy.deepcopy(self._parameters)

    def set_parameters(self, *kinds: Sequence[Array]) -> None:
        """Copy arrays like those of `parameters` in."""
        dtype = self.spec.dtype
        self._parameters = tuple([np.array(p, dtype, order="C") for p in kind] for kind in kinds)

    def snapshot(self) -> Any:
        """Return the current parameters for `restore`."""
        return self.parameters()

    def restore(self, snapshot: Any) -> None:
        """Go back to the parameters of a snapshot."""
        self.set_parameters(*snapshot)

    def finite(self) -> bool:
        """Return whether every parameter is finite."""
        return all(np.isfinite(p).all() for p in flat(self._parameters))

    def shuffle(self, order: npt.NDArray[np.int64], seed: int) -> None:
        """Permute an index array in place; the seed alone determines the result."""
        random.shuffle(order, seed)

    def start(self, optimizer: Optimizer) -> None:
        """Prepare an optimizer for the next epochs, with a state of 0."""
        self._steps = optimizer_state.OptimizerProgress(
            optimizer_state.start(optimizer, self.parameters())
        )

    def optimizer_state(self) -> Any:
        """Return the optimizer's state, which later epochs change; None before the start."""
        return self._steps

    def set_optimizer_state(self, state: Any) -> None:
        """Continue with a result of `optimizer_state`."""
        self._steps = state

    def can_go_on(self, step: int) -> bool:
        """Return whether the state belongs to a complete epoch that ended after `step` steps."""
        return bool(self._steps and self._steps.is_whole and self._steps.memory.step == step)

    def state(self, optimizer: bool = True) -> dict[str, Array]:
        """Return the parameters, and the optimizer's state if it can be continued."""
        steps = self._steps if optimizer and self._steps and self._steps.is_whole else None
        memory = copy.deepcopy(steps.memory) if steps else None
        return optimizer_state.to_arrays(self.spec, self.parameters(), memory)

    def set_state(self, state: Mapping[str, Array]) -> None:
        """Continue with a state of either engine."""
        parameters, memory = optimizer_state.from_arrays(state, self.spec)
        self.set_parameters(*parameters)
        memory = copy.deepcopy(memory)  # its arrays belong to the caller
        self._steps = None
        if memory:
            memory = optimizer_state.in_units(memory, optimizer_state.textbook)
            self._steps = optimizer_state.OptimizerProgress(memory)

    @staticmethod
    def train_many(
        engines: Sequence[Any],
        datas: Sequence[Data],
        plans: Sequence[Plan],
        team: Team | None = None,
        epochs: int = 1,
        seeds: Sequence[npt.NDArray[np.uint64]] | None = None,
        held: Sequence[Data] | None = None,
        linked: bool = True,
    ) -> Epochs:
        """Train the engines one after the other."""
        del team
        before = [engine.snapshot() for engine in engines]
        losses = np.full((epochs, len(engines)), np.nan)
        found = Epochs(losses, np.zeros_like(losses), [])
        try:
            for k, (engine, data, plan) in enumerate(zip(engines, datas, plans, strict=True)):
                predictions = []
                for epoch, part in enumerate(_each_epoch(plan, data, epochs)):
                    if seeds is not None:
                        engine.shuffle(plan.order, int(seeds[k][epoch]))
                    losses[epoch, k] = engine.epoch(data, part)
                    if held is not None:
                        predictions.append(engine.predict(held[k].x, None, linked))
                        found.held_losses[epoch, k] = engine.evaluate(held[k])
                if held is not None:
                    found.predictions.append(np.stack(predictions))
        finally:
            if not np.isfinite(losses).all():
                for engine, parameters in zip(engines, before, strict=True):
                    engine.restore(parameters)
        return found


def _each_epoch(plan: Plan, data: Data, epochs: int) -> list[Plan]:
    """Split a plan of several epochs into one plan for each."""
    n = plan.n_steps(data.rows if plan.order is None else len(plan.order))
    parts = []
    for first in range(0, epochs * n, n):
        part, own = copy.copy(plan), slice(first, first + n)
        part.step += first
        part.learning_rates = plan.learning_rates[own]
        part.weight_decays = None if plan.weight_decays is None else plan.weight_decays[own]
        part.dropouts = None if plan.dropouts is None else plan.dropouts[own]
        parts.append(part)
    return parts
