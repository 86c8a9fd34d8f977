"""Distributed fits of ensembles: each rank trains some members, and gets those of the others.

Everything but the training is done on every rank with all members, from the same numbers: orders of
rows, schedules, scores, callbacks. So all ranks take the same decisions as one process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastmlp._engine.protocol import Engine, Epochs
from fastmlp._training import callback_state
from fastmlp._training.distributed import processes
from fastmlp._training.distributed.exchange import AgreedValue


class DividedMembers(processes.DistributedFit):
    """One process of a fit whose members are divided: rank r trains r, r + size, and so on."""

    def fingerprint(self, *datas: Any) -> int:
        """Return a 64-bit hash of the data, which are the same on every rank."""
        return callback_state.fingerprint(*datas)

    def compare(
        self, moment: str, values: Mapping[str, Any], engines: Sequence[Engine] = ()
    ) -> None:
        """Raise ValueError if values or arrays, by name, or the weights of engines differ."""
        facts = [AgreedValue(name, processes.described(value)) for name, value in values.items()]
        ends = processes.next_message(moment), processes.weights_of(engines)
        self.exchange.gather([ends[0], *facts, ends[1]])

    def _facts(self, run: Any, course: Any) -> list[AgreedValue]:
        """Return what else must agree: the number of members, and their data."""
        data = [self.fingerprint(*own) for own in run.seen]
        remedy = "pass the same X, y, sample_weight, rows and validation data on every rank"
        return [
            AgreedValue("number of members", len(data)),
            AgreedValue("judge", processes.described(course.judge.score)),
            AgreedValue("hash of the data", hash(tuple(data)), remedy=remedy),
        ]

    def _take_over(self, course: Any) -> None:
        """Let this rank train its members only."""
        course.others = self

    def epoch(self, course: Any) -> Epochs:
        """Train this rank's members for one epoch; set the state of all, and return all results."""
        learners, plans, size = course.learners(self.engines), course.plans, self.exchange.size
        facts = [processes.next_message("an epoch of the members"), processes.weights_of(learners)]
        for name in processes.SCHEDULED:
            values = [getattr(plan, name) for plan in plans]
            joined = None if values[0] is None else np.concatenate(values)
            facts.append(processes.scheduled(name, joined))
        mine = slice(self.rank, None, size)  # none, if there are more ranks than members
        found = course.epochs(1, mine)
        states = [learner.state() for learner in learners[mine]]
        outputs = found.predictions or [None] * len(states)
        own = zip(found.losses.T, found.held_losses.T, outputs, states, strict=True)
        each = self.exchange.share([*own], facts)
        every = [each[k % size][k // size] for k in range(len(plans))]
        for k, (engine, learner) in enumerate(zip(self.engines, learners, strict=True)):
            if k % size != self.rank:
                learner.set_state(every[k][-1])
                engine.set_optimizer_state(learner.optimizer_state())
        losses, held, predictions, _ = zip(*every, strict=True)
        kept = [] if predictions[0] is None else list(predictions)
        return Epochs(np.stack(losses, axis=1), np.stack(held, axis=1), kept)
