"""Build an MLP from the layers that were read from another library's network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fastmlp._export.layers import Affine, Array, Normalization
from fastmlp._models.mlp import MLP
from fastmlp._network import losses
from fastmlp._network.losses import Loss
from fastmlp._network.names import NormPosition

# The loss that a network of this link was most likely trained with.
LOSSES = {
    "identity": "squared_error",
    "sigmoid": "binary_cross_entropy",
    "softmax": "cross_entropy",
}


def network(
    layers: Sequence[Affine],
    activations: Sequence[Any],
    link: str,
    loss: str | Loss | None,
    rng: int | np.random.Generator | None,
    dropout: Sequence[float],
    norms: Mapping[int, tuple[NormPosition, Normalization]],
    alphas: Mapping[int, Array],
) -> MLP:
    """Return an MLP with these parameters.

    ``norms`` maps a hidden layer to the place and the tensors of its normalisation, ``alphas`` maps
    a hidden layer to the alphas of its parametric activation. The user's ``loss`` supplies the link
    of a network that ends in logits.
    """
    chosen = losses.resolve(LOSSES[link] if loss is None else loss)
    if link not in ("identity", chosen.link_name):
        raise ValueError(
            f"loss is {chosen!r}, whose predictions are {chosen.link_name} of the last layer, but "
            f"this network ends in {link}: leave loss out, or pass {LOSSES[link]!r}"
        )
    for k, (before, after) in enumerate(pairwise(layers)):
        if before.weights.shape[1] != after.weights.shape[0]:
            raise ValueError(
                f"layer {k} has {before.weights.shape[1]} outputs but the next one takes "
                f"{after.weights.shape[0]} inputs: this is no plain MLP"
            )
    columns = layers[-1].weights.shape[1]
    if columns % chosen.heads:
        raise ValueError(
            f"the last layer has {columns} columns but {chosen!r} needs means and as many "
            "variances: pass another loss"
        )
    sizes = [layer.weights.shape[0] for layer in layers] + [columns // chosen.heads]
    dtype = np.result_type(*(layer.weights for layer in layers))
    hidden = range(len(layers) - 1)
    places: list[NormPosition | None] = [norms[k][0] if k in norms else None for k in hidden]
    net = MLP(
        sizes,
        activation=list(activations),
        loss=chosen,
        dtype=dtype,
        dropout=dropout,
        layer_norm=places,
        parametric=[k in alphas for k in hidden],
        rng=rng,
    )
    net.weights = [layer.weights for layer in layers]
    net.biases = [layer.biases for layer in layers]
    if norms:
        none = Normalization(np.zeros(0), np.zeros(0))
        found = [norms[k][1] if k in norms else none for k in hidden]
        net.gains, net.shifts = [each.gains for each in found], [each.shifts for each in found]
    if alphas:
        net.alphas = [alphas.get(k, np.zeros(0)) for k in hidden]
    return net


def refusal(what: str, remedy: str) -> ValueError:
    """Return the error for a network that is no plain MLP."""
    known = "affine layers, an activation of fastmlp between each two, and a softmax or sigmoid"
    return ValueError(f"{what}, but a plain MLP has {known}: {remedy}")
