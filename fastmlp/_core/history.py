"""What a fit shows on its way and leaves behind: state, snapshots, history, divergence."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(repr=False)
class History:
    """What a fit has gone through, one entry an epoch.

    Attributes
    ----------
    loss : list of float
        The objective that was trained: mean loss over the epoch's batches, as they were when
        their turn came, with the penalties.
    val_loss : list of float
        Loss on the validation data after the epoch, without penalty; empty without such data.
    seconds : list of float
        Time of the training itself, without validation and callbacks.
    learning_rate : list of float
        Learning rate of the epoch's last step.
    stop_reason : str
        Why a callback ended the fit early; empty if all epochs were run.
    measured : list of dict
        The metrics that the fit was given, a dictionary an epoch; see ``metrics``.
    """

    loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    stop_reason: str = ""
    measured: list[dict[str, float]] = field(default_factory=list)

    @property
    def metrics(self) -> dict[str, list[float]]:
        """The metrics by name, one entry an epoch; those of validation data begin with val_."""
        names = {name: None for row in self.measured for name in row}
        return {name: [row.get(name, math.nan) for row in self.measured] for name in names}

    def whole(self, epochs: int | None = None) -> History:
        """Return a copy with the epochs that are recorded in all lists, while a fit goes on.

        Parameters
        ----------
        epochs : int, optional
            How many of them, the first ones; by default all.
        """
        n = len(self.loss) if epochs is None else epochs
        return History(
            self.loss[:n],
            self.val_loss[:n],
            self.seconds[:n],
            self.learning_rate[:n],
            self.stop_reason,
            self.measured[:n],
        )

    def to_frame(self) -> Any:
        """Return the lists as the columns of a pandas.DataFrame, the epochs as its index.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        pandas = _imported("pandas", "to_frame")
        columns = self.columns()
        index = pandas.RangeIndex(len(self.loss), name="epoch")
        return pandas.DataFrame(columns, index=index)

    def to_json(self) -> str:
        """Return lists and ``stop_reason`` as a JSON object; null for what is not finite."""
        import json

        columns = {
            name: [value if math.isfinite(value) else None for value in values]
            for name, values in self.columns().items()
        }
        return json.dumps({**columns, "stop_reason": self.stop_reason})

    def plot(self, ax: Any = None) -> Any:
        """Plot the training loss of each epoch, and the validation loss if there is one.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes
            With legend and labels.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        if ax is None:
            _, ax = _imported("matplotlib.pyplot", "plot").subplots()
        for label, losses in (("training", self.loss), ("validation", self.val_loss)):
            if losses:
                ax.plot(range(1, len(losses) + 1), losses, label=label)
        ax.set(xlabel="epoch", ylabel="loss")
        ax.legend()
        return ax

    def columns(self) -> dict[str, list[float]]:
        """Return the lists by name, without empty ones, of whole epochs."""
        whole = self.whole()
        named = {name: v for name, v in vars(whole).items() if isinstance(v, list)}
        del named["measured"]
        named |= whole.metrics
        return {name: values for name, values in named.items() if values or name == "loss"}

    def __repr__(self) -> str:
        count = f"{len(self.loss)} epoch{'s' * (len(self.loss) != 1)}"
        losses = {"loss": self.loss, "val_loss": self.val_loss}
        ends = [f"{name} {v[0]:.4g} to {v[-1]:.4g}" for name, v in losses.items() if v]
        stopped = [f"stopped: {self.stop_reason}"] if self.stop_reason else []
        return f"History({', '.join([count, *ends, *stopped])})"


def _imported(name: str, method: str) -> Any:
    """Return a module that only one method needs."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ImportError(
            f"History.{method} needs {package}, which cannot be imported ({error}): "
            f"pip install {package}"
        ) from error


class AveragingState(NamedTuple):
    """What a fit that averages its weights goes on with.

    Attributes
    ----------
    raw : tuple of lists of arrays
        The parameters that learn, plain, kind by kind, as the last epoch has left them.
    mean : tuple of lists of float64 arrays
        Their mean, of which the model has the rounded numbers.
    epochs : int
        How many epochs are in it, at least 1.
    """

    raw: tuple[list[NDArray[Any]], ...]
    mean: tuple[list[NDArray[np.float64]], ...]
    epochs: int


class ResumeState(NamedTuple):
    """With what ``partial_fit``, or a fit that resumes, goes on besides the engine's state.

    Attributes
    ----------
    kind : tuple
        Of the optimizer, ``Optimizer.kind``.
    step : int
        Steps taken.
    seed : int
        Of dropout, 64 bits.
    rows : int
        Of the data of a fit; 0 for passes of ``partial_fit``.
    epochs : int
        Of a fit: those that have ended.
    shuffles : list of int
        Of a fit: seeds of its shuffles, each of the order that the one before has left; those of
        epochs that have ended, and then one that was drawn for the next, if any.
    shuffled : int
        Of a fit: how many of them are of epochs that have ended.
    scale : float
        Of a fit: ``State.learning_rate_scale``.
    memories : sequence
        Of a fit: what its callbacks remember (_training/callback_state.py); only in a checkpoint.
    batch_size : int
        Of a fit.
    data : int
        Of a fit: the fingerprint of its arrays; 0 if nobody has asked for it, or for a source.
    memory : dict or None
        What an optimizer of the user's own remembers; of all others the engine has it.
    averaged : Averaged or None
        Of a fit that averages its weights, while nobody has assigned others.
    """

    kind: tuple[Any, ...]
    step: int
    seed: int
    rows: int = 0
    epochs: int = 0
    shuffles: Sequence[int] = ()
    shuffled: int = 0
    scale: float = 1.0
    memories: Sequence[Any] = ()
    batch_size: int = 0
    data: int = 0
    averaged: AveragingState | None = None
    memory: dict[str, Any] | None = None


@dataclass(frozen=True)
class Batch:
    """What ``on_batch`` of a callback is told of a batch that was just trained.

    Attributes
    ----------
    epoch : int
        The epoch under way, counted from 0; ``state.epoch`` is the one before.
    index : int
        Of the batch in its epoch, from 0.
    step : int
        Of the batch in all epochs, from 0, as schedules count.
    loss : float
        Its objective before its step: mean loss with the penalties. It is the difference of two
        sums over the epoch so far, to about 1e-16 of the later one.
    learning_rate : float
        Of its step, the scale included.
    """

    epoch: int
    index: int
    step: int
    loss: float
    learning_rate: float


class DivergenceError(FloatingPointError):
    """The loss, a gradient or a weight was no longer finite; the model keeps finite weights.

    Attributes
    ----------
    epoch : int
        Epoch in which it happened, counted from 0.
    learning_rate : float
        Largest learning rate of that epoch.
    history : History
        The epochs before.
    """

    epoch = 0
    learning_rate = math.nan
    history = History()


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The parameters of a model at some time; only :meth:`State.restore` looks inside."""

    kind: tuple[Any, ...]  # of models that they fit
    parameters: Any = field(repr=False)


@dataclass
class State:
    """What a callback sees, the same object throughout one fit.

    Attributes
    ----------
    epoch : int
        Epoch that has just ended, counted from 0; -1 before the first.
    epochs : int
        Number of epochs the fit was asked for.
    loss, val_loss : float
        Last entries of the history; ``val_loss`` is NaN without validation data.
    learning_rate : float
        Learning rate of the last step, the scale included.
    learning_rate_scale : float
        Factor on the optimizer's learning rate from the next epoch on; may be set, at least 0.
    has_validation : bool
        Whether there is validation data.
    completed : bool
        For ``finish``: the fit has ended as it should, neither interrupted nor diverged.
    stop_reason : str
        May be set by a callback that returns True.
    model : MLP
        The model in training. It may be evaluated, and its weights may be read and assigned.
    history : History
        The epochs so far.
    """

    model: Any
    epochs: int
    history: History
    has_validation: bool
    epoch: int = -1
    loss: float = math.nan
    val_loss: float = math.nan
    learning_rate: float = math.nan
    learning_rate_scale: float = 1.0
    completed: bool = False
    stop_reason: str = ""
    engine: Any = field(default=None, repr=False)
    callbacks: Sequence[Any] = field(default=(), repr=False)

    def snapshot(self) -> Snapshot:
        """Return the model's parameters of now, for :meth:`restore`."""
        return Snapshot(self._kind(), self.engine.snapshot())

    def restore(self, snapshot: Snapshot) -> None:
        """Give the model the parameters of a snapshot.

        Raises
        ------
        ValueError
            If it is not a snapshot of a model with these layers and this dtype.
        """
        if not isinstance(snapshot, Snapshot) or snapshot.kind != self._kind():
            given = snapshot if isinstance(snapshot, Snapshot) else type(snapshot).__name__
            raise ValueError(
                f"restore was given {given} but expects what snapshot() returned for {self.model!r}"
            )
        self.engine.restore(snapshot.parameters)

    def _kind(self) -> tuple[Any, ...]:
        spec = self.engine.spec
        return type(self.engine), self.engine.level, spec.tensors, spec.loss.heads, spec.dtype.name
