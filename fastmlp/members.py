"""The members of an ensemble as one: their engines together, and what is measured of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.losses import Loss
from fastmlp.spec import Data
from fastmlp.teams import Team
from fastmlp.training.judge import Judge


def mixture(loss: Loss, predictions: NDArray[Any]) -> NDArray[Any]:
    """Return the prediction of all: the mean; of two heads, mean and variance of the mixture.

    Parameters
    ----------
    loss : Loss
        Whose predictions these are.
    predictions : array, shape (members, n, heads * m)
        Of each member.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        mixed = predictions.mean(axis=0, dtype=np.float64)
        if loss.heads == 2:
            m = mixed.shape[1] // 2
            away = predictions[:, :, :m] - mixed[:, :m]
            mixed[:, m:] += np.mean(away * away, axis=0)
        return np.asarray(mixed.astype(predictions.dtype))


class Members:
    """The engines of an ensemble, as far as the loop, its judge and callbacks ask one.

    Parameters
    ----------
    engines : sequence of Engine
        Of equal specs.
    """

    def __init__(self, engines: Sequence[Any]) -> None:
        self.engines, self.spec, self.level = engines, engines[0].spec, engines[0].level

    def snapshot(self) -> tuple[Any, ...]:
        """Return the parameters of now of all."""
        return tuple(engine.snapshot() for engine in self.engines)

    def restore(self, snapshots: tuple[Any, ...]) -> None:
        """Return to the parameters of a snapshot."""
        if len(snapshots) != len(self.engines):
            raise ValueError(
                f"restore was given a snapshot of {len(snapshots)} members but "
                f"{len(self.engines)} are expected: pass what this ensemble's state returned"
            )
        for engine, snapshot in zip(self.engines, snapshots, strict=True):
            engine.restore(snapshot)

    def predict(self, x: NDArray[Any], team: Team | None = None) -> NDArray[Any]:
        """Return the predictions of each, (members, n, heads * m)."""
        return np.stack([engine.predict(x, team) for engine in self.engines])

    def evaluate(self, data: Data, team: Team | None = None) -> float:
        """Return the weighted mean loss of the prediction of all."""
        loss, targets, weights = self.spec.loss, data.targets, data.weights
        z = loss.unlink(mixture(loss, self.predict(data.x, team)))
        if weights is not None:  # what overflows in a row of weight 0 is no part of a sum
            used = weights > 0
            z, targets, weights = z[used], targets[used], weights[used].astype(np.float64)
        values, _ = loss.value_and_gradient(z, targets)
        return float(np.average(values.astype(np.float64), weights=weights))


class Jury(Judge):
    """Measures each member, and all of them together.

    Parameters
    ----------
    engine : Members
        In training.
    validation : Data, optional
        For each.
    """

    engine: Any

    def __init__(self, engine: Any, validation: Data | None = None) -> None:
        super().__init__(engine, validation)
        self.losses: list[float] = []  # of the epoch that is under way
        self.epochs: list[tuple[list[float], list[float]]] = []  # losses, validation losses
        self._measured: tuple[list[float], list[float]] = [], []

    def measure(self, loss: float, team: Team | None) -> float:
        """Return the validation loss of all together, and keep that of each."""
        each, data = self.engine.engines, self.validation
        apart = [] if data is None else [engine.evaluate(data, team) for engine in each]
        self._measured = self.losses, apart
        return super().measure(loss, team)

    def record(self) -> None:
        """Write down what was measured of each."""
        self.epochs += [self._measured]
