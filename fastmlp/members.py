"""The members of an ensemble as one: their engines together, and what is measured of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fastmlp.engine.contract import Epochs
from fastmlp.losses import Loss
from fastmlp.spec import Data
from fastmlp.teams import Team
from fastmlp.training.judge import Judge
from fastmlp.training.records import State

Score = Callable[[int, Any], Any]


@dataclass
class Held:
    """The rows that are measured after each epoch.

    Attributes
    ----------
    data : Data
        All of them.
    apart : list of Data
        Those that each member predicts.
    places : list of slices or arrays of int
        Which of all these are.
    """

    data: Data
    apart: list[Data]
    places: list[Any]

    @classmethod
    def shared(cls, data: Data, n_members: int) -> Self:
        """Return rows that every member predicts."""
        return cls(data, [data] * n_members, [slice(None)] * n_members)

    @classmethod
    def of_rows(cls, data: Data, rows: Sequence[NDArray[np.int64]]) -> Self:
        """Return, in the order of their numbers, the rows that each member holds out."""
        all_of_them = np.unique(np.concatenate(rows))
        apart = [data.at(own) for own in rows]
        return cls(data.at(all_of_them), apart, [np.searchsorted(all_of_them, own) for own in rows])


def mixture(
    loss: Loss, predictions: Sequence[NDArray[Any]], held: Held | None = None
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
    under_way : Epochs
        What epochs have come to that are not written down yet.
    epochs : list of tuples of lists of float
        Losses and validation losses of the members, of each epoch.
    """

    engine: Any
    under_way: Epochs

    def __init__(
        self, engine: Any, state: State, held: Held | None = None, score: Score | None = None
    ) -> None:
        super().__init__(engine)
        self.state, self.held, self.score = state, held, score
        self.epochs: list[tuple[list[float], list[float]]] = []
        self._measured: list[tuple[list[float], list[float]]] = []

    def measure(self, loss: float, team: Team | None) -> float:
        """Return the validation loss of all together after an epoch, and keep that of each."""
        del team
        self.see(self.under_way)
        if self.held is None:
            return super().measure(loss, None)
        last = [own[-1] for own in self.under_way.predictions]
        mixed = mixture(self.engine.spec.loss, last, self.held)
        if self.score is None:
            return mean_loss(self.engine.spec.loss, mixed, self.held.data)
        return _number(self.score(self.state.epoch + 1, self.heads(mixed)))

    def see(self, epochs: Epochs) -> None:
        """Keep what epochs have come to, for `record`."""
        apart = epochs.held_losses or [[]] * len(epochs.losses)
        self._measured = list(zip(epochs.losses, apart, strict=True))

    def record(self) -> None:
        """Write down what was measured of each."""
        self.epochs += self._measured

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
