"""Schedules of the learning rate, weight decay and dropout."""

from __future__ import annotations

from fastmlp._network import schedules as _schedules
from fastmlp._network.schedules import *  # noqa: F403

__all__: list[str] = []
__all__ += _schedules.__all__
