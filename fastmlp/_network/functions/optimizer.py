"""Custom optimizers."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import NDArray

from fastmlp._network.functions.custom_function import CustomFunction
from fastmlp._network.optimizers import Optimizer
from fastmlp._network.scheduled import LearningRate

Array = NDArray[Any]
Named = dict[str, Array]
Step = Callable[[Named, Named, dict[str, Any], float], Mapping[str, Any] | None]


class FunctionIdentity(NamedTuple):
    """The function to which an optimizer's state belongs; equal if it is the same or alike."""

    function: Step

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FunctionIdentity) and _are_alike(self.function, other.function)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __repr__(self) -> str:
        return f"CustomOptimizer({self.function!r})"

    def __deepcopy__(self, memo: object) -> FunctionIdentity:
        return self


def _are_alike(one: Step, other: Step) -> bool:
    """Whether functions are equal or, as objects from a pickle may be, have the same pickle."""
    if one is other or one == other:
        return True
    with contextlib.suppress(Exception):  # some objects cannot be pickled
        return type(one) is type(other) and pickle.dumps(one) == pickle.dumps(other)
    return False


@dataclass(frozen=True, repr=False, init=False)
class CustomOptimizer(CustomFunction, Optimizer):
    """An optimizer of your own: ``fit(..., optimizer=CustomOptimizer(f))``.

    Parameters
    ----------
    function : callable
        ``function(parameters, gradients, state, learning_rate)``, called with the gradient of each
        batch. The first two arguments are dictionaries of arrays by the names of
        ``MLP.state_dict``, copies that it may change and keep. It changes the parameters in place,
        or returns a dictionary like them. ``state`` is a dictionary for its own use, empty at
        first; it belongs to the fit, and is copied and pickled with the model.
    learning_rate : float > 0 or callable
        A rate, or a schedule ``step -> learning rate``, passed to the function.
    name : str, optional
        Name in messages; by default that of the function.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or value.

    Notes
    -----
    Each batch costs one more Python call, and copies of all parameters. The gradient includes
    ``l2``, ``clip_norm`` and dropout; ``groups`` is refused, since the function decides about
    rates. An exception of the function passes through ``fit`` unchanged, and the model is left as
    after its last complete epoch. ``partial_fit`` and ``resume`` continue with the state while the
    function is the same, or an equal one from a pickle (same class, same attributes); so keep
    values that change in ``state``, not in attributes. ``save`` needs ``training=False``.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> def momentum(parameters, gradients, state, learning_rate):
    ...     for name, p in parameters.items():
    ...         state[name] = 0.9 * state.get(name, 0) + gradients[name]
    ...         p -= learning_rate * state[name]
    >>> x = np.linspace(-1, 1, 200)[:, np.newaxis]
    >>> net = fastmlp.MLP([1, 16, 1], activation="tanh", rng=0)
    >>> own = fastmlp.CustomOptimizer(momentum, learning_rate=0.1)
    >>> net.fit(x, x**2, epochs=100, optimizer=own).loss[-1] < 1e-3
    True
    """

    degree = 1
    function: Step  # type: ignore[misc]
    name: str  # type: ignore[misc]

    __hash__ = CustomFunction.__hash__

    def __init__(
        self, function: Step, learning_rate: LearningRate = 0.01, *, name: str | None = None
    ) -> None:
        self._set(function, name)
        if self.is_c:
            raise TypeError(
                "CustomOptimizer got a CFunction but is called with dictionaries of arrays: "
                "pass a Python function"
            )
        object.__setattr__(self, "learning_rate", learning_rate)
        self.__post_init__()

    @property
    def native_row(self) -> str:
        """A placeholder without slots with which engines start; only the function makes steps."""
        return "sgd"

    @property
    def kind(self) -> tuple[Any, ...]:
        """Key of the state: optimizers with the same function continue each other's."""
        return FunctionIdentity(self.function)

    def moved(
        self, parameters: Named, gradients: Named, state: dict[str, Any], learning_rate: float
    ) -> Named:
        """Return the parameters after a step; the function may change all but the rate in place.

        Raises TypeError or ValueError if the function returns, or leaves behind, something else.
        """
        shapes = {name: (p.shape, p.dtype) for name, p in parameters.items()}
        returned = self.function(parameters, gradients, state, learning_rate)
        found = parameters if returned is None else returned
        if not isinstance(found, Mapping):
            raise TypeError(
                f"{self.who} returned {type(found)} but a dictionary of parameters is expected: "
                "return one, or None and write into the parameters"
            )
        if found.keys() != shapes.keys():
            odd = sorted(map(str, found.keys() ^ shapes.keys()))
            raise ValueError(
                f"{self.who} returned other parameters than it was given: {', '.join(odd)} missing "
                f"or unknown; return all of {', '.join(shapes)}"
            )
        return {
            name: self._real(name, shape, found[name], dtype)
            for name, (shape, dtype) in shapes.items()
        }

    def __repr__(self) -> str:
        return f"CustomOptimizer({self.name!r}, learning_rate={self.learning_rate!r})"
