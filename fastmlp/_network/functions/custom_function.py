"""The common part of custom functions: a function, a name, and checks of returned arrays."""

from __future__ import annotations

from _ctypes import CFuncPtr
from typing import Any, ClassVar

import numpy as np

from fastmlp._core.intervals import check_flag
from fastmlp._network.activations import Array
from fastmlp._network.functions.c_functions import CFunction

# What newcomers pass beside the function.
DERIVATIVES = "derivative gradient grad slope df fprime"
PAIR = ((("function=f, which returns two arrays, the value and its derivative",), DERIVATIVES),)


class CustomFunction:
    """Base of ``CustomActivation`` and ``CustomLoss``, not for users."""

    function: Any
    name: Any
    is_custom: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        cls.is_custom = CustomFunction in cls.__bases__  # the methods of others might differ

    @property
    def is_c(self) -> bool:
        """Whether any thread may call the function without the interpreter's lock."""
        return isinstance(self.function, CFunction)

    @property
    def caller(self) -> str:
        """Class and name, for error messages."""
        return f"{type(self).__name__} {self.name!r}"

    @property
    def facts(self) -> dict[str, str]:
        """The entries that describe the function in a file, which never holds the function."""
        return {"function": self.name}

    def _set(self, function: Any, name: Any, **others: Any) -> None:
        """Set the attributes; check function and name, and take the function's name for None."""
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

    def _pair(
        self,
        names: tuple[str, str],
        shapes: tuple[tuple[int, ...], ...],
        result: Any,
        dtype: np.dtype[Any],
    ) -> tuple[Array, Array]:
        """Return the two arrays that the function returned, checked, in this dtype."""
        if not isinstance(result, tuple | list) or len(result) != 2:
            shown = f"{len(result)} things" if isinstance(result, tuple | list) else type(result)
            raise TypeError(
                f"{self.caller} returned {shown} but two arrays are expected: "
                f"return {names[0]}, {names[1]}"
            )
        first, second = (
            self._real(name, shape, value, dtype)
            for name, shape, value in zip(names, shapes, result, strict=True)
        )
        return first, second

    def _real(self, name: str, shape: tuple[int, ...], value: Any, dtype: np.dtype[Any]) -> Array:
        """Return one result as a real array of this dtype, or raise TypeError or ValueError."""
        returned = f"{self.caller} returned a {name}"
        if isinstance(value, np.ma.MaskedArray):
            raise TypeError(
                f"{returned} that is a masked array but its mask would be ignored: "
                f"return {name}.filled(number)"
            )
        try:
            array = np.asarray(value)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{returned} that is no array ({error}): return an array of shape {shape}"
            ) from None
        if not np.can_cast(array.dtype, dtype, "same_kind"):
            raise TypeError(
                f"{returned} of {array.dtype} but {dtype} is expected: "
                "return an array of the dtype that was given"
            )
        if array.shape != shape:
            is_longer = array.shape[:-1] == shape
            remedy = "sum it over the last axis" if is_longer else "return an array of that shape"
            raise ValueError(f"{returned} of shape {array.shape} but {shape} is expected: {remedy}")
        with np.errstate(all="ignore"):  # values outside the dtype's range become infinite or 0
            return array.astype(dtype, copy=False)

    def __hash__(self) -> int:
        return hash((type(self), self.name))

    def __deepcopy__(self, memo: object) -> Any:
        return self  # immutable; copies of models call the same function
