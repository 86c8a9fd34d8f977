"""Conversion of PyTorch modules to an MLP: torch.fx traces the order, the classes' names decide."""

from __future__ import annotations

import copy
import os
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from importlib import import_module
from operator import attrgetter, getitem
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.intervals import check_count
from fastmlp._models.conversion import assembly, graph
from fastmlp._models.conversion.graph import Value, refusal
from fastmlp._models.ensemble.ensemble import Ensemble
from fastmlp._models.mlp import MLP
from fastmlp._network.activations import ACTIVATIONS
from fastmlp._network.losses import Loss, LossName

if TYPE_CHECKING:
    from torch import Tensor, fx, nn

Operand: TypeAlias = "Value | Tensor"  # a number counts as a tensor
Reading: TypeAlias = "Callable[[Value, nn.Module], Value]"
Table: TypeAlias = "tuple[tuple[str, Mapping[str, Any], Reading], ...]"

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
    ("_initialize_hook", "a lazy layer without sizes", "call the module on rows, then convert it"),
    ("_forward_pre_hooks", "a hook before forward", HOOKS),
    ("_forward_hooks", "a hook after forward", HOOKS),
)
REMEDY = "replace it before the training, or pass the part of the network without it"
WHOLE = (
    "make the torch.nn.Module, fill it by module.load_state_dict(torch.load(path)), and pass the "
    "module itself"
)
NORM = "normalise all outputs of a layer by a LayerNorm"
CONSTANTS = (
    "shift and scale by numbers, or by buffers of one number for each column, as in "
    "(x - self.mean) / self.deviation"
)
CUSTOM = "fastmlp has none; train MLP(activation=fastmlp.CustomActivation(...)) in its place"
QUANTISED = "convert the module from before its quantisation; predictor(weights='int8') rounds it"
EMBEDDING = (
    "TabMLPRegressor and TabMLPClassifier learn embeddings of categories, with the rest of a table"
)
# What to do about modules and functions that no network has, by a part of their dotted names, in
# small letters without underscores.
REMEDIES = {
    **dict.fromkeys(("embedding", "embeddingbag", "long"), EMBEDDING),
    **dict.fromkeys(("sin", "cos", "sinc", "sinh", "cosh", "atan", "arctan", "erf"), CUSTOM),
    **dict.fromkeys(("hardswish", "softsign", "hardshrink"), CUSTOM),
    **dict.fromkeys(("layernorm", "rmsnorm", "groupnorm"), NORM),
    **dict.fromkeys(("instancenorm1d", "lazyinstancenorm1d", "instancenorm"), NORM),
    **dict.fromkeys(("quantized", "quantization", "quantizepertensor"), QUANTISED),
    "glu": "a gate multiplies two values, which no layer here does",
}
N_INPUTS = "pass n_inputs=, the number of columns of its rows"
SIZES = "in_features num_features normalized_shape"  # attributes with the number of the inputs
ROWS = "rows"  # stands for the number of rows in shapes


def _activation(name: str) -> Reading:
    return lambda value, module: graph.activated(value, name)


def _relu(value: Value, module: nn.Module) -> Value:
    """Return a parametric relu of any negative slope."""
    if _is(module, "PReLU"):
        slope = _array(module.weight)
    elif _is(module, "RReLU"):
        slope = np.array([(module.lower + module.upper) / 2])
    else:
        slope = np.array([module.negative_slope])
    if slope.size not in (1, value.width):
        what = f"the module has {module!r} after a layer of {value.width} outputs"
        raise refusal(what, REMEDY)
    return graph.activated(value, "relu", np.resize(1 - slope.astype(np.float64), value.width))


def _elu(value: Value, module: nn.Module) -> Value:
    """Return alpha elu(z) + (1 - alpha) relu(z), which is alpha (exp(z) - 1) below 0."""
    alpha = module.alpha
    bent, straight = (graph.activated(value, name) for name in ("elu", "relu"))
    return graph.combined(graph.scaled(bent, alpha), graph.scaled(straight, 1 - alpha))


def _celu(value: Value, module: nn.Module) -> Value:
    inner = graph.scaled(value, 1 / module.alpha)
    return graph.scaled(graph.activated(inner, "elu"), module.alpha)


def _softplus(value: Value, module: nn.Module) -> Value:
    inner = graph.scaled(value, module.beta)
    return graph.scaled(graph.activated(inner, "softplus"), 1 / module.beta)


def _log_sigmoid(value: Value, module: nn.Module) -> Value:
    return graph.scaled(graph.activated(graph.scaled(value, -1), "softplus"), -1)


def _hard_sigmoid(value: Value, module: nn.Module) -> Value:
    return graph.between(graph.scaled(value, 1 / 6, 0.5), 0.0, 1.0)


def _soft_min(value: Value, module: nn.Module) -> Value:
    return graph.activated(graph.scaled(value, -1), "softmax")


def _tanh_shrink(value: Value, module: nn.Module) -> Value:
    bent = graph.activated(value, "tanh")
    return graph.added(value, graph.scaled(bent, -1))


def _soft_shrink(value: Value, module: nn.Module) -> Value:
    above, below = (graph.scaled(value, sign, -module.lambd) for sign in (1, -1))
    ends = [graph.activated(end, "relu") for end in (above, below)]
    return graph.combined(ends[0], graph.scaled(ends[1], -1))


def _threshold(value: Value, module: nn.Module) -> Value:
    return graph.between(value, module.threshold, np.inf)


def _layer_norm(value: Value, module: nn.Module) -> Value:
    if module.normalized_shape != (value.width,):
        raise refusal(f"the module has {module!r} for {value.width} columns", NORM)
    ones = np.ones(value.width)
    gains = ones if module.weight is None else _array(module.weight)
    shifts = 0 * ones if module.bias is None else _array(module.bias)
    return graph.normalised(value, gains, shifts, module.eps)


def _batch_norm(value: Value, module: nn.Module) -> Value:
    """Return the factors and the shifts of BatchNorm1d in evaluation mode."""
    if module.running_mean is None:
        raise refusal(f"{module!r} has no running statistics", REMEDY)
    mean, variance = (
        _array(one).astype(np.float64) for one in (module.running_mean, module.running_var)
    )
    gain = 1 / np.sqrt(variance + module.eps)
    shift = -mean * gain
    if module.affine:
        weight = _array(module.weight)
        gain, shift = gain * weight, shift * weight + _array(module.bias)
    return _scaled(value, gain, shift)


def _linear(value: Value, module: nn.Module) -> Value:
    return _product(value, module.weight.t(), module.bias)


def _dropout(value: Value, module: nn.Module) -> Value:
    return graph.dropped(value, float(module.p)) if module.p else value


def _same(value: Value, module: nn.Module) -> Value:
    return value


def _clipped(value: Value, module: nn.Module) -> Value:
    return graph.between(value, module.min_val, module.max_val)


# PyTorch class, required values of its options, and what it does to a value.
MODULES: Table = (
    ("Linear", {}, _linear),
    ("Identity", {}, _same),
    ("Flatten", {"start_dim": 1, "end_dim": -1}, _same),
    ("Dropout", {}, _dropout),
    ("AlphaDropout", {}, _same),  # fastmlp has none; predictions are the same
    ("FeatureAlphaDropout", {}, _same),
    ("BatchNorm1d", {}, _batch_norm),
    ("LayerNorm", {}, _layer_norm),
    *((row.torch, row.torch_options, _activation(name)) for name, row in ACTIVATIONS.items()),
    ("PReLU", {}, _relu),
    ("LeakyReLU", {}, _relu),
    ("RReLU", {}, _relu),
    ("ELU", {}, _elu),
    ("CELU", {}, _celu),
    ("Softplus", {"threshold": 20.0}, _softplus),
    ("LogSigmoid", {}, _log_sigmoid),
    ("Hardsigmoid", {}, _hard_sigmoid),
    ("Hardtanh", {}, _clipped),
    ("ReLU6", {}, _clipped),
    ("Threshold", {"threshold": 0, "value": 0}, _threshold),
    ("Tanhshrink", {}, _tanh_shrink),
    ("Softshrink", {}, _soft_shrink),
    ("Softmax", {"dim": -1}, _activation("softmax")),
    ("Softmax", {"dim": 1}, _activation("softmax")),
    ("Softmin", {"dim": -1}, _soft_min),
    ("Softmin", {"dim": 1}, _soft_min),
    ("LogSoftmax", {"dim": -1}, _activation("log_softmax")),
    ("LogSoftmax", {"dim": 1}, _activation("log_softmax")),
)
# Functions that a forward may call in place of a module, by the module's name in small letters.
OF_MODULES = {row[0].lower(): row[0] for row in MODULES if row[0] not in ("Linear", "Flatten")}
OF_CALLS = {"inplace", "training", "dtype", "_stacklevel"}  # their options that modules lack


def from_torch(
    module: nn.Module,
    *,
    loss: LossName | Loss | None = None,
    n_inputs: int | None = None,
    rng: int | np.random.Generator | None = None,
) -> MLP | Ensemble:
    """Turn a trained PyTorch module into a network of fastmlp that predicts the same.

    Take it to predict faster, or to export a model as C. The module is taken in evaluation mode.

    Parameters
    ----------
    module : torch.nn.Module
        Linear layers with activations between them, which torch.fx can trace. Whatever is affine
        folds into the weights: BatchNorm1d with the statistics of evaluation mode, shifts and
        factors as in ``(x - self.mean) / self.std`` (``module.double()`` keeps all digits if means
        are far from 0), columns and ``torch.cat``. So do activations that are made of fastmlp's:
        CELU, Softplus, LogSigmoid; ReLU6, Hardtanh, ``clamp`` and ELU(alpha) take two units for
        each: of inputs z far beyond the bounds, the result is off by the rounding of z.
        LeakyReLU, PReLU and RReLU are a parametric relu. ``x + f(x)`` is a residual block, see
        ``skip`` of :class:`MLP`, if all are as wide; other values that are needed later are carried
        there by units without activation. ``f(x) + linear(x)`` is a linear path.
        LayerNorm, Dropout, Softmax, LogSoftmax or Sigmoid at the end, and ``squeeze(-1)`` or
        ``[:, 0]``, after which predictions have shape (n,), are what they are; AlphaDropout, and
        Dropout of the inputs or of a sum, are left out. A sum or mean of networks of one shape
        becomes an ``Ensemble``.
    loss : str or Loss, optional
        Of the MLP. By default cross_entropy after Softmax or LogSoftmax (``predict`` gives
        probabilities, not their logarithms), binary_cross_entropy after Sigmoid, poisson_nll after
        ``exp``, else squared_error. A module that gives logits gets its link from here: for example
        ``loss="cross_entropy"``.
    n_inputs : int, optional
        Number of columns of the module's rows. Its layers say so, unless it takes some of the
        columns alone, as in ``x[:, [0, 2]]``.
    rng : int, numpy.random.Generator or None
        As for :class:`MLP`.

    Returns
    -------
    MLP or Ensemble
        Of the module's dtype, float32 for a narrower one, compared with the module on random rows
        in float64. What is trained later is not the module.

    Raises
    ------
    TypeError, ValueError
        If it is no such network, or ``loss`` does not fit its end. Modules with forward hooks
        (pruning and the older ``torch.nn.utils.weight_norm`` use them) and modules with another
        ``forward`` may compute anything, and are refused.

    Examples
    --------
    >>> module = torch.nn.Sequential(  # doctest: +SKIP
    ...     torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)
    ... )
    >>> fastmlp.from_torch(module, loss="cross_entropy").layer_sizes  # doctest: +SKIP
    (4, 8, 3)
    """
    module, dtype = _checked(module)
    torch = import_module("torch")
    traced = _traced(module)
    width = _n_inputs(module, torch, traced, n_inputs)
    value = _Reader(traced, width).read()
    if n_inputs is None and _takes(module, torch, width + 1):
        raise refusal(f"the module takes rows of {width} columns and of {width + 1}", N_INPUTS)
    layer = value.layer
    is_logarithm = layer is not None and layer.activation == "log_softmax"
    if is_logarithm:  # cross_entropy is their loss, and its predictions are probabilities
        source = layer.source if layer else None
        assert source is not None
        value = graph.activated(source, "softmax")

    def predict(rows: NDArray[np.float64]) -> NDArray[Any]:
        try:
            with torch.no_grad():  # the module may change its input, so it gets a copy
                answer: NDArray[Any] = module.double()(torch.tensor(rows)).numpy()
                _check_places(traced.double(), torch.tensor(rows))
        except RuntimeError as error:
            what = f"the module fails for rows of float64: {reprlib.repr(str(error))}"
            remedy = "leave conversions such as x.float() out of its forward"
            raise refusal(what, remedy) from error
        return np.exp(answer) if is_logarithm else answer

    return assembly.model(value, loss, dtype, rng, predict)


def _checked(module: nn.Module) -> tuple[Any, np.dtype[Any]]:
    """Return a copy of a module in evaluation mode, and the dtype of its network."""
    while (kind := type(module)).__module__.startswith("torch.") and kind.__name__ in WRAPPERS:
        module = getattr(module, WRAPPERS[kind.__name__])
    is_whole = hasattr(module, "named_modules") and not isinstance(module, type)
    if isinstance(module, Mapping | str | os.PathLike) or not is_whole:
        raise refusal(f"the module is {reprlib.repr(module)}", WHOLE)
    if any(base.__name__ == "ScriptModule" for base in kind.__mro__):
        remedy = "pass the module that torch.jit.script or trace was given"
        raise refusal(f"the module is compiled, {kind.__name__}", remedy)
    if "eval" in vars(module):  # programs of torch.export have a method that refuses
        what = f"the module is a program, {reprlib.repr(module)}"
        raise refusal(what, "pass the module that torch.export was given")
    for part in module.modules():
        attributes = {**vars(part), **vars(part)["_modules"]}
        for name, what, remedy in CHANGES:
            if attributes.get(name):
                raise refusal(f"the module has {what} on {part!r}", remedy)
    if any(tensor.is_meta for tensor in [*module.parameters(), *module.buffers()]):
        raise refusal("the module has tensors on the device meta, without values", WHOLE)
    dtypes = [_array(p[:0] if p.ndim else p).dtype for p in module.parameters()]
    # In training mode, a look at computed tensors may change them; so a copy is read.
    return copy.deepcopy(module).cpu().eval(), np.result_type(np.float32, *dtypes)


def _traced(module: nn.Module) -> fx.GraphModule:
    """Return the order of a module's calls, as torch.fx traces it."""
    fx, nn = import_module("torch.fx"), import_module("torch.nn")
    try:
        return fx.symbolic_trace(nn.Sequential(module))
    except Exception as error:
        what = f"the forward of {type(module).__name__} is no fixed order: {error}"
        raise refusal(what, REMEDY) from error


def _check_places(traced: fx.GraphModule, rows: Tensor) -> None:
    """Refuse a module that reads a value after it has changed it in place, as x.relu_() does."""
    torch_fx = import_module("torch.fx")
    versions: dict[Any, Any] = {}  # a change in place counts up the version of its memory

    class Interpreter(torch_fx.Interpreter):  # type: ignore[misc, name-defined]
        def run_node(self, node: fx.Node) -> Any:
            for read in node.all_input_nodes:
                if getattr(self.env[read], "_version", None) != versions[read]:
                    raise refusal(
                        f"the forward of the module reads {read} after a change in place",
                        "use inplace=False, and y = torch.relu(x) instead of x.relu_()",
                    )
            result = super().run_node(node)
            versions[node] = getattr(result, "_version", None)
            return result

    Interpreter(traced).run(rows)


def _takes(module: nn.Module, torch: ModuleType, n_columns: int) -> bool:
    """Whether a module takes rows of so many columns."""
    dtype = next((p.dtype for p in module.parameters()), torch.float32)
    try:
        with torch.no_grad():
            module(torch.zeros(2, n_columns, dtype=dtype))
    except Exception:  # whatever a module raises for rows of another width
        return False
    return True


def _n_inputs(
    module: nn.Module, torch: ModuleType, traced: fx.GraphModule, given: int | None
) -> int:
    """Return the number of columns that a module takes."""
    if given is not None:
        given = check_count("n_inputs", given, example=8)
        if not _takes(module, torch, given):
            raise refusal(f"the module does not take rows of {given} columns", N_INPUTS)
        return given
    found = [getattr(part, name, None) for part in module.modules() for name in SIZES.split()]
    sizes: list[Any] = [size[0] if isinstance(size, tuple) else size for size in found]
    sizes += [size for p in [*module.parameters(), *module.buffers()] for size in p.shape]
    widths = [int(size) for size in dict.fromkeys(sizes) if size]
    if not widths:
        raise refusal(f"the module has no Linear layer: {reprlib.repr(module)}", REMEDY)
    fitting = next((size for size in widths if _takes(module, torch, size)), None)
    rows = next(node for node in traced.graph.nodes if node.op == "placeholder")
    if fitting is None and any(user.target is getitem for user in rows.users):
        raise refusal("the module takes some of the columns of its rows", N_INPUTS)
    return fitting or widths[0]  # if none fits, the reader finds what is wrong


class _Reader:
    """The calls of a traced module, each as an operation on values of the graph."""

    def __init__(self, traced: fx.GraphModule, n_inputs: int) -> None:
        self.traced, self.n_inputs = traced, n_inputs

    def read(self) -> Value:
        """Return what the module computes."""
        results: dict[Any, Any] = {}
        for node in self.traced.graph.nodes:
            if node.op == "placeholder":
                result: Any = graph.value_of(graph.Layer(self.n_inputs))
            elif node.op == "get_attr":
                result = attrgetter(node.target)(self.traced)
            else:
                map_arg = import_module("torch.fx").node.map_arg
                args, options = (map_arg(a, results.__getitem__) for a in (node.args, node.kwargs))
                if node.op == "output":
                    return self._output(args[0])
                result = self._call(node, args, options)
            if isinstance(result, Value) and len(node.users) > 1:
                result = graph.shared(result)
            results[node] = result
        raise AssertionError("a graph ends in its output")

    def _module(self, node: fx.Node) -> nn.Module:
        return self.traced.get_submodule(node.target)

    def _output(self, value: Any) -> Value:
        if isinstance(value, Value):
            return value
        remedy = "return one tensor: torch.cat([one, other], 1), or convert a module for each"
        raise refusal(f"the forward of the module returns {type(value).__name__}", remedy)

    def _call(self, node: fx.Node, args: Any, options: Any) -> Any:
        """Return the result of one call."""
        if node.op == "call_module":
            part = self._module(node)
            return _apply(part, repr(part), *args)
        name = str(getattr(node.target, "__name__", node.target)).removesuffix(".default")
        operation = name.strip("_")
        if not any(isinstance(one, Value) for one in _flat([*args, *options.values()])):
            try:
                if node.op == "call_method":
                    return getattr(args[0], node.target)(*args[1:], **options)
                return node.target(*args, **options)
            except Exception as error:  # the number of rows is no number here
                what = f"the forward of the module calls {name} with {node.args[1:]}"
                raise refusal(what, CONSTANTS) from error
        for known in (operation, operation.removeprefix("i")):  # iadd is in place
            if known in OPERATIONS:
                try:
                    return OPERATIONS[known](*args, **options)
                except (
                    TypeError,
                    AttributeError,
                    IndexError,
                ) as error:  # other arguments than it knows
                    what = f"the forward of the module calls {known} with {node.args[1:]}"
                    raise refusal(what, CONSTANTS) from error
        class_name = OF_MODULES.get(operation.replace("_", ""))
        if class_name is None:
            raise _unknown(operation, name)
        options = {k: v for k, v in options.items() if k not in OF_CALLS}
        try:
            part = getattr(import_module("torch.nn"), class_name)(*args[1:], **options)
        except Exception as error:  # a function that takes tensors
            raise refusal(f"the forward of the module calls {name}", f"use {class_name}") from error
        return _apply(part, name, args[0])


def _flat(values: Any) -> list[Any]:
    """Return all entries of nested lists."""
    if isinstance(values, list | tuple):
        return [entry for value in values for entry in _flat(value)]
    return [values]


def _apply(part: nn.Module, name: str, *args: Operand) -> Value:
    """Return what a module makes of a value."""
    change = _row(part)
    if change is None or len(args) != 1:
        raise _unknown(part, name)
    (value,) = args
    if not isinstance(value, Value):
        raise refusal(f"the module has {name} of {type(value).__name__}", REMEDY)
    if value.is_flat and (_is(part, "Linear") or "oftm" in type(part).__name__):
        raise refusal(f"the module has {name} behind a squeeze", "squeeze at the end")
    return change(value, part)


def _unknown(what: Any, name: str) -> ValueError:
    """Return the error for a module or a function that the tables lack."""
    kind = what if isinstance(what, str) else f"{type(what).__module__}.{type(what).__name__}"
    words = kind.lower().replace("_", "").split(".")
    remedy = next((REMEDIES[word] for word in words if word in REMEDIES), REMEDY)
    is_call = isinstance(what, str)
    said = f"the forward of the module calls {name}" if is_call else f"the module has {name}"
    return refusal(said, remedy)


# ---- the operations of a forward ----


def _constant(value: Value, other: Operand) -> NDArray[Any]:
    """Return a constant that changes a value: one number, or one for each column."""
    array = np.array(_array(other) if hasattr(other, "detach") else other, np.float64)
    is_row = array.size == (array.shape or (1,))[-1] and array.size in (1, value.width)
    if not is_row or (value.is_flat and array.ndim > 1):
        what = f"the module shifts or scales {value.width} columns by {reprlib.repr(other)}"
        raise refusal(what, CONSTANTS)
    return array.ravel()


def _scaled(value: Value, gain: Operand, shift: Operand = 0.0) -> Value:
    return graph.scaled(value, _constant(value, gain), _constant(value, shift))


def _sum(one: Operand, other: Operand, sign: float = 1.0) -> Value:
    """Return one + sign * other, of two values or a value and a constant."""
    if not isinstance(other, Value):
        return graph.scaled(one, 1.0, sign * _constant(one, other))
    other = graph.scaled(other, sign) if sign != 1 else other
    if not isinstance(one, Value):
        return _sum(other, one)
    if (one.width, one.is_flat) != (other.width, other.is_flat):
        what = f"the module adds values of {one.width} and {other.width} columns"
        raise refusal(what, "add values of one shape")
    return graph.added(one, other)


def _times(one: Operand, other: Operand) -> Value:
    if isinstance(one, Value) and isinstance(other, Value):
        raise refusal("the module multiplies two values of its rows", REMEDIES["glu"])
    value, factor = (one, other) if isinstance(one, Value) else (other, one)
    return _scaled(value, factor)


def _over(one: Operand, other: Operand) -> Value:
    if isinstance(other, Value):
        raise refusal("the module divides by a value of its rows", CONSTANTS)
    return graph.scaled(one, 1 / _constant(one, other))


def _product(value: Value, weights: Operand, biases: Operand | None = None) -> Value:
    """Return a value times a matrix of constants, (inputs, outputs)."""
    if isinstance(weights, Value) or value.is_flat or weights.ndim != 2:
        raise refusal("the module multiplies two values of its rows", REMEDIES["glu"])
    if len(weights) != value.width:
        what = f"layer has {value.width} inputs but its weights take {len(weights)}"
        raise refusal(f"a {what}", "correct the sizes")
    return graph.product(value, _array(weights), 0.0 if biases is None else _array(biases))


class _Stack(tuple[Value, ...]):
    """Values on a new first axis."""


def _joined(values: Sequence[Operand], dim: int = 0) -> Value:
    if dim not in (1, -1) or not all(isinstance(v, Value) and not v.is_flat for v in values):
        raise refusal("the module joins values other than by columns", "use torch.cat(values, 1)")
    return graph.joined(values)


def _stacked(values: Sequence[Operand], dim: int = 0) -> Value | _Stack:
    if all(isinstance(value, Value) and value.is_flat for value in values) and dim in (1, -1):
        return graph.joined(values)
    if dim != 0 or len({(value.width, value.is_flat) for value in values}) > 1:
        raise refusal("the module stacks values on another axis", "use torch.stack(values).mean(0)")
    return _Stack(values)


def _total(values: Any, dim: int | Sequence[int], keepdim: bool = False) -> Value:
    dim = dim[0] if isinstance(dim, list | tuple) and len(dim) == 1 else dim
    if isinstance(values, _Stack) and dim == 0 and not keepdim:
        return reduce(graph.added, values)
    if isinstance(values, Value) and dim in (1, -1) and not values.is_flat:
        total = graph.product(values, np.ones((values.width, 1)))
        return total if keepdim else _squeezed(total)
    raise refusal("the module adds up an axis other than columns or stacked values", REMEDY)


def _mean(values: Any, dim: int | Sequence[int], keepdim: bool = False) -> Value:
    n = len(values) if isinstance(values, _Stack) else values.width
    return graph.scaled(_total(values, dim, keepdim), 1 / n)


def _shaped(value: Value, is_flat: bool) -> Value:
    if value.width != 1:
        what = f"the module changes the shape of {value.width} columns"
        raise refusal(what, "leave the shape as it is, or return one column")
    return replace(value, is_flat=is_flat)


def _squeezed(value: Value, dim: int = -1) -> Value:
    if dim not in (1, -1) or value.is_flat:
        raise refusal(f"the module squeezes axis {dim}", "use squeeze(-1), at the end")
    return value if value.width > 1 else _shaped(value, True)


def _unsqueezed(value: Value, dim: int) -> Value:
    if dim not in (1, -1) or not value.is_flat:
        raise refusal(f"the module adds an axis {dim}", "leave the shape as it is")
    return _shaped(value, False)


def _viewed(value: Value, *shape: int | Sequence[int]) -> Value:
    shape = tuple(shape[0]) if isinstance(shape[0], list | tuple) else shape
    if shape in ((-1,), (ROWS,)):
        return value if value.is_flat else _shaped(value, True)
    if len(shape) == 2 and shape[0] in (-1, ROWS) and shape[1] in (-1, value.width):
        return _shaped(value, False) if value.is_flat else value
    raise refusal(f"the module changes the shape of rows to {shape}", "leave the shape as it is")


def _flattened(value: Value, start_dim: int = 0) -> Value:
    return value if start_dim == 1 and not value.is_flat else _viewed(value, -1)


def _item(value: Value, index: Any) -> Value:
    rows, at = index if isinstance(index, tuple) and len(index) == 2 else (index, None)
    if not (rows is Ellipsis or rows == slice(None)) or value.is_flat != (at is None):
        raise refusal("the module selects rows, or one axis of a shape", "select columns: x[:, :3]")
    if at is None:
        return _shaped(value, False)
    if isinstance(at, int):
        return _shaped(graph.columns(value, [at]), True)
    return graph.columns(value, at if isinstance(at, slice) else np.array(at))


def _shape(value: Value, name: str = "shape") -> Any:
    if name != "shape":
        raise refusal(f"the module reads {name} of its rows", REMEDY)
    return (ROWS,) if value.is_flat else (ROWS, value.width)


def _limited(value: Value, *bounds: Any, **named: Any) -> Value:
    """Return a value limited as by ``torch.clamp(value, min, max)``."""
    low, high, *_ = (*bounds, None, None)
    low, high = named.get("min", low), named.get("max", high)
    low, high = (-np.inf if low is None else low), (np.inf if high is None else high)
    return graph.between(value, float(low), float(high))


def _absolute(value: Value) -> Value:
    above, below = (graph.activated(graph.scaled(value, sign), "relu") for sign in (1, -1))
    return graph.combined(above, below)


# Operations of a forward by their names, as Python's operators, functions and methods.
OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": _sum,
    "sub": lambda one, other: (
        _sum(one, other, -1.0) if isinstance(one, Value) else _sum(graph.scaled(other, -1), one)
    ),
    "rsub": lambda one, other: _sum(graph.scaled(one, -1), other),
    **dict.fromkeys(("mul", "multiply"), _times),
    **dict.fromkeys(("truediv", "div", "divide"), _over),
    **dict.fromkeys(("neg", "negative"), lambda value: graph.scaled(value, -1)),
    "linear": lambda value, weight, bias=None: _product(value, weight.t(), bias),
    **dict.fromkeys(("matmul", "mm"), _product),
    **dict.fromkeys(("cat", "concat", "concatenate"), _joined),
    "stack": _stacked,
    "mean": _mean,
    "sum": _total,
    "squeeze": _squeezed,
    "unsqueeze": _unsqueezed,
    **dict.fromkeys(("view", "reshape"), _viewed),
    "flatten": _flattened,
    "getitem": _item,
    "getattr": _shape,
    "size": lambda value, at=slice(None): _shape(value)[at],
    **dict.fromkeys(("clamp", "clip"), _limited),
    "clamp_min": _limited,
    "clamp_max": lambda value, bound: _limited(value, None, bound),
    "exp": lambda value: graph.activated(value, "exp"),
    **dict.fromkeys(("abs", "absolute"), _absolute),
    **dict.fromkeys(("contiguous", "clone", "detach", "float", "double"), lambda value: value),
}


def _array(tensor: Tensor) -> NDArray[Any]:
    """Return the values in float64 or, exact for narrower floats, in float32."""
    values = tensor.detach().cpu()
    return (values if values.element_size() == 8 else values.float()).numpy()  # type: ignore[no-any-return]


def _is(module: nn.Module, name: str) -> bool:
    """Whether a module is of this class of PyTorch, not of a subclass with a forward of its own."""
    kind = type(module)
    if kind.__module__ == "torch.nn.utils.parametrize":  # a subclass whose tensors are computed
        (kind,) = kind.__bases__
    return kind.__name__ == name and kind.__module__.startswith("torch.nn.modules.")


def _row(module: nn.Module) -> Reading | None:
    for name, options, change in MODULES:
        if _is(module, name) and all(getattr(module, k) == v for k, v in options.items()):
            return change
    return None
