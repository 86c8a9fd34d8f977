"""Callbacks that are called after each epoch of a fit."""

from __future__ import annotations

from fastmlp._training.callbacks import EarlyStopping, Progress, ReduceOnPlateau

__all__ = ["EarlyStopping", "ReduceOnPlateau", "Progress"]
