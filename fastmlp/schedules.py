"""Schedules of the learning rate, weight decay and dropout."""

from __future__ import annotations

from fastmlp._network.schedules import (
    Schedule,
    Constant,
    Step,
    Cosine,
    OneCycle,
    InverseScaling,
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
