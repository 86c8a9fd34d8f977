"""Custom losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from fastmlp._core.keywords import check_choice, with_argument_hints
from fastmlp._network import links
from fastmlp._network.activations import Array
from fastmlp._network.functions import finite_differences
from fastmlp._network.functions.c_functions import CFunction
from fastmlp._network.functions.custom_function import PAIR, CustomFunction
from fastmlp._network.losses import Loss
from fastmlp._network.target_kinds import KINDS

# Each link, with the rows of `NATIVE_LOSSES` that have it, for real targets and for labels.
LINKS = {
    "identity": ("squared_error", "squared_error"),
    "exp": ("poisson_nll", "poisson_nll"),
    "mean_and_variance": ("gaussian_nll", "gaussian_nll"),
    "sigmoid": ("binary_cross_entropy", "binary_cross_entropy"),
    "softmax": ("cross_entropy_soft", "cross_entropy_labels"),
}
# The check of a function takes some rows, and differences of some columns; it is left out for more
# outputs, which would take much memory.
ROWS, MOST_COLUMNS, MOST_OUTPUTS = 7, 8, 2**16


@partial(with_argument_hints, synonyms=PAIR, attributes=())
@dataclass(frozen=True, repr=False, init=False)
class CustomLoss(CustomFunction, Loss):
    """A loss of your own: a Python function that says how bad predictions are.

    Take it if the built-in losses lack yours: ``MLP(..., loss=CustomLoss(f))``.

    When a model is made with it, the gradient is compared with central differences of the value.

    Parameters
    ----------
    function : callable, or CFunction
        ``function(z, t) -> value, gradient``, called once per batch of at most 1,024 rows: z, of
        shape (n, columns), are the network's outputs before the link; t are the targets, of shape
        (n, outputs), or int32 labels (n,). It returns the loss of each sample (n,), summed over its
        outputs, and its gradient with respect to z, (n, columns), not divided by n: the model takes
        the (weighted) mean over samples. z and t are copies. Such a model trains on one thread. A C
        function has no such limit, see :class:`CFunction`.
    link : {"identity", "exp", "sigmoid", "softmax", "mean_and_variance"}
        The function from z to predictions. The last one needs two columns per output: means, then
        logarithms of variances.
    targets : {"real", "count", "positive", "unit_interval", "class"}
        The allowed targets: any numbers, at least 0, above 0, from 0 to 1, or labels from 0 (or
        probabilities) of as many classes as there are outputs.
    name : str, optional
        Name in messages and files; by default that of the function.
    check : bool
        False omits the comparison, for gradients that differ from the derivative on purpose.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or value.

    Notes
    -----
    An exception of the function passes through ``fit`` or ``evaluate`` unchanged, and the model is
    left as after its last complete epoch. The function is pickled by name, as Python does.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> def log_cosh(z, t):
    ...     e = z - t
    ...     return np.sum(np.logaddexp(e, -e) - np.log(2), axis=1), np.tanh(e)
    >>> x = np.linspace(-1, 1, 200)[:, np.newaxis]
    >>> net = fastmlp.MLP([1, 16, 1], activation="tanh", loss=fastmlp.CustomLoss(log_cosh), rng=0)
    >>> net.fit(x, x**2, epochs=100, optimizer=fastmlp.Adam(1e-2)).loss[-1] < 1e-2
    True
    """

    function: Callable[[Array, Array], Any] | CFunction
    link_kind: str
    targets: str
    name: str  # type: ignore[misc]
    check: bool
    is_separable: ClassVar[bool] = False  # it returns one number for all outputs of a row

    __hash__ = CustomFunction.__hash__

    def __init__(
        self,
        function: Callable[[Array, Array], Any] | CFunction,
        *,
        link: str = "identity",
        targets: str = "real",
        name: str | None = None,
        check: bool = True,
    ) -> None:
        link = check_choice("link", link, LINKS)
        targets = check_choice("targets", targets, KINDS)
        self._set(function, name, link_kind=link, targets=targets, check=check)

    @property
    def target_kind(self) -> str:  # type: ignore[override]
        """The kind of targets, see `Loss`."""
        return self.targets

    @property
    def heads(self) -> int:
        """Columns of the last affine layer per output."""
        return 2 if self.link_row is links.MEAN_AND_VARIANCE else 1

    @property
    def facts(self) -> dict[str, str]:
        """The entries that describe the loss in a file; predictions depend on the link."""
        return super().facts | {"link": self.link_kind, "targets": self.targets}

    def native_row(self, labels: bool) -> str:
        """Return a row of `NATIVE_LOSSES` that has the link."""
        return LINKS[self.link_kind][labels]

    @property
    def link_row(self) -> links.Link:
        return links.BY_NAME[self.link_kind]

    def value_and_gradient(  # type: ignore[override]
        self, z: Array, t: Array
    ) -> tuple[Array, Array]:
        """Return the losses of the samples and their gradients; z and t are not changed.

        Raises TypeError or ValueError if the function returns something else.
        """
        outputs, targets = np.array(z, order="C"), np.array(t, order="C")
        shapes = ((len(z),), z.shape)
        if isinstance(self.function, CFunction):
            target_arguments = (targets, None) if t.ndim == 2 else (None, targets)
            width = z.shape[1] // self.heads
            value, gradient = (np.full(shape, np.nan, z.dtype) for shape in shapes)
            self.function(z.dtype, *z.shape, width, outputs, *target_arguments, value, gradient)
            return value, gradient
        return self._pair(("value", "gradient"), shapes, self.function(outputs, targets), z.dtype)

    def verify(self, dtype: np.dtype[Any], outputs: int) -> None:
        """Raise TypeError or ValueError unless the function works for this dtype and width."""
        if isinstance(self.function, CFunction):
            self.function.address(dtype)
        if outputs > MOST_OUTPUTS:
            return
        z = finite_differences.points((ROWS, self.heads * outputs), dtype)
        t = self._targets(outputs, dtype)
        with np.errstate(all="ignore"):
            value, gradient = self.value_and_gradient(z, t)
            first, _ = self.value_and_gradient(z[:1], t[:1])
        if not self.check:
            return
        columns = np.linspace(0, z.shape[1] - 1, min(z.shape[1], MOST_COLUMNS)).astype(int)
        for c in columns.tolist():

            def moved(column: Array, c: int = c) -> Array:
                other = z.copy()
                other[:, c] = column
                return self.value_and_gradient(other, t)[0]

            finite_differences.compare(self.caller, "gradient", moved, z[:, c], gradient[:, c])
        finite_differences.alone(self.caller, "value", value[:1], first)

    def _targets(self, outputs: int, dtype: np.dtype[Any]) -> Array:
        """Return random targets of the allowed kind."""
        rng, shape = np.random.default_rng(1), (ROWS, outputs)
        if self.targets == "class":
            return rng.integers(0, outputs, ROWS).astype(np.int32)
        return KINDS[self.targets].examples(rng.normal(size=shape)).astype(dtype)

    def __repr__(self) -> str:
        return f"CustomLoss({self.name!r}, link={self.link_name!r}, targets={self.targets!r})"
