from collections.abc import Sequence
from typing import Any, Self, final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import CapsuleType, disjoint_base

from fastmlp._engine import protocol
from fastmlp._engine.cpu_levels import DTYPES as DTYPES
from fastmlp._engine.explainable import Explained
from fastmlp._engine.plan import Plan
from fastmlp._engine.thread_pool import Team
from fastmlp._explain.explanation import Explanation
from fastmlp._export.c import CFiles
from fastmlp._network.data import Data
from fastmlp._network.operators import OPERATORS as OPERATORS
from fastmlp._network.optimizers import SLOTS as SLOTS
from fastmlp._network.spec import Spec

__pyx_capi__: dict[str, Any]  # the functions that other modules cimport

# Classes for other compiled modules alone.
Buffers: type[Any]
Derivatives: type[Any]
Memory: type[Any]
Pass: type[Any]
Signals: type[Any]
ThreadContext: type[Any]

FEW_ROWS: int
GRADIENTS: dict[str, int]
LIMITS: dict[str, int]
NARROW: dict[str, tuple[int, int, int]]

@final
class Crew:
    def serve(self) -> None: ...
    def muster(self, wanted: int) -> int: ...
    def dismiss(self) -> None: ...

def allocate(n_bytes: int) -> NDArray[np.uint8]: ...
def capsule(level: str, dtype: str) -> Any: ...
def tables(
    level: str, dtype: str = "float32"
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]: ...
def compiler(level: str, dtype: str = "float32") -> tuple[str, str]: ...
def all_finite(x: NDArray[Any]) -> bool: ...
def check_shuffle(n: int) -> None: ...
def shuffle(order: NDArray[np.int64], seed: int, level: str) -> None: ...
def has_bfloat16(level: str) -> bool: ...
def peak(dtype: str, level: str) -> float: ...

@final
class Steps:  # only Parameters.start makes these
    def __deepcopy__(self, memo: dict[int, Any]) -> Steps: ...

@disjoint_base
class Parameters:
    @property
    def spec(self) -> Spec: ...
    @property
    def level(self) -> str: ...
    def __init__(self, spec: Spec, level: str, transpose_all: bool = False) -> None: ...
    parameters = protocol.Engine.parameters
    set_parameters = protocol.Engine.set_parameters
    set_bounds = protocol.Engine.set_bounds
    snapshot = protocol.Engine.snapshot
    restore = protocol.Engine.restore
    finite = protocol.Engine.finite
    start = protocol.Engine.start
    optimizer_state = protocol.Engine.optimizer_state
    set_optimizer_state = protocol.Engine.set_optimizer_state
    can_go_on = protocol.Engine.can_go_on
    state = protocol.Engine.state
    set_state = protocol.Engine.set_state

@disjoint_base
class Engine(Parameters):
    @property
    def n_summed(self) -> int: ...
    epoch = protocol.Engine.epoch
    @staticmethod
    def train_many(
        engines: Sequence[Any],
        datas: Sequence[Data],
        plans: Sequence[Plan],
        team: Team | None = None,
        epochs: int = 1,
        seeds: Sequence[NDArray[Any]] | None = None,
        held: protocol.Held | None = None,
        stores: bool = False,
    ) -> protocol.Epochs: ...
    gradients = protocol.Engine.gradients
    shuffle = protocol.Engine.shuffle
    predict = protocol.Engine.predict
    def predict_into(
        self, x: NDArray[Any], out: NDArray[Any], team: Team | None = None, linked: bool = True
    ) -> None: ...
    def coalitions(
        self,
        x: NDArray[Any],
        background: NDArray[Any],
        chosen: NDArray[np.int64],
        masks: NDArray[Any],
        out: NDArray[Any],
        team: Team | None = None,
    ) -> None: ...
    predict_row = protocol.Engine.predict_row
    def frozen(self) -> Self: ...
    def shadow(self) -> Self: ...
    jacobian = protocol.Engine.jacobian
    differentiate = protocol.Engine.differentiate
    derivatives = protocol.Engine.derivatives
    evaluate = protocol.Engine.evaluate

def predict_each(engines: Sequence[Engine], rows: NDArray[Any]) -> NDArray[Any]: ...
def restored(
    spec: Spec,
    parameters: tuple[list[NDArray[Any]], ...],
    n_threads: int | None,
    weight_type: str | None = None,
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
    def weight_type(self) -> str | None: ...
    @property
    def function_address(self) -> int: ...
    @property
    def derivatives_address(self) -> int: ...
    @property
    def context_address(self) -> int: ...
    @property
    def capsule(self) -> CapsuleType: ...
    def __new__(
        cls,
        spec: Spec,
        level: str,
        *parameters: Sequence[NDArray[Any]],
        n_threads: int | None = None,
        weight_type: str | None = None,
    ) -> Self: ...
    def _exported(self) -> Any: ...
    def _explained(self) -> Explained: ...
    def explain(
        self,
        X: Any,
        background: Any = None,
        *,
        output: str | None = None,
        tolerance: float = 0.02,
        time_limit: float | None = None,
        random_state: int = 0,
    ) -> Explanation: ...
    def to_onnx(self, path: Any = None) -> Any: ...
    def to_c(
        self, path: Any, *, weights: str | None = None, X: Any = None, derivatives: int = 0
    ) -> CFiles: ...
    def parameters(self) -> tuple[list[NDArray[Any]], ...]: ...
    def __call__(self, x: ArrayLike, out: NDArray[Any] | None = None) -> NDArray[Any]: ...
    def predict(self, x: ArrayLike, out: NDArray[Any] | None = None) -> NDArray[Any]: ...
    def sparse(
        self, indices: ArrayLike, values: ArrayLike, out: NDArray[Any] | None = None
    ) -> NDArray[Any]: ...
    def jacobian(self, x: ArrayLike) -> NDArray[Any]: ...
    def hessian(self, x: ArrayLike) -> NDArray[Any]: ...
    def derivatives(self, x: ArrayLike) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]: ...
