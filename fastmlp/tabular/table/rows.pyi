from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from fastmlp.tabular.table.columns import Derived
from fastmlp.tabular.table.encoding import CategoryInputs, Layout

DERIVED: tuple[str, ...]

def types_of(items: NDArray[Any]) -> set[type]: ...
def numbered(
    items: NDArray[Any], codes: dict[Any, int], others: dict[Any, int]
) -> NDArray[np.int32]: ...
def read_row(
    row: Sequence[Any],
    numbers: tuple[tuple[int, frozenset[type], Any, tuple[bool, frozenset[str]] | None], ...],
    categories: tuple[tuple[int, frozenset[type], Any, dict[Any, int]], ...],
    n_numbers: int,
) -> tuple[NDArray[Any], NDArray[np.int32]]: ...
def tempered(probabilities: NDArray[Any], power: float, smallest: float) -> NDArray[Any]: ...

@disjoint_base
class Derivation:
    def __init__(self, n: int, n_codes: int, derived: Sequence[Derived]) -> None: ...
    def __call__(self, numbers: NDArray[Any], codes: NDArray[Any]) -> None: ...

@disjoint_base
class Joint:
    def __init__(
        self, scale: Sequence[NDArray[Any]] | None, means: int, sums_to_one: bool
    ) -> None: ...
    def __call__(self, z: NDArray[Any]) -> NDArray[Any]: ...

@disjoint_base
class EncodedRows:
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    ndim: int
    row_source: Any
    def __len__(self) -> int: ...
    def __getitem__(self, rows: Any) -> EncodedRows: ...
    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]: ...

@disjoint_base
class Encoder:
    def __init__(
        self,
        numbers: tuple[NDArray[Any], ...],
        bins: NDArray[Any],
        known: NDArray[Any],
        categories: Sequence[CategoryInputs],
        with_missing: NDArray[Any],
        limits: NDArray[Any],
        layout: Layout,
    ) -> None: ...
    def __call__(self, numbers: NDArray[Any], codes: NDArray[Any]) -> NDArray[Any]: ...
    def rows(self, numbers: NDArray[Any], codes: NDArray[Any], m: int = 0) -> EncodedRows: ...
