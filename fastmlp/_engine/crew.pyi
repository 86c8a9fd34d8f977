from typing_extensions import disjoint_base

CALL_ROWS: int
MAX_THREADS: int

@disjoint_base
class Crew:
    def serve(self) -> None: ...
    def muster(self, wanted: int) -> int: ...
    def dismiss(self) -> None: ...
