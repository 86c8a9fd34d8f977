"""Optimizers: rules by which each step of training changes the weights.

Pass one of them, or its name, to ``fit(optimizer=...)``.
"""

from __future__ import annotations

from fastmlp._network import optimizers as _optimizers
from fastmlp._network.optimizers import *  # noqa: F403
from fastmlp._network.optimizers import OPTIMIZERS

__all__ = ["OPTIMIZERS"]
__all__ += _optimizers.__all__
