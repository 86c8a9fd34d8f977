"""Callbacks: functions that a fit calls after each epoch, to stop it, save it or show it.

Pass them to ``fit(callbacks=[...])``.
"""

from __future__ import annotations

from fastmlp._training.callbacks import EarlyStopping, Progress, ReduceOnPlateau

__all__ = ["EarlyStopping", "ReduceOnPlateau", "Progress"]
