"""Networks whose outputs are monotone in some of their inputs, by bounds on their parameters.

Every input and unit has a direction: 1 if it never falls when a monotone input moves the way that
its column's sign says, -1 if it never rises then, and 0 if it does not depend on such inputs. The
weight from one unit to another has the sign of the product of their directions, and is 0 where it
would make a unit of direction 0 depend on a monotone input. Units of both directions make convex
and concave functions (Runje and Shankaranarayana 2023, "Constrained monotonic neural networks",
arXiv 2205.11775); their activations never fall, and neither do blends of them with the identity,
with shares from 0 to 1. Sums and products of rounded numbers are monotone as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastmlp._models.network import Network
from fastmlp._network.activations import ActivationName
from fastmlp.tabular.outcome.loss_rows import LOSSES
from fastmlp.tabular.plan.presets import Preset, Recipe
from fastmlp.tabular.table.columns import Array, Columns, places_of
from fastmlp.tabular.table.forms import DATES, KINDS

if TYPE_CHECKING:
    from fastmlp.tabular.outcome.targets import Target

Bounds: TypeAlias = dict[str, list[Array]]  # of each kind of parameters, each layer's

SIGNS = (-1, 0, 1)
ACTIVATION: ActivationName = "relu"  # it replaces activations that fall somewhere
# Activations that never fall; softplus and sigmoid do, by the rounding of their values.
RISING = {"relu", "leaky_relu", "elu", "selu", "tanh", "identity"}
FREE_SHARE = 1 / 3  # this share of a layer's units does not depend on monotone inputs


def check(parameters: Mapping[str, Any]) -> bool:
    """Return whether parameters of an estimator have a rule; raise ValueError for wrong ones."""
    signs = (parameters["monotone"] or {}).items()
    for key, sign in signs:
        if type(sign) is bool or not isinstance(sign, Integral) or sign not in SIGNS:
            raise ValueError(
                f"monotone has {sign!r} for {key!r} but 1 for predictions that do not fall with "
                "the column, -1 for those that do not rise, or 0 for no rule is expected"
            )
    is_used, loss = any(sign for _, sign in signs), parameters.get("loss")
    if is_used and loss is not None and not LOSSES[loss].is_square:
        raise ValueError(
            f"monotone is set but loss is {loss!r}: use loss='squared_error', or leave monotone out"
        )
    return is_used


def is_set(parameters: Mapping[str, Any]) -> bool:
    """Whether some column has a rule."""
    return any((parameters["monotone"] or {}).values())


def adapted(preset: Preset) -> Preset:
    """Return a preset whose recipes have activations that never fall, and no embeddings."""
    return preset.with_recipes(_rising)


def _rising(recipe: Recipe) -> Recipe:
    activation = recipe.activation if recipe.activation in RISING else ACTIVATION
    return replace(recipe, embedding=0, activation=activation)


def signs_of(rule: Mapping[Any, int] | None, columns: Columns, target: Target) -> Array | None:
    """Return the sign of each number of a row, 0 if it is free; None if all are."""
    signs: dict[int, int] = {}
    names = [int(name) if name.isdecimal() else name for name in columns.names]
    used = dict(columns.numbers)
    for key, sign in (rule or {}).items():
        (place,) = places_of([key], columns.names, names if columns.named else [], "monotone")
        if place in signs:
            raise ValueError(f"monotone has the column {columns.names[place]} twice")
        form = used[place].form if place in used else None
        if place in dict(columns.categories) or (form is not None and form.kind in DATES):
            raise ValueError(
                f"monotone has {key!r}, a column of {KINDS[form.kind] if form else 'categories'}, "
                "but columns of numbers are expected: convert it, or leave it out of monotone"
            )
        signs[place] = sign
    if not any(signs.values()):
        return None
    if not target.may_be_monotone:
        raise ValueError(
            f"monotone is set but y has {target.outputs} {target.name}: it needs two classes, of "
            "which it is about the second"
        )
    of_columns = [float(signs.get(place, 0)) for place in used]
    return np.array(of_columns + [0.0] * (columns.n_numbers - len(used)))


def constrain(network: Network, inputs: Array, outputs: Array) -> None:
    """Make a network monotone, and keep it so in training, from the directions of its ends."""
    lower, upper = unbounded(network)
    directions = [inputs, *[_of_units(n, inputs) for n in network.spec.layer_sizes[1:-1]], outputs]
    for kind in lower:
        for k, (low, high) in enumerate(zip(lower[kind], upper[kind], strict=True)):
            if kind == "weights":
                signs = np.multiply.outer(directions[k], directions[k + 1])
                is_bound = (directions[k] != 0)[:, np.newaxis]
                low[is_bound & (signs >= 0)] = 0
                high[is_bound & (signs <= 0)] = 0
            elif kind == "scales":
                low[inputs != 0] = 0
            elif kind == "alphas":
                low[directions[k + 1] != 0], high[directions[k + 1] != 0] = 0, 1
    bind(network, lower, upper)


def unbounded(network: Network) -> tuple[Bounds, Bounds]:
    """Return bounds of the parameters of a network that bound nothing, to be changed."""
    kinds = network.parameters()
    lower, upper = (
        {kind: [np.full_like(array, end) for array in arrays] for kind, arrays in kinds.items()}
        for end in (-np.inf, np.inf)
    )
    return lower, upper


def bind(network: Network, lower: Bounds, upper: Bounds) -> None:
    """Clip the parameters of a network to their bounds, and keep them there in training."""
    engine, bounds = network.engine, ([*lower.values()], [*upper.values()])
    clipped = [
        [np.clip(*tensor) for tensor in zip(*kind, strict=True)]
        for kind in zip(engine.parameters(), *bounds, strict=True)
    ]
    engine.set_parameters(*clipped)
    engine.set_bounds(*bounds)


def _of_units(n: int, inputs: Array) -> Array:
    """Return the directions of the units of a hidden layer."""
    free = int(n * FREE_SHARE) if (inputs == 0).any() else 0
    return np.concatenate([np.zeros(free), np.resize([1.0, -1.0], n - free)])
