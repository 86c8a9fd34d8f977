"""The members of an ensemble: their networks and engines as one, and their evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.fit_lock import taken
from fastmlp._core.history import History, State
from fastmlp._engine.protocol import Epochs, Held
from fastmlp._engine.thread_pool import Team
from fastmlp._models.ensemble import mixture
from fastmlp._models.ensemble.member_data import ValidationData
from fastmlp._models.network import Network, undo_all
from fastmlp._network.data import Data
from fastmlp._network.spec import Spec
from fastmlp._training.loop import Evaluator, number

Scorer = Callable[[int, list[Any]], Any]


class EpochRecord(NamedTuple):
    """The results of the last epochs."""

    first: int  # index of the first of them in the history
    losses: NDArray[np.float64]  # (epochs, members)
    held_losses: NDArray[np.float64]  # the same on validation rows
    rates: list[list[float]]  # one list a member: the rate of each epoch's last step


class Networks:
    """The networks of an ensemble as one, with the part of a `Network` that a fit uses."""

    __slots__ = ("history", "members")

    def __init__(self, members: Sequence[Network], history: History | None = None) -> None:
        self.members, self.history = tuple(members), history

    @property
    def spec(self) -> Spec:
        """The description that all members have in common."""
        return self.members[0].spec

    @property
    def engine(self) -> MemberEngines:
        """The engines of the members as one."""
        return MemberEngines([member.engine for member in self.members])

    @property
    def flat_y(self) -> bool:
        """Whether the predictions of all members are (n,)."""
        return all(member.flat_y for member in self.members)

    def taken(self, held: bool = False) -> AbstractContextManager[None]:
        """Hold the locks of all members; ``held``: this thread may have some of them already."""
        locks = [member.lock for member in self.members]
        return taken([lock for lock in locks if not (held and lock.is_mine())])

    def begin(self) -> History:
        """Begin a new fit of all members; return the history of the whole."""
        for member in self.members:
            member.begin()
        self.history = History()
        return self.history

    def go_on(self) -> History:
        """Continue the last fit of all members; return the history of the whole, which grows."""
        assert self.history is not None
        for member in self.members:
            member.go_on()
        self.history = self.history.resumed()
        return self.history

    def take_over(self, other: Networks) -> None:
        """Take over all state of networks of the same shapes."""
        for member, theirs in zip(self.members, other.members, strict=True):
            member.take_over(theirs)
        self.history = other.history

    def undo(self, parameters: bool = True, draws: bool = True) -> Callable[[], None]:
        """Return a function that restores all state that a fit changes."""
        history = self.history
        undos = [member.undo(parameters, draws) for member in self.members]

        def undo() -> None:
            self.history = history
            undo_all(undos)

        return undo

    def __getstate__(self) -> tuple[tuple[Network, ...], History | None]:
        return self.members, self.history and self.history.whole()

    def __setstate__(self, state: tuple[tuple[Network, ...], History | None]) -> None:
        self.members, self.history = state


class MemberEngines:
    """The engines of all members, with the part of an engine's interface that a fit uses."""

    def __init__(self, engines: Sequence[Any]) -> None:
        self.engines, self.spec, self.level = engines, engines[0].spec, engines[0].level

    def snapshot(self) -> tuple[Any, ...]:
        """Return the current parameters of all members."""
        return tuple([engine.snapshot() for engine in self.engines])

    def restore(self, snapshots: tuple[Any, ...]) -> None:
        """Restore the parameters of a snapshot."""
        if len(snapshots) != len(self.engines):
            raise ValueError(
                f"restore was given a snapshot of {len(snapshots)} members but "
                f"{len(self.engines)} are expected: pass a snapshot of this ensemble's state"
            )
        for engine, snapshot in zip(self.engines, snapshots, strict=True):
            engine.restore(snapshot)

    def shadow(self) -> MemberEngines:
        """Return new engines for the same networks, which accept the same snapshots."""
        return MemberEngines([engine.shadow() for engine in self.engines])

    def parameters(self) -> tuple[Any, ...]:
        """Return the parameters of each member as plain arrays."""
        return tuple(engine.parameters() for engine in self.engines)

    def set_parameters(self, *parameters: Any) -> None:
        """Set the parameters of each member, in the form that `parameters` returns."""
        for engine, kinds in zip(self.engines, parameters, strict=True):
            engine.set_parameters(*kinds)

    def predict(
        self, x: NDArray[Any], team: Team | None = None, linked: bool = True
    ) -> NDArray[Any]:
        """Return all members' predictions, (members, n, heads * m), or outputs before the link."""
        return np.stack([engine.predict(x, team, linked) for engine in self.engines])

    def evaluate(self, data: Data, team: Team | None = None) -> float:
        """Return the weighted mean loss of the ensemble's prediction."""
        outputs = list(self.predict(data.x, team, linked=False))
        return mixture.mean_loss(self.spec.loss, outputs, [slice(None)] * len(outputs), data)

    def mix(self, predictions: NDArray[Any]) -> NDArray[Any]:
        """Combine the members' predictions to that of the ensemble."""
        return mixture.prediction(self.spec.loss, list(predictions))

    def heads(self, p: NDArray[Any]) -> Any:
        """Return predictions as ``MLP.predict`` does, with the axis of the outputs."""
        return self.spec.loss.shaped(p, False)


class EnsembleEvaluator(Evaluator):
    """Evaluates each member and the ensemble, by the loss or by a user's score."""

    engine: Any

    def __init__(
        self, state: State, held: ValidationData | None = None, score: Scorer | None = None
    ) -> None:
        super().__init__(state.engine)
        self.state, self.held, self.score = state, held, score
        self.measures, self.linked = held is not None, score is not None
        # A score needs predictions, the loss outputs before the link.
        self.apart = None if held is None else Held(held.apart, self.linked)
        self.written: EpochRecord | None = None  # the last recorded epochs
        self._collected: EpochRecord | None = None
        self._predictions: list[NDArray[Any]] = []

    def collect(self, epochs: Epochs, rates: list[list[float]]) -> None:
        """Keep the results of some epochs for `measure` and `record`."""
        first = len(self.state.history.loss)
        self._collected = EpochRecord(first, epochs.losses, epochs.held_losses, rates)
        self._predictions = [predictions[-1] for predictions in epochs.predictions]

    def measure(self, loss: float, team: Team | None) -> float:
        """Return the ensemble's validation loss or score after an epoch."""
        if self.held is None or self._collected is None:
            return super().measure(loss, None)
        if not self._predictions:  # averaging trains other engines than these
            pairs = list(zip(self.engine.engines, self.held.apart, strict=True))
            self._predictions = [engine.predict(d.x, team, self.linked) for engine, d in pairs]
            losses = [engine.evaluate(data, team) for engine, data in pairs]
            self._collected = self._collected._replace(held_losses=np.array([losses]))
        if self.score is not None:
            predictions = [self.engine.heads(prediction) for prediction in self._predictions]
            return number("scorer", self.score(self.state.epoch + 1, predictions))
        data = self.held.data
        if data is None:
            sums = [samples.total_weight for samples in self.held.apart]
            return float(np.average(self._collected.held_losses[-1], weights=sums))
        places = self.held.places
        return mixture.mean_loss(self.engine.spec.loss, self._predictions, places, data)

    def record(self) -> None:
        """Store the members' results of the last epochs."""
        self.written = self._collected

    def write(self, members: Sequence[Network]) -> None:
        """Write the members' results of the last recorded epochs to their histories."""
        history, written = self.state.history, self.written
        if written is None or written.first + len(written.losses) > len(history.loss):
            return  # no epoch was recorded completely
        first, losses, held_losses, rates = written
        for k, member in enumerate(members):
            of_member = member.history
            assert of_member is not None
            if self.state.has_validation:
                of_member.val_loss[first:] = held_losses[:, k].tolist()
            of_member.seconds[first:] = history.seconds[first:]
            of_member.learning_rate[first:] = rates[k]
            of_member.loss[first:] = losses[:, k].tolist()  # last, see History.whole
        self.written = None
