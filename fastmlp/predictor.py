"""`Predictor`, a trained network as a compiled function; made by the method ``predictor``."""

from __future__ import annotations

from fastmlp._engine.predictor import (
    Predictor,
    restored as restored,  # for pickles of version 0.1.0
)

__all__ = ["Predictor"]
