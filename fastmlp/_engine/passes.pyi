from typing import Any

from typing_extensions import disjoint_base

__pyx_capi__: dict[str, Any]  # of what others cimport

# Only the engine makes these.
@disjoint_base
class Pass: ...

@disjoint_base
class Signals: ...
