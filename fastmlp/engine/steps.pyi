from typing_extensions import disjoint_base

# Only the engine makes these.
@disjoint_base
class Steps: ...
