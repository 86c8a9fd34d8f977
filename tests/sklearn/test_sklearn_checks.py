"""scikit-learn's common checks, and the machinery that estimators are put into."""

from functools import partial

import numpy as np
import pandas
import polars
import pytest
import sklearn
import small_estimators
from sklearn import config_context
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastmlp import MLPClassifier, MLPRegressor

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
]

CHECKED = [MLPClassifier(), MLPRegressor()]
OTHERS = [
    MLPClassifier(solver="sgd"),
    MLPRegressor(solver="sgd"),
    # The penalty keeps probabilities off 0 and 1 exactly, as one check demands.
    MLPClassifier(solver="lbfgs", alpha=0.1),
    MLPRegressor(solver="lbfgs"),
    MLPClassifier(standardize=True, dropout=0.1, clip_norm=1.0, activation="gelu"),
    MLPRegressor(standardize=True, loss="huber", restore_best=True, learning_rate="cosine"),
]


def expected_failures(estimator):
    """Dropout drops other values when a sample is there twice.

    Without it even sgd and adam pass the checks of sample weights: their 15 samples are one batch.
    """
    if not estimator.dropout:
        return {}
    names = ("on_dense_data", "on_sparse_data")
    return {f"check_sample_weight_equivalence_{name}": "dropout is random" for name in names}


def checks_of(estimators):
    # scikit-learn 1.6 makes a generator of the cases, which pytest has come to refuse.
    cases = parametrize_with_checks(estimators, expected_failed_checks=expected_failures)
    return pytest.mark.parametrize(cases.args[0], list(cases.args[1]), **cases.kwargs)


@checks_of(CHECKED)
def test_common_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@checks_of(OTHERS)
def test_common_checks_of_other_parameters(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return x[:300], y[:300]


classifier = partial(small_estimators.classifier, hidden_layer_sizes=(16,), max_iter=8)
regressor = partial(small_estimators.regressor, hidden_layer_sizes=(16,), max_iter=20)


def test_pipeline_grid_search_and_cross_validation(digits):
    x, y = digits
    pipeline = make_pipeline(StandardScaler(), classifier())
    assert pipeline.fit(x, y).score(x, y) > 0.8
    search = GridSearchCV(pipeline, {"mlpclassifier__alpha": [1e-4, 1e4]}, cv=2)
    search.fit(x, y)
    assert search.best_params_ == {"mlpclassifier__alpha": 1e-4}
    scores = cross_validate(regressor(standardize=True), x, y, cv=2, return_train_score=True)
    assert scores["train_score"].min() > 0.5


def test_metadata_routing(digits):
    x, y = digits
    weights = np.linspace(0.1, 2, len(y))
    with config_context(enable_metadata_routing=True):
        net = classifier().set_fit_request(sample_weight=True, X_val=True, y_val=True)
        net.set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, net)
        pipeline.fit(x, y, sample_weight=weights, X_val=x, y_val=y)
        routed = pipeline.named_steps["mlpclassifier"]
        assert len(routed.validation_loss_curve_) == 8
        assert pipeline.score(x, y, sample_weight=weights) > 0.8
        regressor().set_predict_request(return_std=True)
    direct = classifier().fit(StandardScaler().fit_transform(x), y, weights)
    assert all(np.array_equal(a, b) for a, b in zip(direct.coefs_, routed.coefs_, strict=True))


def test_frames_keep_their_names(digits):
    x, y = digits
    names = [f"pixel {i}" for i in range(64)]
    plain = classifier().fit(x, y)
    for frame in (pandas.DataFrame(x, columns=names), polars.DataFrame(x, schema=names)):
        net = classifier().fit(frame, y)
        assert list(net.feature_names_in_) == names
        assert np.array_equal(net.predict(frame), plain.predict(x))
        with pytest.warns(UserWarning, match="does not have valid feature names"):
            net.predict(x)
        early = classifier(early_stopping=True, scoring="accuracy").fit(frame, y)
        assert len(early.validation_scores_) == early.n_iter_
    pipeline = make_pipeline(StandardScaler(), classifier()).set_output(transform="pandas")
    inner = pipeline.fit(pandas.DataFrame(x, columns=names), y).named_steps["mlpclassifier"]
    assert list(inner.feature_names_in_) == names
    series = pandas.Series(np.where(y > 4, "high", "low"))
    assert set(classifier().fit(frame, series).predict(frame)) == {"high", "low"}


# ---- scikit-learn's callbacks -------------------------------------------------------------------

NEW = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 9)


class Watcher:
    """Follows scikit-learn's protocol: counts, looks at an estimator as of now, may stop."""

    def __init__(self, stop_at=None):
        self.calls, self.scores, self.stop_at, self.tasks = [], [], stop_at, []

    def setup(self, estimator, context):
        self.calls.append("setup")

    def teardown(self, estimator, context):
        self.calls.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.calls.append("begin")

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        self.calls.append("end")
        self.tasks.append((context.task_name, context.max_subtasks))
        self.scores.append((fitted_estimator, fitted_estimator.score(X, y)))
        return self.stop_at == len(self.scores)


@pytest.mark.skipif(not NEW, reason="scikit-learn before 1.9 has no callbacks")
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_callbacks_of_scikit_learn(digits, solver):
    from sklearn.callback import ScoringMonitor

    x, y = digits
    watcher, monitor = Watcher(), ScoringMonitor(scoring="accuracy")
    net = classifier(solver=solver, standardize=True).set_callbacks(watcher, monitor).fit(x, y)
    n = net.n_iter_
    calls = ["setup", "begin", *["begin", "end"] * n, "end", "teardown"]
    assert watcher.calls == calls
    assert watcher.tasks == [("epoch", 0)] * n + [("fit", 8)]
    # Each has its own weights: those of its epoch.
    assert [est.score(x, y) for est, _ in watcher.scores] == [s for _, s in watcher.scores]
    assert watcher.scores[-1][1] == net.score(x, y)
    logged = [row["accuracy"] for row in monitor.get_logs().data]
    assert sorted(logged) == sorted(s for _, s in watcher.scores)
    silent = classifier(solver=solver, standardize=True).fit(x, y)
    assert np.array_equal(silent.predict_proba(x), net.predict_proba(x))
    if solver == "adam":
        net.partial_fit(x, y)
        assert watcher.calls == calls
    stopped = classifier(solver=solver).set_callbacks(Watcher(stop_at=3)).fit(x, y)
    assert stopped.n_iter_ == len(stopped.history_.loss) == 3
    assert stopped.history_.stop_reason
    monitor = ScoringMonitor(scoring="accuracy")
    pipeline = make_pipeline(StandardScaler(), classifier(solver=solver).set_callbacks(monitor))
    n = pipeline.fit(x, y)[-1].n_iter_
    assert len(monitor.get_logs().data) == n + 1


@pytest.mark.skipif(NEW, reason="scikit-learn from 1.9 on has callbacks")
def test_older_versions_have_none():
    assert not hasattr(MLPClassifier(), "set_callbacks")
