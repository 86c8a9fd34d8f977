from collections.abc import Sequence
from typing import Any, Self

from numpy.typing import ArrayLike, NDArray
from typing_extensions import CapsuleType, disjoint_base

from fastmlp.spec import Spec

def restored(
    spec: Spec,
    weights: Sequence[NDArray[Any]],
    biases: Sequence[NDArray[Any]],
    n_threads: int | None,
) -> Predictor: ...

@disjoint_base
class Predictor:
    @property
    def spec(self) -> Spec: ...
    @property
    def level(self) -> str: ...
    @property
    def n_threads(self) -> int | None: ...
    @property
    def function_address(self) -> int: ...
    @property
    def context_address(self) -> int: ...
    @property
    def capsule(self) -> CapsuleType: ...
    def __new__(
        cls,
        spec: Spec,
        level: str,
        weights: Sequence[NDArray[Any]],
        biases: Sequence[NDArray[Any]],
        n_threads: int | None = None,
    ) -> Self: ...
    def to_onnx(self, path: Any = None) -> Any: ...
    def parameters(self) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]: ...
    def __call__(self, x: ArrayLike, out: NDArray[Any] | None = None) -> NDArray[Any]: ...
    def jacobian(self, x: ArrayLike) -> NDArray[Any]: ...
