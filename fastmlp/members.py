"""The members of an ensemble as one: their engines together, and what is measured of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastmlp.engine.contract import Epochs
from fastmlp.losses import Loss
from fastmlp.portions import Held
from fastmlp.spec import Data
from fastmlp.teams import Team
from fastmlp.training.judge import Judge
from fastmlp.training.records import State

Score = Callable[[int, Any], Any]


class Written(NamedTuple):
    """The epochs that were written down last.

    Attributes
    ----------
    first : int
        Number of the first of them in the history.
    losses : array, shape (epochs, members)
    held_losses : array, shape (epochs, members), or None
        Losses on the rows that are measured.
    rates : list of lists of float
        Learning rate of the last step of each epoch, of each member.
    """

    first: int
    losses: NDArray[np.float64]
    held_losses: NDArray[np.float64] | None
    rates: list[list[float]]


def mixture(
    loss: Loss, predictions: Sequence[NDArray[Any]] | NDArray[Any], held: Held | None = None
) -> NDArray[Any]:
    """Return the prediction of all: the mean; of two heads, mean and variance of the mixture.

    Parameters
    ----------
    loss : Loss
        Whose predictions these are.
    predictions : sequence of arrays, shape (n, heads * m)
        Of each member.
    held : Held, optional
        Of which rows each is; by default all are of the same.
    """
    places = [slice(None)] * len(predictions) if held is None else held.places
    n, columns = len(predictions[0]) if held is None else held.data.rows, predictions[0].shape[1]
    mixed, counts = np.zeros((n, columns)), np.zeros((n, 1))
    with np.errstate(over="ignore", invalid="ignore"):
        for own, at in zip(predictions, places, strict=True):
            mixed[at] += own
            counts[at] += 1
        mixed /= counts
        if loss.heads == 2:
            m = columns // 2
            spread = np.zeros((n, m))
            for own, at in zip(predictions, places, strict=True):
                spread[at] += np.square(own[:, :m] - mixed[at][:, :m])
            mixed[:, m:] += spread / counts
        return np.asarray(mixed.astype(predictions[0].dtype))


def mean_loss(loss: Loss, predictions: NDArray[Any], data: Data) -> float:
    """Return the weighted mean loss of predictions, through the inverse link."""
    z, targets, weights = loss.unlink(predictions), data.targets, data.weights
    if weights is not None:  # what overflows in a row of weight 0 is no part of a sum
        used = weights > 0
        z, targets, weights = z[used], targets[used], weights[used].astype(np.float64)
    values, _ = loss.value_and_gradient(z, targets)
    return float(np.average(values.astype(np.float64), weights=weights))


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
        loss = self.spec.loss
        return mean_loss(loss, mixture(loss, self.predict(data.x, team)), data)


class Jury(Judge):
    """Measures each member, and all of them together.

    Parameters
    ----------
    engine : Members
        In training.
    state : State
        Of the fit.
    held : Held, optional
        The rows that are measured.
    score : callable (epoch, predictions) -> float, optional
        Instead of the loss of all together.

    Attributes
    ----------
    written : Written or None
        The last epochs that are.
    """

    engine: Any

    def __init__(
        self, engine: Any, state: State, held: Held | None = None, score: Score | None = None
    ) -> None:
        super().__init__(engine)
        self.state, self.held, self.score = state, held, score
        self.written: Written | None = None
        self._seen: Written | None = None
        self._predictions: list[NDArray[Any]] = []

    def see(self, epochs: Epochs, rates: list[list[float]]) -> None:
        """Keep what epochs have come to, for `measure` and `record`."""
        held_losses = None if self.held is None else epochs.held_losses
        self._seen = Written(len(self.state.history.loss), epochs.losses, held_losses, rates)
        self._predictions = [own[-1] for own in epochs.predictions]

    def measure(self, loss: float, team: Team | None) -> float:
        """Return the validation loss of all together after an epoch."""
        del team
        if self.held is None:
            return super().measure(loss, None)
        mixed = mixture(self.engine.spec.loss, self._predictions, self.held)
        if self.score is None:
            return mean_loss(self.engine.spec.loss, mixed, self.held.data)
        return _number(self.score(self.state.epoch + 1, self.heads(mixed)))

    def record(self) -> None:
        """Write down what was measured of each."""
        self.written = self._seen

    def heads(self, p: NDArray[Any]) -> Any:
        """Return predictions as ``predict`` does: of two heads a tuple."""
        return tuple(np.split(p, 2, axis=-1)) if self.engine.spec.loss.heads == 2 else p


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"judge returned {value!r} but a number is expected, the lower the better"
        ) from error
