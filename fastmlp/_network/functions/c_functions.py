"""C functions of the user: one address for each dtype, and the objects that keep them alive."""

from __future__ import annotations

import ctypes
from _ctypes import CFuncPtr
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from fastmlp._network.activations import Array

_REMEDY = (
    "pass an address, a PyCapsule, a ctypes function, or an object with an address, such as "
    "numba.cfunc makes"
)
_LARGEST = 2 ** (8 * ctypes.sizeof(ctypes.c_void_p)) - 1


class CFunction:
    """A function that you wrote in C, as an activation or a loss of a network.

    Take it when a function of your own in NumPy is too slow: it is called by any thread, without
    locks, in ``CustomActivation`` or ``CustomLoss``.

    It must write all results, may change nothing else, and cannot report errors except as NaN. With
    ``real`` for float or double, an activation is a function ::

        void f(const void *context, int64_t n, const real *z, real *value, real *slope);

    z, value and slope have n elements; slope is NULL if it is not needed. A loss is a function ::

        void f(const void *context, int64_t n, int64_t columns, int64_t width, const real *z,
               const real *targets, const int32_t *labels, real *value, real *gradient);

    z and gradient are (n, columns), row after row, targets (n, width), labels (n,), value (n,): the
    loss of each row. Either targets or labels is NULL. No two arrays overlap.

    Parameters
    ----------
    float32, float64 : int, PyCapsule, ctypes function, or object with ``address``
        The function for models of this dtype; at least one. Objects are kept alive; with an
        integer, the caller has to keep the code loaded.
    context : int or object as above, optional
        First argument of each call, shared by all threads; NULL by default.

    Raises
    ------
    TypeError, ValueError
        If no function is given, or an argument is not an address.

    Notes
    -----
    A wrong address cannot be detected and ends the process. A CFunction cannot be pickled, since
    its addresses belong to this process.

    Examples
    --------
    >>> import ctypes, fastmlp
    >>> real = ctypes.POINTER(ctypes.c_double)
    >>> @ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, real, real, real)
    ... def square(context, n, z, value, slope):
    ...     for i in range(n):
    ...         value[i] = z[i] * z[i]
    ...         if slope:
    ...             slope[i] = 2 * z[i]
    >>> activation = fastmlp.CustomActivation(fastmlp.CFunction(float64=square), name="square")
    >>> fastmlp.MLP([2, 8, 1], activation=activation, dtype="float64", rng=0).activations
    (CustomActivation('square'),)
    """

    def __init__(self, *, float32: Any = None, float64: Any = None, context: Any = None) -> None:
        functions = {"float32": float32, "float64": float64}
        self._addresses = {
            name: _address(name, value) for name, value in functions.items() if value is not None
        }
        if not self._addresses:
            raise TypeError(f"CFunction has no function: pass float32= or float64=; {_REMEDY}")
        self.context_address = 0 if context is None else _address("context", context)
        self._alive = float32, float64, context

    def address(self, dtype: np.dtype[Any]) -> int:
        """Return the address of the function for a dtype; raise ValueError if there is none."""
        if dtype.name not in self._addresses:
            (other,) = self._addresses
            raise ValueError(
                f"the model has dtype {dtype.name} but its CFunction is for {other}: pass "
                f"CFunction({dtype.name}=...), or make the model with dtype={other!r}"
            )
        return self._addresses[dtype.name]

    def __call__(self, dtype: np.dtype[Any], *arguments: Array | int | None) -> None:
        """Call the function from Python with integers and C-contiguous arrays; None is NULL."""
        kinds = [ctypes.c_int64 if isinstance(a, int) else ctypes.c_void_p for a in arguments]
        call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, *kinds)(self.address(dtype))
        call(self.context_address or None, *map(_plain, arguments))

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a CFunction is an address in this process and cannot be pickled: save the model with "
            "save(path) and load it with fastmlp.load(path, functions=...), or use a NumPy function"
        )

    def __deepcopy__(self, memo: object) -> CFunction:
        return self  # it is immutable

    def __repr__(self) -> str:
        addresses = [f"{name}={address:#x}" for name, address in self._addresses.items()]
        return f"CFunction({', '.join(addresses)})"


def _plain(argument: Array | int | None) -> int | None:
    return argument.ctypes.data if isinstance(argument, np.ndarray) else argument


def _address(name: str, value: Any) -> int:
    """Return the address in an integer, capsule, ctypes function or object with one."""
    address = value
    if type(value).__name__ == "PyCapsule":
        address = _of_capsule(value)
    elif isinstance(value, CFuncPtr | ctypes._Pointer | ctypes.c_void_p):
        address = ctypes.cast(value, ctypes.c_void_p).value
    elif not isinstance(value, int | np.integer):
        address = getattr(value, "address", None)
    if isinstance(address, bool) or not isinstance(address, int | np.integer):
        raise TypeError(f"{name} is {value!r} but an address is expected: {_REMEDY}")
    if not 0 < address <= _LARGEST:
        raise ValueError(f"{name} is the address {address} but no memory is there: {_REMEDY}")
    return int(address)


def _of_capsule(capsule: Any) -> int | None:
    """Return the pointer of a PyCapsule of any name."""
    api = ctypes.pythonapi
    results: Sequence[tuple[str, Any, Any]] = (
        ("PyCapsule_GetName", ctypes.c_char_p, (ctypes.py_object,)),
        ("PyCapsule_GetPointer", ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)),
    )
    name_of, pointer_of = (
        ctypes.PYFUNCTYPE(result, *arguments)((function, api))
        for function, result, arguments in results
    )
    return pointer_of(capsule, name_of(capsule))  # type: ignore[no-any-return]
