"""What every optimizer has: a learning rate, decoupled decay, a step of one parameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeAlias

from fastmlp._core.intervals import POSITIVE
from fastmlp._network.activations import Array
from fastmlp._network.scheduled import LearningRate, check_scheduled

N_HYPER = 4  # numbers of a step, as the C side takes them

Slots: TypeAlias = dict[str, int | None]


@dataclass(frozen=True)
class Optimizer:
    """What every optimizer has; the subclasses are the rows.

    Attributes
    ----------
    learning_rate : float or callable
        A rate > 0, or a schedule ``step -> learning rate``.
    name : str
        The key in `OPTIMIZERS`.
    is_custom : bool
        Whether a Python function of the user's makes the step.
    degree : int
        With s times the gradients, and s times the epsilon, a step is s ** degree times as long.
    """

    name: ClassVar[str]
    is_custom: ClassVar[bool] = False
    degree: ClassVar[int] = 0
    _slots_by_row: ClassVar[dict[str, Slots]] = {}
    _numbers: ClassVar[tuple[str, ...]] = ()

    learning_rate: LearningRate = 0.01

    def __post_init__(self) -> None:
        check_scheduled("learning_rate", self.learning_rate, POSITIVE, example=0.001)

    @property
    def native_row(self) -> str:
        """The row of `NATIVE_OPTIMIZERS`."""
        return self.name

    @cached_property
    def kind(self) -> tuple[Any, ...]:
        """What state it goes on with: all but learning rate and weight decay, which may change."""
        return self.native_row, self.hyper[:-1]

    @property
    def n_slots(self) -> int:
        """State arrays a parameter."""
        return len(self._slots_by_row[self.native_row])

    @property
    def hyper(self) -> tuple[float, ...]:
        """At most 3 numbers of the step, zeros, and as the fourth the decay; 0 for a schedule."""
        decay = getattr(self, "weight_decay", 0.0)
        numbers = [float(getattr(self, name)) for name in self._numbers]
        zeros = (0.0,) * (N_HYPER - 1 - len(numbers))
        return *numbers, *zeros, 0.0 if callable(decay) else float(decay)

    def step(
        self,
        parameter: Array,
        gradient: Array,
        slots: Sequence[Array],
        learning_rate: float,
        t: int,
        decay: float,
        epsilon: float = 1.0,
    ) -> None:
        """Move `parameter`, and its `slots`, by one step, in place.

        Parameters
        ----------
        parameter, gradient : array of float32 or float64, any shape
            Changed; read.
        slots : sequence of `n_slots` arrays like `parameter`
            The state, changed.
        learning_rate : float, >= 0
            The rate of this step.
        t : int, >= 1
            The number of this step since the state was zero.
        decay : float, >= 0
            Factor on decoupled weight decay: 1 for weights, 0 for biases, unless told otherwise.
        epsilon : float, > 0
            Factor on the optimizer's epsilon, if it has one.
        """
        # Python floats, so that float32 parameters are moved in float32.
        rate, weight_decay = float(learning_rate), float(decay * self.decay(t - 1))
        if weight_decay:
            parameter *= 1 - rate * weight_decay
        self._step(parameter, gradient, slots, rate, t, epsilon)

    def decay(self, step: int) -> float:
        """Return the decoupled weight decay of a step, counted from 0; 0.0 for those without."""
        decay = getattr(self, "weight_decay", 0.0)
        return float(decay(step) if callable(decay) else decay)

    def _step(
        self, p: Array, g: Array, slots: Sequence[Array], rate: float, t: int, factor: float
    ) -> None:
        raise NotImplementedError
