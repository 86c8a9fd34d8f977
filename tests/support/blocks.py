"""Sources of blocks: 157 rows, cut in several ways."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

N = 157
SIZES = {"one": [N], "even": [40, 40, 40, 37], "odd": [1, 7, 90, 3, 56], "rows": [1] * N}


def cut(*arrays: np.ndarray, sizes: Sequence[int] = (40, 40, 40, 37)) -> Callable[[], Any]:
    """Return a source of blocks, of which each uses the same memory; one array comes alone."""

    def source() -> Iterator[Any]:
        for size, end in zip(sizes, itertools.accumulate(sizes), strict=True):
            block = tuple(array[end - size : end].copy() for array in arrays)
            yield block if len(block) > 1 else block[0]
            for array in block:
                array[...] = -1  # whoever needs it has copied it

    return source
