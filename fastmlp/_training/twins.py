"""Training of a second engine: steps by a user's optimizer, and averages of weights."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np

from fastmlp._core.history import AveragingState, ResumeState
from fastmlp._engine.numpy.penalties import clip
from fastmlp._engine.plan import Plan
from fastmlp._engine.protocol import Engine
from fastmlp._network.averaging import Averaging
from fastmlp._network.data import Data
from fastmlp._network.functions.optimizer import Named
from fastmlp._network.tensors import name_of


class CustomSteps:
    """Trains an engine with a `CustomOptimizer`; its state ``memory`` is replaced, not changed."""

    def __init__(self, engine: Engine, plan: Plan, begun: ResumeState) -> None:
        optimizer: Any = plan.optimizer
        self.engine, self.optimizer, self.memory = engine, optimizer, begun.memory or {}
        self._working = engine.twin()  # readers of ``engine`` see completed epochs only

    def epoch(self, data: Data, plan: Plan) -> float:
        """Take one step per batch; same contract as ``Engine.epoch``."""
        working, memory = self._working, copy.deepcopy(self.memory)
        working.restore(self.engine.snapshot())
        order = np.arange(data.rows) if plan.order is None else plan.order
        sum_objective, sum_weight = plan.sums or (0.0, 0.0)
        for k, first in enumerate(range(0, len(order), plan.batch_size)):
            batch = data.part(order[first : first + plan.batch_size])
            weight = batch.total_weight
            objective = self._step(batch, plan, k, memory)
            if not math.isfinite(objective):
                return objective
            sum_objective += weight * objective
            sum_weight += weight
        self.engine.restore(working.snapshot())
        self.memory = memory
        if plan.sums is not None:
            plan.sums = [sum_objective, sum_weight]
        return sum_objective / sum_weight if sum_weight else 0.0

    def _step(self, batch: Data, plan: Plan, k: int, memory: dict[str, Any]) -> float:
        """Take a step; return the objective before it, or NaN if a parameter becomes non-finite."""
        working, rate, own = self._working, float(plan.learning_rates[k]), copy.copy(plan)
        own.step += k
        if plan.dropouts is not None:
            own.dropouts = np.ascontiguousarray(plan.dropouts[k : k + 1])
        objective, *kinds = working.gradients(batch, plan.l2, plan.team, plan.l1, own)
        if not math.isfinite(objective):
            return float(objective)
        gradients = self._named(kinds)
        if plan.clip_norm:
            clipped = clip(list(gradients.values()), plan.clip_norm, [1.0] * len(gradients))
            gradients = dict(zip(gradients, clipped, strict=True))
        parameters = working.parameters()
        moved = self.optimizer.moved(self._named(parameters), gradients, memory, rate)
        for kind, arrays in zip(working.spec.tensors, parameters, strict=True):
            arrays[:] = [moved.get(name_of(kind, at), p) for at, p in enumerate(arrays)]
        working.set_parameters(*parameters)
        return float(objective) if working.finite() else math.nan

    def _named(self, kinds: Any) -> Named:
        """Return non-empty tensors under the names of ``MLP.state_dict``."""
        found: Named = {}
        for kind, arrays in zip(self.engine.spec.tensors, kinds, strict=True):
            found |= {name_of(kind, at): a for at, a in enumerate(arrays) if a.size}
        return found


class WeightAverage:
    """Averages the twin's weights after each epoch; both engines share the optimizer's state."""

    def __init__(
        self, averaging: Averaging, engine: Engine, begun: AveragingState | None = None
    ) -> None:
        self.averaging, self.engine, self.averaged = averaging, engine, begun
        self.twin: Any = engine.twin()
        self.twin.set_parameters(*(engine.parameters() if begun is None else begun.raw))
        self.twin.set_optimizer_state(engine.optimizer_state())

    def publish(self, epoch: int) -> None:
        """Set the engine's weights to the mean including this epoch, counted from 0."""
        raw, last = self.twin.parameters(), self.averaged
        n = 1 if last is None else min(last.epochs + 1, epoch - self.averaging.start + 1)
        with np.errstate(all="ignore"):  # underflow is no error here
            if last is None or n <= 1:
                mean = tuple([p.astype(np.float64) for p in kind] for kind in raw)
            else:
                share = self.averaging.share(n)
                mean = tuple(
                    [m + share * (p - m) for m, p in zip(*kinds, strict=True)]
                    for kinds in zip(last.mean, raw, strict=True)
                )
            dtype = self.engine.spec.dtype
            self.engine.set_parameters(*([m.astype(dtype) for m in kind] for kind in mean))
        self.averaged = AveragingState(raw, mean, max(1, n))
