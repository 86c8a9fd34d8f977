"""Handwritten digits for the demo, examples and tests."""

from __future__ import annotations

from fastmlp._core.digits import load, split

__all__ = ["load", "split"]
