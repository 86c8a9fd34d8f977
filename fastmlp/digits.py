"""The handwritten digits that come with the package, see `fastmlp/data/digits.txt`."""

from __future__ import annotations

from fastmlp._core.digits import load, split

__all__ = ["load", "split"]
