"""What users' functions return: looked at in every call, and brought to the model's dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def pair(
    who: str, names: tuple[str, str], shapes: tuple[tuple[int, ...], ...], result: Any, like: Array
) -> tuple[Array, Array]:
    """Return the two arrays that a function has returned, of the dtype of ``like``.

    Parameters
    ----------
    who : str
        The function, for complaints.
    names : tuple of str
        What the two are.
    shapes : tuple of tuples of int
        What they must have.
    result : any
        What came.
    like : array
        Of the model's dtype.

    Raises
    ------
    TypeError
        If there are not two, or one of them is not real.
    ValueError
        If one has another shape.

    Examples
    --------
    >>> pair("f", ("value", "slope"), ((2,), (2,)), ([1, 2], [3.0, 4.0]), np.ones(1))
    (array([1., 2.]), array([3., 4.]))
    """
    if not isinstance(result, tuple | list) or len(result) != 2:
        shown = f"{len(result)} things" if isinstance(result, tuple | list) else type(result)
        raise TypeError(
            f"{who} returned {shown} but two arrays are expected: return {names[0]}, {names[1]}"
        )
    first, second = (
        real(who, name, shape, value, like.dtype)
        for name, shape, value in zip(names, shapes, result, strict=True)
    )
    return first, second


def real(who: str, name: str, shape: tuple[int, ...], value: Any, dtype: np.dtype[Any]) -> Array:
    """Return one of them, or say what it is instead."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{who} returned a {name} that is a masked array but its mask would be ignored: "
            f"return {name}.filled(number)"
        )
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{who} returned a {name} that is no array ({error}): return an array of shape {shape}"
        ) from None
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        raise TypeError(
            f"{who} returned a {name} of {array.dtype} but {dtype} is expected: "
            "return an array of the dtype that was given"
        )
    if array.shape != shape:
        raise ValueError(
            f"{who} returned a {name} of shape {array.shape} but {shape} is expected: "
            "return an array of that shape"
        )
    with np.errstate(all="ignore"):  # beyond the dtype is infinity, or 0, rightly
        return array.astype(dtype, copy=False)
