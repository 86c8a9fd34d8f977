from typing_extensions import disjoint_base

CALL_ROWS: int
MAX_THREADS: int

@disjoint_base
class Crew:
    def serve(self, index: int) -> None: ...
    def dismiss(self) -> None: ...
