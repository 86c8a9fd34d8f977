"""Losses: numbers that say how bad predictions are, which training makes small.

Pass one of them, or its name, to ``MLP(loss=...)``: the loss decides what is predicted.
"""

from __future__ import annotations

from fastmlp._network import losses as _losses
from fastmlp._network.functions.loss import CustomLoss
from fastmlp._network.losses import *  # noqa: F403
from fastmlp._network.losses import LOSSES

__all__ = ["LOSSES", "CustomLoss"]
__all__ += _losses.__all__
