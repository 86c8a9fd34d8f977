"""Schedules: how the step size changes from the first step of a fit to the last.

Pass one in place of a number: ``Adam(learning_rate=Cosine(0.01))``.
"""

from __future__ import annotations

from fastmlp._network import schedules as _schedules
from fastmlp._network.schedules import *  # noqa: F403

__all__: list[str] = []
__all__ += _schedules.__all__
