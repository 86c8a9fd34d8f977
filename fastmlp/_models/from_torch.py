"""Conversion of PyTorch modules to an MLP: torch.fx traces the order, the classes' names decide."""

from __future__ import annotations

import contextlib
import copy
import reprlib
from dataclasses import dataclass, field
from importlib import import_module
from itertools import pairwise
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastmlp._models.mlp import MLP
from fastmlp._network import layer_options, losses
from fastmlp._network.layer_norm import EPSILON
from fastmlp._network.losses import Loss
from fastmlp._network.names import LossName, NormPosition

Table: TypeAlias = tuple[tuple[str, dict[str, Any], str], ...]

# PyTorch class, required values of its options, and the activation.
ACTIVATIONS: Table = (
    ("ReLU", {}, "relu"),
    ("PReLU", {}, "relu"),  # a parametric one
    ("LeakyReLU", {"negative_slope": 0.01}, "leaky_relu"),
    ("LeakyReLU", {}, "relu"),  # a parametric one
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
LINKS: Table = (
    ("Softmax", {"dim": -1}, "cross_entropy"),
    ("Softmax", {"dim": 1}, "cross_entropy"),
    ("LogSoftmax", {"dim": -1}, "cross_entropy"),
    ("LogSoftmax", {"dim": 1}, "cross_entropy"),
    ("Sigmoid", {}, "binary_cross_entropy"),
)
FLATTEN: Table = (("Flatten", {"start_dim": 1, "end_dim": -1}, "identity"),)
NORMS: Table = (("LayerNorm", {"eps": EPSILON}, "norm"),)
DROPOUT: Table = (("Dropout", {}, "dropout"),)
# Operations with a constant, as factor and shift of what the constant changes.
SCALES: dict[str, Any] = {
    "add": lambda c: (np.ones(1), c),
    "sub": lambda c: (np.ones(1), -c),
    "mul": lambda c: (c, np.zeros(1)),
    "truediv": lambda c: (1 / c, np.zeros(1)),
    "div": lambda c: (1 / c, np.zeros(1)),
}
COMMUTATIVE = ("add", "mul")
# Functions that a forward may call in place of a module, by the module's name in small letters.
FUNCTIONS = {row[0].lower(): row[0] for row in (*ACTIVATIONS, *LINKS, *FLATTEN, *DROPOUT)}
OF_CALLS = {"inplace", "training", "dtype", "_stacklevel"}  # their options that modules lack
# Classes that hold another module, and its attribute.
WRAPPERS = {
    "OptimizedModule": "_orig_mod",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "AveragedModel": "module",
}
# Attributes that make an instance compute something else than its class, and the remedies.
HOOKS = (
    "remove it (prune.remove, remove_weight_norm, remove_spectral_norm, or remove() of its handle)"
)
CHANGES = (
    ("forward", "another forward", "delete it, or pass a module of PyTorch's own"),
    ("_forward_pre_hooks", "a hook before forward", HOOKS),
    ("_forward_hooks", "a hook after forward", HOOKS),
)
REMEDY = "replace it before the training, or pass the part of the network without it"
WHOLE = "pass the torch.nn.Module itself, which torch.load and load_state_dict have filled"
BLOCKS = (
    "make every block of the same number of Linear layers as wide as the layer in front of it, "
    "which is in no block, with nothing between the sum and the next Linear"
)
NORM = f"give each layer at most one LayerNorm, of all its outputs and with eps={EPSILON}"
PARALLEL = (
    "let each layer take the output of the one before; two Linear layers of one input are one, "
    "whose weight is torch.cat([a.weight, b.weight])"
)
CONSTANTS = (
    "shift and scale by numbers, or by buffers of one number for each column, as in "
    "(x - self.mean) / self.deviation"
)


def from_torch(
    module: Any,
    *,
    loss: LossName | Loss | None = None,
    rng: int | np.random.Generator | None = None,
) -> MLP:
    """Convert a PyTorch module to an MLP that predicts the same in evaluation mode.

    Parameters
    ----------
    module : torch.nn.Module
        Linear layers with an activation between each two (LeakyReLU and PReLU are a parametric
        relu), LayerNorm before or after it, Dropout behind them, and perhaps Softmax, LogSoftmax or
        Sigmoid at the end. BatchNorm1d is folded into the weights beside it, with the statistics
        of evaluation mode; so are shifts and factors, as in ``(x - self.mean) / self.std``, of
        which ``module.double()`` keeps all digits if means are far from 0. Modules may be nested,
        and classes of your own are traced by torch.fx: ``x + f(x)`` is a residual block, see
        ``skip`` of :class:`MLP`. Another activation at the end, and LayerNorm at the start, become
        a layer whose weights are the identity matrix.
    loss : str or Loss, optional
        Of the MLP. By default cross_entropy after Softmax or LogSoftmax (``predict`` gives
        probabilities, not their logarithms), binary_cross_entropy after Sigmoid,
        else squared_error. A module that gives logits gets its link from here: for example
        ``loss="cross_entropy"``.
    rng : int, numpy.random.Generator or None
        As for :class:`MLP`.

    Returns
    -------
    MLP
        Of the module's dtype, float32 for a narrower one. What is trained later is not the module.

    Raises
    ------
    TypeError, ValueError
        If it is no such stack of layers, or ``loss`` does not fit its end. Modules with forward
        hooks (pruning and the older ``torch.nn.utils.weight_norm`` use them) and modules with
        another ``forward`` may compute anything, and are refused.

    Examples
    --------
    >>> module = torch.nn.Sequential(  # doctest: +SKIP
    ...     torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)
    ... )
    >>> fastmlp.from_torch(module, loss="cross_entropy").layer_sizes  # doctest: +SKIP
    (4, 8, 3)
    """
    parts = _parts(module)
    usual = _row(parts[-1], LINKS) if len(parts) > 1 else None
    layers = _layers(parts[:-1] if usual else parts)
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
        skip=_skip(hidden),
        rng=rng,
    )
    net.weights = [layer.weights for layer in layers]
    net.biases = [layer.biases for layer in layers]
    for kind in ("gains", "shifts", "alphas"):
        if any(kind in layer.more for layer in hidden):
            setattr(net, kind, [layer.more.get(kind, np.zeros(0)) for layer in hidden])
    return net


@dataclass
class _Sum:
    """The end of a residual block: the output of all parts plus that of the first `start` parts."""

    start: int


class _Scale(NamedTuple):
    """A product with constants, plus constants: one of each, or one for each column."""

    gain: NDArray[Any]
    shift: NDArray[Any]


@dataclass
class _Layer:
    """A Linear layer, and the modules behind it up to the next one."""

    weights: NDArray[Any]  # (fan_in, fan_out)
    biases: NDArray[Any]
    activation: Any = None  # its name
    norm: NormPosition | None = None
    dropout: float = 0.0
    first: int | None = None  # the first layer of the residual block that this one ends
    more: dict[str, NDArray[Any]] = field(default_factory=dict)  # gains, shifts and alphas

    @property
    def is_affine(self) -> bool:
        """Whether no module follows the Linear layer so far."""
        return not (self.activation or self.norm or self.dropout or self.first is not None)

    def takes(self, module: Any) -> bool:
        """Take a module if it may follow here; return whether it may."""
        if self.dropout or self.first is not None:
            return False
        name = _row(module, ACTIVATIONS)
        if name is not None and self.activation is None:
            self.activation = name
            if name == "relu" and not _is(module, "ReLU"):
                self.more["alphas"] = _alphas(module, len(self.biases))
        elif _row(module, NORMS) and self.norm is None:
            if module.normalized_shape != self.biases.shape:
                return False
            self.norm = "after" if self.activation else "before"
            gains, shifts = np.ones_like(self.biases), np.zeros_like(self.biases)
            self.more["gains"] = gains if module.weight is None else _array(module.weight)
            self.more["shifts"] = shifts if module.bias is None else _array(module.bias)
        elif _row(module, DROPOUT):
            self.dropout = float(module.p)
        else:
            return False
        return True


def _layers(parts: list[Any]) -> list[_Layer]:
    """Return the layers of the network that runs these modules in their order."""
    layers: list[_Layer] = []
    factors: _Scale | None = None  # which the next layer takes over
    firsts: dict[int, int] = {}  # of parts before a Linear: the number of its layer
    for place, part in enumerate(parts):
        if _is(part, "Linear"):
            if factors is None:
                firsts[place] = len(layers)
            layers.append(_Layer(*_scaled(*_affine(part), factors)))
            factors = None
        elif isinstance(part, _Scale) or _is(part, "BatchNorm1d"):
            gain, shift = part if isinstance(part, _Scale) else _batch_norm(part)
            before = factors or _Scale(np.ones(1), np.zeros(1))
            factors = _Scale(before.gain * gain, before.shift * gain + shift)
            if layers and layers[-1].is_affine:
                layer = layers[-1]
                gain, shift = _columns(factors, len(layer.biases))
                layer.weights = _product(layer.weights, gain)
                layer.biases = _product(layer.biases, gain) + shift.astype(layer.biases.dtype)
                factors = None
        elif isinstance(part, _Sum):
            first = firsts.get(part.start, 0)
            if factors is not None or not first or layers[-1].first is not None:
                raise _refusal("the module adds outputs that are not those of two layers", BLOCKS)
            layers[-1].first = first
        elif not (_is(part, "Identity") or (not layers and _row(part, FLATTEN))):
            if not layers and _row(part, NORMS) and factors is None:
                layers.append(_unchanged(np.zeros(part.normalized_shape[-1], np.float32)))
            is_late = factors is not None and not _row(part, DROPOUT)
            if is_late or not (layers and layers[-1].takes(part)):
                what = f"the module has {part!r} in place {len(layers)} of its layers"
                raise _refusal(what, NORM if _is(part, "LayerNorm") else REMEDY)
    if not layers:
        raise _refusal("the module has no Linear layer")
    if factors is not None or not layers[-1].is_affine:
        last = _unchanged(layers[-1].biases)
        layers.append(_Layer(*_scaled(last.weights, last.biases, factors)))
    return layers


def _batch_norm(module: Any) -> _Scale:
    """Return the factors and the shifts of BatchNorm1d in evaluation mode."""
    if module.running_mean is None:
        raise _refusal(f"{module!r} has no running statistics")
    mean, variance = _array(module.running_mean), _array(module.running_var)
    gain = 1 / np.sqrt(variance.astype(np.float64) + module.eps)
    if not module.affine:
        return _Scale(gain, -mean * gain)
    gain = gain * _array(module.weight)
    return _Scale(gain, _array(module.bias) - mean * gain)


def _columns(factors: _Scale, width: int) -> _Scale:
    """Return one factor and one shift for each column."""
    if not {1, width}.issuperset(values.size for values in factors):
        raise _refusal(f"the module shifts or scales {width} columns by others", CONSTANTS)
    return _Scale(*(np.broadcast_to(values, width) for values in factors))


def _scaled(
    weights: NDArray[Any], biases: NDArray[Any], factors: _Scale | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the parameters of a layer behind factors and shifts of its inputs."""
    if factors is None:
        return weights, biases
    gain, shift = _columns(factors, len(weights))
    shifted = (biases + shift @ weights).astype(biases.dtype)
    return _product(weights, gain[:, np.newaxis]), shifted


def _product(values: NDArray[Any], gain: NDArray[Any]) -> NDArray[Any]:
    """Return a product of the dtype of the values."""
    return np.asarray(values * gain, values.dtype)


def _unchanged(like: NDArray[Any]) -> _Layer:
    """Return a layer whose outputs are its inputs, as many as an array has elements."""
    return _Layer(np.eye(len(like), dtype=like.dtype), np.zeros_like(like))


def _skip(hidden: list[_Layer]) -> int | None:
    """Return the length of the residual blocks; None without any."""
    firsts = [layer.first for layer in hidden]
    lengths = {k + 1 - first for k, first in enumerate(firsts) if first is not None}
    if not lengths:
        return None
    skip = max(lengths)
    with contextlib.suppress(ValueError):
        if layer_options.blocks(skip, [len(layer.biases) for layer in hidden]) == tuple(firsts):
            return skip
    raise _refusal(f"the module has residual blocks after the layers {firsts}", BLOCKS)


def _array(tensor: Any) -> NDArray[Any]:
    """Return the values in float64 or, exact for narrower floats, in float32."""
    values = tensor.detach().cpu()
    return (values if values.element_size() == 8 else values.float()).numpy()  # type: ignore[no-any-return]


def _refusal(what: str, remedy: str = REMEDY) -> ValueError:
    """Return the error for a network that is no plain MLP."""
    expected = "affine layers, an activation of fastmlp between each two, and a softmax or sigmoid"
    return ValueError(f"{what}, but a plain MLP has {expected}: {remedy}")


def _is(module: Any, name: str) -> bool:
    """Whether a module is of this class of PyTorch, not of a subclass with a forward of its own."""
    kind = type(module)
    if kind.__module__ == "torch.nn.utils.parametrize":  # a subclass whose tensors are computed
        (kind,) = kind.__bases__
    return kind.__name__ == name and kind.__module__.startswith("torch.nn.modules.")


def _row(module: Any, table: Table) -> str | None:
    for name, options, value in table:
        if _is(module, name) and all(getattr(module, k) == v for k, v in options.items()):
            return value
    return None


def _parts(module: Any) -> list[Any]:
    """Return the modules and sums that a module computes in order; refuse one that was changed."""
    while (kind := type(module)).__module__.startswith("torch.") and kind.__name__ in WRAPPERS:
        module = getattr(module, WRAPPERS[kind.__name__])
    if not hasattr(module, "named_modules"):
        raise _refusal(f"the module is {reprlib.repr(module)}", WHOLE)
    if any("parametrizations" in part._modules for part in module.modules()):
        module = copy.deepcopy(module).eval()  # in training mode, a look at them may change them
    for part in module.modules():
        attributes = {**vars(part), **part._modules}
        for name, what, remedy in CHANGES:
            if attributes.get(name):
                raise _refusal(f"the module has {what} on {part!r}", remedy)
    fx, nn = import_module("torch.fx"), import_module("torch.nn")
    try:
        traced = fx.symbolic_trace(nn.Sequential(module))
    except Exception as error:
        raise _refusal(
            f"the forward of {type(module).__name__} is no fixed order: {error}"
        ) from error
    value, *nodes = traced.graph.nodes
    parts: list[Any] = []
    n_before = {value: 0}  # number of parts that lead to a value
    constants: dict[Any, Any] = {}
    for node in nodes:
        if node.op == "get_attr":
            constants[node] = attrgetter(node.target)(traced)
            continue
        inputs = [source for source in node.all_input_nodes if source not in constants]
        name = getattr(node.target, "__name__", node.target)
        operation = str(name).strip("_").removeprefix("i")  # of sub_ and isub, which are in place
        if operation == "add" and len(inputs) == 2 and value in inputs:
            parts.append(_Sum(min(n_before.get(k, 0) for k in inputs)))
        elif inputs != [value]:
            takes = "more than one value" if len(inputs) > 1 else "an earlier value than the last"
            remedy = BLOCKS if operation == "add" else CONSTANTS
            remedy = remedy if operation in SCALES else PARALLEL
            own_name = str(name).removeprefix("0.")  # without that of the Sequential above
            raise _refusal(f"{own_name} in the forward of the module takes {takes}", remedy)
        elif node.op == "call_module":
            parts.append(traced.get_submodule(node.target))
        elif operation in SCALES:
            parts.append(_scale(operation, value, node, constants))
        elif node.op != "output":
            class_name = FUNCTIONS.get(str(name).replace("_", ""))
            if class_name is None:
                raise _refusal(f"the forward of the module calls {name}")
            options = {k: v for k, v in node.kwargs.items() if k not in OF_CALLS}
            parts.append(getattr(nn, class_name)(*node.args[1:], **options))
        value = node
        n_before[node] = len(parts)
    return parts


def _scale(operation: str, value: Any, node: Any, constants: dict[Any, Any]) -> _Scale:
    """Return an operation of a value and a constant."""
    others = [constants.get(k, k) for k in node.args if k is not value]
    is_right = node.args[0] is value or operation in COMMUTATIVE
    if is_right and len(others) == 1 and not node.kwargs:
        (other,) = others
        array = np.array(_array(other) if hasattr(other, "detach") else other, np.float64)
        if array.size == (array.shape or (1,))[-1]:
            return _Scale(*SCALES[operation](array.ravel()))
    raise _refusal(f"the forward of the module calls {operation} with {node.args}", CONSTANTS)


def _alphas(module: Any, width: int) -> NDArray[Any]:
    slope = _array(module.weight) if _is(module, "PReLU") else np.array([module.negative_slope])
    if slope.size not in (1, width):
        raise _refusal(f"the module has {module!r} after a layer of {width} outputs")
    return np.resize(1 - slope, width)


def _affine(module: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    w = _array(module.weight).T
    return w, np.zeros(w.shape[1], w.dtype) if module.bias is None else _array(module.bias)
