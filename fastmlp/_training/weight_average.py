"""Averages of weights: a second engine is trained, and the first one holds the mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastmlp._core.history import AveragingState
from fastmlp._engine.protocol import Engine
from fastmlp._network.averaging import Averaging


class WeightAverage:
    """Averages the weights of a shadow engine, which is trained in place of the model's."""

    def __init__(
        self, averaging: Averaging, engine: Engine, resumed: AveragingState | None = None
    ) -> None:
        self.averaging, self.engine, self.averaged = averaging, engine, resumed
        self.shadow: Any = engine.shadow()
        self.shadow.set_parameters(*(engine.parameters() if resumed is None else resumed.raw))
        self.shadow.set_optimizer_state(engine.optimizer_state())  # both share it

    def publish(self, epoch: int) -> None:
        """Set the engine's weights to the mean including this epoch, counted from 0."""
        raw, last = self.shadow.parameters(), self.averaged
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
