"""Conversion of PyTorch modules to an MLP, by their classes' names, without importing torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._models.mlp import MLP
from fastmlp._network import losses
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
# The same for the links that may follow the last layer: PyTorch class, options, and the loss that
# the network was most likely trained with.
LINKS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("Softmax", {"dim": -1}, "cross_entropy"),
    ("Softmax", {"dim": 1}, "cross_entropy"),
    ("Sigmoid", {}, "binary_cross_entropy"),
)
FLATTEN = (("Flatten", {"start_dim": 1, "end_dim": -1}, "identity"),)
NORMS = (("LayerNorm", {"eps": EPSILON}, "norm"),)
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
    layers: list[_Layer] = []
    modules = list(_modules(module))
    while modules and _row(modules[0], FLATTEN):
        modules.pop(0)
    usual = _row(modules[-1], LINKS) if len(modules) > 1 else None
    for part in modules[:-1] if usual else modules:
        if _is(part, "Linear"):
            layers.append(_Layer(*_affine(part)))
        elif not (layers and layers[-1].takes(part)):
            raise _refusal(f"the module has {part!r} in place {len(layers)} of its layers")
    if not layers or layers[-1].activation or layers[-1].norm:
        raise _refusal("the module does not end in a Linear layer")
    for k, (before, after) in enumerate(pairwise(layers)):
        n_out, n_in = len(before.biases), len(after.weights)
        if n_out != n_in:
            raise ValueError(
                f"layer {k} has {n_out} outputs but the next one takes {n_in} inputs: this is no "
                "plain MLP"
            )
    chosen = losses.resolve(usual or "squared_error" if loss is None else loss)
    if usual and (link := losses.resolve(usual).link_name) != chosen.link_name:
        raise ValueError(
            f"loss is {chosen!r}, whose predictions are {chosen.link_name} of the last layer, but "
            f"this network ends in {link}: leave loss out, or pass {usual!r}"
        )
    columns = len(layers[-1].biases)
    if columns % chosen.heads:
        raise ValueError(
            f"the last layer has {columns} columns but {chosen!r} needs means and as many "
            "variances: pass another loss"
        )
    *hidden, _ = layers
    net = MLP(
        [*(len(layer.weights) for layer in layers), columns // chosen.heads],
        activation=[layer.activation or "identity" for layer in hidden],
        loss=chosen,
        dtype=np.result_type(*(layer.weights for layer in layers)),
        dropout=[layer.dropout for layer in hidden],
        layer_norm=[layer.norm for layer in hidden],
        parametric=["alphas" in layer.more for layer in hidden],
        rng=rng,
    )
    net.weights = [layer.weights for layer in layers]
    net.biases = [layer.biases for layer in layers]
    for kind in ("gains", "shifts", "alphas"):
        if any(kind in layer.more for layer in hidden):
            setattr(net, kind, [layer.more.get(kind, np.zeros(0)) for layer in hidden])
    return net


@dataclass
class _Layer:
    """A Linear layer, and the modules behind it up to the next one."""

    weights: NDArray[Any]  # (fan_in, fan_out)
    biases: NDArray[Any]
    activation: Any = None  # its name
    norm: NormPosition | None = None
    dropout: float = 0.0
    more: dict[str, NDArray[Any]] = field(default_factory=dict)  # gains, shifts and alphas

    def takes(self, module: Any) -> bool:
        """Take a module if it may follow here; return whether it may."""
        if self.dropout:
            return False
        name = _row(module, ACTIVATIONS)
        if name is not None and self.activation is None:
            self.activation = name
            if _is(module, "PReLU"):
                self.more["alphas"] = _alphas(module, len(self.biases))
        elif _row(module, NORMS) and self.norm is None:
            if len(module.normalized_shape) > 1 or module.bias is None:
                return False
            self.norm = "after" if self.activation else "before"
            self.more |= {"gains": _array(module.weight), "shifts": _array(module.bias)}
        elif _is(module, "Dropout") and self.activation:
            self.dropout = float(module.p)
        else:
            return False
        return True


def _array(tensor: Any) -> NDArray[Any]:
    return tensor.detach().cpu().numpy()  # type: ignore[no-any-return]


def _refusal(what: str, remedy: str = REMEDY) -> ValueError:
    """Return the error for a network that is no plain MLP."""
    expected = "affine layers, an activation of fastmlp between each two, and a softmax or sigmoid"
    return ValueError(f"{what}, but a plain MLP has {expected}: {remedy}")


def _is(module: Any, name: str) -> bool:
    """Whether a module is of this class of PyTorch, not of a subclass with a forward of its own."""
    return type(module).__name__ == name and type(module).__module__.startswith("torch.nn.modules.")


def _row(module: Any, table: tuple[tuple[str, dict[str, Any], str], ...]) -> str | None:
    for name, options, value in table:
        if _is(module, name) and all(getattr(module, k) == v for k, v in options.items()):
            return value
    return None


def _modules(module: Any) -> Iterator[Any]:
    """Yield the layers of nested Sequentials in order; refuse those that were changed."""
    attributes = getattr(module, "__dict__", {})
    for name, what, remedy in CHANGES:
        if attributes.get(name):
            raise _refusal(f"the module has {what} on {module!r}", remedy)
    if not _is(module, "Sequential"):
        yield module
        return
    for part in module:
        yield from _modules(part)


def _alphas(module: Any, width: int) -> NDArray[Any]:
    slope = _array(module.weight)
    if slope.size not in (1, width):
        raise _refusal(f"the module has {module!r} after a layer of {width} outputs")
    return np.resize(1 - slope, width)


def _affine(module: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    weights, biases = module.weight, module.bias
    if str(weights.dtype) not in ("torch.float32", "torch.float64"):
        raise ValueError(
            f"the module's weights are {weights.dtype} but float32 or float64 is expected: "
            "convert it with module.float()"
        )
    w = _array(weights).T
    return w, np.zeros(w.shape[1], w.dtype) if biases is None else _array(biases)
