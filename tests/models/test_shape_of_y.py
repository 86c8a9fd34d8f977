"""Predictions of a network have the shape of the y that it was fitted with, see docs/adr/0024."""

import copy

import numpy as np
import pytest
from models import WAYS

import fastmlp
from fastmlp._models.network import network_of

N = 12
X = np.linspace(-1, 1, N * 2).reshape(N, 2)
FLAT, COLUMN = X[:, 0] > 0, X[:, :1] > 0


def for_predictions(net, path):
    net.save(path, training=False)
    return fastmlp.load(path)


def resumed(net, path):
    """The model of a checkpoint; its fit has no epoch left."""
    net.fit(X, FLAT, epochs=1, callbacks=[fastmlp.Checkpoint(path)])
    twin = copy.deepcopy(net)
    network_of(twin).learn_shape(False)
    twin.fit(X, FLAT, epochs=1, resume=path)
    return twin


FITS = {
    "fit": lambda net, y: net.fit(X, y, epochs=1),
    "fit of lists": lambda net, y: net.fit(X.tolist(), y.tolist(), epochs=1),
    "partial_fit": lambda net, y: net.partial_fit(X, y),
    "source": lambda net, y: net.fit(lambda: [(X[:5], y[:5]), (X[5:], y[5:])], epochs=1),
}
TWINS = WAYS | {"file for predictions": for_predictions, "checkpoint": resumed}
LOSSES = ("squared_error", "gaussian_nll", "binary_cross_entropy")


def heads(prediction):
    return prediction if isinstance(prediction, tuple) else (prediction,)


def shapes(prediction):
    return {head.shape for head in heads(prediction)}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("fit", FITS)
def test_predictions_have_the_shape_of_y(mlp, fit, loss):
    net = mlp([2, 3, 1], loss=loss, rng=0)
    assert shapes(net.predict(X)) == {(N, 1)}
    for y in (FLAT, COLUMN, FLAT):
        FITS[fit](net, y)
        assert shapes(net.predict(X)) == {y.shape}
        assert shapes(net.predict(X[:1])) == {y[:1].shape}
        plain = X[:2].astype(net.dtype)  # a plain row has a way of its own
        for alone, two in zip(
            heads(net.predict(plain[:1])), heads(net.predict(plain)), strict=True
        ):
            np.testing.assert_array_equal(alone, two[:1], strict=True)
        assert shapes(net.predict(X[:0])) == {y[:0].shape}
        assert net.jacobian(X).ndim == 3
        assert net.predictor()(X).shape == (N, net.loss.heads)


@pytest.mark.parametrize("twin", TWINS)
def test_twins_predict_in_the_same_shape(mlp, twin, tmp_path):
    net = mlp([2, 3, 1], rng=0)
    net.fit(X, FLAT, epochs=1)
    other = TWINS[twin](net, tmp_path / "net")
    assert np.array_equal(other.predict(X), net.predict(X))
    assert other.predict(X).shape == (N,)


@pytest.mark.parametrize("twin", [twin for twin in TWINS if twin != "checkpoint"])
def test_ensembles(twin, tmp_path):
    ensemble = fastmlp.Ensemble(fastmlp.MLP([2, 3, 1], loss="gaussian_nll", rng=k) for k in (0, 1))
    ensemble.fit(X, COLUMN, epochs=1)
    assert shapes(ensemble.predict(X)) == {(N, 1)}
    for train in (ensemble.fit, ensemble.partial_fit):
        ensemble[0].fit(X, COLUMN, epochs=1)
        assert shapes(ensemble.predict(X)) == {(N, 1)}
        train(X, FLAT, sample_weight=[np.ones(N), np.ones(N)])
        other = TWINS[twin](ensemble, tmp_path / "net")
        assert shapes(other.predict(X)) == shapes(other[1].predict(X)) == {(N,)}
        assert shapes(other.member_predictions(X)) == {(2, N)}


def test_callbacks_see_it_and_a_fit_without_an_epoch_changes_nothing(mlp):
    net, seen = mlp([2, 3, 1], rng=0), []
    net.fit(X, FLAT, epochs=2, callbacks=[lambda state: seen.append(state.model.predict(X).shape)])
    assert seen == [(N,), (N,)]
    with pytest.raises(fastmlp.DivergenceError):
        net.fit(X, COLUMN * 1e30, optimizer=fastmlp.SGD(1e30))
    with pytest.raises(fastmlp.DivergenceError):
        net.partial_fit(X, COLUMN * 1e30, optimizer=fastmlp.SGD(1e30), batch_size=1)
    assert net.predict(X).shape == (N,)


def test_labels_of_classes_and_several_outputs_have_a_column_each(mlp):
    net = mlp([2, 3, 2], loss="cross_entropy", rng=0)
    net.fit(X, FLAT.astype(int), epochs=1)
    assert net.predict(X).shape == (N, 2)
