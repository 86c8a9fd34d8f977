from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastmlp._engine.native import Engine
from fastmlp._engine.plan import Plan
from fastmlp._engine.protocol import Epochs
from fastmlp._engine.thread_pool import Team
from fastmlp._network.data import Data

def train_many(
    engines: Sequence[Engine],
    datas: Sequence[Data],
    plans: Sequence[Plan],
    team: Team | None = None,
    epochs: int = 1,
    seeds: Sequence[NDArray[np.uint64]] | None = None,
    held: Sequence[Data] | None = None,
    linked: bool = True,
) -> Epochs: ...
