"""Initializers of the weights, by name."""

from __future__ import annotations

from fastmlp._network.initializers import INITIALIZERS

__all__ = ["INITIALIZERS"]
