from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from fastmlp._engine.parameters import Parameters
from fastmlp._engine.plan import Plan
from fastmlp._engine.protocol import Epochs
from fastmlp._engine.thread_pool import Team
from fastmlp._network.data import Data

__pyx_capi__: dict[str, Any]  # the functions that other modules cimport

@disjoint_base
class Engine(Parameters):
    @property
    def n_summed(self) -> int: ...
    def epoch(self, data: Data, plan: Plan) -> float: ...
    def gradients(
        self,
        data: Data,
        l2: float = 0.0,
        team: Team | None = None,
        l1: float = 0.0,
    ) -> tuple[float, list[NDArray[Any]], list[NDArray[Any]]]: ...
    def shuffle(self, order: NDArray[np.int64], seed: int) -> None: ...
    def predict(
        self, x: NDArray[Any], team: Team | None = None, linked: bool = True
    ) -> NDArray[Any]: ...
    def predict_into(
        self, x: NDArray[Any], out: NDArray[Any], team: Team | None = None, linked: bool = True
    ) -> None: ...
    def predict_row(self, x: object) -> NDArray[Any] | None: ...
    def frozen(self) -> Self: ...
    def jacobian(self, x: NDArray[Any]) -> NDArray[Any]: ...
    def differentiate(
        self,
        x: NDArray[Any],
        v: NDArray[Any] | None = None,
        p: NDArray[Any] | None = None,
        q: NDArray[Any] | None = None,
        team: Team | None = None,
    ) -> NDArray[Any]: ...
    def derivatives(
        self, x: NDArray[Any], team: Team | None = None
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]: ...
    def evaluate(self, data: Data, team: Team | None = None) -> float: ...
    def shadow(self) -> Self: ...
    @staticmethod
    def train_many(
        engines: Sequence[Any],
        datas: Sequence[Data],
        plans: Sequence[Plan],
        team: Team | None = None,
        epochs: int = 1,
        seeds: Sequence[NDArray[np.uint64]] | None = None,
        held: Sequence[Data] | None = None,
        linked: bool = True,
        stores: bool = False,
    ) -> Epochs: ...

def predict_each(engines: Sequence[Engine], rows: NDArray[Any]) -> NDArray[Any]: ...
