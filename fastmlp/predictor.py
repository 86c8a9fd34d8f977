"""The type of a trained network as a fast function, for annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # an annotation includes the predictors of the NumPy engine
    from fastmlp._engine.any_predictor import Predictor
else:
    from fastmlp._engine.native import Predictor

__all__ = ["Predictor"]
