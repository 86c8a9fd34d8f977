"""Conversion of scikit-learn's fitted estimators to those of this package, scalers folded in."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from sklearn import ensemble, linear_model, neural_network, preprocessing
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_selection import SelectorMixin
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from fastmlp._core.history import History
from fastmlp._models.conversion import graph
from fastmlp._models.conversion.graph import Value
from fastmlp._models.ensemble.ensemble import Ensemble
from fastmlp._models.mlp import MLP, model_of
from fastmlp._models.network import Network
from fastmlp._network.losses import POWERS
from fastmlp.sklearn.classifier import MLPClassifier
from fastmlp.sklearn.fitted import STATISTICS, FittedNetwork, Targets
from fastmlp.sklearn.regressor import MLPRegressor
from fastmlp.sklearn.scaled_network import ScaledNetwork, spec_of
from fastmlp.sklearn.scaling import Scaling, has_logarithms

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

    from fastmlp._network.spec import Spec

Array = NDArray[Any]
Estimator = MLPClassifier | MLPRegressor

# Networks that have coefs_, and the estimators that they become.
NETWORKS: dict[type, type[Estimator]] = {
    neural_network.MLPClassifier: MLPClassifier,
    neural_network.MLPRegressor: MLPRegressor,
    MLPClassifier: MLPClassifier,
    MLPRegressor: MLPRegressor,
}
# Classes of sklearn.linear_model, which become estimators without a hidden layer.
LINEAR = (
    *("LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV"),
    *("LassoLars", "LassoLarsCV", "LassoLarsIC", "Lars", "LarsCV", "OrthogonalMatchingPursuit"),
    *("BayesianRidge", "ARDRegression", "HuberRegressor", "QuantileRegressor", "SGDRegressor"),
    *("TheilSenRegressor", "MultiTaskLasso", "MultiTaskElasticNet"),
    *("PoissonRegressor", "GammaRegressor", "TweedieRegressor"),
    *("LogisticRegression", "LogisticRegressionCV", "SGDClassifier"),
)
FAMILIES = {"PoissonRegressor": 1.0, "GammaRegressor": 2.0}  # the powers of their variances
SEARCHES = (GridSearchCV, RandomizedSearchCV)
# Fitted attributes to copy, besides the network.
COPIED = (
    *("classes_", "n_features_in_", "feature_names_in_", "n_layers_", "n_outputs_"),
    *("out_activation_", *STATISTICS),
)
# What to do with steps and estimators that are no affine functions, by words of their names.
RAW = (
    "fit a TabMLPRegressor or TabMLPClassifier on the raw table, which reads gaps and categories "
    "itself, or export the pipeline by sklearn-onnx"
)
DISTILL = "fastmlp.distill(model, X, y) trains a small network that answers like it"
OF_STEPS = (
    "from_sklearn(pipeline[-1]) converts the network alone, which takes the rows that "
    "pipeline[:-1].transform(X) returns, not X"
)
OF_TARGETS = (
    "from_sklearn(model.regressor_) converts the network alone, whose predictions "
    "model.transformer_.inverse_transform turns back"
)
OF_SEARCHES = "from_sklearn(search.best_estimator_) converts what the search has found"
REMEDIES = (
    (("Impute", "Encod", "Hash", "Vectorizer", "Binarizer"), RAW),
    (("Tab",), "export it by its own to_onnx or to_c, or save it"),
    (("Forest", "Trees", "Tree", "Boost", "Neighbors", "SV"), DISTILL),
    (("Voting", "Stacking", "Bagging"), "convert its networks one by one, from estimators_"),
)
N_ROWS = 32  # compared with the source
TOLERANCE = {"float32": 1e-4, "float64": 1e-6}  # relative to the largest prediction


def from_sklearn(
    estimator: Any, *, dtype: DTypeLike | None = None
) -> MLPClassifier | MLPRegressor | Ensemble:
    """Turn a fitted network or linear model of scikit-learn into one of fastmlp.

    Take it to predict faster, or to export a model as C.

    Parameters
    ----------
    estimator : estimator of scikit-learn or fastmlp
        Fitted, and not changed: ``MLPClassifier`` or ``MLPRegressor``; a linear model (``Ridge``,
        ``LogisticRegression``, ``SGDClassifier(loss="log_loss")``, ...); ``BaggingRegressor``,
        ``VotingRegressor`` and their classifiers (with ``voting="soft"``), of networks of one
        shape; or a ``Pipeline``, search or ``TransformedTargetRegressor`` around one of these. The
        steps before it must be affine: scalers, ``PCA``, selections of columns, "passthrough", a
        ``ColumnTransformer`` of these. They fold into the first layer, a scaler of targets into
        the last.
    dtype : {"float32", "float64"}, optional
        Of the network. By default that of the source's weights, and float64 of an ensemble. In
        float32 a column whose mean is k deviations from 0 costs up to k x 1e-7 of what the first
        layer makes of it, since its scaler folds into weights: 5e-5 for k = 500. "float64" keeps
        those digits. The solver "lbfgs" has no other, ``compute="bfloat16"`` only float32.

    Returns
    -------
    MLPClassifier, MLPRegressor or Ensemble
        Estimator with the same parameters, weights, classes and curves, and the same predictions up
        to rounding, compared on random rows: to 1e-6 of the largest in float64, 1e-4 in float32. It
        takes the rows that the pipeline takes. Predictions of one target have shape (n,), also
        where the source was fitted to y of shape (n, 1). ``partial_fit`` and ``warm_start``
        continue with the weights and a new optimizer state. Behind scalers, it has
        ``standardize=True``; a new fit of a regressor then scales the targets, too. A linear model
        has no hidden layer. Bagging and voting give an :class:`Ensemble`, whose ``predict`` gives
        values or probabilities.

    Raises
    ------
    TypeError, ValueError
        If it is another estimator or a subclass, which may compute other predictions, or a step is
        not affine.
    NotFittedError
        If the estimator is not fitted.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> from sklearn.neural_network import MLPRegressor
    >>> X = np.linspace(-1, 1, 50)[:, np.newaxis]
    >>> theirs = MLPRegressor(solver="lbfgs", random_state=0).fit(X, X[:, 0] ** 2)
    >>> ours = fastmlp.from_sklearn(theirs)
    >>> bool(np.allclose(ours.predict(X), theirs.predict(X)))
    True
    """
    check_is_fitted(estimator)
    outer = _with_names(estimator)
    inputs = graph.value_of(graph.Layer(outer.n_features_in_))
    source = _opened(estimator, inputs, np.ones(1), np.zeros(1))
    ours: Any
    if type(source.model) in ENSEMBLES:
        wide = np.float64 if dtype is None else dtype
        ours = Ensemble([_network(member, wide) for member in _members(source)])
    else:
        ours = _estimator(source, outer, dtype)
    _compare(ours, estimator, outer, source)
    return ours  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Source:
    """An estimator behind affine functions of the inputs, and one of its predictions."""

    model: Any
    inputs: Value
    y_scale: Array
    y_mean: Array


# ---- what is around a network ----


def _with_names(estimator: BaseEstimator) -> BaseEstimator:
    """Return what has n_features_in_: the estimator, or the first step that is no text."""
    if isinstance(estimator, SEARCHES) and not hasattr(estimator, "n_features_in_"):
        return _with_names(_found(estimator))
    if type(estimator) is Pipeline and not hasattr(estimator, "n_features_in_"):
        return _with_names(next(step for _, step in estimator.steps if hasattr(step, "fit")))
    if not hasattr(estimator, "n_features_in_"):  # a subclass of a pipeline, for example
        raise _refusal(estimator, DISTILL)
    return estimator


def _found(search: BaseEstimator) -> BaseEstimator:
    """Return the best estimator of a search; refuse a subclass, which may predict otherwise."""
    if type(search) not in SEARCHES:
        raise _refusal(search, OF_SEARCHES)
    if not hasattr(search, "best_estimator_"):
        raise TypeError(
            f"the {type(search).__name__} has no best_estimator_ but a fitted one is expected: "
            "fit it with refit=True"
        )
    return search.best_estimator_


def _opened(estimator: BaseEstimator, inputs: Value, y_scale: Array, y_mean: Array) -> _Source:
    """Return the estimator inside pipelines, searches and transformed targets."""
    kind = type(estimator)
    if kind is Pipeline:
        inputs = _transformed(estimator[:-1], inputs)
        return _opened(estimator[-1], inputs, y_scale, y_mean)
    if isinstance(estimator, SEARCHES):
        return _opened(_found(estimator), inputs, y_scale, y_mean)
    if kind is TransformedTargetRegressor:
        n_targets = getattr(estimator.transformer_, "n_features_in_", 1)
        try:
            value = _transformed(estimator.transformer_, graph.value_of(graph.Layer(n_targets)))
        except TypeError as error:
            raise _refusal(estimator.transformer_, OF_TARGETS) from error
        gain = _diagonal(value)
        if gain is None:
            raise _refusal(estimator.transformer_, OF_TARGETS)
        mean = y_mean - y_scale * value.shift / gain
        return _opened(estimator.regressor_, inputs, y_scale / gain, mean)
    check_is_fitted(estimator)
    return _Source(estimator, inputs, y_scale, y_mean)


def _transformed(step: BaseEstimator, value: Value) -> Value:
    """Return what an affine step makes of columns; refuse another one."""
    if step is None or step == "passthrough":
        return value
    if type(step) is Pipeline:
        for _, one in step.steps:
            value = _transformed(one, value)
        return value
    is_selector = isinstance(step, SelectorMixin) and type(step).__module__.startswith("sklearn.")
    change = _selected if is_selector else STEPS.get(type(step))
    if change is None or getattr(step, "clip", False):
        raise _refusal(step)
    check_is_fitted(step)
    return replace(change(value, step), is_product=False)


def _selected(value: Value, step: BaseEstimator) -> Value:
    return graph.columns(value, np.flatnonzero(step.get_support()))


def _standard(value: Value, step: BaseEstimator) -> Value:
    """Return (x - mean) / scale, by the names of the attributes of several scalers."""
    mean = getattr(step, "mean_", getattr(step, "center_", None))
    if not getattr(step, "with_mean", True):  # it is measured all the same
        mean = None
    scale = np.asarray(1.0 if step.scale_ is None else step.scale_, np.float64)
    return graph.scaled(value, 1 / scale, 0.0 if mean is None else -mean / scale)


def _components(value: Value, step: BaseEstimator) -> Value:
    value = graph.scaled(value, shift=-getattr(step, "mean_", np.zeros(value.width)))
    value = graph.product(value, step.components_.T)
    is_white = getattr(step, "whiten", False)
    if not is_white:
        return value
    return graph.scaled(value, 1 / np.sqrt(step.explained_variance_).astype(np.float64))


def _called(value: Value, step: BaseEstimator) -> Value:
    if step.func is not None or step.inverse_func is not None:
        raise _refusal(step)
    return value


def _by_columns(value: Value, step: BaseEstimator) -> Value:
    names, weights = list(getattr(step, "feature_names_in_", [])), step.transformer_weights or {}
    parts = []
    for name, part, wanted in step.transformers_:
        if part == "drop" or (np.size(wanted) == 0 and not isinstance(wanted, slice)):
            continue
        if isinstance(wanted, slice | str) or np.ndim(wanted) != 1:
            raise TypeError(
                f"the columns of a ColumnTransformer are {wanted!r} but a list of them is "
                "expected: pass one, and fit again"
            )
        index = [names.index(one) if isinstance(one, str) else one for one in wanted]
        columns = graph.columns(value, np.arange(value.width)[np.array(index)])
        parts.append(graph.scaled(_transformed(part, columns), weights.get(name, 1.0)))
    return graph.joined(parts)


STEPS: dict[type, Callable[[Value, Any], Value]] = {
    **dict.fromkeys(
        (preprocessing.StandardScaler, preprocessing.RobustScaler, preprocessing.MaxAbsScaler),
        _standard,
    ),
    preprocessing.MinMaxScaler: lambda value, step: graph.scaled(value, step.scale_, step.min_),
    preprocessing.FunctionTransformer: _called,
    PCA: _components,
    TruncatedSVD: _components,
    ColumnTransformer: _by_columns,
}


def _refusal(what: Any, otherwise: str = OF_STEPS) -> TypeError:
    """Return the error for an estimator or a step that is not known."""
    name = type(what).__name__
    remedies = (text for words, text in REMEDIES if any(word in name for word in words))
    remedy = next(remedies, otherwise)
    return TypeError(
        f"from_sklearn was given {name} but networks and linear models of scikit-learn, behind "
        f"affine steps with their default options, are expected: {remedy}"
    )


def _matrix(inputs: Value) -> Array:
    (factor,) = inputs.terms.values()
    return graph.matrix(factor)


def _diagonal(inputs: Value) -> Array | None:
    """Return the factors of columns that are only scaled, by positive numbers; else None."""
    matrix = _matrix(inputs)
    gain = np.diag(matrix)
    is_scaled = matrix.shape == (gain.size, gain.size) and np.array_equal(np.diag(gain), matrix)
    return gain if is_scaled and np.all(gain > 0) else None


# ---- networks ----


def _read(source: _Source) -> tuple[Estimator, list[Array], list[Array], Targets, dict[str, Any]]:
    """Return an unfitted estimator, weights, biases, targets and attributes of a source."""
    model, kind = source.model, NETWORKS.get(type(source.model))
    if kind is not None:
        ours: Estimator = kind(**copy.deepcopy(model.get_params(deep=False)))
        is_ours = isinstance(model, kind)
        attributes = {name: getattr(model, name) for name in COPIED if hasattr(model, name)}
        state = model.__getstate__()
        labels = state["_fitted"].targets.labels if is_ours else state.get("_label_binarizer")
        targets = Targets(model.n_outputs_, labels, attributes.get("classes_"))
        return ours, list(model.coefs_), list(model.intercepts_), targets, attributes
    name = type(model).__name__
    if name not in LINEAR or type(model) is not getattr(linear_model, name, None):
        raise _refusal(model, DISTILL)
    coefs, intercepts = np.atleast_2d(model.coef_).T, np.atleast_1d(model.intercept_)
    intercepts = np.broadcast_to(intercepts, coefs.shape[1:])
    attributes = {"n_outputs_": coefs.shape[1], "n_layers_": 2, "n_iter_": 0, "t_": 0}
    labels = None
    if hasattr(model, "classes_"):
        if getattr(model, "loss", "log_loss") != "log_loss":
            raise TypeError(
                f"the loss of the {name} is {model.loss!r}, whose probabilities are not those of a "
                "network, but 'log_loss' is expected: fit it with that"
            )
        if name == "SGDClassifier" and coefs.shape[1] > 1:
            raise TypeError(
                f"the SGDClassifier has {coefs.shape[1]} classes, each against the rest, but a "
                "softmax or two classes are expected: fit LogisticRegression in its place"
            )
        labels = preprocessing.LabelBinarizer().fit(model.classes_)
        attributes["classes_"] = model.classes_
        attributes["out_activation_"] = "softmax" if coefs.shape[1] > 1 else "logistic"
        ours = MLPClassifier(hidden_layer_sizes=())
    else:
        ours = MLPRegressor(**_loss_of(model), hidden_layer_sizes=())
        is_mean = ours.loss == "squared_error"
        attributes["out_activation_"] = "identity" if is_mean else "exp"
    targets = Targets(coefs.shape[1], labels, attributes.get("classes_"))
    return ours, [coefs], [intercepts], targets, attributes


def _loss_of(model: BaseEstimator) -> dict[str, Any]:
    """Return the parameters of a loss whose link is that of a linear model."""
    power = FAMILIES.get(type(model).__name__, getattr(model, "power", 0.0))
    link = getattr(model, "link", "auto")
    if link == "identity" or (link == "auto" and power <= 0):
        return {"loss": "squared_error"}
    if power in POWERS:
        return {"loss": "tweedie", "power": power}
    losses = {1.0: "poisson", 2.0: "gamma"}
    if power not in losses:
        raise TypeError(
            f"the power of the TweedieRegressor is {power:g} but 1, 2 or one from "
            f"{POWERS.low:g} to {POWERS.high:g} is expected beside logarithms: fit it with "
            "such a power"
        )
    return {"loss": losses[power]}


def _estimator(source: _Source, outer: BaseEstimator, dtype: DTypeLike | None) -> Estimator:
    """Return the estimator of a source that has one network."""
    ours, weights, biases, targets, attributes = _read(source)
    n_inputs, gain = outer.n_features_in_, _diagonal(source.inputs)
    spec = spec_of(ours, n_inputs, targets, weights[0].dtype if dtype is None else dtype)
    if dtype is not None and spec.dtype != np.dtype(dtype):
        raise ValueError(
            f"dtype is {np.dtype(dtype).name} but networks of solver={ours.solver!r} with "
            f"compute={ours.compute!r} train in {spec.dtype.name}: leave dtype out"
        )
    if gain is None:
        weights, biases = _behind(source.inputs, weights, biases)
        gain, mean = np.ones(n_inputs), np.zeros(n_inputs)
    else:
        mean = -source.inputs.shift / gain
    scaling = _scaling(source, spec, mean, 1 / gain)
    is_scaled = any(np.any(one) for one in (mean, scaling.y_mean, gain != 1, scaling.y_scale != 1))
    ours.set_params(standardize=is_scaled)
    network = ScaledNetwork(spec, scaling if is_scaled else None)
    network.engine.set_parameters(*network.checked(weights, biases))
    attributes = copy.deepcopy(attributes)
    attributes |= {"history_": History(), "validation_loss_curve_": None}
    for name in ("n_features_in_", "feature_names_in_"):
        attributes.pop(name, None)
        if hasattr(outer, name):
            attributes[name] = copy.deepcopy(getattr(outer, name))
    return ours.with_fitted(FittedNetwork(network, targets, attributes))


def _scaling(source: _Source, spec: Spec, x_mean: Array, x_scale: Array) -> Scaling:
    """Return scales of the inputs with those that a source has of its targets."""
    mean, scale = (np.resize(one, spec.n_outputs) for one in (source.y_mean, source.y_scale))
    if has_logarithms(spec):  # a factor of exp(z) is a shift of z
        if mean.any():
            raise TypeError(
                f"the targets are shifted by {mean[mean != 0][0]:.3g} behind a network whose "
                f"loss {spec.loss.name!r} predicts logarithms but factors alone are expected "
                "there: fit it without TransformedTargetRegressor, or with MaxAbsScaler() in it"
            )
        mean, scale = np.log(scale), np.ones(spec.n_outputs)
    return Scaling(x_mean, x_scale, mean, scale, spec.loss.heads)


def _behind(inputs: Value, weights: list[Array], biases: list[Array]) -> tuple[Any, Any]:
    """Return parameters of a network for the inputs that an affine function of them feeds it."""
    first, bias = weights[0].astype(np.float64), biases[0].astype(np.float64)
    return (
        [_matrix(inputs) @ first, *weights[1:]],
        [inputs.shift @ first + bias, *biases[1:]],
    )


# ---- means of networks ----


def _members(source: _Source) -> list[_Source]:
    """Return the networks whose mean a source predicts."""
    model, inputs = source.model, source.inputs
    if len(getattr(model, "classes_", (0, 1))) == 1:  # of which scikit-learn predicts none either
        raise TypeError(
            f"the {type(model).__name__} has learned the classes {model.classes_.tolist()} but "
            "at least two are expected: fit it on rows of several classes"
        )
    is_weighted = getattr(model, "weights", None) is not None and len(set(model.weights)) > 1
    if is_weighted or getattr(model, "voting", "soft") != "soft":
        raise TypeError(
            f"the {type(model).__name__} counts or weighs votes but a plain mean is expected: fit "
            "it with voting='soft' and without weights, or convert its networks one by one"
        )
    of_members = getattr(model, "estimators_features_", [slice(None)] * len(model.estimators_))
    return [
        _opened(member, graph.columns(inputs, index), source.y_scale, source.y_mean)
        for member, index in zip(model.estimators_, of_members, strict=True)
    ]


ENSEMBLES = (
    *(ensemble.BaggingRegressor, ensemble.BaggingClassifier),
    *(ensemble.VotingRegressor, ensemble.VotingClassifier),
)


def _network(source: _Source, dtype: DTypeLike) -> MLP:
    """Return the network of one member."""
    ours, weights, biases, targets, _ = _read(source)
    weights, biases = _behind(source.inputs, weights, biases)
    spec = replace(spec_of(ours, len(weights[0]), targets, dtype), dtype=np.dtype(dtype))
    ones = np.ones(len(weights[0]))
    scaling = _scaling(source, spec, 0 * ones, ones)
    network = Network.of(spec, scaling.fold(weights, biases), np.random.default_rng(0))
    network.learn_shape(targets.labels is None and targets.n_outputs == 1)
    return model_of(network)


# ---- the check ----


def _compare(
    ours: MLPClassifier | MLPRegressor | Ensemble,
    theirs: BaseEstimator,
    outer: BaseEstimator,
    source: _Source,
) -> None:
    """Refuse an estimator that predicts otherwise than its source on random rows."""
    rows: Any = _random_rows(source.inputs, outer.n_features_in_)
    _check_rounding(source.inputs, rows, theirs)
    names = getattr(outer, "feature_names_in_", None)
    if names is not None:
        with suppress(ImportError):  # a ColumnTransformer of names needs a frame
            rows = import_module("pandas").DataFrame(rows, columns=names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whether the fit was one of a frame
        name = "predict_proba" if hasattr(theirs, "predict_proba") else "predict"
        wanted = getattr(theirs, name)(rows)
        found = (ours.predict if isinstance(ours, Ensemble) else getattr(ours, name))(
            np.asarray(rows)
        )
    wanted, found = (np.asarray(one, np.float64).reshape(N_ROWS, -1) for one in (wanted, found))
    if found.shape[1] == 1 and wanted.shape[1] == 2:
        wanted = wanted[:, 1:]  # an ensemble predicts the probability of the second class
    dtype = _dtype(ours)
    tolerance = max(TOLERANCE[dtype], TOLERANCE[_dtype(source)])  # theirs is rounded, too
    bound = tolerance * np.max(np.abs(wanted))
    if found.shape != wanted.shape or not np.all(np.abs(found - wanted) <= bound):
        wider = "dtype='float64', or " if dtype == "float32" else ""
        raise ValueError(
            f"the estimator that was made of {type(theirs).__name__} predicts otherwise: pass "
            f"{wider}its network alone, which takes the rows that the steps before it return"
        )


def _check_rounding(inputs: Value, rows: Array, theirs: BaseEstimator) -> None:
    """Refuse steps whose sums cancel so far that only rounding errors of float64 are left."""
    sizes = np.abs(rows) @ np.abs(_matrix(inputs)) + np.abs(inputs.shift)
    slack = np.finfo(np.float64).eps * np.max(sizes)
    if slack > TOLERANCE["float64"]:
        raise ValueError(
            f"the steps before the network of {type(theirs).__name__} enlarge rounding errors to "
            f"{slack:.1g} of its inputs' deviation but at most {TOLERANCE['float64']:g} is "
            "expected: leave out scalers of columns that do not vary, or the last components of a "
            "PCA before one"
        )


def _random_rows(inputs: Value, n: int) -> Array:
    """Return rows whose affine function, which a network reads, is normally distributed."""
    rng, matrix = np.random.default_rng(0), _matrix(inputs)
    gains = [np.ones((len(matrix), 1)), np.ones((1, inputs.width))]
    for _ in range(5):  # whatever the units of columns, none is below the rounding of another
        sizes = np.abs(matrix * gains[0] * gains[1])
        for axis, gain in zip((1, 0), gains, strict=True):
            peak = np.max(sizes, axis, keepdims=True)
            gain /= np.sqrt(np.where(peak > 0, peak, 1.0))
    rows, used = rng.normal(size=(N_ROWS, n)), matrix.any(axis=1)
    wanted = rng.normal(size=(N_ROWS, inputs.width)) - inputs.shift
    inverse = gains[1].T * np.linalg.pinv(matrix * gains[0] * gains[1]) * gains[0].T
    rows[:, used] = (wanted @ inverse)[:, used]
    return rows


def _dtype(what: Any) -> str:
    """Return the dtype of the first layer of an estimator, an ensemble or a source."""
    if isinstance(what, _Source):
        is_mean = type(what.model) in ENSEMBLES
        return str(_read(_members(what)[0] if is_mean else what)[1][0].dtype)
    return str((what[0].weights if isinstance(what, Ensemble) else what.coefs_)[0].dtype)
