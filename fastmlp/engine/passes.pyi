from typing_extensions import disjoint_base

# Only the engine makes these.
@disjoint_base
class Pass: ...

@disjoint_base
class Signals: ...
