"""`Predictor`, a trained network as a compiled function; made by the method ``predictor``."""

from __future__ import annotations

from fastmlp._engine.predictor import Predictor

__all__ = ["Predictor"]
