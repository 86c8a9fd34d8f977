"""Random numbers of a fit in NumPy: dropout masks and the order of the rows.

A number is a hash of a seed and of the place where it is used, so that neither the number of
threads nor the order of work changes it. src_cython/c/random computes the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fastmlp._network.spec import Spec

# Per hidden layer: which activations are kept, (rows, width); None: all of them.
Masks: TypeAlias = Sequence[npt.NDArray[np.bool_] | None]

# The shuffle draws this many numbers from a block of its stream, two from each 64 bits.
DRAWS = 32


def mix(x: npt.ArrayLike) -> npt.NDArray[np.uint32]:
    """Return a well-mixed 32-bit hash of each 32-bit x (a bijection: xor-shift and multiply)."""
    # At least one dimension: NumPy would warn about the wrap-around in scalars.
    h = np.array(x, dtype=np.uint32, ndmin=1)
    h ^= h >> 16
    h *= np.uint32(0x7FEB352D)
    h ^= h >> 15
    h *= np.uint32(0x846CA68B)
    h ^= h >> 16
    return h


def dropout_masks(spec: Spec, seed: int, step: int, n_rows: int, first: int = 0) -> Masks:
    """Return which activations of the batch rows from `first` on each hidden layer keeps.

    The number of an activation is a hash of (64-bit seed, step, layer, row, column).
    """
    low, high, now = (np.uint32(v & 0xFFFFFFFF) for v in (seed, seed >> 32, step))
    masks: list[npt.NDArray[np.bool_] | None] = []
    for layer, p in enumerate(spec.dropout):
        if p == 0:
            masks.append(None)
            continue
        rows = np.arange(first, first + n_rows, dtype=np.uint32)[:, np.newaxis]
        columns = np.arange(spec.layer_sizes[layer + 1], dtype=np.uint32)
        key = mix(low ^ mix(high ^ mix(now ^ mix(layer + 0x9E3779B9))))
        row_key = mix(key ^ mix(rows + np.uint32(0x85EBCA6B)))
        u = mix(row_key ^ (columns * np.uint32(0x9E3779B9)))
        masks.append(u >= np.uint32(int(p * 2**32)))
    return masks


def split_mix(seed: int, first: int, count: int) -> npt.NDArray[np.uint64]:
    """Return numbers first, first + 1, ... of the SplitMix64 stream of a seed."""
    step = np.uint64(0x9E3779B97F4A7C15)
    x = np.arange(first, first + count, dtype=np.uint64) * step + np.array([seed], np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def shuffle(order: npt.NDArray[np.int64], seed: int) -> None:
    """Permute an index array in place (Fisher-Yates from the end); the seed alone decides.

    Row i changes places with a row drawn from [0, i]: the upper 32 bits of (i + 1) times a number
    of 32 bits. A block of 16 numbers of 64 bits gives first their upper halves, then the lower.

    >>> order = np.arange(12)
    >>> shuffle(order, seed=7)
    >>> order
    array([ 8,  7, 11, 10,  6,  2,  1,  3,  5,  9,  0,  4])
    """
    count = max(len(order) - 1, 0)
    blocks = -(-count // DRAWS)
    x = split_mix(seed, 1, blocks * DRAWS // 2).reshape(blocks, DRAWS // 2)
    halves = np.hstack([x >> np.uint64(32), x & np.uint64(0xFFFFFFFF)]).ravel()[:count]
    bounds = np.arange(len(order), 1, -1, dtype=np.uint64)
    drawn = (halves * bounds) >> np.uint64(32)
    values = order.tolist()
    for i, j in zip(range(count, 0, -1), drawn.tolist(), strict=True):
        values[i], values[j] = values[j], values[i]
    order[:] = values
