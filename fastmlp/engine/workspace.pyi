from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

__pyx_capi__: dict[str, Any]  # of what native.pyx and probe.pyx cimport

def tables(
    level: str, dtype: str = "float32"
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]: ...
def compiler(level: str, dtype: str = "float32") -> tuple[str, str]: ...
def shuffle(order: NDArray[np.int64], seed: int, level: str) -> None: ...
def peak(dtype: str, level: str) -> float: ...

@disjoint_base
class Memory:
    def __init__(self, itemsize: int) -> None: ...

# Only an engine makes these.
@disjoint_base
class Space: ...

@disjoint_base
class Training: ...
