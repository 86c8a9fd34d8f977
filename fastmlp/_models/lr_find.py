"""The learning-rate range test (Smith 2017)."""

from __future__ import annotations

import contextlib
import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmlp._core import charts
from fastmlp._core.history import Batch, DivergenceError, State
from fastmlp._core.intervals import POSITIVE, check_count
from fastmlp._core.optional import Drawing, axes
from fastmlp._models.mlp import MLP
from fastmlp._validation import check

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMOOTHING = 0.8  # share of the earlier losses in the running mean
TOO_LARGE = 4.0  # multiple of the lowest loss at which the test ends
OPTIONS = ("sample_weight", "l1", "l2", "clip_norm", "groups", "dropout", "shuffle", "n_threads")


@dataclass(frozen=True, eq=False, repr=False)
class LRFind:
    """What `lr_find` returns: a learning rate, and the losses that suggest it, to be drawn.

    Attributes
    ----------
    learning_rates : array of float64, shape (n,)
        The rates of the steps, ascending; n is at most ``steps``.
    losses : array of float64, shape (n,)
        Smoothed losses of the batches before these steps.
    suggestion : float
        Rate at which the smoothed loss falls the fastest; NaN if it never falls.

    Examples
    --------
    >>> import numpy as np
    >>> import fastmlp
    >>> x = np.linspace(-1, 1, 200)[:, np.newaxis]
    >>> found = fastmlp.lr_find(fastmlp.MLP([1, 16, 1], rng=0), x, x[:, 0] ** 2)
    >>> len(found.learning_rates) == len(found.losses), bool(found.suggestion > 0)
    (True, True)
    """

    learning_rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    suggestion: float

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the smoothed loss by learning rate, and the suggestion.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; by default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            The axes, with a logarithmic scale of rates.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        return self._drawn_on(axes(ax, "LRFind.plot"))

    def _drawn_on(self, ax: Drawing) -> Drawing:
        ax.plot(self.learning_rates, self.losses)
        if self.suggestion == self.suggestion:
            ax.axvline(self.suggestion, linestyle=":", label="suggestion")
            ax.legend()
        ax.set(xscale="log", xlabel="learning rate", ylabel="loss, smoothed")
        return ax

    def __repr__(self) -> str:
        first, last = self.learning_rates[[0, -1]]
        return f"LRFind(suggestion={self.suggestion:.3g}, rates from {first:.3g} to {last:.3g})"

    def _repr_html_(self) -> str:
        chart = charts.Axes()
        self._drawn_on(chart)
        return chart.svg(repr(self))


class _Test:
    """Callback that records losses, and ends the fit after all steps or at a large loss."""

    def __init__(self, steps: int) -> None:
        self.steps, self.rates, self.losses = steps, list[float](), list[float]()
        self._mean = 0.0

    def __call__(self, state: State) -> None:
        """Do nothing at the end of an epoch."""

    def on_batch(self, state: State, batch: Batch) -> bool:
        """Record a batch."""
        if not math.isfinite(batch.loss):
            return True
        self._mean = SMOOTHING * self._mean + (1 - SMOOTHING) * batch.loss
        smoothed = self._mean / (1 - SMOOTHING ** (len(self.losses) + 1))
        if smoothed > TOO_LARGE * min(self.losses, default=math.inf):
            return True
        self.rates.append(batch.learning_rate)
        self.losses.append(smoothed)
        return len(self.losses) == self.steps


def lr_find(
    model: Any,
    X: ArrayLike,
    y: ArrayLike,
    *,
    optimizer: Any = None,
    batch_size: int = 64,
    start: float = 1e-6,
    end: float = 10.0,
    steps: int = 100,
    **options: Any,
) -> LRFind:
    """Suggest a learning rate: try growing rates on a copy, and see when the loss gets worse.

    Take it before a fit with an optimizer of your own, if you have no idea of the rate.

    This is the range test of Smith (2017), "Cyclical Learning Rates for Training Neural Networks",
    section 3.3. It ends early at a loss that is not finite or 4 times the lowest one. Losses are
    smoothed by an exponential mean with the factor 0.8.

    Parameters
    ----------
    model : MLP
        The model, which stays unchanged.
    X, y : array-like
        Training data, as for ``MLP.fit``.
    optimizer : Optimizer or str, optional
        ``Adam()`` by default; its learning rate is replaced.
    batch_size : int
        Samples per step, at least 1.
    start, end : float
        First and last learning rate; 0 < start < end.
    steps : int
        Number of steps, at least 10.
    **options
        ``sample_weight``, ``l1``, ``l2``, ``clip_norm``, ``groups``, ``dropout``, ``shuffle`` and
        ``n_threads``, as for ``MLP.fit``.

    Returns
    -------
    LRFind
        Rates, smoothed losses and the suggestion, with a method ``plot``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or if the loss is not finite in the first steps.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> x = np.linspace(-1, 1, 512)[:, np.newaxis]
    >>> net = fastmlp.MLP([1, 32, 1], rng=0)
    >>> found = fastmlp.lr_find(net, x, np.sin(3 * x))
    >>> 1e-4 < found.suggestion < 1
    True
    >>> history = net.fit(x, np.sin(3 * x), optimizer=fastmlp.Adam(found.suggestion))
    """
    if not isinstance(model, MLP):
        raise TypeError(
            f"model is a {type(model).__name__} but an MLP is expected: for an estimator, pass an "
            "MLP with the same layers"
        )
    unknown = [name for name in options if name not in OPTIONS]
    if unknown:
        names = "optimizer", "batch_size", "start", "end", "steps", *OPTIONS
        raise TypeError(f"lr_find has no option {unknown[0]!r}: it takes {', '.join(names)}")
    start = POSITIVE.check("start", start, example=1e-6)
    end = POSITIVE.check("end", end, example=10.0)
    if start >= end:
        raise ValueError(f"start is {start:g} but must be below end, {end:g}: pass a smaller start")
    if check_count("steps", steps, example=100) < 10:
        raise ValueError(f"steps is {steps} but at least 10 are needed: pass for example steps=100")

    def schedule(step: int) -> float:
        return float(start * (end / start) ** (min(step, steps - 1) / (steps - 1)))

    chosen, test = copy.copy(check.optimizer(optimizer)), _Test(steps)
    object.__setattr__(chosen, "learning_rate", schedule)  # optimizers are frozen
    options |= {"optimizer": chosen, "batch_size": batch_size, "epochs": steps}
    with contextlib.suppress(DivergenceError):  # this ends the test
        copy.copy(model).fit(X, y, callbacks=[test], **options)
    if len(test.losses) < 3:
        raise ValueError(
            f"the loss is not finite after {len(test.losses)} steps with learning rates from "
            f"{start:g}: pass a smaller start, or scale X and y"
        )
    losses = np.array(test.losses)
    falls = -np.diff(losses[: losses.argmin() + 1], prepend=losses[0])
    rates = np.array(test.rates)
    return LRFind(rates, losses, float(rates[falls.argmax()]) if falls.max() > 0 else math.nan)
