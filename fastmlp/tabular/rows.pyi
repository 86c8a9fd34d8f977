from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray
from typing_extensions import disjoint_base

def plain(row: Sequence[Any], places: NDArray[Any]) -> NDArray[Any] | None: ...
def smooth_clip(
    values: NDArray[Any], centre: float, factor: float, limits: tuple[float, float]
) -> NDArray[Any]: ...

@disjoint_base
class Encoder:
    def __init__(
        self,
        numbers: tuple[NDArray[Any], ...],
        known: NDArray[Any],
        tables: list[NDArray[Any]],
        with_missing: NDArray[Any],
        limits: tuple[float, float],
    ) -> None: ...
    def __call__(self, numbers: NDArray[Any], codes: NDArray[Any]) -> NDArray[Any]: ...
    def table(self, numbers: NDArray[Any], codes: NDArray[Any], m: int = 0) -> NDArray[Any]: ...
