"""The state of an engine as plain named arrays: the parameters, and the state of the optimizer.

It is one dictionary, which ``numpy.savez`` can write:

- ``weights.0``, ``biases.0``, ``gains.0``, ...: the parameters, by the kinds of ``Spec.tensors``;
- ``optimizer``, ``hyper``, ``step``: the native name, its numbers, the number of steps taken;
- ``m.weights.0``, ``m.biases.0``, ...: the slots, by the names of ``optimizers.SLOTS``;
- ``m.unit``, ...: a slot times its unit is the quantity of the textbook. The unit of the NumPy
  engine is 1. The native engine stores the sum m / (1 - beta_1), with the unit 1 - beta_1:
  multiplying by it before saving would round, and continuing would then give other bits;
- ``powers``: running products of the betas; empty if the engine computes them from ``step``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastmlp._network.optimizers import N_HYPER, SLOTS, Optimizer
from fastmlp._network.spec import Spec

N_POWERS = 2  # running products of the betas

Arrays: TypeAlias = list[NDArray[Any]]
Parameters: TypeAlias = tuple[Arrays, ...]  # one list for each kind
Units: TypeAlias = Callable[[str, tuple[float, ...]], tuple[float, ...]]


class OptimizerState(NamedTuple):
    """The state of an optimizer."""

    row: str  # name in NATIVE_OPTIMIZERS
    hyper: tuple[float, ...]  # Optimizer.hyper
    step: int  # steps taken
    slots: list[Parameters]  # the order is that of SLOTS
    units: tuple[float, ...]  # one a slot
    powers: tuple[float, ...] = ()  # running powers of the betas; empty in the NumPy engine

    @property
    def kind(self) -> tuple[Any, ...]:
        """What tells optimizers apart, see ``Optimizer.kind``."""
        return self.row, self.hyper[:-1]


@dataclass
class OptimizerProgress:
    """The NumPy engine's optimizer, and whether its last epoch was completed."""

    optimizer_state: OptimizerState
    is_whole: bool = True


def textbook(row: str, hyper: tuple[float, ...]) -> tuple[float, ...]:
    """Return the unit of each state array in the formulas of ``fastmlp.optimizers``: 1."""
    del hyper
    return (1.0,) * len(SLOTS[row])


def sums(row: str, hyper: tuple[float, ...]) -> tuple[float, ...]:
    """Return the unit of each state array in the native engine, which stores means as sums."""
    return tuple(1.0 if at is None else 1.0 - hyper[at] for at in SLOTS[row].values())


def start(optimizer: Optimizer, parameters: Parameters) -> OptimizerState:
    """Return the state before the first step, all 0, in units of the formulas."""
    row, hyper = optimizer.native_row, optimizer.hyper
    slots = [tuple([np.zeros_like(p) for p in kind] for kind in parameters) for _ in SLOTS[row]]
    return OptimizerState(row, hyper, 0, slots, textbook(row, hyper))


def to_arrays(
    spec: Spec, parameters: Parameters, optimizer: OptimizerState | None
) -> dict[str, NDArray[Any]]:
    """Return a state as named arrays, which are not copied."""
    state = _named("", parameters, spec)
    if optimizer is not None:
        numbers = {"optimizer": optimizer.row, "hyper": optimizer.hyper, "step": optimizer.step}
        numbers["powers"] = optimizer.powers
        for name, slot, unit in zip(
            SLOTS[optimizer.row], optimizer.slots, optimizer.units, strict=True
        ):
            state |= _named(f"{name}.", slot, spec)
            numbers[f"{name}.unit"] = unit
        state |= {name: np.array(number) for name, number in numbers.items()}
    return state


def from_arrays(
    state: Mapping[str, NDArray[Any]], spec: Spec
) -> tuple[Parameters, OptimizerState | None]:
    """Return the parts of a state, C-contiguous and in the network's dtype; copied only if needed.

    Raises
    ------
    ValueError
        If an array is missing or has another shape than this network's, or if a number of the
        optimizer is invalid: the native engine does not check them again.
    """
    parameters = _taken(state, "", spec)
    if "optimizer" not in state:
        return parameters, None
    row = str(state["optimizer"])
    if row not in SLOTS:
        raise ValueError(
            f"optimizer of the state is {row!r} but must be one of {', '.join(SLOTS)}: "
            "take a state that state() has returned"
        )
    hyper = _numbers(state, "hyper", (N_HYPER,))
    (step,) = _numbers(state, "step", (1,))
    slots = [_taken(state, f"{name}.", spec) for name in SLOTS[row]]
    units = tuple(_numbers(state, f"{name}.unit", (1,))[0] for name in SLOTS[row])
    powers = _numbers(state, "powers", (0, N_POWERS))
    return parameters, OptimizerState(row, hyper, int(step), slots, units, powers)


def in_units(optimizer_state: OptimizerState, unit_of: Units) -> OptimizerState:
    """Return a state whose arrays are stored in other units.

    Arrays whose unit stays the same are not copied.
    """
    units = unit_of(optimizer_state.row, optimizer_state.hyper)
    slots = [
        slot if stored == unit else tuple(_times(kind, stored / unit) for kind in slot)
        for slot, stored, unit in zip(
            optimizer_state.slots, optimizer_state.units, units, strict=True
        )
    ]
    return optimizer_state._replace(slots=slots, units=units)


def _times(arrays: Arrays, factor: float) -> Arrays:
    return [(factor * a.astype(np.float64)).astype(a.dtype) for a in arrays]


def _named(prefix: str, parameters: Parameters, spec: Spec) -> dict[str, NDArray[Any]]:
    kinds = zip(spec.tensors, parameters, strict=True)
    return {f"{prefix}{kind}.{k}": a for kind, arrays in kinds for k, a in enumerate(arrays)}


def _numbers(
    state: Mapping[str, NDArray[Any]], name: str, sizes: tuple[int, ...]
) -> tuple[float, ...]:
    """Return a state's numbers of one name, after checking their count, sign and finiteness."""
    numbers = np.asarray(state.get(name, "missing"))
    is_real = numbers.dtype.kind in "iuf" and numbers.size in sizes
    if not is_real or not np.all((numbers >= 0) & (numbers < np.inf)):
        raise ValueError(
            f"{name} of the state is {numbers.tolist()} but must be {' or '.join(map(str, sizes))} "
            "finite numbers of at least 0: take a state that state() has returned"
        )
    return tuple(numbers.astype(float).ravel().tolist())


def _taken(state: Mapping[str, NDArray[Any]], prefix: str, spec: Spec) -> Parameters:
    parameters: dict[str, Arrays] = {kind: [] for kind in spec.tensors}
    for kind, shapes in spec.tensors.items():
        for k, shape in enumerate(shapes):
            name = f"{prefix}{kind}.{k}"
            actual = np.shape(state[name]) if name in state else "missing"
            if actual != shape:
                raise ValueError(
                    f"{name} of the state is {actual} but must have the shape {shape}: "
                    "take a state of a network with the same layers"
                )
            parameters[kind].append(np.asarray(state[name], spec.dtype, order="C"))
    return tuple(parameters.values())
