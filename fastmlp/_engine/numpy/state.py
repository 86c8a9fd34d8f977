"""What the engine in NumPy holds: parameters, and what its optimizer remembers."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastmlp._engine import optimizer_state
from fastmlp._engine.numpy import random
from fastmlp._engine.numpy.layers import Parameters
from fastmlp._engine.numpy.many import SequentialTraining
from fastmlp._engine.numpy.penalties import flat
from fastmlp._network.activations import Array
from fastmlp._network.optimizers import Optimizer
from fastmlp._network.spec import Spec


class EngineState(SequentialTraining):
    """Base of the reference's engine, not for users.

    Parameters that are published are never written to, but replaced: whoever reads them, in another
    thread too, has those of one moment.

    Parameters
    ----------
    spec : Spec
        The network. All parameters are 0 at first.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        kinds = spec.tensors.values()
        self._parameters = tuple([np.zeros(s, spec.dtype) for s in shapes] for shapes in kinds)
        self._steps: optimizer_state.OptimizerProgress | None = None

    def parameters(self) -> Parameters:
        """Return copies of the (I, O) weights and (O,) biases; and of gains and shifts, if any."""
        return copy.deepcopy(self._parameters)

    def set_parameters(self, *kinds: Sequence[Array]) -> None:
        """Take a copy of what `parameters` has returned, or the like of it."""
        dtype = self.spec.dtype
        self._parameters = tuple([np.array(p, dtype, order="C") for p in kind] for kind in kinds)

    def snapshot(self) -> Any:
        """Return something that `restore` takes: the parameters of now."""
        return self.parameters()

    def restore(self, snapshot: Any) -> None:
        """Return to the parameters of a snapshot."""
        self.set_parameters(*snapshot)

    def finite(self) -> bool:
        """Return whether every parameter is finite."""
        return all(np.isfinite(p).all() for p in flat(self._parameters))

    def shuffle(self, order: npt.NDArray[np.int64], seed: int) -> None:
        """Permute an index array in place; the seed alone says how."""
        random.shuffle(order, seed)

    def start(self, optimizer: Optimizer) -> None:
        """Forget the state of earlier steps and prepare for `optimizer`: all slots 0, t = 0."""
        self._steps = optimizer_state.OptimizerProgress(
            optimizer_state.start(optimizer, self.parameters())
        )

    def optimizer_state(self) -> Any:
        """Return the optimizer's state, which epochs go on to change; None before the start."""
        return self._steps

    def set_optimizer_state(self, state: Any) -> None:
        """Go on with what `optimizer_state` has returned."""
        self._steps = state

    def can_go_on(self, step: int) -> bool:
        """Return whether there is such a state, of a whole epoch that ended after `step` steps."""
        return bool(self._steps and self._steps.is_whole and self._steps.memory.step == step)

    def state(self, optimizer: bool = True) -> dict[str, Array]:
        """Return parameters, and the optimizer's state if it can go on, as plain named arrays."""
        steps = self._steps if optimizer and self._steps and self._steps.is_whole else None
        memory = copy.deepcopy(steps.memory) if steps else None
        return optimizer_state.to_arrays(self.spec, self.parameters(), memory)

    def set_state(self, state: Mapping[str, Array]) -> None:
        """Go on with what `state` of an engine has returned."""
        parameters, memory = optimizer_state.from_arrays(state, self.spec)
        self.set_parameters(*parameters)
        memory = copy.deepcopy(memory)  # whose arrays are the caller's
        self._steps = None
        if memory:
            memory = optimizer_state.in_units(memory, optimizer_state.textbook)
            self._steps = optimizer_state.OptimizerProgress(memory)
