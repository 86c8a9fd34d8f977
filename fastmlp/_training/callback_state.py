"""State of callbacks between epochs, which a checkpoint stores and a resumed fit restores."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from fastmlp._core.history import Snapshot, State
from fastmlp._engine.protocol import Engine
from fastmlp._network.data import OPTIONAL, Data
from fastmlp._network.sparse import SparseRows
from fastmlp._training.callback_list import Callback
from fastmlp._training.callbacks import Best, EarlyStopping, ReduceOnPlateau

Parameters: TypeAlias = tuple[Any, ...]  # lists of arrays; for ensembles, per member

ROWS = 1000  # rows of X that a fingerprint covers: reading all may take longer than an epoch

# The callbacks whose state a checkpoint has: its attributes and their types. All others start anew
# when a fit is resumed.
STORED: dict[str, dict[str, type]] = {
    type(made).__name__: {name: type(getattr(made, name)) for name in names}
    for made, names in (
        (EarlyStopping("loss"), ("best", "wait", "best_epoch")),
        (ReduceOnPlateau("loss"), ("best", "wait")),
        (Best(), ("best", "best_epoch")),
    )
}


class CallbackState(NamedTuple):
    """State of one callback."""

    name: str  # its class, one of `STORED`
    values: dict[str, Any]  # its attributes
    parameters: Parameters | None  # the best epoch's


def fingerprint(*datas: Any) -> int:
    """Return a 64-bit hash of data sets, with some rows of X, or 0 if one of them is a stream."""
    digest = hashlib.sha256()
    for data in datas:
        if not isinstance(data, Data | None):
            return 0
        rows = slice(None, None, 1 if data is None else -(-data.rows // ROWS))
        for array in () if data is None else _arrays(data, rows):
            if array is not None:
                digest.update(repr((array.shape, array.dtype.str)).encode())
                digest.update(np.ascontiguousarray(array).data)
        digest.update(b";")
    return int.from_bytes(digest.digest()[:8], "little")


def _arrays(data: Data, rows: slice) -> tuple[Any, ...]:
    """Return the arrays of some samples, and those of all targets and weights."""
    x = data.x[rows]
    samples = (x.indptr, x.indices, x.values) if isinstance(x, SparseRows) else (x,)
    return *samples, data.targets, *(getattr(data, name) for name in OPTIONAL)


def callback_states(callbacks: Iterable[Any], engine: Engine) -> list[CallbackState]:
    """Return the state of all callbacks that have some."""
    states = []
    for callback in filter(_remembers, callbacks):
        name, snapshot = type(callback).__name__, getattr(callback, "_snapshot", None)
        values = {key: getattr(callback, key) for key in STORED[name]}
        parameters = None if snapshot is None else plain(snapshot.parameters, engine)
        states.append(CallbackState(name, values, parameters))
    return states


def _remembers(callback: Callback) -> bool:
    return (
        type(callback).__name__ in STORED and type(callback).__module__ == EarlyStopping.__module__
    )


def plain(snapshot: Any, engine: Engine) -> Parameters:
    """Convert an engine's snapshot to plain arrays of parameters."""
    shadow = engine.shadow()
    shadow.restore(snapshot)
    return shadow.parameters()


def snapshot_of(parameters: Parameters, engine: Engine) -> Any:
    """Convert plain arrays of parameters to an engine's snapshot."""
    shadow = engine.shadow()
    shadow.set_parameters(*parameters)
    return shadow.snapshot()


def give_back(states: Sequence[CallbackState], callbacks: Iterable[Any], state: State) -> bool:
    """Restore the callbacks' state if their classes match; return whether one wants to stop."""
    restored = list(filter(_remembers, callbacks))
    if [type(callback).__name__ for callback in restored] != [saved.name for saved in states]:
        return False
    for callback, saved in zip(restored, states, strict=True):
        vars(callback).update(saved.values)
        if saved.parameters is not None:
            snapshot = snapshot_of(saved.parameters, state.engine)
            callback._snapshot = Snapshot(state._kind(), snapshot)
    stops = [callback for callback in restored if isinstance(callback, EarlyStopping)]
    return any(stop.wait >= stop.patience for stop in stops)


def apart(states: Sequence[CallbackState], member: int) -> list[CallbackState]:
    """Return the callbacks' state restricted to one member of an ensemble."""
    parts = [saved.parameters and saved.parameters[member] for saved in states]
    return [m._replace(parameters=part) for m, part in zip(states, parts, strict=True)]


def together(members: Sequence[Sequence[CallbackState]]) -> list[CallbackState]:
    """Combine the callbacks' state of all members of an ensemble."""
    combined = []
    for of_each in zip(*members, strict=True):
        parameters = [saved.parameters for saved in of_each]
        whole = None if None in parameters else tuple(parameters)
        combined.append(of_each[0]._replace(parameters=whole))
    return combined
