"""Predictor, the compiled function of one network; the method ``predictor`` of a model makes it."""

from __future__ import annotations

from fastmlp._engine.predictor import (
    Predictor,
    restored,
)

__all__ = [
    "Predictor",
]
