"""The tensors of a file: `Tensors` while it is written, `Store` while it is read.

Each tensor of a file is read once, and a tensor that nothing has read is refused at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastmlp._core.intervals import first_non_finite
from fastmlp._files.strict_json import ModelFormatError, check, shown

MOST_NUMBERS = 400_000  # numbers in lists, which take 32 bytes each in Python and 8 in the file


class Tensors(dict[str, NDArray[Any]]):
    """The tensors of a file that is being written, by name."""

    n_numbers = 0

    def put_list(self, name: str, values: Sequence[float], dtype: DTypeLike = np.float64) -> None:
        """Add a list of numbers; raise ValueError for more than `MOST_NUMBERS` in all lists."""
        self[name] = np.array(values, dtype)
        self.n_numbers += len(values)
        if self.n_numbers > MOST_NUMBERS:
            raise ValueError(
                f"the lists of epochs have {self.n_numbers:,} numbers but a file has room for "
                f"{MOST_NUMBERS:,}: save with training=False, which leaves them out"
            )

    def room(self, epochs: int) -> int:
        """Return the number of epochs for which a file has room, given the lists of ``epochs``."""
        return MOST_NUMBERS * epochs // self.n_numbers


class Store:
    """The tensors of a file that is being read, and the functions of the caller, by name."""

    def __init__(
        self, tensors: dict[str, NDArray[Any]], functions: Mapping[str, Any] | None = None
    ) -> None:
        self._left, self._n_numbers = dict(tensors), 0
        self._functions, self._named = dict(functions or {}), set[str]()

    def function(self, tree: dict[str, Any], kind: type[Any]) -> Any:
        """Return the caller's function of a class for the description in the file."""
        name: Any = tree.get("function")
        check(isinstance(name, str), "a function is described by {}", tree)
        function: Any = self._functions.get(name)
        if type(function) is not kind:
            raise ModelFormatError(
                f"it needs the {kind.__name__} {shown(name)}, which is no part of the file, but "
                f"functions has {function!r}: pass "
                f"functions={{{shown(name)}: {kind.__name__}(...)}}"
            )
        facts = function.facts | {"function": name}
        for key in sorted(tree.keys() | facts.keys()):
            if tree.get(key) != facts.get(key):
                raise ModelFormatError(
                    f"it has a {kind.__name__} with the {shown(key)} {shown(tree.get(key))}, but "
                    f"functions has {function!r}: pass one that is made as that was"
                )
        self._named.add(name)
        return function

    def take(self, name: str) -> NDArray[Any]:
        """Return a tensor of any dtype and shape."""
        check(name in self._left, "there is no tensor {}", name)
        return self._left.pop(name)

    def parameter(
        self, name: str, shape: tuple[int, ...], dtype: DTypeLike, is_finite: bool = True
    ) -> NDArray[Any]:
        """Return a tensor of known shape and dtype, finite unless it need not be."""
        array = self.take(name)
        is_right = array.shape == shape and array.dtype == dtype
        words = f"{np.dtype(dtype)} of shape {shape} belongs there"
        check(is_right, f"tensor {{}} is {array.dtype} of shape {array.shape} but {words}", name)
        at = first_non_finite(array) if is_finite else None
        if at is not None:
            raise ModelFormatError(f"tensor {shown(name)} has {array[at]} at {at}")
        return array

    def numbers(self, name: str, dtype: DTypeLike = np.float64) -> list[Any]:
        """Return a list of numbers of a dtype."""
        array = self.take(name)
        self._n_numbers += array.size
        is_right = array.dtype == dtype and array.ndim == 1 and self._n_numbers <= MOST_NUMBERS
        words = f"a list of {np.dtype(dtype)}, at most {MOST_NUMBERS:,} in the file, belongs there"
        check(is_right, f"tensor {{}} is {array.dtype} of shape {array.shape} but {words}", name)
        return array.tolist()  # type: ignore[no-any-return]

    def finish(self) -> None:
        """Refuse tensors and functions that were not used."""
        odd = min(self._functions.keys() - self._named, default=None)
        check(odd is None, "it has no function {}: leave it out of functions", odd)
        check(not self._left, "tensor {} belongs to nothing", next(iter(self._left), None))
