"""What `spec.build` takes, what it refuses, and how it counts."""

import time

import cases
import numpy as np
import pytest

import fastmlp
from fastmlp._engine.numpy.numpy_engine import Engine
from fastmlp._network import spec


@pytest.mark.parametrize("sizes", cases.NETWORKS)
@pytest.mark.parametrize("loss", [fastmlp.SquaredError(), fastmlp.GaussianNLL()])
def test_shapes_and_counts(sizes, loss):
    network = cases.build(sizes, "relu", loss)
    weights, biases = Engine(network).parameters()
    assert [w.shape for w in weights] == network.shapes
    assert network.shapes[-1][1] == loss.heads * sizes[-1]
    assert network.n_parameters == sum(p.size for p in [*weights, *biases])
    assert network.n_outputs == sizes[-1]


@pytest.mark.parametrize(
    "sizes", [[3, 4, 2], (3, 4, 2), np.array([3, 4, 2], np.uint8), range(3, 0, -1)]
)
def test_integer_sequences_are_layer_sizes(sizes):
    assert spec.build(sizes).layer_sizes == tuple(int(s) for s in sizes)
    assert all(type(s) is int for s in spec.build(sizes).layer_sizes)


def test_one_or_one_per_hidden_layer():
    network = cases.build([3, 4, 5, 2], "relu", dropout=0.5)
    assert network.activations == ("relu", "relu")
    assert network.dropout == (0.5, 0.5)
    network = cases.build([3, 4, 5, 2], ["relu", "tanh"], dropout=(0, 0.25))
    assert network.activations == ("relu", "tanh")
    assert network.dropout == (0.0, 0.25)
    assert cases.build([3, 2], []).activations == ()
    assert hash(network) == hash(cases.build([3, 4, 5, 2], ["relu", "tanh"], dropout=(0, 0.25)))
    assert spec.build([3, 2], dtype=np.float64).dtype == np.dtype("float64")


EIGHTS = {"layer_sizes": [3, 8, 8, 8, 2]}


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"layer_sizes": 5}, TypeError, "layer_sizes"),
        ({"layer_sizes": np.ones((2, 2), int)}, TypeError, "layer_sizes"),
        ({"layer_sizes": []}, ValueError, "0 entries"),
        ({"layer_sizes": [3]}, ValueError, "1 entries"),
        ({"layer_sizes": [3, 0]}, ValueError, r"layer_sizes\[1\]"),
        ({"layer_sizes": [-3, 2]}, ValueError, r"layer_sizes\[0\]"),
        ({"layer_sizes": [3.0, 2]}, TypeError, r"layer_sizes\[0\]"),
        ({"layer_sizes": [3, True]}, TypeError, r"layer_sizes\[1\]"),
        ({"layer_sizes": [2**31, 2]}, ValueError, "2147483648"),
        ({"layer_sizes": [2**30, 2**30]}, ValueError, "parameters"),
        ({"layer_sizes": [8] * 10_000}, ValueError, "10000 entries"),
        ({"activation": "ReLU"}, ValueError, "identity, relu, leaky_relu"),
        ({"activation": 3}, TypeError, "identity, relu"),
        ({"activation": ["relu", "relu"]}, ValueError, "2 entries"),
        ({"activation": ["swish"]}, ValueError, "swish"),
        ({"layer_sizes": [3, 2], "activation": "swish"}, ValueError, "swish"),
        ({"loss": 3}, TypeError, "loss"),
        ({"dtype": "float16"}, ValueError, "float32, float64"),
        ({"dtype": None}, ValueError, "float32, float64"),
        ({"dtype": ">f4"}, ValueError, "float32, float64"),
        ({"dropout": 1.0}, ValueError, "dropout"),
        ({"dropout": -0.1}, ValueError, "dropout"),
        ({"dropout": None}, TypeError, "dropout"),
        ({"dropout": [0.1, 0.1]}, ValueError, "2 entries"),
        ({"layer_sizes": [3, 4, 1], "loss": "cross_entropy"}, ValueError, "binary_cross_entropy"),
        ({"layer_norm": "both"}, ValueError, "layer_norm is 'both'"),
        ({"layer_sizes": [3, 2], "layer_norm": "both"}, ValueError, "layer_norm is 'both'"),
        ({"layer_norm": True}, TypeError, "layer_norm is True"),
        ({"layer_norm": np.ones(1)}, TypeError, "layer_norm is .*1.0"),
        ({"layer_norm": ["before"] * 2}, ValueError, "layer_norm has 2 entries but this MLP has 1"),
        ({"parametric": ["no"]}, TypeError, "parametric is 'no' but"),
        ({"parametric": [True] * 2}, ValueError, "parametric has 2 entries but this MLP has 1"),
        ({"skip": 0, **EIGHTS}, ValueError, "skip is 0 but must be an integer of at least 1"),
        ({"skip": True, **EIGHTS}, TypeError, "skip is True but must be an integer"),
        ({"skip": [2], **EIGHTS}, TypeError, r"skip is \[2\] but must be an integer"),
        ({"skip": 3, **EIGHTS}, ValueError, "has 3 hidden layers of width 8 in a row.*pass skip=1"),
        ({"skip": 2, "layer_sizes": [3, 8, 9, 8, 2]}, ValueError, "no two hidden layers in a row"),
        ({"skip": 1}, ValueError, "pass for example skip=1 and layer"),
        ({"skip": 1, "layer_sizes": [3, 2]}, ValueError, "no two hidden layers in a row have the"),
        ({"layer_sizes": [3, 2], "linear_path": True}, ValueError, "without a hidden layer"),
        (
            {"compute": "float16"},
            ValueError,
            "use 'bfloat16', or choose from bfloat16 or None",
        ),
        ({"compute": ["bfloat16"]}, TypeError, "compute is .'bfloat16'.* but must be"),
        ({"compute": "bfloat16", "dtype": "float64"}, ValueError, "dtype is float64.* pass dtype="),
    ],
)
def test_nonsense_is_refused_at_once(arguments, error, words):
    arguments = {"layer_sizes": [3, 4, 2], **arguments}
    started = time.perf_counter()
    with pytest.raises(error, match=words) as caught:
        spec.build(**arguments)
    # A millisecond is typical; the rest is for a busy machine.
    assert time.perf_counter() - started < 0.1
    assert ": " in str(caught.value)
    assert "\n" not in str(caught.value)
