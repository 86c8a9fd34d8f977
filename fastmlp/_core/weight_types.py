"""Narrow storage types of weights: bfloat16, and int8 with one unit for each output."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


LARGEST = 127  # largest int8 weight; symmetric in sign
LEAST_UNIT = 1e-30  # a column of smaller weights is 0: kernels would flush denormal numbers


def to_bfloat16(weights: Array) -> NDArray[np.uint16]:
    """Return the upper halves of the nearest float32 numbers whose lower halves are 0."""
    bits = np.ascontiguousarray(weights, np.float32).view(np.uint32)
    rounded = bits + (bits >> 16 & 1) + 0x7FFF  # halves go to the even neighbour
    overflows = (rounded & 0x7F800000) == 0x7F800000
    return (np.where(overflows, bits, rounded) >> 16).astype(np.uint16)


def from_bfloat16(halves: Array) -> NDArray[np.float32]:
    """Return float32 numbers from their upper halves."""
    return (halves.astype(np.uint32) << 16).view(np.float32)


def in_units(weights: Array, share: float = 1.0) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return weights as int8 multiples of a unit, and the unit of each column.

    The unit is the largest absolute weight times ``share`` / 127; larger weights are clipped.
    """
    unit = share / LARGEST * np.abs(weights).max(axis=0, initial=0)
    # Kernels' products with a bfloat16 number are exact in float32.
    unit = from_bfloat16(to_bfloat16(unit))
    unit = np.where(unit > LEAST_UNIT, unit, np.float32(1))
    return np.rint(weights / unit).clip(-LARGEST, LARGEST).astype(np.int8), unit


def from_units(numbers: Array, unit: Array) -> NDArray[np.float32]:
    """Return float32 weights from int8 ones."""
    return np.asarray(numbers * unit, np.float32)
