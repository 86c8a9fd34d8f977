"""The predictor of the NumPy engine: the same calls, results and errors as the native one."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmlp._engine import linked
from fastmlp._engine.explainable import Explainable, of_predictor
from fastmlp._engine.exportable import Exportable
from fastmlp._engine.protocol import Arrays, Engine
from fastmlp._network.exported import Exported
from fastmlp._network.sparse import SparseRows, is_sparse
from fastmlp._network.spec import Spec
from fastmlp._validation import check


class Predictor(Exportable, Explainable):
    """A trained network as a fast function for single rows; ``MLP.predictor()`` makes it.

    It is a frozen copy of the weights.

    Rows are not checked for NaN: NaN in a row of x gives NaN in that row of the result. The engine
    then belongs to the predictor; `n_threads` is kept and not used.
    """

    level = "numpy"
    _explained = of_predictor

    def __init__(
        self, engine: Engine, n_threads: int | None, weight_type: str | None = None
    ) -> None:
        self._engine, self._n_threads, self._weight_type = engine, n_threads, weight_type

    @property
    def spec(self) -> Spec:
        """The network."""
        return self._engine.spec

    @property
    def n_threads(self) -> int | None:
        """The constructor's argument, which has no effect."""
        return self._n_threads

    @property
    def weight_type(self) -> str | None:
        """The type in which the weights are exact; None is the dtype."""
        return self._weight_type

    def parameters(self) -> tuple[Arrays, ...]:
        """Return copies of (weights, biases), as the engine does."""
        return self._engine.parameters()

    def _exported(self) -> Exported:
        return linked.exported(self._engine)

    def __call__(self, x: ArrayLike, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Predict one row, (I,) to (C,), or a batch, (n, I) to (n, C), into ``out`` if given."""
        if is_sparse(x):
            return self._predict(check.inputs(x, self.spec, name="x", empty=True), False, out)
        return self._predict(*self._rows(x), out)

    def predict(self, x: ArrayLike, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Predict, as a call of the predictor does."""
        return self(x, out)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.spec.title}>"

    def sparse(
        self, indices: ArrayLike, values: ArrayLike, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Predict one row of which the inputs ``indices`` have ``values``, and all others are 0."""
        row = SparseRows((0, np.size(indices)), indices, values, self.spec.layer_sizes[0])
        return self._predict(row.astype(self.spec.dtype), True, out)

    def _predict(self, rows: Any, one: bool, out: NDArray[Any] | None) -> NDArray[Any]:
        """Predict rows (n, I), in ``out`` if given; ``one`` is whether the result is flat."""
        shape = (rows.shape[0], self.spec.shapes[-1][1])[one:]
        if out is not None and not _fits(out, shape, self.spec.dtype):
            raise check.bad_out(out, shape, self.spec.dtype)
        with np.errstate(all="ignore"):
            result = self._engine.predict(rows).reshape(shape)
        if out is None:
            return result
        out[...] = result
        return out

    def jacobian(self, x: ArrayLike) -> NDArray[Any]:
        """Return d prediction / d x, link included: (C, I) for one row or (n, C, I)."""
        rows, one = self._rows(x)
        with np.errstate(all="ignore"):
            derivatives = self._engine.jacobian(rows)
        return derivatives[0] if one else derivatives

    def derivatives(self, x: ArrayLike) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return predictions, jacobians and hessians of one row or of a batch, link included."""
        rows, one = self._rows(x)
        with np.errstate(all="ignore"):
            values, jacobian, hessian = linked.derivatives(self._engine, rows)
        return (values[0], jacobian[0], hessian[0]) if one else (values, jacobian, hessian)

    def hessian(self, x: ArrayLike) -> NDArray[Any]:
        """Return the hessians of `derivatives`."""
        return self.derivatives(x)[2]

    def _rows(self, x: ArrayLike) -> tuple[NDArray[Any], bool]:
        """Return x as a batch (n, I), and whether it was a single row (I,)."""
        array = check.numeric(x, "x").astype(self.spec.dtype, copy=False)
        n_in = self.spec.layer_sizes[0]
        if array.ndim not in (1, 2) or array.shape[-1] != n_in:
            raise check.bad_rows(array.shape, n_in)
        return array.reshape(-1, n_in) if array.ndim == 1 else array, array.ndim == 1

    def _compiled_only(self) -> NoReturn:
        raise AttributeError(
            "a predictor of fastmlp.reference has no address that C code could call: "
            "use the predictor of a fastmlp.MLP"
        )

    function_address = property(_compiled_only)
    derivatives_address = property(_compiled_only)
    context_address = property(_compiled_only)
    capsule = property(_compiled_only)


def _fits(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    return (
        type(out) in (np.ndarray, np.memmap)
        and (out.shape, out.dtype) == (shape, dtype)
        and out.flags.carray
    )
