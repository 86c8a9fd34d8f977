"""The optimizers: one row each, with the elementwise step in NumPy and PyTorch's formulas.

SGD and Adam have a second form each, which scikit-learn and others compute; a keyword selects it.

The state of an optimizer is `n_slots` arrays per parameter, zero at the start, kept by the engine;
the optimizer itself is frozen and can be shared by models. g is the gradient of the objective, L2
penalty included; t counts the steps from 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, TypeAlias

import numpy as np

from fastmlp._core.intervals import (
    FRACTION,
    NON_NEGATIVE,
    POSITIVE,
    Options,
    check_count,
    check_flag,
)
from fastmlp._core.keywords import OPTIONS, with_argument_hints
from fastmlp._network.activations import Array
from fastmlp._network.scheduled import LearningRate, Scheduled, check_scheduled

__all__ = ["Optimizer", "SGD", "RMSprop", "Adam", "AdamW", "Lion", "LBFGS"]

N_HYPER = 4  # numbers of a step, as the C side takes them

Slots: TypeAlias = dict[str, int | None]
Arrays: TypeAlias = Sequence[Array]


@dataclass(frozen=True)
class Optimizer(Options):
    """Base class of all optimizers: an optimizer is the rule by which a step changes the weights.

    Pass one of its subclasses, or its name, to ``fit(optimizer=...)``.

    Attributes
    ----------
    learning_rate : float or callable
        A rate > 0, or a schedule ``step -> learning rate``.
    name : str
        The name that ``fit`` accepts in its place.
    degree : int
        With s times the gradients, and s times the epsilon, a step is s ** degree times as long.

    Examples
    --------
    >>> import fastmlp
    >>> issubclass(fastmlp.AdamW, fastmlp.Optimizer), fastmlp.AdamW.name
    (True, 'adamw')
    """

    name: ClassVar[str]
    degree: ClassVar[int] = 0
    _slots_by_row: ClassVar[dict[str, Slots]] = {}
    _numbers: ClassVar[tuple[str, ...]] = ()  # the C side takes at most 3 fields
    _checks = {"learning_rate": (check_scheduled, 0.001, POSITIVE)}  # noqa: RUF012

    learning_rate: LearningRate = 0.01

    @cached_property
    def native_row(self) -> str:
        """Name of the compiled step."""
        return self.name

    @cached_property
    def kind(self) -> tuple[Any, ...]:
        """Key of the state, without rate and decay: optimizers of equal kind can continue it."""
        return self.native_row, self.hyper[:-1]

    @cached_property
    def n_slots(self) -> int:
        """Number of state arrays per parameter."""
        return len(SLOTS[self.native_row])

    @cached_property
    def hyper(self) -> tuple[float, ...]:
        """Four numbers of the step: options in order, zeros, then the decay (0 for a schedule)."""
        decay = getattr(self, "weight_decay", 0.0)
        numbers = [float(getattr(self, name)) for name in self._numbers]
        zeros = (0.0,) * (N_HYPER - 1 - len(numbers))
        return *numbers, *zeros, 0.0 if callable(decay) else float(decay)

    def step(
        self,
        parameter: Array,
        gradient: Array,
        slots: Arrays,
        learning_rate: float,
        t: int,
        decay: float,
        epsilon: float = 1.0,
    ) -> None:
        """Move `parameter` and its `slots` by one step, in place.

        Parameters
        ----------
        parameter : array of float32 or float64, any shape
            Changed in place.
        gradient : array like `parameter`
            Only read.
        slots : sequence of `n_slots` arrays like `parameter`
            The state, changed in place.
        learning_rate : float, >= 0
            The rate of this step.
        t : int, >= 1
            The number of this step since the state was zero.
        decay : float, >= 0
            Factor on decoupled weight decay: by default 1 for weights and 0 for biases.
        epsilon : float, > 0
            Factor on the optimizer's epsilon, if it has one.
        """
        # Python floats, so that float32 parameters are moved in float32.
        rate, weight_decay = float(learning_rate), float(decay * self.decay(t - 1))
        if weight_decay:
            parameter *= 1 - rate * weight_decay
        self._step(parameter, gradient, slots, rate, t, epsilon)

    def decay(self, step: int) -> float:
        """Return the weight decay of a step, counted from 0: how strongly weights shrink."""
        decay = getattr(self, "weight_decay", 0.0)
        return float(decay(step) if callable(decay) else decay)

    def _step(self, p: Array, g: Array, slots: Arrays, rate: float, t: int, scale: float) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class SGD(Optimizer):
    """An optimizer: each step goes straight down the slope of the loss, if wanted with momentum.

    Take it to learn how training works, or where a paper does; `Adam` needs less tuning.

    Stochastic gradient descent: p -= rate g; with momentum b = mu b + g and p -= rate b.

    Nesterov's variant takes p -= rate (g + mu b).

    With `rate_in_velocity` the velocity has the learning rate in it: b = mu b - rate g and p += b,
    Nesterov's p += mu b - rate g. Both forms agree while the rate is constant; after a change, this
    one continues earlier steps at the old rate, as in scikit-learn and Sutskever et al. 2013.

    Parameters
    ----------
    learning_rate : float > 0 or callable
        The rate, or a schedule.
    momentum : float, in [0, 1)
        The factor mu.
    nesterov : bool
        Use Nesterov's variant, which needs momentum.
    rate_in_velocity : bool
        Use the second form; without momentum both are equal.

    Examples
    --------
    >>> import fastmlp
    >>> net = fastmlp.MLP([1, 8, 1], rng=0)
    >>> optimizer = fastmlp.SGD(0.01, momentum=0.9, nesterov=True)
    >>> history = net.fit([[0.0], [1.0]], [0.0, 2.0], epochs=50, optimizer=optimizer)
    >>> history.loss[-1] < history.loss[0]
    True
    """

    name = "sgd"
    degree = 1
    _slots_by_row: ClassVar = {
        "sgd": {},
        **{"momentum": {"b": None}, "momentum_with_rate": {"b": None}},
        **{"nesterov": {"b": None}, "nesterov_with_rate": {"b": None}},
    }
    _numbers = ("momentum",)
    _checks: ClassVar = {
        **Optimizer._checks,
        "momentum": (FRACTION.check, 0.9),
        **dict.fromkeys(("nesterov", "rate_in_velocity"), (check_flag,)),
    }
    momentum: float = 0.0
    nesterov: bool = False
    rate_in_velocity: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and self.momentum == 0:
            raise ValueError(
                "nesterov is True but momentum is 0, which leaves nothing to look ahead with: "
                "pass for example momentum=0.9"
            )

    @cached_property
    def native_row(self) -> str:
        """Name of the compiled step, by momentum, nesterov and form."""
        if self.momentum == 0:
            return "sgd"
        row = "nesterov" if self.nesterov else "momentum"
        return f"{row}_with_rate" if self.rate_in_velocity else row

    def _step(self, p: Array, g: Array, slots: Arrays, rate: float, t: int, scale: float) -> None:
        if not self.momentum:
            p -= rate * g
            return
        mu = float(self.momentum)
        (b,) = slots
        if self.rate_in_velocity:
            b[...] = mu * b - rate * g
            p += mu * b - rate * g if self.nesterov else b
        else:
            b[...] = mu * b + g
            p -= rate * (g + mu * b if self.nesterov else b)


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """An optimizer: steps divided by how large each weight's gradients usually are.

    Take it where a paper does; `Adam` is its successor, and most often better.

    Steps divided by the root of a mean of squared gradients. Source: Hinton 2012.

    v = alpha v + (1 - alpha) g**2; p -= rate g / (sqrt(v) + epsilon).

    Parameters
    ----------
    learning_rate : float > 0 or callable
        The rate, or a schedule.
    alpha : float, in [0, 1)
        Decay rate of the mean square.
    epsilon : float, > 0
        Added to the divisor to keep the step finite.

    Examples
    --------
    >>> import fastmlp
    >>> net = fastmlp.MLP([1, 8, 1], rng=0)
    >>> history = net.fit([[0.0], [1.0]], [0, 2], optimizer=fastmlp.RMSprop(alpha=0.9))
    """

    name = "rmsprop"
    _slots_by_row: ClassVar = {"rmsprop": {"v": 0}}
    _numbers = ("alpha", "epsilon")
    _checks: ClassVar = {
        **Optimizer._checks,
        "alpha": (FRACTION.check, 0.99),
        "epsilon": (POSITIVE.check, 1e-8),
    }
    alpha: float = 0.99
    epsilon: float = 1e-8

    def _step(self, p: Array, g: Array, slots: Arrays, rate: float, t: int, scale: float) -> None:
        alpha, epsilon, *_ = self.hyper
        (v,) = slots
        v[...] = alpha * v + (1 - alpha) * g * g
        p -= rate * g / (np.sqrt(v) + scale * epsilon)


@dataclass(frozen=True)
class Adam(Optimizer):
    """An optimizer: a step size of its own for each weight, from the gradients of the last steps.

    Take it first: it needs little tuning. `AdamW` is the same with a penalty on large weights.

    Adaptive moments with bias correction. Source: Kingma and Ba 2015.

    m = beta_1 m + (1 - beta_1) g; v = beta_2 v + (1 - beta_2) g**2;
    p -= rate / (1 - beta_1**t) m / (sqrt(v) / sqrt(1 - beta_2**t) + epsilon).

    With `epsilon_hat` the last line is the paper's shorter form (end of its section 2), which
    scikit-learn computes: p -= rate sqrt(1 - beta_2**t) / (1 - beta_1**t) m / (sqrt(v) + epsilon).

    Parameters
    ----------
    learning_rate : float > 0 or callable
        The rate, or a schedule.
    beta_1, beta_2 : float, in [0, 1)
        Decay rates of the mean and of the mean square.
    epsilon : float, > 0
        Added to the divisor to keep the step finite.
    epsilon_hat : bool
        Add epsilon before the bias correction of v, not after it.

    Examples
    --------
    >>> import fastmlp
    >>> net = fastmlp.MLP([1, 8, 1], rng=0)
    >>> history = net.fit([[0.0], [1.0]], [0, 2], optimizer=fastmlp.Adam(0.01, beta_2=0.99))
    """

    name = "adam"
    _slots_by_row: ClassVar = {"adam": {"m": 0, "v": 1}, "adam_hat": {"m": 0, "v": 1}}
    _numbers = ("beta_1", "beta_2", "epsilon")
    _checks: ClassVar = {
        **Optimizer._checks,
        "beta_1": (FRACTION.check, 0.9),
        "beta_2": (FRACTION.check, 0.999),
        "epsilon": (POSITIVE.check, 1e-8),
        "epsilon_hat": (check_flag,),
    }
    learning_rate: LearningRate = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    epsilon_hat: bool = field(default=False, kw_only=True)

    @cached_property
    def native_row(self) -> str:
        """Name of the compiled step, by the place of epsilon."""
        return f"{self.name}_hat" if self.epsilon_hat else self.name

    def _step(self, p: Array, g: Array, slots: Arrays, rate: float, t: int, scale: float) -> None:
        beta_1, beta_2, epsilon, *_ = self.hyper
        m, v = slots
        m[...] = beta_1 * m + (1 - beta_1) * g
        v[...] = beta_2 * v + (1 - beta_2) * g * g
        root = math.sqrt(1 - beta_2**t)
        epsilon *= scale
        if not self.epsilon_hat:
            epsilon *= root
        p -= rate * root / (1 - beta_1**t) * m / (np.sqrt(v) + epsilon)


@dataclass(frozen=True)
class AdamW(Adam):
    """An optimizer: Adam, which also shrinks the weights a little in each step (weight decay).

    Take it when a network learns its rows by heart: smaller weights make smoother functions.

    Adam after p *= 1 - rate weight_decay, on weights only. Source: Loshchilov and Hutter 2019.

    Parameters
    ----------
    learning_rate, beta_1, beta_2, epsilon, epsilon_hat
        As in `Adam`.
    weight_decay : float >= 0 or callable
        The decay, or a schedule of it; decoupled from the gradient; biases do not decay.

    Examples
    --------
    >>> import fastmlp
    >>> net = fastmlp.MLP([1, 8, 1], rng=0)
    >>> history = net.fit([[0.0], [1.0]], [0, 2], optimizer=fastmlp.AdamW(weight_decay=0.1))
    """

    name = "adamw"
    _slots_by_row: ClassVar = {"adamw": {"m": 0, "v": 1}, "adamw_hat": {"m": 0, "v": 1}}
    _checks: ClassVar = {**Adam._checks, "weight_decay": (check_scheduled, 0.01, NON_NEGATIVE)}
    weight_decay: Scheduled = 0.01


@dataclass(frozen=True)
class Lion(Optimizer):
    """An optimizer whose steps all have one length: only the signs of the gradients count.

    Take it as an alternative to `AdamW`, with a third of its learning rate; it holds one number per
    weight less.

    Steps of one length, by the sign of a mean of gradients. Source: Chen et al. 2023.

    p *= 1 - rate weight_decay, on weights only;
    p -= rate sign(beta_1 m + (1 - beta_1) g); m = beta_2 m + (1 - beta_2) g.

    The paper (arXiv 2302.06675) advises a rate 3 to 10 times smaller than that of AdamW, and a
    decay as many times larger.

    Parameters
    ----------
    learning_rate : float > 0 or callable
        The rate, or a schedule.
    beta_1, beta_2 : float, in [0, 1)
        Weight of the mean in a step, and its decay rate.
    weight_decay : float >= 0 or callable
        The decay, or a schedule of it; decoupled from the gradient; biases do not decay.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> p = np.array([1.0, 2.0, 3.0])
    >>> fastmlp.Lion().step(p, np.array([1e-3, -20.0, 0.0]), [np.zeros(3)], 0.1, 1, decay=1.0)
    >>> p
    array([0.9, 2.1, 3. ])
    """

    name = "lion"
    _slots_by_row: ClassVar = {"lion": {"m": 1}}
    _numbers = ("beta_1", "beta_2")
    _checks: ClassVar = {
        **Optimizer._checks,
        "beta_1": (FRACTION.check, 0.9),
        "beta_2": (FRACTION.check, 0.99),
        "weight_decay": (check_scheduled, 0.1, NON_NEGATIVE),
    }
    learning_rate: LearningRate = 1e-4
    beta_1: float = 0.9
    beta_2: float = 0.99
    weight_decay: Scheduled = 0.0

    def _step(self, p: Array, g: Array, slots: Arrays, rate: float, t: int, scale: float) -> None:
        beta_1, beta_2, *_ = self.hyper
        (m,) = slots
        direction = beta_1 * m + (1 - beta_1) * g
        m[...] = beta_2 * m + (1 - beta_2) * g
        p -= rate * (np.sign(direction) + 0 * direction)  # NaN if the direction is infinite


@dataclass(frozen=True)
class LBFGS(Options):
    """An optimizer for few rows: SciPy's L-BFGS, which uses all rows in each step.

    Take it for up to a few thousand rows and small networks, for a loss that is as low as possible.

    The limited-memory BFGS method of SciPy over all rows at once (Byrd et al., 1995).

    Only ``MLP.fit`` takes it; it is no `Optimizer` of steps over batches. The fit's ``epochs`` are
    the most iterations, and ``batch_size`` and ``shuffle`` have no effect. SciPy minimises in
    float64, also for networks of float32. It suits few rows, smooth targets and high accuracy.

    Parameters
    ----------
    tolerance : float >= 0
        The fit ends where no derivative of the objective is larger than this.
    min_decrease : float >= 0
        The fit also ends where an iteration decreases the objective by less than this share. If it
        ends after all ``epochs``, not converged, ``History.stop_reason`` is empty.
    n_corrections : int
        Number of last steps from which the curvature is estimated, at least 1.
    max_evaluations : int
        Most evaluations of objective and gradient, at least 1.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> X = np.linspace(-1, 1, 50)[:, None]
    >>> net = fastmlp.MLP([1, 8, 1], activation="tanh", dtype="float64", rng=0)
    >>> history = net.fit(X, np.sin(3 * X), epochs=300, optimizer=fastmlp.LBFGS())
    >>> history.loss[-1] < 1e-5
    True
    """

    _checks: ClassVar = {
        "tolerance": (NON_NEGATIVE.check, 1e-5),
        "min_decrease": (NON_NEGATIVE.check, 1e-12),
        "n_corrections": (check_count, 10),
        "max_evaluations": (check_count, 15_000),
    }
    tolerance: float = 1e-5
    min_decrease: float = 1e-12
    n_corrections: int = 10
    max_evaluations: int = 15_000


# Row order of the C table.
NATIVE_OPTIMIZERS = (
    *("sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw"),
    *("momentum_with_rate", "nesterov_with_rate", "adam_hat", "adamw_hat", "lion"),
)

OPTIMIZERS: dict[str, type[Optimizer]] = {
    row.name: with_argument_hints(row, OPTIONS, OPTIONS)
    for row in (SGD, RMSprop, Adam, AdamW, Lion)
}
with_argument_hints(LBFGS, OPTIONS, OPTIONS)

# The slots of each native row, by their names in the formulas. The native engine keeps a mean as a
# sum (c/tables/optimizers.h): the number is the index in `hyper` of the decay rate of that mean.
SLOTS: dict[str, Slots] = {
    row: slots for kind in OPTIMIZERS.values() for row, slots in kind._slots_by_row.items()
}
