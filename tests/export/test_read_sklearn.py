"""Fitted estimators of scikit-learn as ours."""

import copy
import pickle
import warnings
from unittest.mock import patch

import numpy as np
import pandas
import pytest
from sklearn import ensemble, linear_model, neural_network
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)
from test_networks import SCORE, TARGETS, X

import fastmlp
from fastmlp.sklearn import from_sklearn_network

pytestmark = pytest.mark.filterwarnings("ignore:.*onverge")
OPTIONS = {"hidden_layer_sizes": (8, 5), "max_iter": 12, "random_state": 0}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("target", TARGETS)
def test_classifiers(target, dtype):
    x, y = X.astype(dtype), TARGETS[target]
    theirs = neural_network.MLPClassifier(activation="logistic", **OPTIONS).fit(x, y)
    ours = fastmlp.from_sklearn(theirs)
    assert type(ours) is fastmlp.MLPClassifier
    rtol = 1e-4 if dtype == "float32" else 1e-9
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), rtol=rtol)
    assert np.array_equal(ours.predict(x), theirs.predict(x))
    assert ours.loss_curve_ == theirs.loss_curve_
    assert ours.classes_.dtype == theirs.classes_.dtype
    assert {k: v for k, v in ours.get_params().items() if k in theirs.get_params()} == (
        theirs.get_params()
    )


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("outputs", [1, 2])
def test_regressors(solver, outputs):
    y = SCORE[:, 0] if outputs == 1 else SCORE[:, :2]
    theirs = neural_network.MLPRegressor(solver=solver, **OPTIONS).fit(SCORE, y)
    before = copy.deepcopy(vars(theirs))
    ours = fastmlp.from_sklearn(theirs)
    np.testing.assert_allclose(ours.predict(SCORE), theirs.predict(SCORE), rtol=1e-9, atol=1e-12)
    assert ours.score(SCORE, y) == pytest.approx(theirs.score(SCORE, y))
    if solver != "lbfgs":  # training continues from there
        weights = [w.copy() for w in ours.coefs_]
        ours.partial_fit(SCORE, y)
        assert len(ours.loss_curve_) == len(theirs.loss_curve_) + 1
        assert not np.array_equal(weights[0], ours.coefs_[0])
    assert all(np.array_equal(a, b) for a, b in zip(theirs.coefs_, before["coefs_"], strict=True))


def test_early_stopping_and_names_of_columns():
    frame = pandas.DataFrame(SCORE, columns=list("abcde"))
    theirs = neural_network.MLPRegressor(early_stopping=True, **OPTIONS).fit(frame, SCORE[:, 0])
    ours = fastmlp.from_sklearn(theirs)
    assert list(ours.feature_names_in_) == list("abcde")
    assert ours.best_validation_score_ == theirs.best_validation_score_
    np.testing.assert_allclose(ours.predict(frame), theirs.predict(frame), rtol=1e-9, atol=1e-12)
    assert len(ours.set_params(warm_start=True).fit(frame, SCORE[:, 0]).history_.loss) >= 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"with_mean": False}, {"with_std": False}])
@pytest.mark.parametrize("kind", ["MLPRegressor", "MLPClassifier"])
def test_pipelines_with_a_scaler(kind, options, dtype):
    frame = pandas.DataFrame(10 + 3 * SCORE, columns=list("abcde")).astype(dtype)
    y = SCORE[:, 0] if kind == "MLPRegressor" else SCORE[:, 0] > 0
    last = getattr(neural_network, kind)(**OPTIONS)
    theirs = make_pipeline(StandardScaler(**options), last).fit(frame, y)
    ours, inner = fastmlp.from_sklearn(theirs), fastmlp.from_sklearn(theirs[-1])
    assert ours.standardize
    assert list(ours.feature_names_in_) == list("abcde")
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-9}
    name = "predict" if kind == "MLPRegressor" else "predict_proba"
    predictions = getattr(theirs, name)(frame)
    np.testing.assert_allclose(getattr(ours, name)(frame), predictions, **tolerance)
    ours.partial_fit(frame, y)
    inner.partial_fit(theirs[0].transform(frame), y)
    trained = getattr(inner, name)(theirs[0].transform(frame))
    np.testing.assert_allclose(getattr(ours, name)(frame), trained, **tolerance)
    assert not np.allclose(trained, predictions)


def network(**options):
    return neural_network.MLPRegressor(**{**OPTIONS, **options})


FRAME = pandas.DataFrame(10 + 3 * SCORE, columns=list("abcde"))
Y = 5 + 2 * SCORE[:, 0]
WORDS = np.array(["red", "green", "blue"])[np.digitize(SCORE[:, 1], [-0.5, 0.5])]
COLUMNS = ColumnTransformer(
    [("s", StandardScaler(), ["b", "a"]), ("k", "passthrough", [3]), ("d", "drop", ["e"])],
    remainder=make_pipeline(RobustScaler(), MinMaxScaler()),
)
PIPELINES = {
    "MinMaxScaler": make_pipeline(MinMaxScaler((-1, 1)), network()),
    "MaxAbsScaler": make_pipeline(MaxAbsScaler(), network()),
    "RobustScaler": make_pipeline(RobustScaler(with_centering=False), network()),
    "PCA": make_pipeline(StandardScaler(), PCA(3, whiten=True), network()),
    "SVD": make_pipeline(TruncatedSVD(3), StandardScaler(), network()),
    "selection": make_pipeline(StandardScaler(), SelectKBest(k=2), network()),
    "passthrough": Pipeline([("a", "passthrough"), ("b", None), ("c", network())]),
    "nested": make_pipeline(make_pipeline(MinMaxScaler(), StandardScaler()), network()),
    "columns": make_pipeline(COLUMNS, network()),
    "targets": TransformedTargetRegressor(network(), transformer=StandardScaler()),
    "targets of the last step": make_pipeline(
        StandardScaler(), TransformedTargetRegressor(network(), transformer=MinMaxScaler())
    ),
    "targets of all": TransformedTargetRegressor(
        make_pipeline(StandardScaler(), TransformedTargetRegressor(network())),
        transformer=StandardScaler(),
    ),
    "search": GridSearchCV(
        make_pipeline(StandardScaler(), network()), {"mlpregressor__alpha": [0.1]}, cv=2
    ),
    "fastmlp": make_pipeline(MinMaxScaler(), fastmlp.MLPRegressor(standardize=True, **OPTIONS)),
    "fastmlp alone": fastmlp.MLPRegressor(loss="huber", **OPTIONS),
    "LinearRegression": linear_model.LinearRegression(),
    "Ridge": make_pipeline(StandardScaler(), linear_model.Ridge(fit_intercept=False)),
    "Lasso": make_pipeline(StandardScaler(), linear_model.LassoCV(cv=2)),
    "SGDRegressor": make_pipeline(StandardScaler(), linear_model.SGDRegressor(random_state=0)),
    "PoissonRegressor": make_pipeline(StandardScaler(), linear_model.PoissonRegressor()),
    "logarithms of scaled targets": TransformedTargetRegressor(
        linear_model.PoissonRegressor(), transformer=MaxAbsScaler()
    ),
    "GammaRegressor": make_pipeline(StandardScaler(), linear_model.GammaRegressor()),
    **{
        f"TweedieRegressor {power:g} {link}": make_pipeline(
            StandardScaler(), linear_model.TweedieRegressor(power=power, link=link)
        )
        for power, link in ((0, "auto"), (1, "log"), (1.3, "auto"), (2, "auto"), (1.5, "identity"))
    },
}


def fitted_on_frame(model, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(FRAME, y)


@pytest.mark.parametrize("name", PIPELINES)
def test_affine_steps_fold(name):
    theirs = fitted_on_frame(copy.deepcopy(PIPELINES[name]), Y - Y.min() + 1)
    ours = fastmlp.from_sklearn(theirs)
    assert type(ours) is fastmlp.MLPRegressor
    assert list(ours.feature_names_in_) == list("abcde")
    wanted = theirs.predict(FRAME)
    np.testing.assert_allclose(ours.predict(FRAME), wanted, rtol=1e-9, atol=1e-9)
    again = pickle.loads(pickle.dumps(ours))
    assert np.array_equal(again.predict(FRAME), ours.predict(FRAME))
    ours.partial_fit(FRAME, Y - Y.min() + 1)
    assert not np.allclose(ours.predict(FRAME), wanted, rtol=1e-9)


def test_a_power_without_a_loss_is_refused():
    model = linear_model.TweedieRegressor(power=3).fit(FRAME, Y - Y.min() + 1)
    with pytest.raises(TypeError, match="power of the TweedieRegressor is 3 but 1, 2 or one from"):
        fastmlp.from_sklearn(model)


def test_logarithms_of_shifted_targets_are_refused():
    last = linear_model.PoissonRegressor()
    model = TransformedTargetRegressor(last, transformer=MinMaxScaler()).fit(FRAME, Y)
    with pytest.raises(
        TypeError, match=r"shifted by .* 'poisson_nll' .* with MaxAbsScaler\(\) in it"
    ):
        fastmlp.from_sklearn(model)


def test_means_of_logarithms_of_scaled_targets_fold():
    last = ensemble.BaggingRegressor(linear_model.PoissonRegressor(), 2, random_state=0)
    y = Y - Y.min()
    model = TransformedTargetRegressor(last, transformer=MaxAbsScaler()).fit(FRAME, y)
    wanted = model.predict(FRAME)
    np.testing.assert_allclose(fastmlp.from_sklearn(model).predict(FRAME), wanted, rtol=1e-9)


@pytest.mark.parametrize("scaler", [MaxAbsScaler(), RobustScaler(), PCA(3, whiten=True)], ids=str)
def test_steps_in_float32_fold_in_float64(scaler):
    """Their statistics have the dtype of the data, their predictions often not."""
    theirs = make_pipeline(scaler, linear_model.LinearRegression()).fit(SCORE.astype("f"), Y)
    theirs[-1].coef_ = theirs[-1].coef_.astype(np.float64)
    ours = fastmlp.from_sklearn(theirs)
    np.testing.assert_allclose(ours.predict(SCORE), theirs.predict(SCORE), rtol=1e-13, atol=1e-13)


# A member of each way to a network, on columns of which float32 keeps about four digits.
FAR = {
    "scaler": make_pipeline(StandardScaler(), network()),
    "PCA": make_pipeline(PCA(3), StandardScaler(), network()),
    "linear": make_pipeline(RobustScaler(), linear_model.LogisticRegression()),
    "mean": make_pipeline(
        StandardScaler(), ensemble.BaggingRegressor(network(), 2, random_state=0)
    ),
}


@pytest.mark.parametrize("name", FAR)
def test_the_dtype_decides_how_many_digits_are_left_of_columns_far_from_0(name):
    rows = (1000 + SCORE).astype(np.float32)
    theirs = copy.deepcopy(FAR[name]).fit(rows, Y > 5 if name == "linear" else Y)
    call = "predict_proba" if hasattr(theirs, "predict_proba") else "predict"
    wanted = getattr(theirs, call)(rows.astype(np.float64))

    def errors(dtype):
        ours = fastmlp.from_sklearn(theirs, dtype=dtype)
        is_mean = isinstance(ours, fastmlp.Ensemble)
        assert (ours[0].weights if is_mean else ours.coefs_)[0].dtype == dtype
        found = ours.predict(rows) if is_mean else getattr(ours, call)(rows)
        return np.max(np.abs(found - wanted)) / np.max(np.abs(wanted))

    assert errors("float64") < (1e-4 if name == "PCA" else 1e-9)  # PCA itself is in float32
    with patch.object(from_sklearn_network, "TOLERANCE", {"float32": 1e-2, "float64": 1e-6}):
        assert 1e-7 < errors("float32") < 1e-2


def test_what_float32_cannot_keep_is_refused_and_float64_takes():
    rows = (100_000 + SCORE).astype(np.float32)
    theirs = make_pipeline(StandardScaler(), linear_model.LinearRegression()).fit(rows, Y - 5)
    theirs[-1].coef_ = theirs[-1].coef_.astype(np.float32)
    with pytest.raises(ValueError, match="predicts otherwise: pass dtype='float64'"):
        fastmlp.from_sklearn(theirs)
    ours = fastmlp.from_sklearn(theirs, dtype="float64")
    np.testing.assert_allclose(ours.predict(rows), theirs.predict(rows.astype("d")), atol=1e-6)


def test_a_dtype_that_a_solver_lacks_is_refused():
    theirs = network(solver="lbfgs").fit(SCORE, Y)
    with pytest.raises(ValueError, match="dtype is float32 but networks of solver='lbfgs'"):
        fastmlp.from_sklearn(theirs, dtype="float32")
    with pytest.raises(ValueError, match="dtype is 'float16' but must be one of"):
        fastmlp.from_sklearn(network().fit(SCORE, Y), dtype="float16")


@pytest.mark.parametrize("weights", [(1 / 3, 1 / 7), (30, 1 / 7)])
def test_steps_that_enlarge_rounding_errors_are_refused(weights):
    rows = np.c_[SCORE[:, 1:3] @ weights, SCORE[:, 1:]]  # the last component is rounding alone
    last = linear_model.SGDClassifier(loss="log_loss", random_state=0)
    theirs = make_pipeline(PCA(), StandardScaler(), last).fit(rows, Y > 5)
    with pytest.raises(ValueError, match="enlarge rounding errors.*last components of a PCA"):
        fastmlp.from_sklearn(theirs)


def test_means_of_classifiers_of_one_class_are_refused():
    """Of which scikit-learn itself predicts neither probabilities nor classes."""
    member = neural_network.MLPClassifier(**OPTIONS)
    voting = ensemble.VotingClassifier([("a", member), ("b", member)], voting="soft")
    for theirs in (ensemble.BaggingClassifier(member, 3), voting):
        with pytest.raises(TypeError, match=r"learned the classes \['red'\] but at least two"):
            fastmlp.from_sklearn(theirs.fit(SCORE, np.repeat("red", len(SCORE)).astype(object)))


def test_several_targets_fold():
    y = np.stack([Y, 100 - Y], axis=1)
    model = TransformedTargetRegressor(network(), transformer=MinMaxScaler()).fit(FRAME, y)
    wanted = model.predict(FRAME)
    np.testing.assert_allclose(fastmlp.from_sklearn(model).predict(FRAME), wanted, rtol=1e-9)
    linear = linear_model.LinearRegression().fit(FRAME, y)
    np.testing.assert_allclose(
        fastmlp.from_sklearn(linear).predict(FRAME), linear.predict(FRAME), rtol=1e-9
    )


@pytest.mark.parametrize("y", [WORDS, WORDS == "red"], ids=["three", "two"])
@pytest.mark.parametrize(
    "last",
    [
        linear_model.LogisticRegression(),
        linear_model.SGDClassifier(loss="log_loss", random_state=0),
        neural_network.MLPClassifier(**OPTIONS),
        fastmlp.MLPClassifier(**OPTIONS),
    ],
    ids=lambda last: type(last).__name__,
)
def test_classifiers_behind_steps(last, y):
    theirs = fitted_on_frame(make_pipeline(StandardScaler(), PCA(4), copy.deepcopy(last)), y)
    if type(last) is linear_model.SGDClassifier and y is WORDS:  # one against all others
        with pytest.raises(TypeError, match="SGDClassifier has 3 classes, each against the rest"):
            fastmlp.from_sklearn(theirs)
        return
    ours = fastmlp.from_sklearn(theirs)
    np.testing.assert_allclose(ours.predict_proba(FRAME), theirs.predict_proba(FRAME), atol=1e-9)
    assert np.array_equal(ours.predict(FRAME), theirs.predict(FRAME))
    assert np.array_equal(ours.classes_, theirs.classes_)


@pytest.mark.parametrize(
    "theirs",
    [
        ensemble.VotingRegressor([(str(k), network(random_state=k)) for k in range(3)]),
        make_pipeline(
            StandardScaler(),
            ensemble.BaggingRegressor(network(), 3, max_features=0.5, random_state=0),
        ),
        TransformedTargetRegressor(
            ensemble.BaggingRegressor(make_pipeline(MinMaxScaler(), network()), 2, random_state=0),
            transformer=StandardScaler(),
        ),
    ],
    ids=["voting", "bagging", "targets"],
)
def test_means_of_networks_are_ensembles(theirs):
    theirs = fitted_on_frame(theirs, Y)
    ours = fastmlp.from_sklearn(theirs)
    assert type(ours) is fastmlp.Ensemble
    np.testing.assert_allclose(ours.predict(FRAME), theirs.predict(FRAME), rtol=1e-9)


@pytest.mark.parametrize("y", [WORDS, WORDS == "red"], ids=["three", "two"])
def test_means_of_classifiers_give_probabilities(y):
    member = neural_network.MLPClassifier(**OPTIONS)
    theirs = fitted_on_frame(ensemble.BaggingClassifier(member, 3, random_state=0), y)
    wanted = theirs.predict_proba(FRAME)
    ours = fastmlp.from_sklearn(theirs).predict(FRAME)
    np.testing.assert_allclose(ours, wanted if len(wanted[0]) > 2 else wanted[:, 1:], atol=1e-9)


def test_the_check_is_on_rows_like_those_of_the_fit():
    """Of columns in large units that a step exchanges, too."""
    last = linear_model.Ridge()
    steps = ColumnTransformer([("s", StandardScaler(), [1, 0])], remainder=RobustScaler())
    theirs = make_pipeline(steps, last).fit(1000 * FRAME.to_numpy(), Y)
    of_ridge = last.predict
    last.predict = lambda x: of_ridge(x) + (np.abs(x[:, 0]) < 2)
    with pytest.raises(ValueError, match="predicts otherwise"):
        fastmlp.from_sklearn(theirs)
    del last.predict
    ours = fastmlp.from_sklearn(theirs)
    rows = 1000 * FRAME.to_numpy()
    np.testing.assert_allclose(ours.predict(rows), theirs.predict(rows))


def test_weights_of_parts_of_columns_are_factors():
    parts = [("s", StandardScaler(), [0, 2]), ("m", MinMaxScaler(), [1])]
    steps = ColumnTransformer(parts, remainder="passthrough", transformer_weights={"s": 3.0})
    theirs = make_pipeline(steps, linear_model.Ridge()).fit(SCORE, Y)
    ours = fastmlp.from_sklearn(theirs)
    np.testing.assert_allclose(ours.predict(SCORE), theirs.predict(SCORE), rtol=1e-9)


def test_a_search_over_a_pipeline_that_begins_with_passthrough():
    steps = Pipeline([("a", "passthrough"), ("b", linear_model.Ridge())])
    theirs = GridSearchCV(steps, {"b__alpha": [0.1, 1.0]}, cv=2).fit(SCORE, Y)
    np.testing.assert_allclose(fastmlp.from_sklearn(theirs).predict(SCORE), theirs.predict(SCORE))


class Opposite(GridSearchCV):
    """A search with a ``predict``, but without a ``predict_proba``, of its own."""

    def predict(self, X):
        return super().predict(X)[::-1]


class OwnPipeline(Pipeline):
    """A pipeline that may predict otherwise."""


def test_what_is_refused():
    for unfitted in (
        network(),
        make_pipeline(StandardScaler(), network()),
        fastmlp.MLPRegressor(),
        linear_model.Ridge(),
    ):
        with pytest.raises(NotFittedError):
            fastmlp.from_sklearn(unfitted)
    last = network(max_iter=1)
    refused = [
        (make_pipeline(SimpleImputer(), last), "SimpleImputer.*fit a TabMLPRegressor or"),
        (make_pipeline(PolynomialFeatures(), last), r"Poly.*pipeline\[:-1\].transform\(X\)"),
        (make_pipeline(MinMaxScaler(clip=True), last), "MinMaxScaler.*default options"),
        (make_pipeline(FunctionTransformer(np.tanh), last), "FunctionTransformer"),
        (
            TransformedTargetRegressor(last, func=np.tanh, inverse_func=np.arctanh),
            r"FunctionTr.*from_sklearn\(model.regressor_\)",
        ),
        (make_pipeline(StandardScaler(), PLSRegression(2)), "PLSReg.*fastmlp.distill"),
        (MultiOutputRegressor(last), "MultiOutput.*fastmlp.distill"),
        (make_pipeline(ColumnTransformer([("a", "passthrough", slice(2))]), last), "a list of"),
        (GridSearchCV(last, {"alpha": [0.1]}, cv=2, refit=False), "refit=True"),
        (
            make_pipeline(StandardScaler(), GridSearchCV(last, {}, cv=2, refit=False)),
            "GridSearchCV has no best_estimator_.*refit=True",
        ),
        (Opposite(last, {"alpha": [0.1]}, cv=2), r"given Opposite.*search.best_estimator_\)"),
        (make_pipeline(StandardScaler(), Opposite(last, {}, cv=2)), "given Opposite"),
        (OwnPipeline([("a", "passthrough"), ("b", last)]), "given OwnPipeline"),
        (ensemble.VotingRegressor([("a", last), ("b", last)], weights=[1, 2]), "without weights"),
        (ensemble.RandomForestRegressor(3), "RandomForest.* fastmlp.distill.model, X, y. trains"),
    ]
    for model, words in refused:
        y = SCORE[:, :1] / 9 if isinstance(model, MultiOutputRegressor) else SCORE[:, 0] / 9
        with pytest.raises(TypeError, match=words):
            fastmlp.from_sklearn(fitted_on_frame(model, y))
    hinge = fitted_on_frame(linear_model.SGDClassifier(), WORDS)
    with pytest.raises(TypeError, match="loss of the SGDClassifier is 'hinge'"):
        fastmlp.from_sklearn(hinge)
