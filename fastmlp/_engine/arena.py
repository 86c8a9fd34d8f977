"""All native memory: zeroed, 64-byte aligned blocks owned by NumPy arrays.

A single function, so that running out of memory is NumPy's MemoryError, and so that a test can put
an inaccessible page behind every block.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastmlp._engine.kernels import address

ALIGNMENT = 64  # a cache line, and the widest vector


def allocate(n_bytes: int) -> NDArray[np.uint8]:
    """Return a zeroed array of at least `n_bytes` bytes; start and size are multiples of 64."""
    size = -(-n_bytes // ALIGNMENT) * ALIGNMENT
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -address(raw) % ALIGNMENT
    return raw[start : start + size]
