from typing_extensions import disjoint_base

# Only an engine makes these.
@disjoint_base
class Buffers: ...
