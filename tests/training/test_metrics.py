"""Metrics beside the losses: which, on what, and what becomes of them."""

import cases
import numpy as np
import pytest
from models import X, Y, digest, network
from sklearn.metrics import r2_score
from states import refused

import fastmlp
from fastmlp import reference
from fastmlp._training.metrics import METRICS

SPLIT = {"validation_data": (X[60:], Y[60:]), "epochs": 3}


@pytest.mark.parametrize("mlp", [fastmlp.MLP, reference.MLP])
@pytest.mark.parametrize("metrics", [["r2"], {"r2": METRICS["r2"]}, [METRICS["r2"]]])
def test_on_validation_data(mlp, metrics):
    net = network(mlp)
    history = net.fit(X[:60], Y[:60], metrics=metrics, **SPLIT)
    assert list(history.metrics) == ["val_r2"]
    assert len(history.metrics["val_r2"]) == 3
    wanted = METRICS["r2"](Y[60:], net.predict(X[60:]))
    assert history.metrics["val_r2"][-1] == pytest.approx(wanted, rel=1e-5)


def test_accuracy_of_labels_with_gaps():
    y = np.where(np.arange(len(X))[:, None] % 3 == [0, 1], np.nan, np.abs(X[:, :1]) > [0.5, 1])
    net = network(fastmlp.MLP, loss="binary_cross_entropy")
    history = net.fit(X, y, metrics=["accuracy"], epochs=1)
    assert history.metrics["accuracy"] == [METRICS["accuracy"](y, net.predict(X))]


def test_on_the_training_data():
    net = network(fastmlp.MLP, dtype="float64")
    history = net.fit(X, Y, metrics=["mean_squared_error", "mean_absolute_error"], epochs=2)
    p = net.predict(X)
    assert history.metrics["mean_squared_error"][-1] == pytest.approx(np.mean((p - Y) ** 2))
    assert history.metrics["mean_absolute_error"][-1] == pytest.approx(np.mean(np.abs(p - Y)))


@pytest.mark.parametrize("case", cases.LOSSES, ids=str)
def test_they_change_no_bits_and_see_what_predict_returns(case):
    rng, seen, made = np.random.default_rng(0), [], []
    t = cases.targets(case.loss, len(X), 2, rng, labels=case.labels)

    def metric(y, p):
        seen.append((y, p))
        return len(seen)

    for metrics in ([], {"own": metric}):
        net = network(fastmlp.MLP, loss=case.loss)
        history = net.fit(X, t, epochs=2, metrics=metrics)
        made.append(digest(net))
    assert made[0] == made[1]
    assert history.metrics == {"own": [1.0, 2.0]}
    assert np.array_equal(seen[-1][0], t.astype(seen[-1][0].dtype))
    p = net.predict(X)
    assert type(p) is type(seen[-1][1])
    for a, b in zip(*(q if isinstance(q, tuple) else (q,) for q in (p, seen[-1][1])), strict=True):
        assert np.array_equal(a, b)


def test_accuracy():
    accuracy = METRICS["accuracy"]
    p = np.array([[0.7, 0.3], [0.2, 0.8], [0.4, 0.6]])
    assert accuracy(np.array([0, 1, 0]), p) == pytest.approx(2 / 3)
    assert accuracy(np.array([[1.0, 0], [0, 1], [1, 0]]), p) == pytest.approx(2 / 3)
    assert accuracy(np.array([[1.0], [0], [1]]), p[:, :1]) == pytest.approx(2 / 3)
    both = np.array([[0.9, 0.8], [0.9, 0.2]])
    assert accuracy(np.array([[1, 1], [1, 1]]), both) == 0.5


def test_they_are_in_the_frame_and_go_on():
    net = network(fastmlp.MLP)
    net.fit(X[:60], Y[:60], metrics=["r2"], **SPLIT)
    options = SPLIT | {"epochs": 5}
    history = net.fit(X[:60], Y[:60], metrics=["r2"], resume=True, **options)
    assert len(history.metrics["val_r2"]) == 5
    assert history.to_frame()["val_r2"].tolist() == history.metrics["val_r2"]
    history = net.fit(X[:60], Y[:60], resume=True, **SPLIT | {"epochs": 6})
    assert len(history.loss) == 6


@pytest.mark.parametrize(
    ("metrics", "error", "words"),
    [
        ("r2", TypeError, r"metrics=\['accuracy'\]"),
        (["r3"], ValueError, "'r3' but a callable"),
        ([1], ValueError, "1 but a callable"),
        (["r2", METRICS["r2"]], ValueError, "two of the same name"),
        ({"loss": "r2"}, ValueError, "'loss', but that is a column of History"),
        ({1: "r2"}, TypeError, "the name 1 but a string"),
        ([lambda y, p: y.fill(0)], ValueError, "read-only"),  # the user's own array
        ([lambda y, p: "good"], TypeError, "returned 'good'"),
        ([lambda y, p: 1 / 0], ZeroDivisionError, "division"),
    ],
)
def test_bad_ones_change_nothing(metrics, error, words):
    net = network(fastmlp.MLP)
    with refused(error, words, net):
        net.fit(X, Y, metrics=metrics)


@pytest.mark.parametrize(
    ("loss", "metric", "words"),
    [
        ("cross_entropy", "r2", "is of numbers but y has labels"),
        ("cross_entropy", METRICS["mean_absolute_error"], "is of numbers but y has labels"),
        ("squared_error", "accuracy", "is of classes but y holds numbers from -"),
        ("gaussian_nll", "accuracy", "is of classes but this loss predicts means and variances"),
    ],
)
def test_those_that_are_not_of_such_targets_are_refused_at_once(loss, metric, words):
    net = network(fastmlp.MLP, loss=loss)
    y = Y if loss != "cross_entropy" else np.zeros(len(Y), int)
    with refused(ValueError, words, net):
        net.fit(X, y, metrics=[metric], callbacks=[lambda state: pytest.fail("it began")])


@pytest.mark.parametrize("weights", [None, np.arange(4.0)])
@pytest.mark.parametrize("kind", ["varied", "constant", "constant and right"])
def test_r2_is_that_of_scikit_learn(kind, weights):
    p = np.array([[1.0, 2], [3, 4], [5, 7], [7, 7]])
    y = {"varied": p[::-1] ** 2, "constant": 0 * p, "constant and right": 0 * p}[kind]
    p = 0 * p if kind == "constant and right" else p
    expected = r2_score(y, p, sample_weight=weights)
    assert METRICS["r2"](y, p, weights) == pytest.approx(expected)
    p[0, 0] = np.nan
    assert np.isnan(METRICS["r2"](y, p, weights))
