from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from typing_extensions import disjoint_base

from fastmlp.engine.native import Engine
from fastmlp.losses import Loss
from fastmlp.optimizers import Optimizer
from fastmlp.threads import Team

def is_trial(engine: Engine) -> bool: ...
def pace(
    team: Callable[[float], float], alone: Callable[[float], float], seconds: float
) -> tuple[int, int]: ...
def leave_cpu() -> tuple[int, int]: ...
def to_panels(plain: NDArray[Any], rows: int, nr: int) -> NDArray[Any]: ...
def from_panels(panels: NDArray[Any], rows: int, columns: int) -> NDArray[Any]: ...
def meet(team: Team) -> list[int]: ...

@disjoint_base
class Affine:
    @property
    def batch(self) -> int: ...
    @property
    def n_in(self) -> int: ...
    @property
    def n_out(self) -> int: ...
    @property
    def nr(self) -> int: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def y(self) -> NDArray[Any]: ...
    @property
    def slope(self) -> NDArray[Any] | None: ...
    @property
    def dx(self) -> NDArray[Any]: ...
    @property
    def dw(self) -> NDArray[Any]: ...
    @property
    def db(self) -> NDArray[Any]: ...
    def __init__(
        self,
        level: str,
        dtype: DTypeLike,
        batch: int,
        n_in: int,
        n_out: int,
        activation: str = "identity",
        below: str = "identity",
        fill: float = 0.0,
    ) -> None: ...
    def load(
        self,
        x: NDArray[Any] | None = None,
        w: NDArray[Any] | None = None,
        b: NDArray[Any] | None = None,
        dz: NDArray[Any] | None = None,
        slope: NDArray[Any] | None = None,
    ) -> None: ...
    def forward(self, training: bool = False) -> None: ...
    def backward_input(self) -> None: ...
    def backward_weights(self) -> None: ...

class Kernels:
    level: str
    dtype: np.dtype[Any]
    def __init__(self, level: str, dtype: DTypeLike = "float32") -> None: ...
    def affine_forward(
        self, x: NDArray[Any], w: NDArray[Any], b: NDArray[Any], activation: str = "identity"
    ) -> NDArray[Any]: ...
    def affine_backward_input(
        self,
        dz: NDArray[Any],
        w: NDArray[Any],
        x: NDArray[Any] | None = None,
        below: str = "identity",
        slope: NDArray[Any] | None = None,
    ) -> NDArray[Any]: ...
    def affine_backward_weights(
        self, x: NDArray[Any], dz: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]: ...
    def activation(self, name: str, z: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]: ...
    def loss(
        self, loss: Loss, z: NDArray[Any], targets: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]: ...
    def gather(self, x: NDArray[Any], order: NDArray[np.int64]) -> NDArray[Any]: ...
    def step(
        self,
        optimizer: Optimizer,
        w: NDArray[Any],
        g: NDArray[Any],
        slots: Sequence[NDArray[Any]],
        learning_rate: float,
        powers: tuple[float, float],
        l2: float = 0.0,
        scale: float = 1.0,
    ) -> tuple[float, float]: ...
