from typing import Any

from typing_extensions import disjoint_base

from fastmlp._engine import protocol
from fastmlp._network.operators import OPERATORS as OPERATORS
from fastmlp._network.optimizers import SLOTS as SLOTS
from fastmlp._network.spec import Spec

GRADIENTS: dict[str, int]
NARROW: dict[str, tuple[int, int, int]]

@disjoint_base
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
