"""1,797 pictures of handwritten digits, 8 x 8 pixels each, to try a network on."""

from __future__ import annotations

from fastmlp._core.digits import load, split

__all__ = ["load", "split"]
