from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastmlp.engine.contract import Epochs
from fastmlp.engine.native import Engine
from fastmlp.spec import Data, Plan
from fastmlp.teams import Team

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
