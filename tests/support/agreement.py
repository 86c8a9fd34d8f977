"""Two computations of the same thing, of random networks and data, that have to agree.

Sparse rows have the bits of the same rows as arrays; derivatives are central differences; training
is that of PyTorch, where it is installed; predictions of tables follow their rules.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import cases
import numpy as np
import pandas
import scipy.sparse
import trials
from states import digest, state
from tolerances import allowed, assert_close, central_difference_step

import fastmlp
from fastmlp import reference
from fastmlp._models.network import network_of
from fastmlp._network.activations import ACTIVATIONS
from fastmlp._network.layer_norm import EPSILON

Draw = np.random.Generator
KINKED = (fastmlp.Quantile, fastmlp.Quantiles)
SMOOTH = ("tanh", "sigmoid", "softplus", "silu", "mish", "gelu", "gelu_tanh")


def one_of(rng: Draw, *values: Any) -> Any:
    """Return one of some values."""
    return values[rng.integers(len(values))]


def options(rng: Draw, n_inputs: int, activations: Any = ACTIVATIONS) -> dict[str, Any]:
    """Return the options of a random network, without its loss."""
    hidden = [int(rng.integers(1, 40)) for _ in range(rng.integers(0, 4))]
    if is_skipping := len(hidden) > 1 and rng.random() < 0.3:
        hidden = [hidden[0]] * len(hidden)
    drawn = {
        "activation": one_of(rng, *activations),
        "layer_norm": one_of(rng, None, None, "before", "after"),
        "scale": one_of(rng, False, True),
        "parametric": one_of(rng, False, True),
        "linear_path": bool(hidden) and one_of(rng, False, True),
        "skip": 1 if is_skipping else None,
        "rng": int(rng.integers(100)),
    }
    return {"layer_sizes": [n_inputs, *hidden, int(rng.integers(1, 4))], **drawn}


def stirred(net: Any, rng: Draw) -> Any:
    """Return the network with other parameters of every kind: gains, scales and so on."""
    vector = net.parameters_vector
    net.parameters_vector = vector + rng.normal(0, 0.3, vector.shape)
    return net


# ---- sparse rows -------------------------------------------------------------------------------

FORMS: dict[str, Callable[[Any], Any]] = {
    "SparseRows": lambda rows: rows,
    "csr": lambda rows: scipy.sparse.csr_matrix(rows.toarray()),
    "csc": lambda rows: scipy.sparse.csc_array(rows.toarray()),
    "coo": lambda rows: scipy.sparse.coo_array(rows.toarray()),
}


def mostly_zeros(rng: Draw, n: int, n_inputs: int, dtype: Any) -> fastmlp.SparseRows:
    """Return rows with few values, in any order, some of them 0 or twice in a column."""
    counts = rng.integers(0, 1 + max(1, n_inputs // int(rng.integers(1, 6))), n)
    values = np.where(rng.random(counts.sum()) < 0.9, rng.normal(size=counts.sum()), 0.0)
    indptr, indices = np.append(0, np.cumsum(counts)), rng.integers(0, n_inputs, counts.sum())
    return fastmlp.SparseRows(indptr, indices, values.astype(dtype), n_inputs)


def targets(rng: Draw, loss: Any, n: int, n_outputs: int, dtype: Any) -> Any:
    """Return targets for a loss, of which a hundredth part may be missing."""
    y = cases.targets(loss, n, n_outputs, rng, dtype, one_of(rng, False, True))
    if loss.target_kind != "class" and y.ndim == 2 and y.shape[1] > 1 and rng.random() < 0.2:
        y[rng.random(y.shape) < 0.01] = np.nan
    return y


def fit_options(rng: Draw, n: int, dtype: Any) -> dict[str, Any]:
    """Return the options of a random fit of n rows, with or without an optimizer of its own."""
    drawn = {
        "l1": one_of(rng, 0.0, 0.0, 1e-3),
        "l2": one_of(rng, 0.0, 0.0, 1e-2),
        "shuffle": one_of(rng, True, True, False),
        "dropout": one_of(rng, None, None, 0.3),
        "clip_norm": one_of(rng, None, None, 0.5),
        "averaging": one_of(rng, None, None, fastmlp.EMA(0.9)),
        "n_threads": one_of(rng, None, 1, 2),
        "sample_weight": one_of(rng, None, rng.uniform(0, 2, n).astype(dtype)),
    }
    if rng.random() < 0.2:
        return {name: drawn[name] for name in ("n_threads", "sample_weight")}
    training = {
        "epochs": int(rng.integers(1, 5)),
        "batch_size": int(rng.integers(1, 2 * n + 1)),
        "optimizer": one_of(rng, *cases.OPTIMIZERS),
    }
    return drawn | training


def attempt(call: Callable[[], Any]) -> Any:
    """Return a result, or the words of an error."""
    try:
        return call()
    except (ValueError, fastmlp.DivergenceError) as error:
        return str(error)


def unsigned(value: Any) -> str:
    """Return a digest that has no sign of a zero, the only bit that may differ."""
    if isinstance(value, tuple | list):
        return digest([unsigned(each) for each in value])
    is_number = isinstance(value, float | np.ndarray) and not isinstance(value, str)
    return digest(value + 0.0 if is_number else value)


def left(net: Any) -> list[Any]:
    """Return what a fit or a step leaves of a network."""
    return [*net.state_dict().values(), repr(network_of(net).rng.bit_generator.state)]


def of_finite(found: tuple[Any, ...]) -> Any:
    """Return losses and their gradients, of losses that overflow themselves alone.

    A zero of a dense row times infinity is NaN, a zero that is not stored adds nothing.
    """
    return found if np.isfinite(found[0]).all() else found[0]


def networks_of_sparse_rows(rng: Draw) -> Iterator[float]:
    """Train, evaluate, differentiate and predict by both forms of the same rows."""
    n, n_inputs, dtype = rng.integers(1, 80), int(rng.integers(1, 60)), one_of(rng, *cases.DTYPES)
    loss = one_of(rng, *(case.loss for case in cases.LOSSES))
    made = options(rng, n_inputs) | {"loss": loss, "dtype": dtype}
    given = mostly_zeros(rng, n, n_inputs, dtype)
    sparse, dense = FORMS[how := one_of(rng, *FORMS)](given), given.toarray()
    if loss.target_kind == "class" and made["layer_sizes"][-1] == 1:
        made["layer_sizes"][-1] = 2
    y = targets(rng, loss, n, made["layer_sizes"][-1], dtype)
    asked = fit_options(rng, n, dtype)
    trials.note(f"{made}, {n} rows as {how}, {asked}")
    if one_of(rng, False, True):
        asked["validation_data"] = dense[: n // 2 + 1], y[: n // 2 + 1]
    step = {"sample_weight": asked["sample_weight"]}
    doors: dict[str, Callable[[Any, Any], Any]] = {
        "fit": lambda net, X: net.fit(X, y, **asked),
        "partial_fit": lambda net, X: net.partial_fit(X, y, **step),
        "predict": lambda net, X: net.predict(X),
        "evaluate": lambda net, X: net.evaluate(X, y, **step),
        "gradients": lambda net, X: of_finite(net.gradients(X, y, **step)),
        "gradients of samples": lambda net, X: of_finite(net.gradients(X, y, per_sample=True)),
        "predictor": lambda net, X: net.predictor()(X),
    }
    seed = int(rng.integers(2**32))
    nets = [stirred(fastmlp.MLP(**made), np.random.default_rng(seed)) for _ in range(2)]
    for name, door in doors.items():
        results = [
            attempt(functools.partial(door, net, X))
            for net, X in zip(nets, (dense, sparse), strict=True)
        ]
        assert unsigned(results[0]) == unsigned(results[1]), f"{name} has other bits"
        assert unsigned(left(nets[0])) == unsigned(left(nets[1])), f"{name} leaves another network"
        yield 0.0


def estimators_of_sparse_rows(rng: Draw) -> Iterator[float]:
    """Fit scikit-learn's estimators by both forms, which docs/sparse.md promises unstandardised."""
    n, n_inputs = int(rng.integers(40, 100)), int(rng.integers(1, 60))
    given = mostly_zeros(rng, n, n_inputs, one_of(rng, *cases.DTYPES))
    sparse, dense = scipy.sparse.csr_array(given.toarray()), given.toarray()
    kind = one_of(rng, fastmlp.MLPClassifier, fastmlp.MLPRegressor)
    y = np.arange(n) % 3 if kind is fastmlp.MLPClassifier else rng.normal(size=n)
    asked = {
        "hidden_layer_sizes": one_of(rng, (), (5,), (7, 3)),
        "solver": one_of(rng, "adam", "sgd", "lbfgs"),
        "activation": one_of(rng, "relu", "tanh", "gelu"),
        "batch_size": int(rng.integers(1, n + 1)),
        "max_iter": int(rng.integers(1, 5)),
        "early_stopping": one_of(rng, False, True),
        "random_state": int(rng.integers(100)),
    }
    trials.note(f"{kind.__name__}({asked}), {n} rows of {n_inputs}")
    models = [kind(**asked).fit(X, y) for X in (dense, sparse)]
    assert state(models[0]) == state(models[1]), "a fit of sparse rows has other bits"
    results = [models[0].predict(X) for X in (dense, sparse)]
    assert digest(results[0]) == digest(results[1]), "predictions of sparse rows have other bits"
    yield 0.0


SPARSE: dict[str, trials.Trial] = {
    "networks": networks_of_sparse_rows,
    "estimators": estimators_of_sparse_rows,
}

# ---- derivatives -------------------------------------------------------------------------------


def smooth_network(rng: Draw, kind: Any) -> tuple[Any, Any]:
    """Return a random network in float64 without kinks, and its loss."""
    loss = one_of(rng, *(case.loss for case in cases.LOSSES if type(case.loss) not in KINKED))
    made = options(rng, int(rng.integers(1, 6)), SMOOTH)
    made["layer_sizes"][-1] += loss.target_kind == "class"
    trials.note(f"{made}, {loss}")
    return stirred(kind(**made, loss=loss, dtype="float64"), rng), loss


def assert_is_difference(
    slope: Any, function: Callable[[Any], Any], x: Any, v: Any, scale: float
) -> None:
    """Fail unless a slope is the derivative of a function at x in the direction v.

    The error of a difference is a third of what it changes by when its step is doubled.
    """
    steps = central_difference_step() * np.array([1.0, 2.0])
    near, far = ((function(x + h * v) - function(x - h * v)) / (2 * h) for h in steps)
    room = np.abs(near - far) + allowed(near, "central_difference", "float64", scale)
    assert np.all(np.abs(slope - near) <= room), f"{slope} but by differences {near}"


def amplified(net: Any) -> float:
    """Return by how much roundings may grow: a normalisation divides by a deviation near 0."""
    return EPSILON**-0.5 if any(net.layer_norm) else 1.0


def by_inputs(rng: Draw) -> Iterator[float]:
    """Compare all derivatives by the inputs with differences, and with one another."""
    net, _ = smooth_network(rng, one_of(rng, fastmlp.MLP, reference.MLP))
    x, v = rng.normal(size=(2, int(rng.integers(1, 9)), net.layer_sizes[0]))
    predictor = net.predictor()  # one array has means and variances
    dy = rng.normal(size=predictor(x).shape)
    slope, jacobian, hessian = net.jvp(x, v), net.jacobian(x), net.hessian(x)
    dx, product = net.vjp(x, dy)[0], net.hvp(x, v, dy)
    size = max(1.0, float(np.abs(hessian).max()), float(np.abs(jacobian).max())) ** 2
    assert_is_difference(slope, predictor, x, v, 64 * size)
    assert_is_difference(product, lambda at: net.vjp(at, dy)[0], x, v, 2048 * size)
    value, *others = predictor.derivatives(x)
    pairs = [
        (slope, np.einsum("ncj,nj->nc", jacobian, v)),
        (np.sum(dx * v, axis=1), np.sum(dy * slope, axis=1)),
        (product, np.einsum("nc,ncij,nj->ni", dy, hessian, v)),
        (value, predictor(x)),
        (others[0], jacobian),
        (others[1], hessian),
    ]
    for found, expected in pairs:
        assert_close(found, expected, "step", "float64", size * amplified(net))
    yield 0.0


def by_parameters(rng: Draw) -> Iterator[float]:
    """Compare gradients of losses, also with derivatives in the targets, with differences."""
    net, loss = smooth_network(rng, one_of(rng, fastmlp.MLP, reference.MLP))
    n, n_outputs = int(rng.integers(1, 9)), net.layer_sizes[-1]
    x = rng.normal(size=(n, net.layer_sizes[0]))
    y = targets(rng, loss, n, n_outputs, "float64")
    asked: dict[str, Any] = {"sample_weight": one_of(rng, None, rng.uniform(0.1, 2, n))}
    if not loss.is_linked and one_of(rng, False, True):
        asked |= {"dy": rng.normal(size=(n, n_outputs, x.shape[1])), "dy_weight": 0.7}
    flat, at = flattened(net.gradients(x, y, **asked)[1:]), net.parameters_vector
    direction = rng.normal(size=at.shape)

    def objective(vector: Any) -> float:
        net.parameters_vector = vector
        return net.evaluate(x, y, **asked)

    size = max(1.0, float(np.abs(flat).max())) * at.size
    assert_is_difference(flat @ direction, objective, at, direction, 64 * size)
    net.parameters_vector = at
    losses, *of_samples = net.gradients(x, y, per_sample=True)
    if not np.isnan(np.asarray(y, float)).any():  # a mean over rows, not over all targets
        mean, *whole = net.gradients(x, y)
        alone = [losses, *(g for kind in of_samples for g in kind)]
        for each, g in zip(alone, [mean, *(g for kind in whole for g in kind)], strict=True):
            largest = max(1.0, float(np.abs(each).max()))  # terms may cancel
            assert_close(np.mean(each, axis=0), g, "step", "float64", largest * amplified(net))
    yield 0.0


def flattened(kinds: Any) -> Any:
    """Return the gradients of all tensors as one vector, in the order of `parameters_vector`."""
    return np.concatenate([g.ravel() for kind in kinds for g in kind])


DERIVATIVES: dict[str, trials.Trial] = {
    "by the inputs": by_inputs,
    "by the parameters": by_parameters,
}

# ---- PyTorch -----------------------------------------------------------------------------------


def like_torch(rng: Draw) -> Iterator[float]:
    """Train a random network in float64 by both libraries."""
    import torch_training

    torch_training.compare(**torch_training.drawn(rng))
    yield 0.0


TORCH: dict[str, trials.Trial] = {"training": like_torch} if find_spec("torch") else {}

# ---- rules -------------------------------------------------------------------------------------

N_MOVED = 500  # rows whose column moves


def table(rng: Draw, n: int) -> pandas.DataFrame:
    """Return a table of numbers of several kinds and a text."""
    return pandas.DataFrame(
        {
            "normal": rng.normal(size=n),
            "heavy": np.exp(3 * rng.normal(size=n)),
            "gaps": np.where(rng.random(n) < 0.2, np.nan, rng.integers(0, 5, n)),
            "whole": rng.integers(-3, 4, n),
            "text": np.array(["a", "b", "c"], object)[rng.integers(0, 3, n)],
        }
    )


def rules(rng: Draw) -> Iterator[float]:
    """No two rows that differ in one column by its rule break it."""
    n, is_number = int(rng.integers(30, 400)), one_of(rng, True, True, False)
    frame = table(rng, n)
    names = [name for name in frame if name != "text"]
    rule = {name: sign for name in names if (sign := one_of(rng, -1, 0, 1))}
    if not rule:
        rule = {"normal": 1}
    noise = rng.normal(size=n)
    y = frame["normal"] - np.log(frame["heavy"]) + frame["gaps"].fillna(1) * frame["whole"] + noise
    y = y if is_number else y > np.median(y)
    asked = {
        "preset": "fast",
        "epochs": int(rng.integers(1, 12)),
        "monotone": rule,
        "random_state": int(rng.integers(100)),
    }
    kind = fastmlp.TabMLPRegressor if is_number else fastmlp.TabMLPClassifier
    trials.note(f"{kind.__name__}({asked}), {n} rows")
    weights = one_of(rng, None, rng.uniform(0.1, 3, n))
    with warnings.catch_warnings(action="ignore"):
        model = kind(**asked).fit(frame, y, sample_weight=weights)
    predict = model.predict if is_number else lambda rows: model.predict_proba(rows)[:, 1]
    before = table(rng, N_MOVED).assign(gaps=rng.uniform(-1, 6, N_MOVED))
    before["whole"] = before["whole"].astype(float)
    for name, sign in rule.items():
        steps = np.exp(rng.uniform(-35, 5, N_MOVED))
        after = before.assign(**{name: before[name] + sign * steps})
        low, high = predict(before), predict(after)
        # A quotient of two sums that follow the rule is rounded once more.
        room = 0 if is_number else 2 * np.finfo(np.float32).eps
        assert np.all(low <= high + room * np.abs(low)), f"{name} breaks its rule"
        yield 0.0


RULES: dict[str, trials.Trial] = {"monotone columns": rules}
