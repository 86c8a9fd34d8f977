"""Schedules of the learning rate, weight decay and dropout."""

from __future__ import annotations

from fastmlp._network.scheduled import Schedule
from fastmlp._network.schedules import (
    Constant,
    Cosine,
    InverseScaling,
    OneCycle,
    Step,
    WarmUp,
)

__all__ = [
    "Schedule",
    "Constant",
    "Step",
    "Cosine",
    "OneCycle",
    "InverseScaling",
    "WarmUp",
]
