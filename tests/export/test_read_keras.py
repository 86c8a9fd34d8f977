"""Keras models read as MLPs. Optional."""

import os
import warnings

import numpy as np
import pytest

import fastmlp

os.environ.setdefault("KERAS_BACKEND", "torch")  # any backend is the same to us
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    keras = pytest.importorskip("keras", reason="needs keras")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
layers = keras.layers
X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)


def outputs(model, x=X):
    return np.asarray(keras.ops.convert_to_numpy(model(x, training=False)))


def stack(*parts):
    return lively(keras.Sequential([keras.Input((4,)), *parts]))


def lively(model):
    """Give each parameter and each statistic a value of its own."""
    rng = np.random.default_rng(len(model.weights))
    for weight in model.weights:
        if weight.dtype.startswith("float"):
            noise = rng.uniform(0.1, 0.6, size=tuple(weight.shape))
            weight.assign(keras.ops.convert_to_numpy(weight) + noise * rng.choice([0.7, 1]))
    return model


def functional(make):
    inputs = keras.Input((4,))
    return lively(keras.Model(inputs, make(inputs)))


def residual(x, *, width=5, norm=True):
    y = layers.LayerNormalization()(x) if norm else layers.BatchNormalization()(x)
    y = layers.Dense(width, "relu")(y)
    return layers.Add()([x, layers.Dense(5)(y)])


def normalized():
    layer = layers.Normalization()
    layer.adapt(3 * X + 5)
    return layer


NAMES = "linear relu elu selu softplus sigmoid tanh gelu silu mish leaky_relu relu6 hard_sigmoid"
NAMES = [*NAMES.split(), "hard_tanh", "celu", "log_sigmoid"]
MODELS = {
    **{name: lambda name=name: stack(layers.Dense(6, name), layers.Dense(2)) for name in NAMES},
    "softmax": lambda: stack(layers.Dense(5, "relu"), layers.Dense(3, "softmax")),
    "sigmoid at the end": lambda: stack(layers.Dense(5), layers.Dense(1, "sigmoid")),
    "exponential": lambda: stack(layers.Dense(5, "relu"), layers.Dense(1, "exponential")),
    "layers": lambda: stack(
        layers.Flatten(),
        layers.Dense(6, use_bias=False),
        layers.LeakyReLU(0.1),
        layers.Dropout(0.2),
        layers.Dense(5),
        layers.PReLU(),
        layers.Dense(4, activation=layers.ELU(0.5)),
        layers.GaussianNoise(0.1),
        layers.Dense(3),
        layers.ReLU(max_value=2),
        layers.Softmax(),
    ),
    "batch norm": lambda: stack(
        normalized(), layers.Dense(6), layers.BatchNormalization(), layers.Activation("relu")
    ),
    "layer norm": lambda: stack(
        layers.Rescaling(0.5, 1.0), layers.Dense(6), layers.LayerNormalization(), layers.Dense(1)
    ),
    "nested": lambda: stack(stack(layers.Dense(6, "tanh")), layers.Dense(1)),
    "blocks": lambda: functional(
        lambda x: layers.Dense(1)(residual(residual(layers.Dense(5, "gelu")(x))))
    ),
    "wide blocks": lambda: functional(
        lambda x: layers.Dense(1)(residual(layers.Dense(5)(x), width=9, norm=False))
    ),
    "branches": lambda: functional(
        lambda x: layers.Dense(2)(
            layers.Concatenate()([layers.Dense(3, "relu")(x), layers.Dense(4, "tanh")(x), x])
        )
    ),
    "wide and deep": lambda: functional(
        lambda x: layers.Subtract()(
            [layers.Dense(1)(layers.Dense(6, "relu")(x)), layers.Dense(1)(x)]
        )
    ),
    "mean": lambda: functional(
        lambda x: layers.Average()(
            [layers.Dense(2, "softmax")(layers.Dense(6, "relu")(x)) for _ in range(3)]
        )
    ),
}


def assert_same(net, model):
    wanted = outputs(model)
    rtol = 1e-5 * np.abs(wanted).max()
    np.testing.assert_allclose(net.predict(X), wanted, rtol=1e-4, atol=rtol)


@pytest.mark.parametrize("name", MODELS)
def test_models(name):
    model = MODELS[name]()
    net = fastmlp.from_keras(model)
    assert_same(net, model)
    assert isinstance(net, fastmlp.Ensemble if name == "mean" else fastmlp.MLP)
    assert name != "blocks" or net.skip == 3


@pytest.mark.parametrize("seed", range(20))
def test_random_models(seed):
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(rng.integers(1, 4)):
        parts.append(layers.Dense(int(rng.integers(1, 8)), NAMES[rng.integers(len(NAMES))]))
        extras = [layers.BatchNormalization(), layers.LayerNormalization(), layers.Dropout(0.1)]
        parts += [extras[k] for k in rng.permutation(3)[: rng.integers(3)]]
    model = stack(*parts, layers.Dense(int(rng.integers(1, 4))))
    assert_same(fastmlp.from_keras(model), model)


def test_a_file_and_the_loss_of_logits(tmp_path):
    model = stack(layers.Dense(6, "relu"), layers.Dense(3))
    model.save(tmp_path / "model.keras")
    assert_same(fastmlp.from_keras(tmp_path / "model.keras"), model)
    net = fastmlp.from_keras(model, loss="cross_entropy")
    wanted = np.asarray(keras.ops.convert_to_numpy(keras.ops.softmax(outputs(model))))
    np.testing.assert_allclose(net.predict(X), wanted, rtol=1e-4, atol=1e-5)


def test_large_exponentials_of_float64_are_not_refused():
    """Keras computes products in float32, whose errors the end of the network makes larger."""
    keras.utils.set_random_seed(0)
    steep = keras.initializers.Constant(20.0)  # relative errors of exp(z) are z times those of z
    dense = layers.Dense(2, "exponential", kernel_initializer=steep, dtype="float64")
    model = keras.Sequential([keras.Input((4,), dtype="float64"), dense])
    net = fastmlp.from_keras(model)
    assert net.dtype == np.float64
    wanted = np.exp(20 * X.sum(axis=1, dtype=float))
    np.testing.assert_allclose(net.predict(X)[:, 0], wanted, rtol=1e-12)


class Own(layers.Dense):
    """A class of the user's own, which may compute anything."""


def twice(x):
    dense = layers.Dense(4)
    return dense(dense(x))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: stack(Own(3)), "Own"),
        (lambda: stack(layers.Dense(3, lambda x: x * x), layers.Dense(1)), "has the activation"),
        (lambda: stack(layers.Dense(3, "softsign"), layers.Dense(1)), "activation softsign"),
        (lambda: stack(layers.Reshape((2, 2))), "Reshape"),
        (lambda: stack(layers.Dense(3, "softmax"), layers.Dense(1)), "softmax before its end"),
        (lambda: stack(layers.Dense(3, layers.PReLU())), "no slopes yet.*call the model on rows"),
        (lambda: stack(layers.Dense(2, dtype="mixed_bfloat16")), "computes in bfloat16.*float32"),
        (lambda: stack(layers.ReLU(dtype="float16"), layers.Dense(1)), "computes in float16"),
        (
            lambda: keras.Sequential([keras.Input((4,), dtype="int32"), layers.Dense(1)]),
            "reads rows in int32.*get_weights",
        ),
        (lambda: stack(layers.Embedding(4, 2)), "Embedding.*TabMLPRegressor"),
        (lambda: functional(lambda x: layers.Multiply()([x, layers.Dense(4)(x)])), "Multiply"),
        (lambda: functional(twice), "twice"),
        (lambda: functional(lambda x: x + layers.Dense(4)(x)), "calls Add without a layer"),
        (lambda: functional(lambda x: [x, layers.Dense(1)(x)]), "several inputs or outputs"),
        (lambda: keras.Sequential([layers.Dense(2)]), r"build it with one keras.Input"),
        (lambda: keras.Sequential([keras.Input((3, 4)), layers.Dense(2)]), "inputs of shape"),
    ],
)
def test_what_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        fastmlp.from_keras(make())
    with pytest.raises(TypeError, match="given int but a keras.Model"):
        fastmlp.from_keras(3)
