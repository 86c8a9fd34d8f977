"""Losses, by class and by name."""

from __future__ import annotations

from fastmlp._network.functions.loss import CustomLoss
from fastmlp._network.losses import (
    LOSSES,
    AbsoluteError,
    BinaryCrossEntropy,
    CrossEntropy,
    GaussianNLL,
    Huber,
    Loss,
    PoissonNLL,
    Quantile,
    SquaredError,
)

__all__ = [
    "LOSSES",
    "Loss",
    "SquaredError",
    "AbsoluteError",
    "Huber",
    "Quantile",
    "PoissonNLL",
    "GaussianNLL",
    "CrossEntropy",
    "BinaryCrossEntropy",
    "CustomLoss",
]

__path__: list[
    str
] = []  # pickles of version 0.1.0 name fastmlp.losses.base: see fastmlp._core.old_names
