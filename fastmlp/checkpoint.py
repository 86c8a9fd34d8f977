"""Checkpoints: a fit writes down where it is, and another process goes on from there.

Besides the model a file has the state of those callbacks that have one, in ``KEPT``.
"""

from __future__ import annotations

import glob
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from fastmlp import callbacks as own
from fastmlp.engine.contract import Engine
from fastmlp.intervals import POSITIVE, check_count
from fastmlp.training.records import Snapshot, State

Parameters: TypeAlias = tuple[Any, ...]  # lists of arrays; of an ensemble such tuples

# Callbacks that remember something from epoch to epoch, and what.
KEPT: dict[str, dict[str, type]] = {
    cls.__name__: {name: type(getattr(made, name)) for name in names}
    for made, names in (
        (own.EarlyStopping("loss"), ("best", "wait", "best_epoch")),
        (own.ReduceOnPlateau("loss"), ("best", "wait")),
        (own.Best(), ("best", "best_epoch")),
    )
    for cls in [type(made)]
}


class Memory(NamedTuple):
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


def memories(callbacks: Iterable[Any], engine: Engine) -> list[Memory]:
    """Return what callbacks remember, those that remember something."""
    found = []
    for callback in filter(_remembers, callbacks):
        name, snapshot = type(callback).__name__, getattr(callback, "_snapshot", None)
        values = {key: getattr(callback, key) for key in KEPT[name]}
        parameters = None if snapshot is None else plain(snapshot.parameters, engine)
        found.append(Memory(name, values, parameters))
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


def give_back(kept: Sequence[Memory], callbacks: Iterable[Any], state: State) -> bool:
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


def apart(kept: Sequence[Memory], member: int) -> list[Memory]:
    """Return what callbacks of an ensemble's fit remember of one member."""
    return [each._replace(parameters=each.parameters and each.parameters[member]) for each in kept]


def together(kept: Sequence[Sequence[Memory]]) -> list[Memory]:
    """Return what callbacks remember of all members."""
    found = []
    for of_each in zip(*kept, strict=True):
        parameters = [memory.parameters for memory in of_each]
        whole = None if None in parameters else tuple(parameters)
        found.append(of_each[0]._replace(parameters=whole))
    return found


class Checkpoint:
    """Save the model during a fit, as a callback: ``fit(..., resume=path)`` goes on from there.

    Of an MLP, an ensemble, or an estimator with the solver sgd or adam. It is called after all
    other callbacks. What they remember is saved too, if they are ``EarlyStopping`` or
    ``ReduceOnPlateau``, and what an ensemble's ``judge`` has found best; others begin anew.

    Parameters
    ----------
    path : str or path
        The last checkpoint; replaced at one moment.
    every : int
        Save after so many epochs, at least 1.
    seconds : float, optional
        Save after the epochs at whose end so much time has passed since the last save, instead.
    keep : int
        How many of the last ones to keep, at least 1: beyond the first as
        ``name-<epoch>.suffix`` beside it, the epochs counted from 1.
    best : str or path, optional
        Save there whenever the loss is the lowest so far.
    monitor : {"val_loss", "loss"}, optional
        Which loss is meant; by default that of the validation data, if there are any.

    Examples
    --------
    >>> import fastmlp, numpy as np, pathlib, tempfile
    >>> x = np.linspace(-1, 1, 100)[:, None]
    >>> def job(path, epochs):
    ...     net = fastmlp.MLP([1, 8, 1], rng=0)
    ...     net.fit(x, x**2, epochs=epochs, callbacks=[fastmlp.Checkpoint(path)], resume=path)
    ...     return net
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "net.safetensors")
    ...     cut = job(path, epochs=3)  # the process ends here, and is started again
    ...     whole = job(path, epochs=9)
    >>> len(whole.history.loss)
    9
    """

    runs_last = True  # of the callbacks: so that it sees what they have come to

    def __init__(
        self,
        path: str | os.PathLike[str],
        every: int = 1,
        seconds: float | None = None,
        keep: int = 1,
        best: str | os.PathLike[str] | None = None,
        monitor: str | None = None,
    ) -> None:
        self.path, self.best, self.monitor = path, best, monitor
        self.every = check_count("every", every, example=1)
        self.keep = check_count("keep", keep, example=3)
        self.seconds = None
        if seconds is not None:
            self.seconds = POSITIVE.check("seconds", seconds, example=60.0)
        if monitor not in (None, "val_loss", "loss"):
            raise ValueError(f"monitor is {monitor!r} but one of ('val_loss', 'loss') is expected")
        self._saved = 0.0

    def start(self, state: State) -> None:
        """Begin to measure the time."""
        if self.monitor == "val_loss" and not state.has_validation:
            raise ValueError(
                "Checkpoint monitors val_loss but there is no validation data: "
                "pass validation_data=(X, y) to fit, or use Checkpoint(monitor='loss')"
            )
        self._saved = time.monotonic()

    def __call__(self, state: State) -> None:
        """Save, if it is time to."""
        n = state.epoch + 1
        if self.best is not None and self._is_best(state):
            state.model.save(self.best)
        passed = time.monotonic() - self._saved
        due = n % self.every == 0 if self.seconds is None else passed >= self.seconds
        if due or n == state.epochs or state.history.stop_reason:
            self._remember(state)
            state.model.save(self.path)
            self._saved = time.monotonic()
            if self.keep > 1:
                self._keep(n)

    def _remember(self, state: State) -> None:
        """Put what the other callbacks remember among what the fit goes on with."""
        models = getattr(state.model, "members", (state.model,))
        if any(getattr(model, "_progress", None) is None for model in models):
            return  # an estimator has a course instead
        kept = memories(state.callbacks, state.engine)
        for k, model in enumerate(models):
            own = kept if model is state.model else apart(kept, k)
            model._progress = model._progress._replace(memories=own)

    def _is_best(self, state: State) -> bool:
        """Whether the last loss is the lowest, of those before a cut too."""
        name = self.monitor or ("val_loss" if state.has_validation else "loss")
        losses = getattr(state.history, name)
        return bool(losses[-1] <= np.min(losses))

    def _keep(self, n: int) -> None:
        """Give the file a second name with the epoch in it, and remove the oldest ones."""
        path = Path(self.path)
        numbered = path.with_name(f"{path.stem}-{n:06}{path.suffix}")
        numbered.unlink(missing_ok=True)
        try:
            numbered.hardlink_to(path)
        except OSError:  # not every file system has links
            shutil.copyfile(path, numbered)
        pattern = f"{glob.escape(path.stem)}-{'[0-9]' * 6}{glob.escape(path.suffix)}"
        # Files of later epochs are of an earlier, longer fit, and none of the last ones of this.
        names = sorted(each.name for each in path.parent.glob(pattern))
        for old in [name for name in names if name <= numbered.name][: -self.keep]:
            path.with_name(old).unlink()
