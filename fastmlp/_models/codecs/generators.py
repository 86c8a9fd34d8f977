"""NumPy's generators in a file: the fields of their states, each with its range.

The ranges matter: NumPy's own setters take an index beyond the state, and read there.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from fastmlp._files.kinds import Count, Kind, Number, Place, Tensor
from fastmlp._files.schema import Object, OneOf

BIT, WORD, LONG = Count(most=1), Count(most=2**32 - 1), Count(most=2**128 - 1)
_BUFFERED: dict[str, Kind] = {"has_uint32": BIT, "uinteger": WORD}
_PCG64: dict[str, Kind] = {"state.state": LONG, "state.inc": LONG, **_BUFFERED}

# Bit generator -> the fields of its state, with dots between the keys of nested dictionaries.
STATES: dict[str, dict[str, Kind]] = {
    "PCG64": _PCG64,
    "PCG64DXSM": _PCG64,
    "MT19937": {"state.key": Tensor((624,), np.uint32), "state.pos": Count(most=624)},
    "Philox": {
        **{"state.counter": Tensor((4,), np.uint64), "state.key": Tensor((2,), np.uint64)},
        **{"buffer": Tensor((4,), np.uint64), "buffer_pos": Count(most=4), **_BUFFERED},
    },
    "SFC64": {"state.state": Tensor((4,), np.uint64), **_BUFFERED},
}


def _flat(state: Any) -> dict[str, Any]:
    """Return a state without nested dictionaries."""
    inner = {f"state.{key}": value for key, value in state["state"].items()}
    return {**state, **inner}


def _nested(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the state that NumPy expects."""
    state: dict[str, Any] = {"bit_generator": name, "state": {}}
    for field, value in fields.items():
        *folder, key = field.split(".")
        (state["state"] if folder else state)[key] = value
    return state


def _generator(name: str, **fields: Any) -> np.random.Generator:
    bits = getattr(np.random, name)(0)
    bits.state = _nested(name, fields)
    return np.random.Generator(bits)


def _random_state(**fields: Any) -> np.random.RandomState:
    random_state = np.random.RandomState(0)
    random_state.set_state(_nested("MT19937", fields))
    return random_state


def _legacy_state(random_state: np.random.RandomState) -> dict[str, Any]:
    return _flat(random_state.get_state(legacy=False))


class _Generator(OneOf):
    """One of NumPy's generators, by the name of its bit generator."""

    def __init__(self, kinds: dict[str, Object]) -> None:
        super().__init__(kinds, lambda value: type(value._bit_generator).__name__)

    def write(self, value: Any, place: Place) -> dict[str, Any]:
        kind = type(value._bit_generator)
        if kind.__name__ not in self.kinds or kind is not getattr(np.random, kind.__name__, None):
            raise TypeError(
                f"{place.name} draws from {kind.__name__} but a file holds the state of "
                f"{', '.join(self.kinds)}: use one of these"
            )
        return super().write(value, place)


GENERATOR = _Generator(
    {
        name: Object(fields, partial(_generator, name), lambda g: _flat(g.bit_generator.state))
        for name, fields in STATES.items()
    }
)
_GAUSS: dict[str, Kind] = {"has_gauss": BIT, "gauss": Number(-math.inf)}
RANDOM_STATE = _Generator(
    {"MT19937": Object({**STATES["MT19937"], **_GAUSS}, _random_state, _legacy_state)}
)
