from collections.abc import Sequence
from typing import Any, Self

from numpy.typing import NDArray
from typing_extensions import disjoint_base

from fastmlp._engine import protocol
from fastmlp._engine.parameters import Parameters
from fastmlp._engine.plan import Plan
from fastmlp._engine.thread_pool import Team
from fastmlp._network.data import Data

__pyx_capi__: dict[str, Any]  # the functions that other modules cimport

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
        held: Sequence[Data] | None = None,
        linked: bool = True,
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
