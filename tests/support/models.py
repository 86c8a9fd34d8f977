"""A small regression and its network, for the tests of what a user sees and of what goes wrong."""

import numpy as np

RNG = np.random.default_rng(7)
X = RNG.normal(size=(90, 3))
Y = np.column_stack([X[:, 0] * X[:, 1], np.sin(X[:, 2])])


def network(mlp, **options):
    """Return the network for X and Y, of the native kind or of the reference."""
    return mlp(**{"layer_sizes": [3, 8, 2], "activation": "tanh", "rng": 0} | options)


def digest(net):
    """Return the bytes of all parameters."""
    return b"".join(array.tobytes() for array in [*net.weights, *net.biases])
