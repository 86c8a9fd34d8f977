"""The networks of saved estimators as functions of rows, in programs without scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastmlp._files.fields import Context, Count, Cursor, Flag, Tensor
from fastmlp._files.schema import At, Maybe, Object
from fastmlp._models.codecs import parts
from fastmlp._models.mlp import MLP, model_of
from fastmlp._models.network import Network
from fastmlp.sklearn.scaling import Scaling


def _of_layer(at: int) -> Callable[[Context], tuple[int]]:
    """Return the shape of arrays with one entry per unit of the first or last layer."""
    return lambda context: (context["network"].layer_sizes[at],)


def _heads(context: Context) -> int:
    return context["network"].loss.heads  # type: ignore[no-any-return]


SCALING = Object(
    {
        "x_mean": Tensor(_of_layer(0)),
        "x_scale": Tensor(_of_layer(0), positive=True),
        "y_mean": Tensor(_of_layer(-1)),
        "y_scale": Tensor(_of_layer(-1), positive=True),
        "heads": Count(_heads, _heads),
    },
    Scaling,
)
NETWORK = Object(  # the part of a fit that predictions need
    {
        "network": parts.NETWORK,
        "parameters": parts.PARAMETERS,
        "scaling": Maybe(At("/scaling", SCALING)),
        "assigned": Flag(),  # whether the parameters are the user's, for raw data
    }
)


def predictor(fit: Any, cursor: Cursor) -> Any:
    """Return the predictor that a file describes."""
    fields = NETWORK.read_part(fit, cursor)
    return cursor.built(_built, **fields).predictor()


def _built(network: Any, parameters: Any, scaling: Scaling | None, assigned: bool) -> MLP:
    """Return the network for raw data, with its scaling folded in."""
    net = model_of(Network.of(network, parameters, np.random.default_rng(0)))
    if scaling is not None and not assigned:
        net.weights, net.biases = scaling.fold(list(net.weights), list(net.biases))
    return net
