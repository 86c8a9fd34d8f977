"""Averages of all weights once per epoch, in float64; training continues with its own weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fastmlp._core.intervals import FRACTION, Options, check_count


class Averaging(Options):
    """Base of the averages. ``start`` is the first epoch that counts, from 0."""

    _checks: ClassVar = {"start": (check_count, 10, 0)}
    start: int

    def share(self, n: int) -> float:
        """Return the factor of the last weights in the mean of n epochs, n at least 1.

        The mean is ``mean + share(n) * (weights - mean)``.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class SWA(Averaging):
    """The plain mean of the weights of the last epochs, in place of the last weights.

    Take it at the end of a long fit: the mean of the weights often predicts new rows better.

    Stochastic weight averaging: the mean, with equal factors, of the weights after each epoch.

    Sources: Polyak and Juditsky 1992; Izmailov et al. 2018, "Averaging weights leads to wider
    optima and better generalization" (arXiv:1803.05407).

    Parameters
    ----------
    start : int
        The first epoch that counts, from 0; three quarters of all epochs is usual. Before it, the
        model has the weights of the last epoch; a fit that has no later epochs warns.

    Examples
    --------
    >>> import fastmlp, numpy as np
    >>> x = np.linspace(-1, 1, 100)[:, None]
    >>> net = fastmlp.MLP([1, 8, 1], rng=0)
    >>> seen = []
    >>> history = net.fit(x, x**2, epochs=8, averaging=fastmlp.SWA(start=6))
    >>> raw = fastmlp.MLP([1, 8, 1], rng=0)
    >>> take = lambda state: seen.append(raw.weights[0].astype(float))
    >>> history = raw.fit(x, x**2, epochs=8, callbacks=[take])
    >>> np.allclose(net.weights[0], (seen[6] + seen[7]) / 2)
    True
    """

    start: int = 0

    def share(self, n: int) -> float:
        """Return 1 / n."""
        return 1 / n


@dataclass(frozen=True)
class EMA(Averaging):
    """A mean of the weights of all epochs, in place of the last weights; late epochs count most.

    Take it when the validation loss jumps from epoch to epoch: the mean of the weights is often
    better.

    Exponential moving average of the weights after each epoch, corrected for its start.

    After n epochs, the weights of epoch k (from 1) have the factor
    decay**(n - k) (1 - decay) / (1 - decay**n). This is m = decay m + (1 - decay) weights, started
    at m = 0 and divided by 1 - decay**n, the sum of its factors (Kingma and Ba 2015 do this for
    gradients). An average over steps with decay d corresponds to ``decay=d**steps`` with the steps
    per epoch: d = 0.999 and 100 steps give 0.905.

    Parameters
    ----------
    decay : float, in [0, 1)
        Decay per epoch; about 1 / (1 - decay) epochs count.
    start : int
        The first epoch that counts, from 0. Before it, the model has the weights of the last epoch.

    Examples
    --------
    >>> import fastmlp, numpy as np
    >>> x = np.linspace(-1, 1, 100)[:, None]
    >>> net = fastmlp.MLP([1, 8, 1], rng=0)
    >>> history = net.fit(x, x**2, epochs=20, averaging=fastmlp.EMA(decay=0.8))
    >>> [round(fastmlp.EMA(decay=0.8).share(n), 2) for n in (1, 2, 3, 100)]
    [1.0, 0.56, 0.41, 0.2]
    """

    _checks: ClassVar = {"decay": (FRACTION.check, 0.9), **Averaging._checks}
    decay: float = 0.9
    start: int = 0

    def share(self, n: int) -> float:
        """Return (1 - decay) / (1 - decay**n)."""
        return (1 - self.decay) / (1 - self.decay**n)


AVERAGINGS = (EMA, SWA)
