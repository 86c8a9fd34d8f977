"""The predictors of both engines as one type, for type checkers: they have the same methods."""

from __future__ import annotations

from typing import TypeAlias

from fastmlp._engine.native import Predictor as CompiledPredictor
from fastmlp._engine.numpy.predictor import Predictor as NumpyPredictor

Predictor: TypeAlias = CompiledPredictor | NumpyPredictor
