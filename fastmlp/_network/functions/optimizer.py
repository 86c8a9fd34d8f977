"""Optimizers of the user's own."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import NDArray

from fastmlp._network.functions import results
from fastmlp._network.functions.custom_function import CustomFunction
from fastmlp._network.optimizers import Optimizer
from fastmlp._network.scheduled import LearningRate

Array = NDArray[Any]
Named = dict[str, Array]
Step = Callable[[Named, Named, dict[str, Any], float], Mapping[str, Any] | None]


class FunctionIdentity(NamedTuple):
    """What tells whose a state is: the function, the same one in copies of a model, or one alike.

    Objects and ``functools.partial`` come out of a pickle as others, which are not equal unless
    their class says so; they are alike if they are pickled alike.
    """

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
    if one is other or one == other:
        return True
    if type(one) is not type(other):
        return False
    with contextlib.suppress(Exception):  # of what cannot be pickled
        return pickle.dumps(one) == pickle.dumps(other)
    return False


@dataclass(frozen=True, repr=False, init=False)
class CustomOptimizer(CustomFunction, Optimizer):
    """An optimizer of your own: ``fit(..., optimizer=CustomOptimizer(f))``.

    Parameters
    ----------
    function : callable
        ``function(parameters, gradients, state, learning_rate)`` after the gradient of each batch.
        The first two are dictionaries of arrays by the names of ``MLP.state_dict``, copies that it
        may change and keep. It writes into the parameters, or returns a dictionary like them.
        ``state`` is a dictionary of its own, empty at first, in which it keeps what it has to
        remember: it is that of the fit, and copied and pickled with the model.
    learning_rate : float > 0 or callable
        A rate, or a schedule ``step -> learning rate``, handed on to the function.
    name : str, optional
        For messages; by default that of the function.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    A batch takes a Python call more, and copies of all parameters. ``l2``, ``clip_norm`` and
    dropout are in the gradient; ``groups`` is refused, as the function decides. What it raises,
    ``fit`` raises unchanged, and the model is at its last whole epoch. ``partial_fit`` and
    ``resume`` go on with the state while the function is the same, or alike, as out of a pickle: of
    its class, with the same attributes; what changes belongs into ``state``, not into these.
    ``save`` needs ``training=False``.

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

    is_custom = True
    degree = 1
    function: Step  # type: ignore[misc]
    name: str  # type: ignore[misc]

    __hash__ = CustomFunction.__hash__

    def __init__(
        self,
        function: Step,
        learning_rate: LearningRate = 0.01,
        *,
        name: str | None = None,
    ) -> None:
        self._set(function, name)
        if self.is_c:
            raise TypeError(
                "CustomOptimizer got a CFunction but is called with dictionaries of arrays: "
                "pass a Python function"
            )
        object.__setattr__(self, "learning_rate", learning_rate)
        super().__post_init__()

    @property
    def native_row(self) -> str:
        """The row that an engine is started with, and never asked for a step of."""
        return "sgd"

    @property
    def kind(self) -> tuple[Any, ...]:
        """What state it goes on with: that of the same function."""
        return FunctionIdentity(self.function)

    @property
    def n_slots(self) -> int:
        """What it remembers is no matter of the engine's."""
        return 0

    def moved(
        self, parameters: Named, gradients: Named, state: dict[str, Any], learning_rate: float
    ) -> Named:
        """Return the parameters of after a step; those given may change.

        Parameters
        ----------
        parameters, gradients : dict of str to array of float32 or float64
            Nobody else's.
        state : dict
            Changed.
        learning_rate : float
            Of this step.

        Raises
        ------
        TypeError, ValueError
            If the function returns, or leaves behind, something else.
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
            name: results.real(self.who, name, shape, found[name], dtype)
            for name, (shape, dtype) in shapes.items()
        }

    def __repr__(self) -> str:
        return f"CustomOptimizer({self.name!r}, learning_rate={self.learning_rate!r})"
