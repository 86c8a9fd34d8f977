"""Networks as PyTorch modules, and back. Optional."""

import copy
import pickle
import warnings

import numpy as np
import pytest

import fastmlp
from fastmlp._network.activations import ACTIVATIONS

with warnings.catch_warnings():  # what PyTorch says to newer Pythons and NumPys is its own matter
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch", reason="needs torch")

X = np.random.default_rng(0).normal(size=(50, 4))


def net(*sizes, **options):
    options = {"dtype": "float64", **options}
    model = fastmlp.MLP([4, *(sizes or (6, 6, 2))], rng=0, **options)
    rng = np.random.default_rng(1)  # all parameters, gains and shifts, too, differ from the first
    model.parameters_vector = model.parameters_vector + rng.normal(size=model.n_parameters) / 9
    return model


def assert_same(module, model):
    wanted = model.predict(X.astype(module_dtype(model)))
    with torch.no_grad():
        found = module(torch.tensor(X.astype(module_dtype(model)))).numpy()
    assert found.dtype == wanted.dtype
    rtol = 1e-9 if wanted.dtype == np.float64 else 1e-4
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=rtol)


def module_dtype(model):
    return (model if isinstance(model, fastmlp.MLP) else model[0]).dtype


MODELS = {
    **{name: {"activation": name} for name in ACTIVATIONS},
    **{f"parametric {name}": {"activation": name, "parametric": True} for name in ("relu", "mish")},
    "float32": {"dtype": "float32"},
    "before": {"layer_norm": "before", "dropout": [0.1, 0]},
    "after": {"layer_norm": ["after", None], "activation": "tanh"},
    "scale": {"scale": True},
    "skip": {"skip": 1, "activation": "silu"},
    "path": {"linear_path": True, "scale": True},
    "sigmoid link": {"loss": "binary_cross_entropy"},
    "softmax link": {"loss": "cross_entropy"},
    "exp link": {"loss": "poisson_nll"},
}


@pytest.mark.parametrize("name", MODELS)
def test_the_module_predicts_the_same_and_is_read_back(name):
    model = net(**MODELS[name])
    module = fastmlp.to_torch(model)
    assert not module.training
    assert_same(module, model)
    assert_same(pickle.loads(pickle.dumps(copy.deepcopy(module))), model)
    back = fastmlp.from_torch(module)
    np.testing.assert_allclose(
        back.predict(X), model.predict(X), rtol=1e-4 if name == "float32" else 1e-9
    )
    if not name.startswith(("parametric mish", "scale", "path")):
        assert back.layer_sizes == model.layer_sizes
        assert back.skip == model.skip
        assert np.array_equal(back.parameters_vector, model.parameters_vector) or "relu" in name


def test_blocks_of_several_layers():
    model = net(5, 6, 6, 6, 6, 6, 3, 3, 3, 1, skip=2, layer_norm="before", dropout=0.2)
    assert_same(fastmlp.to_torch(model), model)
    assert fastmlp.from_torch(fastmlp.to_torch(model)).skip == 2


def test_shapes_and_outputs_before_the_link():
    model = fastmlp.MLP([4, 6, 1], dtype="float64", rng=0)
    model.fit(X, X[:, 0], epochs=1)
    module = fastmlp.to_torch(model)
    assert module(torch.tensor(X)).shape == (50,)
    assert fastmlp.from_torch(module).predict(X).shape == (50,)
    logits = net(loss="cross_entropy")
    found = fastmlp.to_torch(logits, link=False)(torch.tensor(X)).detach().numpy()
    np.testing.assert_allclose(found, logits.predict(X, link=False), rtol=1e-9)


@pytest.mark.filterwarnings("ignore:.*onverge")
def test_ensembles_and_estimators():
    ensemble = fastmlp.Ensemble(fastmlp.MLP([4, 6, 2], rng=seed) for seed in range(3))
    module = fastmlp.to_torch(ensemble)
    assert_same(module, ensemble)
    assert len(fastmlp.from_torch(module)) == 3
    estimator = fastmlp.MLPRegressor(standardize=True, max_iter=2).fit(X, X[:, 0])
    found = fastmlp.to_torch(estimator)(torch.tensor(X)).detach().numpy().ravel()
    np.testing.assert_allclose(found, estimator.predict(X), rtol=1e-9)


def test_training_goes_on():
    module = fastmlp.to_torch(net(skip=1, dropout=0.1)).train()
    torch.nn.functional.mse_loss(module(torch.tensor(X)), torch.zeros(50, 2)).backward()
    assert all(p.grad is not None for p in module.parameters())


def test_what_is_refused():
    twice = fastmlp.CustomActivation(lambda z: (2 * z, np.full_like(z, 2)))
    quantiles = fastmlp.MLP([4, 5, 1], loss=fastmlp.Quantiles((0.1, 0.9)), rng=0)
    for model, words in (
        (net(activation=twice), "which PyTorch does not know"),
        (quantiles, "link=False"),
        (3, "given int but an MLP"),
    ):
        with pytest.raises(TypeError, match=words):
            fastmlp.to_torch(model)
    assert fastmlp.to_torch(quantiles, link=False)(torch.zeros(3, 4)).shape == (3, 2)
    gaussian = fastmlp.MLP([4, 5, 2], loss=fastmlp.GaussianNLL(predict_variance=True), rng=0)
    assert fastmlp.to_torch(gaussian, link=False)(torch.zeros(3, 4)).shape == (3, 4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["elu", "selu", "tanh", "sigmoid", "softplus", "mish"])
def test_parametric_units_are_accurate_where_they_saturate(name, dtype):
    """Their value is small beside their input, of which nothing must be left."""
    model = fastmlp.MLP([1, 3, 1], activation=name, parametric=True, dtype=dtype, rng=0)
    model.weights, model.biases = [np.ones((1, 3)), np.eye(3)[:, :1]], [np.zeros(3), np.zeros(1)]
    model.alphas = [np.array([1.0, 0.5, 2.0])]
    x = np.array([[-1e30], [-1e4], [-12], [12], [1e4], [1e30]], dtype)
    with torch.no_grad():
        found = fastmlp.to_torch(model)(torch.tensor(x)).numpy()
    np.testing.assert_allclose(found, model.predict(x), rtol=1e-5, atol=1e-14)
