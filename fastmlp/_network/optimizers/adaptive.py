"""Steps whose length is each parameter's own: divided by a mean square, or of one length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from fastmlp._core.intervals import FRACTION, NON_NEGATIVE, POSITIVE, check_flag
from fastmlp._network.activations import Array
from fastmlp._network.optimizers.base import Optimizer, Slots
from fastmlp._network.scheduled import LearningRate, Scheduled, check_scheduled


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """v = alpha v + (1 - alpha) g**2; p -= rate g / (sqrt(v) + epsilon). Source: Hinton 2012.

    Parameters
    ----------
    learning_rate : float > 0 or callable
        The rate, or a schedule.
    alpha : float, in [0, 1)
        Memory of the mean square.
    epsilon : float, > 0
        Keeps the division finite.

    Examples
    --------
    >>> RMSprop(alpha=0.9).hyper
    (0.9, 1e-08, 0.0, 0.0)
    """

    name = "rmsprop"
    _slots_by_row: ClassVar[dict[str, Slots]] = {"rmsprop": {"v": 0}}
    _numbers = ("alpha", "epsilon")
    alpha: float = 0.99
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        FRACTION.check("alpha", self.alpha, example=0.99)
        POSITIVE.check("epsilon", self.epsilon, example=1e-8)

    def _step(
        self, p: Array, g: Array, slots: Sequence[Array], rate: float, t: int, factor: float
    ) -> None:
        del t
        alpha, epsilon, *_ = self.hyper
        (v,) = slots
        v[...] = alpha * v + (1 - alpha) * g * g
        p -= rate * g / (np.sqrt(v) + factor * epsilon)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adaptive moments with bias correction. Source: Kingma and Ba 2015.

    m = beta_1 m + (1 - beta_1) g; v = beta_2 v + (1 - beta_2) g**2;
    p -= rate / (1 - beta_1**t) m / (sqrt(v) / sqrt(1 - beta_2**t) + epsilon).

    With `epsilon_hat` the last line is the paper's shorter form (end of its section 2), which
    scikit-learn computes: p -= rate sqrt(1 - beta_2**t) / (1 - beta_1**t) m / (sqrt(v) + epsilon).

    Parameters
    ----------
    learning_rate : float > 0 or callable
        The rate, or a schedule.
    beta_1, beta_2 : float, in [0, 1)
        Memory of the mean and of the mean square.
    epsilon : float, > 0
        Keeps the division finite.
    epsilon_hat : bool
        Add epsilon before the bias correction of v, not after it.

    Examples
    --------
    >>> Adam().hyper
    (0.9, 0.999, 1e-08, 0.0)
    """

    name = "adam"
    _slots_by_row: ClassVar[dict[str, Slots]] = {
        "adam": {"m": 0, "v": 1},
        "adam_hat": {"m": 0, "v": 1},
    }
    _numbers = ("beta_1", "beta_2", "epsilon")
    learning_rate: LearningRate = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    epsilon_hat: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        FRACTION.check("beta_1", self.beta_1, example=0.9)
        FRACTION.check("beta_2", self.beta_2, example=0.999)
        POSITIVE.check("epsilon", self.epsilon, example=1e-8)
        check_flag("epsilon_hat", self.epsilon_hat)

    @property
    def native_row(self) -> str:
        """The row of `NATIVE_OPTIMIZERS`, by the place of epsilon."""
        return f"{self.name}_hat" if self.epsilon_hat else self.name

    def _step(
        self, p: Array, g: Array, slots: Sequence[Array], rate: float, t: int, factor: float
    ) -> None:
        beta_1, beta_2, epsilon, *_ = self.hyper
        m, v = slots
        m[...] = beta_1 * m + (1 - beta_1) * g
        v[...] = beta_2 * v + (1 - beta_2) * g * g
        root = math.sqrt(1 - beta_2**t)
        epsilon *= factor
        if not self.epsilon_hat:
            epsilon *= root
        p -= rate * root / (1 - beta_1**t) * m / (np.sqrt(v) + epsilon)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam after p *= 1 - rate weight_decay, on weights only. Source: Loshchilov and Hutter 2019.

    Parameters
    ----------
    learning_rate, beta_1, beta_2, epsilon, epsilon_hat
        As in `Adam`.
    weight_decay : float >= 0 or callable
        The decay, or a schedule of it; decoupled from the gradient; biases are left alone.

    Examples
    --------
    >>> AdamW(weight_decay=0.1).hyper
    (0.9, 0.999, 1e-08, 0.1)
    """

    name = "adamw"
    _slots_by_row: ClassVar[dict[str, Slots]] = {
        "adamw": {"m": 0, "v": 1},
        "adamw_hat": {"m": 0, "v": 1},
    }
    weight_decay: Scheduled = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        check_scheduled("weight_decay", self.weight_decay, NON_NEGATIVE, example=0.01)


@dataclass(frozen=True)
class Lion(Optimizer):
    """Steps of one length, by the sign of a mean of gradients. Source: Chen et al. 2023.

    p *= 1 - rate weight_decay, on weights only;
    p -= rate sign(beta_1 m + (1 - beta_1) g); m = beta_2 m + (1 - beta_2) g.

    The paper (arXiv 2302.06675) advises a rate 3 to 10 times smaller than that of AdamW, and a
    decay as many times larger.

    Parameters
    ----------
    learning_rate : float > 0 or callable
        The rate, or a schedule.
    beta_1, beta_2 : float, in [0, 1)
        What the mean weighs beside the gradient in a step, and its memory.
    weight_decay : float >= 0 or callable
        The decay, or a schedule of it; decoupled from the gradient; biases are left alone.

    Examples
    --------
    >>> p = np.array([1.0, 2.0, 3.0])
    >>> Lion().step(p, np.array([1e-3, -20.0, 0.0]), [np.zeros(3)], 0.1, 1, decay=1.0)
    >>> p
    array([0.9, 2.1, 3. ])
    """

    name = "lion"
    _slots_by_row: ClassVar[dict[str, Slots]] = {"lion": {"m": 1}}
    _numbers = ("beta_1", "beta_2")
    learning_rate: LearningRate = 1e-4
    beta_1: float = 0.9
    beta_2: float = 0.99
    weight_decay: Scheduled = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        FRACTION.check("beta_1", self.beta_1, example=0.9)
        FRACTION.check("beta_2", self.beta_2, example=0.99)
        check_scheduled("weight_decay", self.weight_decay, NON_NEGATIVE, example=0.1)

    def _step(
        self, p: Array, g: Array, slots: Sequence[Array], rate: float, t: int, factor: float
    ) -> None:
        del t, factor  # nothing to correct, no epsilon
        beta_1, beta_2, *_ = self.hyper
        (m,) = slots
        direction = beta_1 * m + (1 - beta_1) * g
        m[...] = beta_2 * m + (1 - beta_2) * g
        p -= rate * (np.sign(direction) + 0 * direction)  # NaN, not a step, once it is infinite
