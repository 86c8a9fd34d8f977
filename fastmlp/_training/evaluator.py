"""Evaluation after each epoch, and the decision to stop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastmlp._engine.protocol import Engine
    from fastmlp._engine.thread_pool import Team
    from fastmlp._network.data import Data


class Evaluator:
    """Computes the loss on validation data, plus a constant; never stops the fit.

    ``epochs`` is the number of epochs that were recorded, of a resumed fit those before included; 0
    before the first one.
    """

    apart: Sequence[Data] | None = None  # of ensembles: data of each member to predict
    linked = False

    def __init__(
        self, engine: Engine, validation: Data | None = None, loss_constant: float = 0.0
    ) -> None:
        self.engine, self.validation, self.loss_constant = engine, validation, loss_constant
        self.epochs, self.measures = 0, validation is not None

    def measure(self, loss: float, team: Team | None) -> float:
        """Return the validation loss, or NaN; do here all work that may fail, for `record`."""
        del loss
        return math.nan if self.validation is None else self.loss(self.validation, team)

    def loss(self, data: Data, team: Team | None) -> float:
        """Return the loss on some data."""
        return self.engine.evaluate(data, team) + self.loss_constant

    def record(self) -> None:
        """Store further measurements; must not make calls, so no interrupt can come between."""

    def is_enough(self) -> bool:
        """Return whether to stop; called after the callbacks."""
        return False
