"""Conversion of PyTorch modules to an MLP, by their classes' names, without importing torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastmlp._export.layers import Affine, Array, Normalization
from fastmlp._models.import_mlp import network, refusal
from fastmlp._models.mlp import MLP
from fastmlp._network.layer_norm import EPSILON
from fastmlp._network.losses import Loss
from fastmlp._network.names import LossName, NormPosition

# PyTorch class, required values of its options, and the activation.
ACTIVATIONS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("Identity", {}, "identity"),
    ("ReLU", {}, "relu"),
    ("PReLU", {}, "relu"),  # a parametric one
    ("LeakyReLU", {"negative_slope": 0.01}, "leaky_relu"),
    ("ELU", {"alpha": 1.0}, "elu"),
    ("SELU", {}, "selu"),
    ("Softplus", {"beta": 1.0, "threshold": 20.0}, "softplus"),
    ("Sigmoid", {}, "sigmoid"),
    ("Tanh", {}, "tanh"),
    ("GELU", {"approximate": "none"}, "gelu"),
    ("GELU", {"approximate": "tanh"}, "gelu_tanh"),
    ("SiLU", {}, "silu"),
    ("Mish", {}, "mish"),
)
# The same for the links, which may follow the last layer.
LINKS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("Softmax", {"dim": -1}, "softmax"),
    ("Softmax", {"dim": 1}, "softmax"),
    ("Sigmoid", {}, "sigmoid"),
)
FLATTEN = (("Flatten", {"start_dim": 1, "end_dim": -1}, "identity"),)
# Attributes that make an instance compute something else than its class, and the remedies.
HOOKS = (
    "remove it (prune.remove, remove_weight_norm, remove_spectral_norm, or remove() of its handle)"
)
CHANGES = (
    ("forward", "another forward", "delete it, or pass a module of PyTorch's own"),
    ("_forward_pre_hooks", "a hook before forward", HOOKS),
    ("_forward_hooks", "a hook after forward", HOOKS),
)
REMEDY = "pass a torch.nn.Sequential of Linear and activations, for example a part of the network"


def from_torch(
    module: Any,
    *,
    loss: LossName | Loss | None = None,
    rng: int | np.random.Generator | None = None,
) -> MLP:
    """Convert a PyTorch module to an equal MLP.

    Parameters
    ----------
    module : torch.nn.Sequential or torch.nn.Linear
        Linear layers with an activation between each two (PReLU is a parametric relu), LayerNorm
        before or after it, Dropout behind them, and perhaps Softmax or Sigmoid at the end.
        Sequential may be nested, and Flatten may begin it.
    loss : str or Loss, optional
        Of the MLP. By default cross_entropy after Softmax, binary_cross_entropy after Sigmoid,
        else squared_error. A module that gives logits gets its link from here: for example
        ``loss="cross_entropy"``.
    rng : int, numpy.random.Generator or None
        As for :class:`MLP`.

    Returns
    -------
    MLP
        Of the module's dtype. What is trained later is not the module.

    Raises
    ------
    TypeError, ValueError
        If it is no plain MLP, or ``loss`` does not fit its end. Subclasses, modules with forward
        hooks (pruning and ``weight_norm`` use them), parametrized modules and modules with another
        ``forward`` may compute anything, and are refused.

    Examples
    --------
    >>> module = torch.nn.Sequential(  # doctest: +SKIP
    ...     torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)
    ... )
    >>> fastmlp.from_torch(module, loss="cross_entropy").layer_sizes  # doctest: +SKIP
    (4, 8, 3)
    """
    layers: list[Affine] = []
    activations: list[str] = []
    dropout: list[float] = []
    norms: dict[int, tuple[NormPosition, Normalization]] = {}
    alphas: dict[int, Array] = {}
    modules = list(_modules(module))
    while modules and _row(modules[0], FLATTEN):
        modules.pop(0)
    link = _row(modules[-1], LINKS) if len(modules) > 1 else None
    for each in modules[:-1] if link else modules:
        name = _row(each, ACTIVATIONS)
        dropped = len(activations) == len(layers) > 0 and dropout[-1] > 0
        if _is(each, "Linear"):
            if len(activations) < len(layers):
                activations.append("identity")
                dropout.append(0.0)
            layers.append(_affine(each))
        elif name is not None and len(activations) < len(layers):
            activations.append(name)
            dropout.append(0.0)
            if _is(each, "PReLU"):
                alphas[len(layers) - 1] = _alphas(each, len(layers[-1].biases))
        elif _is_norm(each) and layers and len(layers) - 1 not in norms and not dropped:
            place: NormPosition = "before" if len(activations) < len(layers) else "after"
            norms[len(layers) - 1] = place, _normalization(each)
        elif _is(each, "Dropout") and len(activations) == len(layers) > 0 and not dropped:
            dropout[-1] = float(each.p)
        else:
            raise refusal(f"the module has {each!r} in place {len(layers)} of its layers", REMEDY)
    if len(activations) >= len(layers) or len(layers) - 1 in norms:
        raise refusal("the module does not end in a Linear layer", REMEDY)
    return network(layers, activations, link or "identity", loss, rng, dropout, norms, alphas)


def _is(module: Any, name: str) -> bool:
    """Whether a module is of this class of PyTorch, not of a subclass with a forward of its own."""
    return type(module).__name__ == name and type(module).__module__.startswith("torch.nn.modules.")


def _row(module: Any, table: tuple[tuple[str, dict[str, Any], str], ...]) -> str | None:
    for name, options, found in table:
        if _is(module, name) and all(getattr(module, k) == v for k, v in options.items()):
            return found
    return None


def _modules(module: Any) -> Iterator[Any]:
    """Yield the layers of nested Sequentials in order; refuse those that were changed."""
    own = getattr(module, "__dict__", {})
    for name, what, remedy in CHANGES:
        if own.get(name):
            raise refusal(f"the module has {what} on {module!r}", remedy)
    if not _is(module, "Sequential"):
        yield module
        return
    for each in module:
        yield from _modules(each)


def _is_norm(module: Any) -> bool:
    return (
        _is(module, "LayerNorm")
        and len(module.normalized_shape) == 1
        and module.eps == EPSILON
        and module.bias is not None
    )


def _normalization(module: Any) -> Normalization:
    return Normalization(*(each.detach().cpu().numpy() for each in (module.weight, module.bias)))


def _alphas(module: Any, width: int) -> Array:
    slope = module.weight.detach().cpu().numpy()
    if slope.size not in (1, width):
        raise refusal(f"the module has {module!r} after a layer of {width} outputs", REMEDY)
    return np.resize(1 - slope, width)


def _affine(module: Any) -> Affine:
    weights, biases = module.weight, module.bias
    if str(weights.dtype) not in ("torch.float32", "torch.float64"):
        raise ValueError(
            f"the module's weights are {weights.dtype} but float32 or float64 is expected: "
            "convert it with module.float()"
        )
    w = weights.detach().cpu().numpy().T
    return Affine(
        w, np.zeros(w.shape[1], w.dtype) if biases is None else biases.detach().cpu().numpy()
    )
