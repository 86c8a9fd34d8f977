"""Estimators as ONNX: labels and probabilities under skl2onnx's names, scaling inside."""

import exports
import numpy as np
import pytest
from test_onnx import run

pytest.importorskip("sklearn", reason="needs scikit-learn")

from fastmlp import MLPClassifier, MLPRegressor

RNG = np.random.default_rng(11)
N = 400
X = RNG.normal(size=(N, 5)) * [1, 10, 0.1, 1, 1] + [0, 50, 3, 0, 0]
SCORE = (X - X.mean(axis=0)) / X.std(axis=0)
TWO = (SCORE[:, 0] > 0).astype(np.int64)
FOUR = np.digitize(SCORE[:, 1], [-0.7, 0, 0.7])
MANY = np.column_stack([SCORE[:, 0] > 0, SCORE[:, 1] > 0, SCORE[:, 2] > 0.5]).astype(int)
TARGETS = {
    "two": TWO,
    "two-names": np.array(["no", "yes, very"])[TWO],
    "two-truths": TWO.astype(bool),
    "one": np.full(N, 7),
    "four": FOUR,
    "int8": FOUR.astype(np.int8),
    "gaps": 3 * FOUR - 5,
    "floats": FOUR * 2.0,
    "names": np.array(["red", "green", "blue", "ünïcode"])[FOUR],
    "objects": np.array(["red", "green", "blue", "black"], dtype=object)[FOUR],
    "each": MANY,
}
OPTIONS = {"max_iter": 8, "random_state": 0, "learning_rate_init": 0.01}


@pytest.mark.filterwarnings("ignore:.*onverge")
@pytest.mark.parametrize("dtype", exports.RELATIVE)
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("target", TARGETS)
def test_classifiers(target, standardize, dtype):
    y, x = TARGETS[target], X.astype(dtype)
    model = MLPClassifier((16, 8), standardize=standardize, **OPTIONS).fit(x, y)
    outputs = run(model.to_onnx(), x)
    assert list(outputs) == ["label", "probabilities"]
    p = model.predict_proba(x)
    assert outputs["probabilities"].dtype == dtype
    np.testing.assert_allclose(
        outputs["probabilities"], p, rtol=0, atol=exports.RELATIVE[dtype] * 50
    )
    # Of those near a threshold rounding decides.
    top = np.sort(p, axis=1)[:, -2:]
    sure = (np.abs(p - 0.5) > 1e-4).all(axis=1) if y.ndim == 2 else top[:, 1] - top[:, 0] > 1e-4
    exports.assert_same_labels(outputs["label"], model.predict(x), sure)


@pytest.mark.filterwarnings("ignore:.*onverge")
@pytest.mark.parametrize("dtype", exports.RELATIVE)
@pytest.mark.parametrize("loss", ["squared_error", "poisson", "gaussian", "quantile"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_regressors(loss, outputs, dtype):
    x = X.astype(dtype)
    y = np.abs(SCORE[:, :outputs]) * 20 + 100
    y = y[:, 0] if outputs == 1 else y
    model = MLPRegressor(loss, (16,), standardize=loss != "poisson", **OPTIONS).fit(x, y)
    x = x[:300]
    found = run(model.to_onnx(), x)
    tolerance = {"rtol": exports.RELATIVE[dtype] * 50}
    if loss == "gaussian":
        mean, deviation = model.predict(x, return_std=True)
        np.testing.assert_allclose(found["means"].reshape(mean.shape), mean, **tolerance)
        variance = found["variances"].reshape(mean.shape)
        np.testing.assert_allclose(np.sqrt(variance), deviation, **tolerance)
    else:
        wanted = model.predict(x)
        np.testing.assert_allclose(found["predictions"].reshape(wanted.shape), wanted, **tolerance)


@pytest.mark.filterwarnings("ignore:.*onverge")
def test_the_names_are_those_of_skl2onnx():
    skl2onnx = pytest.importorskip("skl2onnx", reason="compares with skl2onnx")
    from sklearn.neural_network import MLPClassifier as Theirs

    y = TARGETS["names"]
    theirs = Theirs((16,), max_iter=8, random_state=0).fit(X, y)
    converted = skl2onnx.to_onnx(theirs, X[:1], options={"zipmap": False})
    ours = MLPClassifier((16,), max_iter=8, random_state=0).fit(X, y).to_onnx()
    for side in ("input", "output"):
        names = [[each.name for each in getattr(m.graph, side)] for m in (ours, converted)]
        assert names[0] == names[1]


def test_not_fitted():
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        MLPClassifier().to_onnx()


@pytest.mark.filterwarnings("ignore:.*onverge")
def test_classes_that_onnx_has_no_type_for():
    model = MLPClassifier((4,), max_iter=2).fit(X, TARGETS["objects"])
    model._fitted.decoder.classes_ = np.array([b"x", b"y", b"z", b"w"])
    with pytest.raises(TypeError, match="strings, integers of 64 bits, floats or booleans"):
        model.to_onnx()


@pytest.mark.filterwarnings("ignore:.*onverge")
def test_weights_that_were_written_into_are_exported():
    model = MLPRegressor(hidden_layer_sizes=(4,), max_iter=2).fit(X, SCORE[:, 0])
    model.intercepts_[-1][:] += 100
    np.testing.assert_allclose(
        run(model.to_onnx(), X)["predictions"][:, 0], model.predict(X), rtol=1e-11
    )
