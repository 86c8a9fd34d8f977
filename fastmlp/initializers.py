"""Initializers: how the weights of a network are drawn before the first step.

The choice of `MLP` suits nearly always.
"""

from __future__ import annotations

from fastmlp._network.initializers import INITIALIZERS

__all__ = ["INITIALIZERS"]
