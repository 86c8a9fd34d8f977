"""Fuzzed calls of the estimators: documented errors, nothing half done, the formula's predictions.

As in `fuzz_calls` a twin gets what was accepted, as plain arrays. What it predicts is computed
again from ``coefs_`` by the reference.
"""

from __future__ import annotations

import copy
import numbers
from typing import Any

import numpy as np
import scipy.sparse
import tolerances
import trials
from fuzz import MOST_CALLS, Argument, Call, Case, arrays, oddly, values
from fuzz_calls import attempt, called, calls_of, diverged, value_of
from hypothesis import strategies as st
from sklearn.utils import check_array
from states import finite, state

import fastmlp
from fastmlp._engine.numpy.numpy_engine import Engine
from fastmlp.sklearn import MLPClassifier, MLPRegressor
from fastmlp.sklearn.fitted import fitted_of
from fastmlp.sklearn.regressor import LOSSES

# Good values of the constructor's parameters, the first one the default of the fuzz.
PARAMETERS: dict[str, tuple[Any, ...]] = {
    "hidden_layer_sizes": ((6,), (), (5, 3), 4, [3]),
    "activation": ("relu", "tanh", "logistic", "gelu"),
    "solver": ("adam", "sgd", "lbfgs"),
    "alpha": (1e-4, 0.0, 0.1),
    "batch_size": ("auto", 3, 1000),
    "learning_rate": ("constant", "invscaling", "adaptive", "cosine", fastmlp.Cosine(0.01, 9)),
    "learning_rate_init": (1e-3, 0.01),
    "power_t": (0.5,),
    "max_iter": (3, 1),
    "shuffle": (True, False),
    "random_state": (0, 1),
    "tol": (1e-4, 0.0),
    "verbose": (False, True),
    "warm_start": (False, True),
    "momentum": (0.9, 0.0, 1.0),
    "nesterovs_momentum": (True, False),
    "early_stopping": (False, True),
    "validation_fraction": (0.1, 0.5),
    "beta_1": (0.9, 0.0),
    "beta_2": (0.999,),
    "epsilon": (1e-8, 0.1),
    "n_iter_no_change": (10, 1, np.inf),
    "max_fun": (15000, 1),
    "dropout": (0.0, 0.2),
    "clip_norm": (None, 1.0),
    "compute": (None, "bfloat16"),
    "scoring": (None, "loss"),
    "restore_best": (False, True),
    "standardize": (False, True),
    "n_jobs": (1, None, 2, -1),
}
OWN: dict[Any, dict[str, tuple[Any, ...]]] = {
    MLPClassifier: {"class_weight": (None, "balanced"), "label_smoothing": (0.0, 0.1)},
    MLPRegressor: {
        "loss": tuple(sorted(LOSSES)),
        "quantile": (0.5, 0.9),
        "power": (1.5, 1.01),
        "huber_delta": (1.0,),
    },
}
METHODS: dict[str, tuple[str, ...]] = {
    "fit": ("X", "y", "sample_weight"),
    "partial_fit": ("X", "y", "sample_weight"),
    "predict": ("X",),
    "predict_proba": ("X",),
    "score": ("X", "y", "sample_weight"),
    "copy": ("X",),
    "set_params": (),
    "coefs_": ("coefs_",),
}
# What scikit-learn raises where a solver or a loss lacks a method, and in metrics of huge integers.
MISSING = (AttributeError,)
MORE: dict[str, tuple[type[Exception], ...]] = {"score": (AttributeError, OverflowError)}


@st.composite
def parameters(draw: Any, kind: Any) -> dict[str, Argument]:
    """Return some parameters, good or odd."""
    table = PARAMETERS | OWN[kind]
    chosen = {}
    for name in draw(st.lists(st.sampled_from(sorted(table)), max_size=4, unique=True)):
        value = draw(st.sampled_from(table[name]))
        chosen[name] = draw(values) if draw(oddly) else Argument(value, repr(value))
    if "random_state" in chosen and chosen["random_state"].value is None:
        del chosen["random_state"]  # other weights each time
    return chosen


@st.composite
def calls(draw: Any, kind: Any, data: dict[str, np.ndarray]) -> Call:
    """Return one call."""
    method = draw(st.sampled_from(sorted(METHODS)))
    arguments = {}
    for name in METHODS[method]:
        if name == "coefs_":
            arguments[name] = draw(values)
        elif name != "sample_weight" or draw(st.booleans()):
            arguments[name] = draw(arrays(data[name]))
    changed = draw(parameters(kind)) if method == "set_params" else {}
    return Call(method, arguments, changed)


@st.composite
def cases_of_estimators(draw: Any) -> Case:
    """Return an estimator and some calls, of which the first is a plain fit."""
    kind = draw(st.sampled_from([MLPClassifier, MLPRegressor]))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    n, dtype = draw(st.sampled_from([12, 40])), draw(st.sampled_from(["float32", "float64"]))
    x = rng.normal(size=(n, draw(st.integers(1, 4)))).astype(dtype)
    y = np.arange(n) % draw(st.integers(2, 3)) if kind is MLPClassifier else np.abs(x[:, 0]) + 1
    data = {"X": x, "y": y, "sample_weight": rng.uniform(0.5, 1.5, n).astype(dtype)}
    plain = {name: Argument(data[name], f"<plain {name}>") for name in ("X", "y")}
    some = draw(st.lists(calls(kind, data), min_size=1, max_size=MOST_CALLS))
    return Case(kind, draw(parameters(kind)), [Call("fit", plain), *some])


# ---- what is done ------------------------------------------------------------------------------


def stop_early(current: fastmlp.State) -> bool:
    """End a fit after two epochs, however many were asked for."""
    return current.epoch >= 1


def do(model: Any, call: Call, given: dict[str, Any]) -> Any:
    """Make one call; what it returns is compared."""
    match call.method:
        case "copy":
            return copy.deepcopy(model).predict(given["X"])
        case "set_params":
            model.set_params(**value_of(call.parameters))
            return None
        case "coefs_":
            model.coefs_ = [given["coefs_"], *model.coefs_[1:]]
            return None
        case "partial_fit" if not hasattr(model, "coefs_") and isinstance(model, MLPClassifier):
            return state(model.partial_fit(**given, classes=[0, 1, 2]))
        case "fit" | "partial_fit":
            return state(getattr(model, call.method)(**given))
        case "score":
            model.score(**given)
            return None  # a sum of scikit-learn's, whose bits depend on the form
        case method:
            return getattr(model, method)(**given)


def clean(name: str, value: Any, model: Any) -> Any:
    """Return an accepted argument as a plain C-order array, of the dtype scikit-learn reads."""
    if value is None or isinstance(value, numbers.Number) or name == "coefs_":
        return value  # one weight is that of all samples
    if hasattr(value, "columns"):
        return value  # a frame's names are remembered
    if name == "y":
        return np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value
    is_sparse = scipy.sparse.issparse(value)
    dense = value.toarray() if is_sparse else value
    array = check_array(dense, dtype=(np.float64, np.float32), ensure_2d=False)
    plain = np.array(array, array.dtype.newbyteorder("="), order="C", subok=False)
    # Standardised, sparse rows are not centred: other numbers than those of the same array.
    return scipy.sparse.csr_array(plain) if is_sparse and model.standardize else plain


def check(case: Case) -> int:
    """Make all calls of a case; return how many."""
    trials.note(repr(case))
    small = {"hidden_layer_sizes": (6,), "max_iter": 3, "random_state": 0, "n_jobs": 1}
    given = small | value_of(case.parameters) | {"callbacks": [stop_early]}
    (model, error), (twin, _) = (attempt(lambda: case.kind(**given)) for _ in range(2))
    assert error is None, f"a constructor has complained: {error}"
    for call in case.calls:
        result, error = called(model, twin, call, do, clean, MORE.get(call.method, MISSING))
        if hasattr(model, "coefs_") and (error is None or diverged(error)):
            left = [*model.coefs_, *model.intercepts_]
            assert finite(left), f"{call} has left non-finite weights"
        if error is None and call.method == "predict" and isinstance(model, MLPRegressor):
            check_formula(model, clean("X", call.arguments["X"].value, model), result)
    return len(case.calls)


def check_formula(model: Any, x: Any, predicted: np.ndarray) -> None:
    """Fail if predictions are not what the reference computes from the shown weights."""
    engine = Engine(fitted_of(model).network.spec)
    engine.set_parameters(model.coefs_, model.intercepts_)
    x = x.toarray() if scipy.sparse.issparse(x) else x
    with np.errstate(all="ignore"):
        expected = engine.predict(np.asarray(x, engine.spec.dtype))[:, : model.n_outputs_]
    expected = expected.reshape(predicted.shape)
    largest = max(1.0, float(np.abs(expected).max(initial=0.0)))
    if np.isfinite(largest) and largest < 1e4 and np.abs(np.asarray(x, float)).max() < 1e4:
        tolerances.assert_close(predicted, expected, "gradient", engine.spec.dtype, scale=largest)


TRIALS: dict[str, trials.Trial] = {"estimators": calls_of(cases_of_estimators(), check)}
