"""The network of a fitted estimator: the engine that trains and predicts, seen as ``coefs_``.

scikit-learn's attributes ``coefs_`` and ``intercepts_`` are lists that programs replace, whole or
item by item, and arrays that they write into. So they are views of one flat vector that is made
when somebody asks for them, and looked at for changes from then on; before that nothing is spent.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp import _backend
from fastmlp.check import first_non_finite
from fastmlp.sklearn.scaling import Arrays, Scaling
from fastmlp.spec import Data, Spec
from fastmlp.threads import for_call, team_of


class Network:
    """One spec, its engine, and its parameters as the user sees them.

    With a scaling there are two engines: one on scaled data, which is trained, and one with the
    scaling folded in, which predicts. ``coefs_`` are those of the second.

    Parameters
    ----------
    spec : Spec
    weights, biases : lists of arrays
        As the user sees them, for raw data; None for zeros, to be set in ``engine``.
    scaling : Scaling, optional
    """

    def __init__(
        self,
        spec: Spec,
        weights: Arrays | None = None,
        biases: Arrays | None = None,
        scaling: Scaling | None = None,
    ) -> None:
        self.spec, self.scaling = spec, scaling
        self.engine = _backend.engine(spec)
        self.run: Any = None  # learning rate and optimizer, between two calls of partial_fit
        self._n_weights = sum(fan_in * fan_out for fan_in, fan_out in spec.shapes)
        self._shown: Shown | None = None
        self._folded: Any = None
        if weights is not None and biases is not None:
            self.load(weights, biases)

    # ------------------------------------------------------------ parameters

    def load(self, weights: Arrays, biases: Arrays) -> None:
        """Take parameters for raw data; lists that were shown are the model's no longer."""
        self._shown = None
        self._set(weights, biases)

    def _set(self, weights: Arrays, biases: Arrays) -> None:
        if self.scaling is None:
            self.engine.set_parameters(weights, biases)
            return
        self.engine.set_parameters(*self.scaling.unfold(weights, biases))
        # Not folded back from there: what was loaded predicts with the same bits.
        self._folded = _backend.engine(self.spec)
        self._folded.set_parameters(weights, biases)

    def trained(self) -> None:
        """Say that ``engine`` has other parameters now."""
        self._shown = self._folded = None

    @property
    def predictor(self) -> Any:
        """The engine on raw data."""
        if self.scaling is None:
            return self.engine
        if self._folded is None:
            folded = _backend.engine(self.spec)
            folded.set_parameters(*self.scaling.fold(*self.engine.parameters()))
            self._folded = folded
        return self._folded

    def shown(self) -> Shown:
        """Return the lists of arrays that the user reads and may write into."""
        if self._shown is None:
            self._shown = Shown(*self.predictor.parameters())
        return self._shown

    def sync(self) -> None:
        """Take over what the user may have written into ``coefs_`` and ``intercepts_``."""
        shown = self._shown
        if shown is not None and shown.changed():
            weights, biases = self._checked(shown.coefs, shown.intercepts)
            self._set(weights, biases)
            shown.accept([*weights, *biases])

    def assign(self, coefs: Any = None, intercepts: Any = None) -> None:
        """Replace one of the two lists, as an assignment to the attribute does."""
        self.sync()
        shown = self.shown()
        weights = shown.coefs if coefs is None else coefs
        biases = shown.intercepts if intercepts is None else intercepts
        self.load(*self._checked(weights, biases))

    def _checked(self, weights: Any, biases: Any) -> tuple[Arrays, Arrays]:
        plain = [[np.array(a, self.spec.dtype) for a in arrays] for arrays in (weights, biases)]
        wanted = [[tuple(shape) for shape in self.spec.shapes], [(o,) for _, o in self.spec.shapes]]
        given = [[a.shape for a in arrays] for arrays in plain]
        if given != wanted:
            raise ValueError(
                f"coefs_ have shapes {given[0]} and intercepts_ {given[1]} but this network has "
                f"{wanted[0]} and {wanted[1]}: fit an estimator with other hidden_layer_sizes"
            )
        return plain[0], plain[1]

    # ------------------------------------------------------------ data and prediction

    def data(self, x: NDArray[Any], targets: NDArray[Any], weights: NDArray[Any] | None) -> Data:
        """Return what the engine trains on: scaled, in the network's dtype."""
        dtype = self.spec.dtype
        real = targets.dtype.kind == "f"
        x = self.cast(x)
        if self.scaling is not None:
            x = self.scaling.inputs(x)
            targets = self.scaling.targets(targets) if real else targets
        return Data(
            x=np.require(x, requirements="A"),
            targets=np.ascontiguousarray(targets, dtype if real else None),
            weights=None if weights is None else np.ascontiguousarray(weights, dtype),
        )

    def cast(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return finite float inputs in the network's dtype; complain if they do not fit in."""
        if x.dtype == self.spec.dtype:
            return x
        with np.errstate(over="ignore", under="ignore"):
            narrow = x.astype(self.spec.dtype)
        index = first_non_finite(narrow)
        if index is not None and np.isfinite(x[index]):
            raise ValueError(
                f"Input X contains {x[index]}, a value too large for "
                f"dtype({self.spec.dtype.name!r}): rescale it, or fit on float64"
            )
        return narrow

    def predict(self, x: NDArray[Any], n_jobs: int | None = None) -> NDArray[Any]:
        """Predict for raw inputs of the network's dtype, (n, heads * outputs)."""
        self.sync()
        n_rows = x.shape[0]
        size = for_call(self._n_weights, n_rows) if n_rows > 1 else 1
        if n_jobs is not None:
            size = min(size, n_jobs)
        if size == 1:
            return self.predictor.predict(x)  # type: ignore[no-any-return]
        with team_of(size) as team:
            return self.predictor.predict(x, team)  # type: ignore[no-any-return]

    # ------------------------------------------------------------ copies

    def __getstate__(self) -> dict[str, Any]:
        self.sync()
        parameters = self.predictor.parameters()
        return {"spec": self.spec, "scaling": self.scaling, "parameters": parameters}

    def __setstate__(self, state: dict[str, Any]) -> None:
        weights, biases = state["parameters"]
        Network.__init__(self, state["spec"], weights, biases, state["scaling"])


class Shown:
    """Parameters as lists of views of one flat vector, with a memory of what was in it."""

    def __init__(self, weights: Arrays, biases: Arrays) -> None:
        arrays = [*weights, *biases]
        flat = np.concatenate([array.ravel() for array in arrays])
        self._views, at = [], 0
        for array in arrays:
            self._views.append(flat[at : at + array.size].reshape(array.shape))
            at += array.size
        self.coefs, self.intercepts = self._views[: len(weights)], self._views[len(weights) :]
        # Compared as integers: NaN is equal to itself then.
        self._bits = flat.view(f"i{flat.itemsize}")
        self._before = self._bits.copy()

    def changed(self) -> bool:
        """Whether a list has another array in it, or an array other contents."""
        now = [*self.coefs, *self.intercepts]
        if len(now) != len(self._views):
            return True
        if any(a is not b for a, b in zip(now, self._views, strict=True)):
            return True
        return not np.array_equal(self._bits, self._before)

    def accept(self, arrays: Arrays) -> None:
        """Remember the contents of now; arrays that the user put into a list are copied."""
        for view, array in zip(self._views, arrays, strict=True):
            view[...] = array
        n = len(self.coefs)
        self.coefs[:], self.intercepts[:] = self._views[:n], self._views[n:]
        self._before = self._bits.copy()
