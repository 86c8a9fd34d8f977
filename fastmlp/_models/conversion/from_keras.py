"""Conversion of Keras models to an MLP: layers are typed objects, and a config is their graph."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import reduce
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastmlp._models.conversion import assembly, graph
from fastmlp._models.conversion.graph import Value, refusal
from fastmlp._models.ensemble.ensemble import Ensemble
from fastmlp._models.mlp import MLP
from fastmlp._network.losses import Loss, LossName

if TYPE_CHECKING:
    from keras import Layer, Model, Variable

Config: TypeAlias = dict[str, Any]
Change: TypeAlias = Callable[[Value], Value]

REMEDY = "replace it before the training, or pass the part of the model without it"
EMBEDDING = (
    "TabMLPRegressor and TabMLPClassifier learn embeddings of categories, with the rest of a table"
)


def _named(name: str) -> Change:
    return lambda value: graph.activated(value, name)


def leaky(value: Value, slope: float) -> Value:
    """Return a parametric relu with one negative slope."""
    return graph.activated(value, "relu", np.full(value.width, 1 - slope))


# What the functions of keras.activations do, with their default options.
ACTIVATIONS: dict[str, Change] = {
    "linear": lambda value: value,
    **{name: _named(name) for name in ("relu", "elu", "selu", "softplus", "sigmoid", "tanh")},
    **{name: _named(name) for name in ("gelu", "silu", "mish", "softmax")},
    "exponential": _named("exp"),
    "leaky_relu": lambda value: leaky(value, 0.2),
    "relu6": lambda value: graph.between(value, 0.0, 6.0),
    "hard_tanh": lambda value: graph.between(value, -1.0, 1.0),
    "hard_sigmoid": lambda value: graph.between(graph.scaled(value, 1 / 6, 0.5), 0.0, 1.0),
    "celu": _named("elu"),
    "log_sigmoid": lambda value: graph.scaled(
        graph.activated(graph.scaled(value, -1), "softplus"), -1
    ),
}


def from_keras(
    model: Model,
    *,
    loss: LossName | Loss | None = None,
    rng: int | np.random.Generator | None = None,
) -> MLP | Ensemble:
    """Turn a trained Keras model into a network of fastmlp that predicts the same.

    Take it to predict faster, or to export a model as C.

    Parameters
    ----------
    model : keras.Model, or the path of a ``.keras`` file
        Of Keras 3 with any backend: Sequential or functional, with one input (rows of numbers) and
        one output, perhaps nested. Of layers it may have Dense, activations, Dropout (and noise,
        which is left out), BatchNormalization, LayerNormalization, Normalization, Rescaling,
        Flatten, Concatenate, and ``Add``, ``Subtract`` and ``Average`` of branches or around
        residual blocks; see :func:`from_torch` for what becomes of them. A path is opened by
        ``keras.models.load_model``, in its safe mode.
    loss : str or Loss, optional
        Of the MLP. By default cross_entropy after a softmax, binary_cross_entropy after a sigmoid,
        poisson_nll after ``"exponential"``, else squared_error.
    rng : int, numpy.random.Generator or None
        As for :class:`MLP`.

    Returns
    -------
    MLP or Ensemble
        In float32, or float64 if the weights are, compared with the model on random rows. What is
        trained later is not the model.

    Raises
    ------
    TypeError, ValueError
        If it is no such model, has another layer (also one of your own class), or ``loss`` does not
        fit its end.

    Examples
    --------
    >>> model = keras.Sequential(  # doctest: +SKIP
    ...     [keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3, "softmax")]
    ... )
    >>> fastmlp.from_keras(model).layer_sizes  # doctest: +SKIP
    (4, 8, 3)
    """
    keras = import_module("keras")
    if isinstance(model, str | os.PathLike):
        model = keras.models.load_model(os.fspath(model))
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"from_keras was given {type(model).__name__} but a keras.Model or the path of a "
            ".keras file is expected: pass the model itself"
        )
    shape = getattr(model, "input_shape", None) if model.built else None
    if not (isinstance(shape, tuple) and len(shape) == 2 and shape[1]):
        raise refusal(
            f"the model {model.name!r} has inputs of shape {shape}",
            "build it with one keras.Input((columns,)), and call it once",
        )
    _check_dtype(f"the model {model.name!r} reads rows", model.inputs[0].dtype)
    dtype = np.result_type(
        np.float32, *(w.dtype for w in model.get_weights() if w.dtype.kind == "f")
    )
    value = _model(model, [graph.value_of(graph.Layer(shape[1]))])

    def predict(rows: NDArray[np.float64]) -> NDArray[Any]:
        rows = rows.astype(dtype)
        return np.asarray(keras.ops.convert_to_numpy(model(rows, training=False)))

    return assembly.model(value, loss, dtype, rng, predict, FLOAT32)


# Largest difference from a model: Keras computes products in float32 even of models in float64.
FLOAT32 = 1e-4


def _model(model: Model, inputs: list[Value]) -> Value:
    """Return what a model makes of its inputs."""
    kind = type(model)
    if kind.__name__ == "Sequential" and _is_own(model):
        value = inputs[0]
        for layer in model.layers:
            value = _applied(layer, [value])
        return value
    if kind.__name__ != "Functional" or not _is_own(model):
        raise refusal(f"the model is a {kind.__name__}", "pass a Sequential or functional model")
    config = model.get_config()
    values: dict[str, Value] = {}
    reads = [name for one in config["layers"] for name in _sources(one)]
    outputs = _histories(config["output_layers"])
    if len(outputs) != 1 or len(_histories(config["input_layers"])) != 1:
        raise refusal("the model has several inputs or outputs", "concatenate them in the model")
    for one in config["layers"]:
        name, sources = one["name"], _sources(one)
        if name not in {layer.name for layer in model.layers}:  # x + y, or a function of keras.ops
            raise refusal(
                f"the model calls {one['class_name']} without a layer",
                "use a layer of its own, such as keras.layers.Add()([x, y])",
            )
        layer = model.get_layer(name)
        if len(one["inbound_nodes"]) > 1:
            raise refusal(f"the model calls the layer {name!r} twice", "make a layer for each call")
        value = inputs[0] if not sources else _applied(layer, [values[k] for k in sources])
        is_read_again = (reads + outputs).count(name) > 1
        values[name] = graph.shared(value) if is_read_again else value
    return values[outputs[0]]


def _histories(config: Any) -> list[str]:
    """Return the names of the layers in references: [name, node, tensor], nested or not."""
    if isinstance(config, dict) and config.get("class_name") == "__keras_tensor__":
        return [config["config"]["keras_history"][0]]
    if isinstance(config, dict):
        return [name for entry in config.values() for name in _histories(entry)]
    if not isinstance(config, list | tuple):
        return []
    if len(config) == 3 and isinstance(config[0], str):
        return [config[0]]
    return [name for entry in config for name in _histories(entry)]


def _sources(layer: Config) -> list[str]:
    """Return the names of the layers that a layer reads."""
    return _histories([node["args"] for node in layer["inbound_nodes"]])


def _is_own(layer: Layer) -> bool:
    """Whether it is of a class of Keras', not of a subclass with a call of its own."""
    return type(layer).__module__.split(".")[0] == "keras"


def _check_dtype(what: str, dtype: str) -> None:
    """Refuse dtypes that round more than a network of fastmlp does."""
    if dtype not in ("float32", "float64"):
        remedy = "make the model again with float32, and give it this one's get_weights()"
        raise refusal(f"{what} in {dtype}", remedy)


def _applied(layer: Layer, values: list[Value]) -> Value:
    """Return what a layer makes of what it reads."""
    if hasattr(layer, "layers") and _is_own(layer):
        return _model(layer, values)
    _check_dtype(f"the layer {layer.name!r} computes", layer.compute_dtype)
    kind = type(layer).__name__
    change = LAYERS.get(kind)
    if change is None or not _is_own(layer):
        remedy = EMBEDDING if kind in ("Embedding", "StringLookup", "IntegerLookup") else REMEDY
        raise refusal(f"the model has the layer {layer.name!r}, {kind}", remedy)
    return change(layer, *values)


def _array(variable: Variable) -> NDArray[np.float64]:
    convert = import_module("keras").ops.convert_to_numpy
    return np.asarray(convert(variable), np.float64)


def _activation(layer: Layer, value: Value) -> Value:
    function = layer.activation
    if type(function).__name__ in LAYERS:  # a layer in place of a function
        return _applied(function, [value])
    name = getattr(function, "__name__", type(function).__name__)
    if name not in ACTIVATIONS or not _is_own_function(function):
        raise refusal(f"the layer {layer.name!r} has the activation {name}", REMEDY)
    return ACTIVATIONS[name](value)


def _is_own_function(function: Callable[..., Any]) -> bool:
    return str(getattr(function, "__module__", "")).startswith("keras.")


def _dense(layer: Layer, value: Value) -> Value:
    weights = _array(layer.kernel)  # this includes what LoRA adds
    biases = _array(layer.bias) if layer.use_bias else 0.0
    return _activation(layer, graph.product(value, weights, biases))


def _relu(layer: Layer, value: Value) -> Value:
    slope = float(np.ravel(layer.negative_slope)[0])
    top = np.inf if layer.max_value is None else float(layer.max_value)
    if layer.threshold or (slope and np.isfinite(top)):
        raise refusal(f"the layer {layer.name!r} is a ReLU with a threshold", REMEDY)
    return leaky(value, slope) if slope else graph.between(value, 0.0, top)


def _elu(layer: Layer, value: Value) -> Value:
    bent, straight = (graph.activated(value, name) for name in ("elu", "relu"))
    alpha = float(layer.alpha)
    if alpha == 1:
        return bent
    return graph.combined(graph.scaled(bent, alpha), graph.scaled(straight, 1 - alpha))


def _prelu(layer: Layer, value: Value) -> Value:
    if not layer.built:  # that of a Dense layer is built by the first call with rows
        raise refusal(f"the layer {layer.name!r} has no slopes yet", "call the model on rows first")
    return graph.activated(value, "relu", 1 - _array(layer.alpha))


def _softmax(layer: Layer, value: Value) -> Value:
    if layer.axis not in (-1, 1):
        raise refusal(f"the layer {layer.name!r} is a softmax over axis {layer.axis}", REMEDY)
    return graph.activated(value, "softmax")


def _on_columns(layer: Layer) -> None:
    axis = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    if list(axis) not in ([-1], [1]):
        raise refusal(f"the layer {layer.name!r} works on axis {layer.axis}", REMEDY)


def _batch_norm(layer: Layer, value: Value) -> Value:
    _on_columns(layer)
    gain = 1 / np.sqrt(_array(layer.moving_variance) + layer.epsilon)
    gain = gain * _array(layer.gamma) if layer.scale else gain
    shift = -_array(layer.moving_mean) * gain
    return graph.scaled(value, gain, shift + _array(layer.beta) if layer.center else shift)


def _layer_norm(layer: Layer, value: Value) -> Value:
    _on_columns(layer)
    if getattr(layer, "rms_scaling", False):
        raise refusal(f"the layer {layer.name!r} scales by the root mean square", REMEDY)
    ones = np.ones(value.width)
    gains = _array(layer.gamma) if layer.scale else ones
    shifts = _array(layer.beta) if layer.center else 0 * ones
    return graph.normalised(value, gains, shifts, layer.epsilon)


def _normalization(layer: Layer, value: Value) -> Value:
    _on_columns(layer)
    mean, variance = _array(layer.mean).ravel(), _array(layer.variance).ravel()
    scale = np.maximum(np.sqrt(variance), np.float32(1e-7))  # the number is keras.backend.epsilon()
    if layer.invert:
        return graph.scaled(value, scale, mean)
    return graph.scaled(value, 1 / scale, -mean / scale)


def _rescaled(layer: Layer, value: Value) -> Value:
    gain, shift = (np.asarray(one, np.float64).ravel() for one in (layer.scale, layer.offset))
    return graph.scaled(value, gain, shift)


def _dropout(layer: Layer, value: Value) -> Value:
    return graph.dropped(value, float(layer.rate)) if layer.rate else value


def _joined(layer: Layer, *values: Value) -> Value:
    _on_columns(layer)
    return graph.joined(values)


def _added(layer: Layer, *values: Value) -> Value:
    if len({value.width for value in values}) > 1:
        raise refusal(f"the layer {layer.name!r} adds values of several widths", REMEDY)
    return reduce(graph.added, values)


LAYERS: dict[str, Callable[..., Value]] = {
    **dict.fromkeys(("InputLayer", "Identity", "Flatten"), lambda layer, value: value),
    **dict.fromkeys(
        # Noise and penalties of training.
        ("GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization"),
        lambda layer, value: value,
    ),
    "Dense": _dense,
    "Activation": _activation,
    "ReLU": _relu,
    "LeakyReLU": lambda layer, value: leaky(value, float(layer.negative_slope)),
    "PReLU": _prelu,
    "ELU": _elu,
    "Softmax": _softmax,
    "Dropout": _dropout,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "Normalization": _normalization,
    "Rescaling": _rescaled,
    "Concatenate": _joined,
    "Add": _added,
    "Subtract": lambda layer, one, other: graph.added(one, graph.scaled(other, -1)),
    "Average": lambda layer, *values: graph.scaled(_added(layer, *values), 1 / len(values)),
}
