"""Optimizers, by class and by name."""

from __future__ import annotations

from fastmlp._network.optimizers import (
    OPTIMIZERS,
    SGD,
    Adam,
    AdamW,
    Lion,
    Optimizer,
    RMSprop,
)

__all__ = [
    "OPTIMIZERS",
    "Optimizer",
    "SGD",
    "RMSprop",
    "Adam",
    "AdamW",
    "Lion",
]

__path__: list[
    str
] = []  # pickles of version 0.1.0 name fastmlp.optimizers.base: see fastmlp._core.old_names
