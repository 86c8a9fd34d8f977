"""Networks made of a graph of foreign layers: a chain with residual blocks, or levels that carry.

A layer that reads only the one before it is a layer of the network. A value that is needed later
is carried there by units of a parametric activation with alpha = 0, which is the identity.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastmlp._models.conversion import graph
from fastmlp._models.conversion.graph import Array, Layer, Value, matrix, refusal
from fastmlp._models.ensemble.ensemble import Ensemble
from fastmlp._models.mlp import MLP, model_of
from fastmlp._models.network import Network
from fastmlp._network import layer_options, losses
from fastmlp._network.activations import ACTIVATIONS
from fastmlp._network.losses import Loss, LossName
from fastmlp._network.spec import Spec, build
from fastmlp._validation import check

# Activations at the end that belong to a loss, and the loss that the network was likely trained
# with.
LINKS: dict[str, LossName] = {
    "softmax": "cross_entropy",
    "sigmoid": "binary_cross_entropy",
    "exp": "poisson_nll",
}
BLOCKS = (
    "make every block of the same number of Linear layers as wide as the layer in front of it, "
    "which is in no block, and normalise layers only in such blocks"
)
# Largest difference between the two networks in float64, relative to the largest prediction.
TOLERANCE = 1e-6
ROWS = 32  # compared with the foreign network

Parameters: TypeAlias = dict[str, list[Any]]
Predict: TypeAlias = Callable[[NDArray[np.float64]], NDArray[Any]]


@dataclass
class _Step:
    """A hidden layer of the network: what it computes, and its weights on the one before."""

    layer: Layer
    weights: Array
    biases: Array
    first: int | None = None  # the first layer of the residual block that this one ends


# Hidden layers, weights and biases of the last one, weights of the linear path.
_Made: TypeAlias = tuple[list[_Step], Array, Array, Array | None]


def model(
    value: Value,
    loss: LossName | Loss | None,
    dtype: DTypeLike,
    rng: int | np.random.Generator | None,
    predict: Predict,
    tolerance: float = TOLERANCE,
) -> MLP | Ensemble:
    """Return the network that computes a value of the foreign model.

    Its predictions are compared with those of ``predict``, which is the foreign model itself.
    """
    means = _peeled(value)
    branches = _branches(means) if means is not value else None
    parts = [_network(branch, loss) for branch in branches or [value]]
    is_linked = _usual_loss((branches or [value])[0]) is not None
    one_mean = is_linked or not parts[0][0].loss.is_linked  # a link of the mean is no mean
    if len(parts) > 1 and not (one_mean and len({repr(spec) for spec, _ in parts}) == 1):
        parts = [_network(value, loss)]
    generator = check.generator(rng)
    wide = _joined([_built(*part, "float64", generator, value.is_flat) for part in parts])
    _compare(wide, parts[0][0], predict, is_linked, value.is_flat, tolerance)
    return _joined([_built(*part, dtype, generator, value.is_flat) for part in parts])


def _joined(members: list[MLP]) -> MLP | Ensemble:
    return members[0] if len(members) == 1 else Ensemble(members)


def _built(
    spec: Spec, parameters: Parameters, dtype: DTypeLike, rng: np.random.Generator, is_flat: bool
) -> MLP:
    spec = replace(spec, dtype=np.dtype(dtype))
    arrays = [check.parameters(parameters[kind], spec, kind) for kind in spec.tensors]
    network = Network.of(spec, arrays, rng)
    network.learn_shape(is_flat)
    return model_of(network)


def _compare(
    net: MLP | Ensemble,
    spec: Spec,
    predict: Predict,
    is_linked: bool,
    is_flat: bool,
    tolerance: float,
) -> None:
    """Refuse a network that predicts otherwise than the foreign one."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(ROWS, spec.layer_sizes[0]))
    rows[::4] *= 10
    wanted = np.asarray(predict(rows), np.float64).reshape(ROWS, -1)
    if not is_linked:
        wanted = spec.loss.link(wanted)
    pairs = zip(_heads(net.predict(rows)), _heads(spec.loss.shaped(wanted, is_flat)), strict=True)
    for found, right in pairs:
        with np.errstate(invalid="ignore"):
            bound = tolerance * np.max(np.abs(right[np.isfinite(right)]), initial=0)
            same = (found == right) | (np.abs(found - right) <= bound)
        if not np.all(same):
            raise ValueError(
                "the network that was made predicts otherwise than the one it was made of: pass "
                "the part of it that consists of plain layers"
            )


def _heads(predictions: Any) -> tuple[Array, ...]:
    return predictions if isinstance(predictions, tuple) else (predictions,)


def _peeled(value: Value) -> Value:
    """Return a value in terms of what the last sums add."""
    for layer, factor in value.terms.items():
        if layer.is_sum and layer.is_plain and factor.ndim == 1 and layer.source:
            rest = replace(value, terms={k: f for k, f in value.terms.items() if k is not layer})
            return _peeled(graph.combined(rest, graph.scaled(layer.source, factor)))
    return value


def _ancestors(value: Value) -> list[Layer]:
    """Return the layers that a value needs, but the inputs, in the order of computation."""
    found: dict[Layer, None] = {}
    open_layers = list(value.terms)
    while open_layers:
        layer = open_layers[-1]
        source = layer.source
        missing = [k for k in source.terms if k.source and k not in found] if source else []
        if missing:
            open_layers += missing
        else:
            open_layers.pop()
            if source:
                found[layer] = None
    return list(found)


def _branches(value: Value) -> list[Value] | None:
    """Return the networks of which a value is the mean; None if they share more than inputs."""
    n = len(value.terms)
    needs = [_ancestors(graph.value_of(layer)) for layer in value.terms]
    if n < 2 or not all(needs) or len({k for need in needs for k in need}) < sum(map(len, needs)):
        return None
    branches = [Value({k: n * f}, value.shift, True) for k, f in value.terms.items()]
    of_links = [layer.activation in ("softmax", "exp") for layer in value.terms]
    if any(of_links):
        is_mean = all(f.ndim == 1 and np.allclose(n * f, 1) for f in value.terms.values())
        if not (all(of_links) and is_mean and not value.shift.any()):
            return None
        branches = [graph.value_of(layer) for layer in value.terms]
    return branches


def _usual_loss(value: Value) -> LossName | None:
    """Return the loss of a network that ends in a link; None if this one does not."""
    last = value.layer
    is_link = last and last.source and not (last.norm or last.dropout or last.more)
    return LINKS.get(last.activation) if last and is_link else None


def _network(value: Value, loss: LossName | Loss | None) -> tuple[Spec, Parameters]:
    """Return the description, in float64, and the parameters of the network of a value."""
    usual, last = _usual_loss(value), value.layer
    if usual and last and last.source:
        value = last.source
    chosen = losses.resolve(usual or "squared_error" if loss is None else loss)
    if usual and (link := losses.resolve(usual).link_name) != chosen.link_name:
        raise ValueError(
            f"loss is {chosen!r}, whose predictions are {chosen.link_name} of the last layer, but "
            f"this network ends in {link}: leave loss out, or pass {usual!r}"
        )
    if value.width % chosen.heads:
        raise ValueError(
            f"the last layer has {value.width} columns but {chosen!r} needs means and as many "
            "variances: pass another loss"
        )
    layers = _ancestors(value)
    for layer in layers:
        if layer.activation not in ACTIVATIONS:
            raise refusal(
                f"the network has {layer.activation} before its end",
                "replace it before the training, or pass the part of the network without it",
            )
    read = [value, *(layer.source for layer in layers if layer.source)]
    (inputs,) = {layer for one in read for layer in one.terms if layer.source is None}
    steps, weights, biases, linear = _chain(layers, inputs, value) or _levels(layers, inputs, value)
    hidden = [step.layer for step in steps]
    options: dict[str, Any] = {
        "activation": [layer.activation for layer in hidden],
        "dropout": [layer.dropout for layer in hidden],
        "layer_norm": [layer.norm for layer in hidden],
        "parametric": ["alphas" in layer.more for layer in hidden],
        "skip": _skip(steps),
        "linear_path": linear is not None,
    }
    sizes = [inputs.width, *(layer.width for layer in hidden), value.width // chosen.heads]
    parameters: Parameters = {
        "weights": [*(step.weights for step in steps), weights],
        "biases": [*(step.biases for step in steps), biases],
        "linear_weights": [linear],
    }
    for kind in ("gains", "shifts", "alphas"):
        parameters[kind] = [layer.more.get(kind, np.zeros(0)) for layer in hidden]
    return build(sizes, loss=chosen, dtype="float64", **options), parameters


# ---- a chain with residual blocks ----


def _chain(layers: list[Layer], inputs: Layer, value: Value) -> _Made | None:
    """Return what `_levels` does for a chain with residual blocks; None if it is none."""
    read = [layer.source for layer in layers if layer.source]
    n_readers = {k: sum(k in source.terms for source in [*read, value]) for k in layers}
    place = {layer: k for k, layer in enumerate(layers)}
    state = inputs  # whose outputs the next layer reads
    entering: list[Layer] = []  # the state in front of each step
    steps: list[_Step] = []
    for layer in layers:
        source = layer.source
        assert source is not None
        parts = dict(source.terms)
        added = None
        if layer.is_sum and layer.is_plain and len(parts) == 2:
            added = min(parts, key=lambda k: place.get(k, -1))
            if parts[added].ndim > 1 or not np.all(parts.pop(added) == 1) or added not in entering:
                return None
            (other,) = parts
            factor = parts[other]
            if factor.ndim == 1:  # a skip connection: a block's input is added to its last layer
                is_end = steps and other is steps[-1].layer and n_readers[other] == 1
                if not (is_end and np.all(factor == 1) and not source.shift.any()):
                    return None
                steps[-1].first, state = entering.index(added), layer
                continue
        if set(parts) != {state}:
            return None
        first = None if added is None else entering.index(added)
        entering.append(state)
        steps.append(_Step(layer, matrix(parts[state]), source.shift, first))
        state = layer
    if not any(step.first for step in steps) or any(step.first == 0 for step in steps):
        return None
    last = dict(value.terms)
    linear = last.pop(inputs, None)
    if set(last) != {state}:
        return None
    try:
        _skip(steps)
    except ValueError:
        return None
    return steps, matrix(last[state]), value.shift, None if linear is None else matrix(linear)


def _skip(steps: list[_Step]) -> int | None:
    """Return the length of the residual blocks; None without any."""
    firsts = [step.first for step in steps]
    lengths = {k + 1 - first for k, first in enumerate(firsts) if first is not None}
    if not lengths:
        return None
    skip = max(lengths)
    with contextlib.suppress(ValueError):
        if layer_options.blocks(skip, [step.layer.width for step in steps]) == tuple(firsts):
            return skip
    raise refusal(f"the network has residual blocks after the layers {firsts}", BLOCKS)


# ---- levels that carry what later ones read ----


def _inlined(layers: list[Layer], value: Value) -> tuple[list[Layer], Value]:
    """Return the graph without the sums that one reader can compute by itself."""
    for layer in layers:
        readers = [k for k in layers if k.source and layer in k.source.terms]
        reads = [k.source for k in readers if k.source] + [value] * (layer in value.terms)
        if not (layer.is_sum and layer.is_plain and layer.source and len(reads) == 1):
            continue
        (read,) = reads
        factor = read.terms[layer]
        if layer.source.is_product and factor.ndim > 1:
            continue
        own = replace(layer.source, is_product=False)
        own = graph.scaled(own, factor) if factor.ndim == 1 else graph.product(own, factor)
        rest = replace(read, terms={k: f for k, f in read.terms.items() if k is not layer})
        merged = replace(graph.combined(rest, own), shift=read.shift + own.shift)
        if not readers:
            return _inlined([k for k in layers if k is not layer], merged)
        changed = {readers[0]: replace(readers[0], source=merged)}
        return _inlined(*_replaced([k for k in layers if k is not layer], value, changed))
    return layers, value


def _replaced(
    layers: list[Layer], value: Value, changed: dict[Layer, Layer]
) -> tuple[list[Layer], Value]:
    """Return the graph with layers changed, in those that read them, too."""

    def of(read: Value) -> Value:
        return replace(read, terms={changed.get(k, k): f for k, f in read.terms.items()})

    new: list[Layer] = []
    for layer in layers:
        now = changed.get(layer, layer)
        if now.source and changed.keys() & now.source.terms.keys():
            now = replace(now, source=of(now.source))
        if now is not layer:
            changed[layer] = now
        new.append(now)
    return new, of(value)


def _levels(layers: list[Layer], inputs: Layer, value: Value) -> _Made:
    """Return the hidden layers level by level, the last layer and the linear path."""
    layers, value = _inlined(layers, value)
    waiting, steps = list(layers), []
    state = {inputs: slice(0, inputs.width)}  # columns of the last level
    while waiting:
        group = list(_group(waiting, state))
        waiting = [layer for layer in waiting if layer not in group]
        needed = {k for layer in waiting if layer.source for k in layer.source.terms}
        needed |= {k for k in value.terms if k is not inputs}
        carried = [k for k in state if k in needed]
        step, state = _level(group, carried, state)
        steps.append(step)
    linear = value.terms.get(inputs) if steps else None
    rest = {k: f for k, f in value.terms.items() if linear is None or k is not inputs}
    weights = _weights(rest, state, value.width)
    return steps, weights, value.shift, None if linear is None else matrix(linear)


def _group(waiting: list[Layer], state: dict[Layer, slice]) -> Iterator[Layer]:
    """Return layers that one level can compute: those that are ready and of one kind."""
    ready = [k for k in waiting if k.source and k.source.terms.keys() <= state.keys()]
    first = ready[0]
    kind = first.activation, first.norm
    for layer in ready:
        if layer is first or ((layer.activation, layer.norm) == kind and not layer.norm):
            yield layer


def _level(
    group: list[Layer], carried: list[Layer], state: dict[Layer, slice]
) -> tuple[_Step, dict[Layer, slice]]:
    """Return one hidden layer that computes a group and carries others, and its columns."""
    first = group[0]
    if first.norm and carried:
        raise refusal("the network adds or joins values around a normalised layer", BLOCKS)
    ends = np.cumsum([0, *(layer.width for layer in [*group, *carried])])
    columns = {k: slice(*ends[i : i + 2]) for i, k in enumerate([*group, *carried])}
    n_before = max(one.stop for one in state.values())
    weights, biases = np.zeros((n_before, ends[-1])), np.zeros(ends[-1])
    alphas, more = np.ones(ends[-1]), dict(first.more)
    for layer in group:
        assert layer.source is not None
        weights[:, columns[layer]] = _weights(layer.source.terms, state, layer.width, n_before)
        biases[columns[layer]] = layer.source.shift
        alphas[columns[layer]] = layer.more.get("alphas", 1.0)
    for layer in carried:
        weights[state[layer], columns[layer]] = np.eye(layer.width)
        alphas[columns[layer]] = 0.0
    if first.activation != "identity" and (carried or any("alphas" in k.more for k in group)):
        more["alphas"] = alphas
    dropout = 0.0 if carried else max(layer.dropout for layer in group)
    made = replace(first, width=int(ends[-1]), dropout=dropout, more=more)
    return _Step(made, weights, biases), columns


def _weights(
    terms: dict[Layer, Array], state: dict[Layer, slice], width: int, n: int | None = None
) -> Array:
    """Return the matrix of some terms on the columns of a level."""
    weights = np.zeros((n or max(one.stop for one in state.values()), width))
    for layer, factor in terms.items():
        weights[state[layer]] = matrix(factor)
    return weights
