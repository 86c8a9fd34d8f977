"""Tables with several quantiles in one model: order, coverage, every door, refusals."""

import numpy as np
import pytest
from models import saved
from onnx import reference
from sklearn.exceptions import ConvergenceWarning

import fastmlp
from fastmlp import TabMLPRegressor
from fastmlp.tabular.fit import training

LEVELS = [0.05, 0.25, 0.5, 0.95]
rng = np.random.default_rng(0)


def drawn(n):
    x = rng.uniform(-2, 2, (n, 3))
    return x, x[:, 0] + (0.2 + (x[:, 1] > 0)) * rng.exponential(size=n)


X, Y = drawn(500)
NEW, TRUTH = drawn(3000)
FAST = {"preset": "fast", "random_state": 0}


@pytest.fixture(scope="module")
def model():
    return TabMLPRegressor(loss="quantiles", quantile=LEVELS, **FAST).fit(X, Y)


def test_quantiles_are_in_order_and_hold(model):
    predictions = model.predict(NEW)
    assert predictions.shape == (3000, 4)
    assert model.n_outputs_ == 1
    assert (np.diff(predictions, axis=1) >= 0).all()
    for level, quantile in zip(LEVELS, predictions.T, strict=True):
        assert abs(np.mean(quantile >= TRUTH) - level) < 0.05
    of_fit = np.mean(model.oof_prediction_ >= Y[:, np.newaxis], axis=0)
    assert (np.abs(of_fit - LEVELS) < 0.02).all()
    low, high = model.predict_interval(NEW, coverage=0.9).T
    np.testing.assert_array_equal(np.column_stack([low, high]), predictions[:, [0, 3]])
    np.testing.assert_array_equal(model.predict_quantiles(NEW, 0.25), predictions[:, 1])
    spread = np.argsort(high - low)
    assert (NEW[spread[:900], 1] < 0).mean() > 0.9  # the noise is larger where x1 > 0


def test_quantiles_are_moved_once_by_a_fit_that_is_interrupted_in_its_scores(model, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "_scores", interrupted)
    with pytest.warns(ConvergenceWarning, match="the user interrupted it"):
        again = TabMLPRegressor(loss="quantiles", quantile=LEVELS, **FAST).fit(X, Y)
    assert "there are no other scores" in str(again.report())
    np.testing.assert_array_equal(again.predict(NEW), model.predict(NEW))
    np.testing.assert_array_equal(again.oof_prediction_, model.oof_prediction_)


def test_scores_and_pictures(model):
    middle = model.predict(NEW)[:, 2]
    expected = 1 - np.sum((TRUTH - middle) ** 2) / np.sum((TRUTH - TRUTH.mean()) ** 2)
    assert model.score(NEW, TRUTH) == pytest.approx(expected)
    assert model.importance().means.max() > 0
    assert "pinball loss" in str(model.report())
    shares = model.plot_calibration(Y).lines[-1].get_ydata()
    np.testing.assert_allclose(shares, LEVELS, atol=0.02)


def test_files_predictors_and_exports(model, tmp_path):
    expected = model.predict(NEW)
    again = saved(model, tmp_path / "model")
    np.testing.assert_array_equal(again.predict(NEW), expected)
    np.testing.assert_array_equal(again.predict_interval(NEW), model.predict_interval(NEW))
    assert again.quantile == LEVELS
    for row in (model.predictor(), fastmlp.load_predictor(tmp_path / "model")):
        np.testing.assert_array_equal(row(NEW[0]), expected[0])
    files = model.to_c(tmp_path / "model.c")
    assert files.largest_error < 1e-3
    graph = reference.ReferenceEvaluator(model.to_onnx())
    (found,) = graph.run(["predictions"], {graph.input_names[0]: NEW[:50]})
    np.testing.assert_allclose(found, expected[:50], rtol=1e-4, atol=1e-4)
    assert (np.diff(found, axis=1) >= 0).all()


def test_weights_are_those_of_the_rows():
    weights = np.where(np.median(Y) < Y, 3.0, 1.0)
    model = TabMLPRegressor(loss="quantiles", quantile=LEVELS, **FAST)
    model.fit(X, Y, sample_weight=weights)
    below = model.oof_prediction_ >= Y[:, np.newaxis]
    shares = np.average(below, axis=0, weights=weights)
    assert (np.abs(shares - LEVELS) < 0.03).all()


REFUSED = {
    "one level": ({"quantile": 0.5}, Y, "quantile is 0.5 but at least two ascending levels"),
    "order": ({"quantile": [0.9, 0.1]}, Y, "at least two ascending levels"),
    "equal": ({"quantile": [0.1, 0.1]}, Y, "at least two ascending levels"),
    "outside": ({"quantile": [0.1, 1.0]}, Y, "quantile is 1.0"),
    "targets": ({"quantile": LEVELS}, np.column_stack([Y, Y]), "takes one"),
    "scoring": ({"quantile": LEVELS, "scoring": "r2"}, Y, "scorers take one prediction"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    options, y, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        TabMLPRegressor(loss="quantiles", **options, **FAST).fit(X, y)


def test_calls_that_are_refused(model, tmp_path):
    for call, message in (
        (
            lambda: model.predict_interval(X, coverage=0.8),
            r"0.9\] are asked for but this fit has \[0.05, 0.25",
        ),
        (lambda: model.predict_quantiles(X, [0.5, 0.6]), "fit with quantile="),
        (lambda: model.to_c(tmp_path / "a.c", levels=[0.5]), "leave levels out"),
        (lambda: model.log_density(X, Y), "no density"),
        (lambda: model.distill(X), "cannot be distilled"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
