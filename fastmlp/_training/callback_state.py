"""What callbacks remember from epoch to epoch: a checkpoint has it, to give it back.

Those that have such a thing are in ``KEPT``; others begin anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from fastmlp._core.history import Snapshot, State
from fastmlp._engine.protocol import Engine
from fastmlp._network.data import Data
from fastmlp._training import callbacks as own

Parameters: TypeAlias = tuple[Any, ...]  # lists of arrays; of an ensemble such tuples

ROWS = 1000  # of X, in a fingerprint

# Callbacks that remember something from epoch to epoch, and what.
KEPT: dict[str, dict[str, type]] = {
    type(made).__name__: {name: type(getattr(made, name)) for name in names}
    for made, names in (
        (own.EarlyStopping("loss"), ("best", "wait", "best_epoch")),
        (own.ReduceOnPlateau("loss"), ("best", "wait")),
        (own.Best(), ("best", "best_epoch")),
    )
}


class CallbackState(NamedTuple):
    """What a callback remembers.

    Attributes
    ----------
    name : str
        Its class, one of `KEPT`.
    values : dict
        Attributes.
    parameters : tuple of lists of arrays, or None
        Of the best epoch, plain; of an ensemble such a tuple of each member.
    """

    name: str
    values: dict[str, Any]
    parameters: Parameters | None


def fingerprint(*datas: Any) -> int:
    """Return 64 bits that other data would not have, but 0 if some are not at hand.

    They are of the shapes, of all targets and weights, and of some rows of X: to read all of X
    may take longer than an epoch.

    Parameters
    ----------
    *datas : Data, None or stream
        Training and validation data.
    """
    digest = hashlib.sha256()
    for data in datas:
        if not isinstance(data, Data | None):
            return 0
        rows = slice(None, None, 1 if data is None else -(-data.rows // ROWS))
        for array in () if data is None else (data.x[rows], data.targets, data.weights):
            if array is not None:
                digest.update(repr((array.shape, array.dtype.str)).encode())
                digest.update(np.ascontiguousarray(array).data)
        digest.update(b";")
    return int.from_bytes(digest.digest()[:8], "little")


def memories(callbacks: Iterable[Any], engine: Engine) -> list[CallbackState]:
    """Return what callbacks remember, those that remember something."""
    found = []
    for callback in filter(_remembers, callbacks):
        name, snapshot = type(callback).__name__, getattr(callback, "_snapshot", None)
        values = {key: getattr(callback, key) for key in KEPT[name]}
        parameters = None if snapshot is None else plain(snapshot.parameters, engine)
        found.append(CallbackState(name, values, parameters))
    return found


def _remembers(callback: Any) -> bool:
    return type(callback).__name__ in KEPT and type(callback).__module__ == own.__name__


def plain(snapshot: Any, engine: Engine) -> Parameters:
    """Return the parameters of an engine's snapshot as plain arrays."""
    twin = engine.twin()
    twin.restore(snapshot)
    return twin.parameters()


def snapshot_of(parameters: Parameters, engine: Engine) -> Any:
    """Return an engine's snapshot of plain parameters."""
    twin = engine.twin()
    twin.set_parameters(*parameters)
    return twin.snapshot()


def give_back(kept: Sequence[CallbackState], callbacks: Iterable[Any], state: State) -> bool:
    """Let callbacks go on from what they remembered; return whether one of them had had enough.

    If they are not of the same classes, all begin anew.
    """
    mine = list(filter(_remembers, callbacks))
    if [type(each).__name__ for each in mine] != [memory.name for memory in kept]:
        return False
    for callback, memory in zip(mine, kept, strict=True):
        vars(callback).update(memory.values)
        if memory.parameters is not None:
            snapshot = snapshot_of(memory.parameters, state.engine)
            callback._snapshot = Snapshot(state._kind(), snapshot)
    return any(isinstance(each, own.EarlyStopping) and each.wait >= each.patience for each in mine)


def apart(kept: Sequence[CallbackState], member: int) -> list[CallbackState]:
    """Return what callbacks of an ensemble's fit remember of one member."""
    return [each._replace(parameters=each.parameters and each.parameters[member]) for each in kept]


def together(kept: Sequence[Sequence[CallbackState]]) -> list[CallbackState]:
    """Return what callbacks remember of all members."""
    found = []
    for of_each in zip(*kept, strict=True):
        parameters = [memory.parameters for memory in of_each]
        whole = None if None in parameters else tuple(parameters)
        found.append(of_each[0]._replace(parameters=whole))
    return found
