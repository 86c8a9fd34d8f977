"""What is measured after an epoch, and whether that is enough."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastmlp._engine.protocol import Engine
    from fastmlp._engine.thread_pool import Team
    from fastmlp._network.data import Data


class Evaluator:
    """Measures the loss on validation data; nothing is ever enough.

    Parameters
    ----------
    engine : Engine
        In training.
    validation : Data, optional
        For the engine.
    loss_constant : float
        Added to the loss.
    """

    def __init__(
        self, engine: Engine, validation: Data | None = None, loss_constant: float = 0.0
    ) -> None:
        self.engine, self.validation, self.loss_constant = engine, validation, loss_constant

    def measure(self, loss: float, team: Team | None) -> float:
        """Return the validation loss after an epoch, NaN without such data.

        Whatever may fail is done here; what else is measured is nobody's business before `record`.
        """
        del loss
        return math.nan if self.validation is None else self.loss(self.validation, team)

    def loss(self, data: Data, team: Team | None) -> float:
        """Return the loss on data."""
        return self.engine.evaluate(data, team) + self.loss_constant

    def record(self) -> None:
        """Write down what else was measured: without a call, and so without an interrupt."""

    def is_enough(self) -> bool:
        """Return whether to stop; asked after everybody was told of the epoch."""
        return False
