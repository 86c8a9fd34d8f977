from typing_extensions import disjoint_base

@disjoint_base
class Memory:
    def __init__(self, itemsize: int) -> None: ...
