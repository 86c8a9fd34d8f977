"""Means of the weights that a fit goes through, for the model in place of the last ones.

They are taken once an epoch, in float64, of all parameters; training goes on with its own weights.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastmlp._core.intervals import FRACTION, check_count


class Averaging:
    """What both have; the subclasses are the rows.

    Attributes
    ----------
    start : int
        The first epoch that counts, from 0; up to it the model has the weights of the last epoch.
    """

    start: int

    def __post_init__(self) -> None:
        check_count("start", self.start, example=10, least=0)

    def share(self, n: int) -> float:
        """Return the share of the last weights in a mean of n, at least 1; that of others shrinks.

        The mean is ``mean + share(n) * (weights - mean)``.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class SWA(Averaging):
    """Stochastic weight averaging: the mean of the weights after each epoch, all alike.

    Sources: Polyak and Juditsky 1992; Izmailov et al. 2018, "Averaging weights leads to wider
    optima and better generalization" (arXiv:1803.05407).

    Parameters
    ----------
    start : int
        The first epoch that counts, from 0: about three quarters of all is usual. Up to it the
        model has the weights of the last epoch.

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
    """Exponential moving average of the weights after each epoch, corrected for its start.

    After n epochs those of epoch k, from 1, weigh decay**(n - k) (1 - decay) / (1 - decay**n): as
    m = decay m + (1 - decay) weights from m = 0, divided by 1 - decay**n, what it is short of 1
    (Kingma and Ba 2015 have this for gradients). A mean over the steps with decay d a step, as
    deep learning often has it, remembers as long with ``decay=d**steps`` of an epoch: 0.999 a step
    and 100 steps an epoch are 0.905.

    Parameters
    ----------
    decay : float, in [0, 1)
        Memory, per epoch; 1 / (1 - decay) epochs count, about.
    start : int
        The first epoch that counts, from 0; up to it the model has the weights of the last epoch.

    Examples
    --------
    >>> import fastmlp, numpy as np
    >>> x = np.linspace(-1, 1, 100)[:, None]
    >>> net = fastmlp.MLP([1, 8, 1], rng=0)
    >>> history = net.fit(x, x**2, epochs=20, averaging=fastmlp.EMA(decay=0.8))
    >>> [round(fastmlp.EMA(decay=0.8).share(n), 2) for n in (1, 2, 3, 100)]
    [1.0, 0.56, 0.41, 0.2]
    """

    decay: float = 0.9
    start: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        FRACTION.check("decay", self.decay, example=0.9)

    def share(self, n: int) -> float:
        """Return (1 - decay) / (1 - decay**n)."""
        return (1 - self.decay) / (1 - self.decay**n)


AVERAGINGS = (EMA, SWA)
