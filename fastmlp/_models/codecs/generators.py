"""NumPy's generators as values: their states, field by field, each with its range.

The ranges matter: NumPy's own setters take an index beyond the state, and read there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastmlp._files.record import Record, Tensors, digits
from fastmlp._files.strict_json import MOST_INTEGER

_BUFFERED = {"has_uint32": 1, "uinteger": 2**32 - 1}
_PCG64 = {"state.state": 2**128 - 1, "state.inc": 2**128 - 1, **_BUFFERED}

# Bit generator -> the fields of its state: the largest integer, or dtype and length of an array.
STATES: dict[str, dict[str, int | tuple[Any, int]]] = {
    "PCG64": {**_PCG64},
    "PCG64DXSM": {**_PCG64},
    "MT19937": {"state.key": (np.uint32, 624), "state.pos": 624},
    "Philox": {
        **{"state.counter": (np.uint64, 4), "state.key": (np.uint64, 2)},
        **{"buffer": (np.uint64, 4), "buffer_pos": 4, **_BUFFERED},
    },
    "SFC64": {"state.state": (np.uint64, 4), **_BUFFERED},
}


def describe(generator: np.random.Generator, name: str, tensors: Tensors) -> Any:
    """Return a generator as JSON and tensors."""
    bits = generator.bit_generator
    return {"generator": _describe(bits.state, type(bits), STATES, name, tensors)}


def describe_legacy(random_state: np.random.RandomState, name: str, tensors: Tensors) -> Any:
    """Return a RandomState as JSON and tensors."""
    state: Any = random_state.get_state(legacy=False)
    bits = type(random_state._bit_generator)
    described = _describe(state, bits, ("MT19937",), name, tensors)
    return {"random state": {**described, "has_gauss": state["has_gauss"], "gauss": state["gauss"]}}


def _describe(state: Any, bits: type, allowed: Any, name: str, tensors: Tensors) -> dict[str, Any]:
    kind = state["bit_generator"]
    if kind not in allowed or bits is not getattr(np.random, kind, None):
        raise TypeError(
            f"{name} draws from {bits.__name__} but a file holds the state of "
            f"{', '.join(allowed)}: use one of these"
        )
    described: dict[str, Any] = {"class": kind}
    for field, limit in STATES[kind].items():
        value = state
        for key in field.split("."):
            value = value[key]
        if isinstance(limit, tuple):
            tensors[f"{name}.{field}"] = value
        else:
            described[field] = digits(value) if limit > MOST_INTEGER else int(value)
    return described


def rebuild(record: Record) -> np.random.Generator:
    """Return the generator that a file describes."""
    bits = _rebuild(record, STATES)
    record.finish()
    return np.random.Generator(bits)


def rebuild_legacy(record: Record) -> np.random.RandomState:
    """Return the RandomState that a file describes."""
    bits = _rebuild(record, ("MT19937",))
    gauss = {
        "has_gauss": record.count("has_gauss", 0, 1),
        "gauss": record.number("gauss", -math.inf),
    }
    record.finish()
    random_state = np.random.RandomState(0)
    random_state.set_state({**bits.state, **gauss})
    return random_state


def _rebuild(record: Record, allowed: Any) -> Any:
    kind = record.choice("class", allowed)
    state: dict[str, Any] = {"bit_generator": kind}
    for field, limit in STATES[kind].items():
        *folder, key = field.split(".")
        room = state.setdefault(folder[0], {}) if folder else state
        if isinstance(limit, tuple):
            dtype, size = limit
            name = f"{record.where}.{field}".partition(".")[2]
            room[key] = record.store.parameter(name, (size,), np.dtype(dtype)).copy()
        else:
            room[key] = record.count(field, 0, limit)
    bits = getattr(np.random, kind)(0)
    bits.state = state
    return bits
