"""Checkpoints: states copied at the end of an epoch, and written by a thread during the next."""

from __future__ import annotations

import errno
import functools
import glob
import math
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fastmlp._core import atomic_files
from fastmlp._core.history import State
from fastmlp._core.intervals import POSITIVE, check_count
from fastmlp._core.user_warnings import warn
from fastmlp._core.worker import Worker
from fastmlp._files import storage
from fastmlp._models.network import network_of
from fastmlp._training import callback_state
from fastmlp._training.callbacks import check_monitor, monitored


def _write(savings: Iterable[Callable[[], None]]) -> None:
    for saving in savings:
        saving()


class Checkpoint:
    """A callback that saves the model during a fit, so that a fit that was cut off can go on.

    Take it for fits of hours: ``fit(..., resume=path)`` continues from the file.

    It works for an MLP and an ensemble, and is called after all other callbacks. The file also
    contains the state of ``EarlyStopping`` and ``ReduceOnPlateau``, and the best epoch of an
    ensemble's ``scorer``; other callbacks start anew. A thread writes the file; its errors are
    raised by the next save or the end of the fit.

    Parameters
    ----------
    path : str or path
        File of the last checkpoint, which is replaced atomically.
    every : int
        Number of epochs from one save to the next, at least 1.
    seconds : float, optional
        Time from one save to the next, in place of ``every``; saves come at ends of epochs.
    keep : int
        Number of checkpoints to keep, at least 1; if more than 1, also under the names
        ``name-<epoch>.suffix``, with epochs counted from 1.
    best : str or path, optional
        File for the model with the lowest loss so far, which ``EarlyStopping``
        restores at the end.
    monitor : {"val_loss", "loss"}, optional
        The loss that ``best`` compares; by default that of the validation data, if there are any.

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

    runs_last = True  # because it saves the state of the other callbacks

    def __init__(
        self,
        path: str | os.PathLike[str],
        every: int = 1,
        seconds: float | None = None,
        keep: int = 1,
        best: str | os.PathLike[str] | None = None,
        monitor: str | None = None,
    ) -> None:
        for name, value in {"path": path, "best": path if best is None else best}.items():
            if not isinstance(value, str | os.PathLike):
                raise TypeError(
                    f"{name} is {value!r} ({type(value).__name__}) but a path is expected: pass "
                    "for example Checkpoint('net.safetensors')"
                )
        if best is not None and os.path.realpath(best) == os.path.realpath(path):
            raise ValueError(
                f"best is {str(best)!r}, the file of the last checkpoint, which would replace the "
                "best one: pass two paths"
            )
        self.path, self.best = path, best
        self.every = check_count("every", every, example=1)
        self.keep = check_count("keep", keep, example=3)
        self.seconds = None
        if seconds is not None:
            self.seconds = POSITIVE.check("seconds", seconds, example=60.0)
        self.monitor = check_monitor(monitor)
        self._saved, self._has_room = 0.0, False
        self._worker: Worker | None = None  # writes the last files

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_worker": None}

    def start(self, state: State) -> None:
        """Start the clock; raise errors that would otherwise come after an epoch."""
        monitored(self, state)
        for path in (self.path, self.best or self.path):
            folder = Path(os.path.realpath(path)).parent
            if not folder.is_dir():
                raise FileNotFoundError(
                    errno.ENOENT, "Checkpoint saves into a folder that is not there", str(folder)
                )
        self._saved, self._has_room = time.monotonic(), False

    def __call__(self, state: State) -> None:
        """Save, if it is time to."""
        n, work = state.epoch + 1, []
        if not self._has_room:
            storage.check_room(state.model, n, state.epochs)
            self._has_room = True
        if self.best is not None and self._is_best(state):
            work.append(storage.saving(state.model, self.best))
        passed = time.monotonic() - self._saved
        due = n % self.every == 0 if self.seconds is None else passed >= self.seconds
        if due or n == state.epochs or state.history.stop_reason:
            self._remember(state)
            work.append(storage.saving(state.model, self.path))
            if self.keep > 1:
                work.append(functools.partial(self._keep, n))
            self._saved = time.monotonic()
        if work:
            self._wait()
            write = functools.partial(_write, work)
            try:
                self._worker = Worker(write)
            except RuntimeError:  # the system limits threads
                write()

    def finish(self, state: State) -> None:
        """Wait until the file is on the disk."""
        try:
            self._wait()
        except (OSError, MemoryError) as error:
            if state.completed:
                raise
            # A warning, since the fit has already ended with another error.
            warn(f"the last checkpoint was not written: {type(error).__name__}: {error}")

    def _wait(self) -> None:
        """Wait until the last files are written; raise the error of the thread."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.finish()

    def _remember(self, state: State) -> None:
        """Add the state of the other callbacks to the state for resuming."""
        network = network_of(state.model)
        states = callback_state.callback_states(state.callbacks, state.engine)
        for k, member in enumerate(network.members):
            part = states if member is network else callback_state.apart(states, k)
            member.keep(member.stored_resume_state()._replace(callbacks=part))

    def _is_best(self, state: State) -> bool:
        """Whether the last loss is the lowest of the history; NaN never is."""
        losses = getattr(state.history, monitored(self, state))
        last = losses[-1]
        return last < math.inf and not any(before <= last for before in losses[:-1])

    def _keep(self, n: int) -> None:
        """Give the file a second name with the epoch in it, and remove the oldest ones."""
        path = Path(self.path)
        numbered = path.with_name(f"{path.stem}-{n:06}{path.suffix}")
        numbered.unlink(missing_ok=True)
        try:
            numbered.hardlink_to(os.path.realpath(path))  # the file, not a symbolic link to it
        except OSError:  # another disk, or a file system without links
            atomic_files.write(numbered, [path.read_bytes()])
        pattern = f"{glob.escape(path.stem)}-{'[0-9]' * 6}{glob.escape(path.suffix)}"
        # Files of later epochs belong to an earlier, longer fit.
        names = sorted(file.name for file in path.parent.glob(pattern))
        for old in [name for name in names if name <= numbered.name][: -self.keep]:
            path.with_name(old).unlink()
