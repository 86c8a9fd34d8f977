"""The network of an estimator: its engine, its scaling, and ``coefs_``.

Readers (predictions, copies, ``coefs_``) change nothing that other threads see and never wait; only
the holder of the estimator's lock uses ``engine``.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastmlp._core.intervals import first_non_finite
from fastmlp._engine import compiled, native_engine
from fastmlp._engine.thread_count import call_team, of_jobs
from fastmlp._network.data import Data
from fastmlp._network.sparse import SparseRows
from fastmlp._network.spec import Spec, build
from fastmlp._network.tensors import Tensors, pack, unpack
from fastmlp._validation import check
from fastmlp.sklearn import parameters
from fastmlp.sklearn.scaling import Arrays, Scaling


def spec_of(
    estimator: parameters.Validated, n_features: int, targets: Any, dtype: DTypeLike
) -> Spec:
    """Return the spec of the network that the estimator's parameters describe."""
    hidden = parameters.hidden_sizes(estimator.hidden_layer_sizes)
    dropout, compute = estimator.dropout, estimator.compute
    if compute is not None:
        dtype = np.float32
    elif estimator.solver == "lbfgs":  # SciPy minimises in float64
        dtype = np.float64
    options: dict[str, Any] = {
        "layer_sizes": (n_features, *hidden, targets.n_outputs),
        "activation": parameters.activation_names(estimator.activation),
        "loss": estimator._loss(targets),
        "dtype": dtype,
        "dropout": dropout if isinstance(dropout, Real) else tuple(dropout),
        "compute": compute,
    }
    text = repr((options["layer_sizes"], options["dropout"]))  # tells 1 from True, which are equal
    try:
        return _built(text, **options)
    except TypeError:  # a list has no hash: `build` says what is wrong
        return build(**options)


@functools.lru_cache(maxsize=16)
def _built(text: str, **options: Any) -> Spec:
    """Return the spec for options of `build`, mostly that of an earlier fit."""
    return build(**options)


def first_parameters(
    network: Spec, activation: str | Iterable[str], random_state: np.random.RandomState
) -> tuple[Arrays, Arrays]:
    """Draw initial weights after Glorot and Bengio (2010), as scikit-learn does."""
    # logistic gets a third of the variance, the output layer the factor of the last activation,
    # and each layer's weights are drawn before its biases.
    names: Sequence[Any] = network.activations or [parameters.activation_names(activation)]
    weights: Arrays = []
    biases: Arrays = []
    for layer, (fan_in, fan_out) in enumerate(network.shapes):
        factor = 2.0 if names[min(layer, len(names) - 1)] == "sigmoid" else 6.0
        bound = math.sqrt(factor / (fan_in + fan_out))
        for arrays, shape in ((weights, (fan_in, fan_out)), (biases, (fan_out,))):
            arrays.append(random_state.uniform(-bound, bound, shape).astype(network.dtype))
    return weights, biases


class ScaledNetwork:
    """A network's spec, its engine, and its parameters as the user sees them.

    With a scaling, ``engine`` is trained on scaled data, and another one, with the scaling folded
    in, predicts and has the weights that ``coefs_`` shows.
    """

    engine: native_engine.Engine

    def __init__(self, spec: Spec, scaling: Scaling | None = None) -> None:
        self.spec, self.scaling = spec, scaling
        self._snapshot: Any = None  # the parameters of a network that was set apart
        self.run: Any = None  # learning rate and optimizer between calls of partial_fit
        self.n_weights = spec.n_weights
        # Caches for the current parameters: "predictor" and "shown", and flags whether the user has
        # "assigned" them and the engine lacks them ("news"). Training replaces the dictionary, so
        # that concurrent readers fill the old one.
        self._view: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        """Make the engine on first use: networks that were set apart seldom need one."""
        if name != "engine":
            raise AttributeError(name)
        engine = compiled(self.spec)
        if self._snapshot is not None:
            engine.restore(self._snapshot)
        return self.__dict__.setdefault(name, engine)  # that of the first of several threads

    def load(self, weights: Arrays, biases: Arrays) -> None:
        """Predict with these parameters, for raw data; `take_over` passes them to ``engine``."""
        predictor = self._engine_with(weights, biases)
        self._view = {"predictor": predictor, "assigned": True, "news": True}

    def take_over(self) -> None:
        """Copy parameters that the user has assigned or written to ``engine``."""
        view = self._updated()
        if not view.pop("news", False):
            return
        weights, biases = view["predictor"].parameters()
        if self.scaling is None:
            self.engine.set_parameters(weights, biases)
            self._view = {key: view[key] for key in view if key == "shown"}
        else:
            # Not folded back, so that loaded parameters predict with the same bits.
            with np.errstate(under="ignore"):
                self.engine.set_parameters(*self.scaling.unfold(weights, biases))

    def again(self, spec: Spec) -> ScaledNetwork:
        """Return a network with another spec of equal shapes and the same parameters."""
        other = ScaledNetwork(spec, self.scaling)
        other.engine.set_parameters(*self.engine.parameters())
        return other

    def twin(self) -> ScaledNetwork:
        """Return a network with the same parameters, without the optimizer; nothing is copied."""
        view, other = dict(self._updated()), object.__new__(ScaledNetwork)
        view.pop("shown", None)
        changes = {"_snapshot": self.engine.snapshot(), "_view": view, "run": None}
        other.__dict__ = {**vars(self), **changes}
        del other.engine
        return other

    def trained(self) -> None:
        """Drop caches after ``engine`` has changed."""
        self._view = {}

    def foldable(self) -> bool:
        """Whether the parameters for raw data are finite, given finite ones for scaled data."""
        if self.scaling is None:
            return True
        weights, biases = self.engine.parameters()
        return self.scaling.fits(weights, biases, self.spec.dtype)

    def _engine_with(self, weights: Arrays, biases: Arrays) -> native_engine.Engine:
        engine = compiled(self.spec)
        with np.errstate(under="ignore"):
            engine.set_parameters(weights, biases)
        return engine

    @property
    def predictor(self) -> native_engine.Engine:
        """The engine that predicts from raw data."""
        if not self._view and self.scaling is None:
            return self.engine
        return self._predictor(self._updated())

    def _predictor(self, view: dict[str, Any]) -> native_engine.Engine:
        predictor: native_engine.Engine | None = view.get("predictor")
        if predictor is not None:
            return predictor
        if self.scaling is None:
            return self.engine
        folded = self._engine_with(*self.scaling.fold(*self.engine.parameters()))
        kept: native_engine.Engine = view.setdefault("predictor", folded)
        return kept

    def shown(self) -> ParameterViews:
        """Return the lists of arrays that the user reads and may modify."""
        view = self._view
        shown: ParameterViews | None = view.get("shown")
        if shown is None:
            weights, biases = self._predictor(view).parameters()
            made = ParameterViews(weights, biases, self.spec.tensors)
            shown = view.setdefault("shown", made)
        return shown

    def _updated(self) -> dict[str, Any]:
        """Return the caches, updated if the user has written into ``coefs_``."""
        view = self._view
        shown: ParameterViews | None = view.get("shown")
        if shown is not None and shown.changed():
            # With this order of assignments, a concurrent reader just repeats the work.
            weights, biases, remember = shown.read(self.checked)
            view["predictor"] = self._engine_with(weights, biases)
            view["assigned"] = view["news"] = True
            remember()
        return view

    def assign(self, name: str, values: Sequence[ArrayLike]) -> None:
        """Replace one of the two lists, for an assignment to ``coefs_`` or ``intercepts_``."""
        self._updated()
        shown = self.shown()
        lists = {"coefs_": shown.coefs, "intercepts_": shown.intercepts, name: values}
        self.load(*self.checked(*lists.values()))

    def checked(
        self, weights: Sequence[ArrayLike], biases: Sequence[ArrayLike]
    ) -> tuple[Arrays, Arrays]:
        """Return copies of weights and biases, or raise an error if they do not fit the network."""
        return (
            check.parameters(weights, self.spec, "weights", "coefs_"),
            check.parameters(biases, self.spec, "biases", "intercepts_"),
        )

    def data(self, raw: Data, weights: NDArray[Any] | None) -> Data:
        """Return training data for the engine: scaled, in the network's dtype."""
        x, targets, scaling = self.cast(raw.x), raw.targets, self.scaling
        is_real = targets.dtype.kind == "f"
        if scaling is not None:
            x = self.cast(scaling.scaled(x))
            targets = scaling.scaled_targets(targets, self.spec) if is_real else targets
        targets = self.cast(targets, "y") if is_real else targets
        return Data(x, np.ascontiguousarray(targets), weights)

    def cast(self, x: Any, name: str = "X") -> Any:
        """Return an array in the network's dtype; raise ValueError for values that overflow."""
        if isinstance(x, SparseRows):
            return check.inputs(x, self.spec, name=name, empty=True)
        narrow = check.cast(x, self.spec.dtype)
        index = None if x.dtype == narrow.dtype else first_non_finite(narrow)
        if index is not None and np.isfinite(x[index]):
            raise ValueError(
                f"Input {name} contains {x[index]}, a value too large for "
                f"dtype({self.spec.dtype.name!r}): rescale it, or fit on float64"
            )
        return narrow

    def predict_row(self, x: Any) -> NDArray[Any] | None:
        """Return the prediction of one plain finite row; None of others, see `predict`."""
        return self.predictor.predict_row(x)

    def predict(self, x: NDArray[Any], n_jobs: int | None = None) -> NDArray[Any]:
        """Return predictions for raw inputs of the network's dtype, (n, heads * outputs)."""
        with call_team(self.n_weights, x.shape[0], of_jobs(n_jobs)) as team:
            return self.predictor.predict(x, team)

    def __getstate__(self) -> dict[str, Any]:
        view = self._updated()
        is_assigned = view.get("assigned", False)
        engine = self.engine.state(optimizer=self.run is not None)
        return {
            "spec": self.spec,
            "scaling": self.scaling,
            "assigned": is_assigned,
            "parameters": view["predictor"].parameters() if is_assigned else None,
            "engine": engine,
            "run": copy.deepcopy(self.run) if "optimizer" in engine else None,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        ScaledNetwork.__init__(self, state["spec"], state["scaling"])
        self.engine.set_state(state["engine"])
        self.run = state["run"]
        if state["assigned"]:
            self.load(*state["parameters"])
            self.take_over()

    def __deepcopy__(self, memo: dict[int, Any]) -> ScaledNetwork:
        other = object.__new__(ScaledNetwork)
        other.__setstate__(self.__getstate__())
        return other


class ParameterViews:
    """The lists ``coefs_`` and ``intercepts_``: views of one vector, compared for changes."""

    def __init__(self, weights: Arrays, biases: Arrays, tensors: Tensors) -> None:
        self._tensors, self._flat = tensors, pack(weights, biases)
        coefs, intercepts = unpack(self._flat, tensors)
        self._views, self._n = [*coefs, *intercepts], len(coefs)
        self.coefs, self.intercepts = coefs, intercepts
        # Compared as integers, so that NaN equals itself.
        self._bits = self._flat.view(f"i{self._flat.itemsize}")
        self._before = self._bits.copy()

    def changed(self) -> bool:
        """Whether a list holds other arrays, or an array other values, than before."""
        same = list(map(id, [*self.coefs, *self.intercepts])) == list(map(id, self._views))
        return not (same and np.array_equal(self._bits, self._before))

    def read(
        self, checked: Callable[[Any, Any], tuple[Arrays, Arrays]]
    ) -> tuple[Arrays, Arrays, Callable[[], None]]:
        """Return copies of the current parameters, and a function that marks them as known."""
        weights, biases = checked(self.coefs, self.intercepts)
        for view, array in zip(self._views, [*weights, *biases], strict=True):
            if array is not view:  # the user has put it into the list
                view[...] = array
        flat = self._flat.copy()

        def remember() -> None:
            self.coefs[:], self.intercepts[:] = self._views[: self._n], self._views[self._n :]
            self._before = flat.view(self._bits.dtype)

        weights, biases = unpack(flat, self._tensors)
        return weights, biases, remember
