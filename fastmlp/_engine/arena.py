"""Where all native memory comes from: zeroed, 64-byte aligned blocks owned by NumPy arrays.

One function, so that out of memory is NumPy's MemoryError, and so that a test can put every block
of the library against an inaccessible page.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 64  # a cache line, and the widest vector


def allocate(n_bytes: int) -> NDArray[np.uint8]:
    """Return a zeroed array of at least ``n_bytes`` bytes, its start and size multiples of 64.

    Raises
    ------
    MemoryError
        If the system has not that much.
    """
    size = -(-n_bytes // ALIGNMENT) * ALIGNMENT
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -raw.__array_interface__["data"][0] % ALIGNMENT
    return raw[start : start + size]
