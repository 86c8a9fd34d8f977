"""Epochs of many engines, one after the other: what the native side does with all threads."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._engine.plan import Plan
from fastmlp._engine.protocol import Epochs
from fastmlp._engine.thread_pool import Team
from fastmlp._network.data import Data


class SequentialTraining:
    """Base of the reference's engine, not for users."""

    @staticmethod
    def train_many(
        engines: Sequence[Any],
        datas: Sequence[Data],
        plans: Sequence[Plan],
        team: Team | None = None,
        epochs: int = 1,
        seeds: Sequence[NDArray[np.uint64]] | None = None,
        held: Sequence[Data] | None = None,
        linked: bool = True,
    ) -> Epochs:
        """Take epochs of each engine; if one does not end well, all have what they had before."""
        del team
        before = [engine.snapshot() for engine in engines]
        losses, held_losses = (
            np.full((epochs, len(engines)), np.nan),
            np.zeros((epochs, len(engines))),
        )
        found = Epochs(losses, held_losses, [])
        try:
            for k, (engine, data, plan) in enumerate(zip(engines, datas, plans, strict=True)):
                predictions = []
                for epoch, part in enumerate(_each_epoch(plan, data, epochs)):
                    if seeds is not None:
                        engine.shuffle(plan.order, int(seeds[k][epoch]))
                    losses[epoch, k] = engine.epoch(data, part)
                    if held is not None:
                        predictions.append(engine.predict(held[k].x, None, linked))
                        held_losses[epoch, k] = engine.evaluate(held[k])
                if held is not None:
                    found.predictions.append(np.stack(predictions))
        finally:
            if not np.isfinite(losses).all():
                for engine, parameters in zip(engines, before, strict=True):
                    engine.restore(parameters)
        return found


def _each_epoch(plan: Plan, data: Data, epochs: int) -> list[Plan]:
    """Return the plan of each epoch of one of several."""
    n = plan.n_steps(data.rows if plan.order is None else len(plan.order))
    parts = []
    for first in range(0, epochs * n, n):
        part, own = copy.copy(plan), slice(first, first + n)
        part.step += first
        part.learning_rates = plan.learning_rates[own]
        part.weight_decays = None if plan.weight_decays is None else plan.weight_decays[own]
        part.dropouts = None if plan.dropouts is None else plan.dropouts[own]
        parts.append(part)
    return parts
