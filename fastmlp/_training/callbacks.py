"""Callbacks for the end of an epoch, each for one fit at a time: early stopping, progress."""

from __future__ import annotations

import importlib
import math
import sys
from functools import partial
from typing import Any, TextIO

from fastmlp._core.history import State
from fastmlp._core.intervals import INNER_FRACTION, NON_NEGATIVE, check_count, check_flag
from fastmlp._core.keywords import check_choice, with_argument_hints

MONITORS = ("val_loss", "loss")


def check_monitor(monitor: Any) -> str | None:
    """Return the name of a loss to monitor, or None; raise TypeError or ValueError for others."""
    if isinstance(monitor, int):
        raise TypeError(f"monitor is {monitor} but must be a name or None: pass patience={monitor}")
    return None if monitor is None else check_choice("monitor", monitor, MONITORS, " or None")


def monitored(callback: Any, state: State) -> str:
    """Return the name of the loss that a callback monitors; ValueError if the fit has none."""
    if callback.monitor == "val_loss" and not state.has_validation:
        name = type(callback).__name__
        raise ValueError(
            f"{name} monitors val_loss but there is no validation data: "
            f"pass validation_data=(X, y) to fit, or use {name}(monitor='loss')"
        )
    return callback.monitor or ("val_loss" if state.has_validation else "loss")


class _Monitor:
    """Follows one loss of the history and counts the epochs since its best value."""

    def __init__(self, monitor: str | None, patience: int, min_delta: float) -> None:
        self.monitor = check_monitor(monitor)
        self.patience = check_count("patience", patience, example=5)
        self.min_delta = NON_NEGATIVE.check("min_delta", min_delta, example=1e-4)
        self.best = math.inf
        self.wait = 0

    def start(self, state: State) -> None:
        """Reset the state from an earlier fit."""
        monitored(self, state)
        self.best, self.wait = math.inf, 0

    def improved(self, state: State) -> bool:
        """Whether this epoch is the best so far; NaN never is."""
        value = getattr(state, monitored(self, state))
        if value < self.best - self.min_delta:
            self.best, self.wait = value, 0
            return True
        self.wait += 1
        return False


@partial(with_argument_hints, attributes=())
class EarlyStopping(_Monitor):
    """A callback that ends a fit when the loss on validation rows gets no better.

    Take it against overfitting: the network keeps the weights of its best epoch.

    Parameters
    ----------
    monitor : {"val_loss", "loss"}, optional
        The monitored loss; by default that of the validation data, if there are any.
    patience : int
        Epochs without improvement after which the fit ends, at least 1.
    min_delta : float
        Smallest decrease that counts as an improvement, at least 0.
    restore_best : bool
        Whether to restore the weights of the best epoch when the fit ends, also after the last
        epoch; not after an error or an interrupt.

    Attributes
    ----------
    best : float
        Best loss of the last fit.
    best_epoch : int
        Epoch of the best loss, counted from 0; -1 if there is none.

    Examples
    --------
    >>> import fastmlp, numpy as np
    >>> x = np.linspace(-1, 1, 100)[:, None]
    >>> net = fastmlp.MLP([1, 8, 1], rng=0)
    >>> stop = fastmlp.EarlyStopping(patience=3, min_delta=1.0)  # a loss below 1 cannot fall by 1
    >>> history = net.fit(x, x**2, epochs=50, validation_data=(x, x**2), callbacks=[stop])
    >>> len(history.loss), history.stop_reason
    (4, 'val_loss has not improved for 3 epochs')
    """

    def __init__(
        self,
        monitor: str | None = None,
        patience: int = 5,
        min_delta: float = 0.0,
        restore_best: bool = True,
    ) -> None:
        super().__init__(monitor, patience, min_delta)
        self.restore_best = check_flag("restore_best", restore_best)
        self.best_epoch = -1
        self._snapshot: Any = None

    def start(self, state: State) -> None:
        """Reset the state from an earlier fit."""
        super().start(state)
        self.best_epoch, self._snapshot = -1, None

    def __call__(self, state: State) -> bool:
        """Compare the epoch with the best one; return True to end the fit."""
        if self.improved(state):
            self.best_epoch = state.epoch
            if self.restore_best:
                self._snapshot = state.snapshot()
        if self.wait < self.patience:
            return False
        state.stop_reason = f"{monitored(self, state)} has not improved for {self.wait} epochs"
        return True

    def finish(self, state: State) -> None:
        """Restore the best weights."""
        snapshot, self._snapshot = self._snapshot, None
        if state.completed and snapshot is not None:
            state.restore(snapshot)


class Best(EarlyStopping):
    """Restore the weights of the lowest val_loss at the end, for ``scorer`` of ``Ensemble.fit``."""

    # It never ends a fit. Of equal epochs the last is best, NaN never is.
    best: float

    def improved(self, state: State) -> bool:
        """Whether no epoch was better."""
        is_best = state.val_loss <= self.best
        self.best = state.val_loss if is_best else self.best
        return is_best


@partial(with_argument_hints, attributes=())
class ReduceOnPlateau(_Monitor):
    """A callback that lowers the learning rate when the loss gets no better.

    Take it if you do not know beforehand how many epochs a fit needs; else a schedule is simpler.

    Parameters
    ----------
    monitor : {"val_loss", "loss"}, optional
        The monitored loss; by default that of the validation data, if there are any.
    factor : float
        Factor on the learning rate, above 0 and below 1.
    patience : int
        Epochs without improvement before a reduction, at least 1; then counting restarts.
    min_learning_rate : float
        Lower bound of the learning rate.

    Examples
    --------
    >>> import fastmlp
    >>> plateau = fastmlp.ReduceOnPlateau("loss", factor=0.1, patience=2)
    >>> plateau.factor
    0.1
    """

    def __init__(
        self,
        monitor: str | None = None,
        factor: float = 0.5,
        patience: int = 3,
        min_learning_rate: float = 0.0,
    ) -> None:
        super().__init__(monitor, patience, min_delta=0.0)
        self.factor = INNER_FRACTION.check("factor", factor, example=0.5)
        self.min_learning_rate = NON_NEGATIVE.check(
            "min_learning_rate", min_learning_rate, example=1e-5
        )

    def __call__(self, state: State) -> None:
        """Compare the epoch with the best one; lower the rate after ``patience`` worse epochs."""
        if self.improved(state) or self.wait < self.patience:
            return
        self.wait = 0
        rate = state.learning_rate
        if rate > self.min_learning_rate:
            state.learning_rate_scale *= max(self.factor, self.min_learning_rate / rate)


class Progress:
    """A callback that shows how far a fit is: a tqdm bar, or a line an epoch without tqdm.

    ``verbose=True`` adds this callback.

    Parameters
    ----------
    file : file object, optional
        Output stream; standard error by default.

    Examples
    --------
    >>> import io
    >>> import fastmlp
    >>> lines = io.StringIO()
    >>> net = fastmlp.MLP([1, 8, 1], rng=0)
    >>> history = net.fit([[0.0]], [1.0], epochs=2, callbacks=[fastmlp.Progress(lines)])
    >>> "loss" in lines.getvalue()
    True
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self.file = file
        self._bar: Any = None

    def start(self, state: State) -> None:
        """Open the progress bar."""
        try:
            tqdm = importlib.import_module("tqdm.auto").tqdm  # a widget in notebooks
        except ImportError:
            return
        file = self.file or sys.stderr
        self._bar = tqdm(total=state.epochs, initial=state.epoch + 1, unit="epoch", file=file)

    def __call__(self, state: State) -> None:
        """Show one more epoch."""
        losses = {"loss": f"{state.loss:.4g}"}
        if state.has_validation:
            losses["val_loss"] = f"{state.val_loss:.4g}"
        if self._bar is not None:
            self._bar.set_postfix(losses, refresh=False)
            self._bar.update()
            return
        width = len(str(state.epochs))
        text = "  ".join(f"{name} {value:<9}" for name, value in losses.items())
        seconds = state.history.seconds[-1]
        line = f"epoch {state.epoch + 1:>{width}}/{state.epochs}  {text}  {seconds:.3f} s"
        print(line, file=self.file or sys.stderr, flush=True)

    def finish(self, state: State) -> None:
        """Close the progress bar."""
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()
