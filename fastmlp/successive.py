"""Epochs of many engines, one after the other: what the native side does with all threads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastmlp.spec import Data, Plan


def train_many(
    engines: Sequence[Any], datas: Sequence[Data], plans: Sequence[Plan], team: object = None
) -> list[float]:
    """Take one epoch of each engine; if one does not end well, all have what they had before."""
    del team
    before, values = [engine.snapshot() for engine in engines], [math.nan]
    try:
        values = [e.epoch(*given) for e, *given in zip(engines, datas, plans, strict=True)]
    finally:
        if not all(map(math.isfinite, values)):
            for engine, parameters in zip(engines, before, strict=True):
                engine.restore(parameters)
    return values
