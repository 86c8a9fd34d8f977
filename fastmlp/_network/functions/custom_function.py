"""What the functions of users have in common: a callable or C function, and a name."""

from __future__ import annotations

from _ctypes import CFuncPtr
from typing import Any

from fastmlp._core.intervals import check_flag
from fastmlp._network.functions.c_functions import CFunction


class CustomFunction:
    """Base of ``CustomActivation``, ``CustomLoss`` and ``CustomOptimizer``, not for users."""

    function: Any
    name: Any

    @property
    def is_c(self) -> bool:
        """Whether any thread may call it without the interpreter's lock."""
        return isinstance(self.function, CFunction)

    @property
    def who(self) -> str:
        """Class and name, for complaints."""
        return f"{type(self).__name__} {self.name!r}"

    @property
    def facts(self) -> dict[str, str]:
        """What a file says of it: never the function itself."""
        return {"function": self.name}

    def _set(self, function: Any, name: Any, **others: Any) -> None:
        """Keep function, name and others; the first two are checked, and a name is found."""
        kind = type(self).__name__
        if isinstance(function, CFuncPtr):
            raise TypeError(
                f"{kind} got a ctypes function, which knows nothing of NumPy arrays: "
                "pass fastmlp.CFunction(float32=...)"
            )
        if not callable(function):
            raise TypeError(
                f"{kind} got {function!r} but a function is expected: pass a callable on NumPy "
                "arrays, or a fastmlp.CFunction"
            )
        if name is None:
            name = getattr(function, "__name__", type(function).__name__)
        if not isinstance(name, str) or not name:
            raise TypeError(f"name is {name!r} but must be a string: pass for example name='mine'")
        check_flag("check", others.get("check", True))
        for key, value in {"function": function, "name": name, **others}.items():
            object.__setattr__(self, key, value)

    def __hash__(self) -> int:
        return hash((type(self), self.name))

    def __deepcopy__(self, memo: object) -> Any:
        return self  # nothing of it changes, and copies of models call the same function
