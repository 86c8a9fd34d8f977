from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from fastmlp._engine.protocol import Engine

train_many = Engine.train_many

def predict_each(engines: Sequence[Engine], rows: NDArray[Any]) -> NDArray[Any]: ...
