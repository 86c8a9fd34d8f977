"""Objects that a fit gives to callbacks or returns: state, snapshot, history, divergence."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from fastmlp._core.keywords import RECORDS, with_attribute_hints
from fastmlp._core.optional import axes, require

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes as MatplotlibAxes
    from numpy.typing import NDArray


@partial(with_attribute_hints, attributes=RECORDS)
@dataclass(repr=False)
class History:
    """What ``fit`` returns: the loss of each epoch, to print or draw how the training went.

    Attributes
    ----------
    loss : list of float
        Training objective: the mean loss over the epoch's batches plus the penalties. The loss of
        each batch is taken before its step.
    val_loss : list of float
        Loss on the validation data after the epoch, without penalties; empty without such data.
    seconds : list of float
        Training time of the epoch in seconds, without validation and callbacks.
    learning_rate : list of float
        Learning rate of the epoch's last step.
    stop_reason : str
        Reason why a callback or L-BFGS ended the fit early; empty if all epochs were run.
    measured : list of dict
        The values of the fit's metrics, one dictionary per epoch; see ``metrics``.

    Examples
    --------
    >>> import fastmlp
    >>> net = fastmlp.MLP([1, 8, 1], rng=0)
    >>> history = net.fit([[0.0], [1.0]], [0.0, 2.0], epochs=50)
    >>> len(history.loss), history.loss[-1] < history.loss[0]
    (50, True)
    """

    loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    stop_reason: str = ""
    measured: list[dict[str, float]] = field(default_factory=list)

    @property
    def metrics(self) -> dict[str, list[float]]:
        """The metrics by name, one value per epoch; validation metrics begin with ``val_``."""
        names = {name: None for row in self.measured for name in row}
        return {name: [row.get(name, math.nan) for row in self.measured] for name in names}

    def __getitem__(self, name: Any) -> Any:
        """Return an attribute, as in ``history["loss"]``."""
        if isinstance(name, str) and name in self.__dataclass_fields__:
            return getattr(self, name)
        raise TypeError(
            f"a History has attributes, no entries such as {name!r}: use history.loss, "
            "history.val_loss, history.metrics['name'], or to_frame()"
        )

    def whole(self, epochs: int | None = None) -> History:
        """Return a copy with only completely recorded epochs; safe to call during a fit.

        Parameters
        ----------
        epochs : int, optional
            Number of epochs to keep, from the first; by default all.
        """
        n = len(self.loss) if epochs is None else epochs
        values = [v[:n] if isinstance(v, list) else v for v in vars(self).values()]
        return History(*values)  # type: ignore[arg-type]

    def resumed(self) -> History:
        """Return a copy for a fit that continues: completely recorded epochs, and no stop reason.

        Returns
        -------
        History
            The copy, which does not grow with this one.
        """
        history = self.whole()
        history.stop_reason = ""
        return history

    def to_frame(self) -> Any:
        """Return a pandas.DataFrame with one row per epoch and one column per recorded value.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        pandas = require("History.to_frame", "pandas")
        index = pandas.RangeIndex(len(self.loss), name="epoch")
        return pandas.DataFrame(self.columns(), index=index)

    def to_json(self) -> str:
        """Return the lists and ``stop_reason`` as a JSON object; NaN and infinity become null."""
        import json

        columns = {
            name: [value if math.isfinite(value) else None for value in values]
            for name, values in self.columns().items()
        }
        return json.dumps({**columns, "stop_reason": self.stop_reason})

    def plot(self, ax: MatplotlibAxes | None = None) -> MatplotlibAxes:
        """Plot the training loss of each epoch, and the validation loss if there is one.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; by default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            The axes, with legend and labels.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = axes(ax, "History.plot")
        for label, losses in (("training", self.loss), ("validation", self.val_loss)):
            if losses:
                ax.plot(range(1, len(losses) + 1), losses, label=label)
        ax.set(xlabel="epoch", ylabel="loss")
        ax.legend()
        return ax

    def columns(self) -> dict[str, list[float]]:
        """Return the non-empty lists by name, restricted to complete epochs."""
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

    def _repr_html_(self) -> str:
        """Return the loss curves as a picture for notebooks; matplotlib is not needed."""
        from fastmlp._core.charts import Axes

        chart, text = Axes(), repr(self)
        self.whole().plot(cast("MatplotlibAxes", chart))  # it has the methods that are used
        return f"<p>{html.escape(text)}</p>{chart.svg(text)}"


class AveragingState(NamedTuple):
    """State of weight averaging, kept so that a fit can continue."""

    raw: tuple[list[NDArray[Any]], ...]  # the trained parameters by kind
    mean: tuple[list[NDArray[np.float64]], ...]  # the model holds it rounded to its dtype
    epochs: int  # how many the mean has, at least 1


class ResumeState(NamedTuple):
    """State, besides the engine's, with which ``partial_fit`` or a resumed fit continues."""

    kind: tuple[Any, ...]  # Optimizer.kind
    step: int  # steps taken
    seed: int  # 64 bits, they seed the masks of dropout
    rows: int = 0  # how many the training data have; 0: a partial_fit
    epochs: int = 0  # that have ended
    shuffles: Sequence[int] = ()  # seeds, each of a permutation of the order before it
    shuffled: int = 0  # how many of them belong to ended epochs; one more may follow
    scale: float = 1.0  # State.learning_rate_scale
    callbacks: Sequence[Any] = ()  # state of the callbacks, only in a checkpoint
    batch_size: int = 0
    data: int = 0  # fingerprint of the arrays; 0: not computed, or from a source
    averaged: AveragingState | None = None  # None also after the user has assigned weights


@dataclass(frozen=True)
class Batch:
    """What a callback's ``on_batch`` gets: the batch of rows that was just learned from.

    Attributes
    ----------
    epoch : int
        Current epoch, counted from 0; ``state.epoch`` is still the previous one.
    index : int
        Index of the batch in its epoch, from 0.
    step : int
        Index of the batch over all epochs, from 0, as schedules count steps.
    loss : float
        Training objective of the batch before its step: mean loss plus penalties, with sample
        weights relative to their mean in all rows. It is computed as the difference of two running
        sums, with an error of about 1e-16 times the later sum.
    learning_rate : float
        Learning rate of the step, including ``State.learning_rate_scale``.

    Examples
    --------
    >>> import fastmlp
    >>> class Losses:
    ...     def __call__(self, state):  # after each epoch
    ...         print(f"epoch {state.epoch} has ended")
    ...     def on_batch(self, state, batch):
    ...         print(f"batch {batch.index} of epoch {batch.epoch}, step {batch.step}")
    >>> net = fastmlp.MLP([1, 8, 1], rng=0)
    >>> history = net.fit([[0.0], [1.0]], [0, 2], epochs=1, batch_size=1, callbacks=[Losses()])
    batch 0 of epoch 0, step 0
    batch 1 of epoch 0, step 1
    epoch 0 has ended
    """

    epoch: int
    index: int
    step: int
    loss: float
    learning_rate: float


class DivergenceError(FloatingPointError):
    """The error of a fit whose numbers became infinite or NaN; most often its steps were too large.

    Start again with a smaller learning rate, or with inputs and targets of size one. The model
    stays finite.

    Attributes
    ----------
    epoch : int
        Epoch in which the values became non-finite, counted from 0.
    learning_rate : float
        Largest learning rate of that epoch.
    history : History
        History of the epochs before.

    Examples
    --------
    >>> import fastmlp
    >>> net = fastmlp.MLP([1, 1], rng=0)
    >>> try:
    ...     net.fit([[0.0], [1.0]], [0.0, 2.0], epochs=2000, optimizer=fastmlp.SGD(10.0))
    ... except fastmlp.DivergenceError as error:
    ...     print(error.learning_rate, error.epoch > 0)
    10.0 True
    """

    epoch = 0
    learning_rate = math.nan
    history = History()


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The weights of a model at one moment of a fit, to go back to them: :meth:`State.restore`.

    Examples
    --------
    >>> import fastmlp
    >>> def back_to_the_first(state):
    ...     global first
    ...     if state.epoch == 0:
    ...         first = state.snapshot()
    ...     state.restore(first)
    >>> net = fastmlp.MLP([1, 8, 1], rng=0)
    >>> history = net.fit([[0.0], [1.0]], [0.0, 2.0], callbacks=[back_to_the_first])
    """

    kind: tuple[Any, ...]  # identifies the models that the snapshot fits
    parameters: Any = field(repr=False)


@dataclass
class State:
    """What callbacks get after each epoch: the epoch, its losses and the model in training.

    One object serves the whole fit.

    Attributes
    ----------
    epoch : int
        Last epoch that has ended, counted from 0; -1 before the first.
    epochs : int
        Number of epochs that the fit was asked to run.
    loss, val_loss : float
        Last entries of the history; ``val_loss`` is NaN without validation data.
    learning_rate : float
        Learning rate of the last step, including ``learning_rate_scale``; it cannot be set.
    learning_rate_scale : float
        Factor on the optimizer's learning rate, at least 0. A callback may set it; the value
        applies from the next epoch on.
    has_validation : bool
        Whether there is validation data.
    completed : bool
        Whether the fit has ended normally, neither interrupted nor diverged; for ``finish``.
    stop_reason : str
        Reason for stopping; a callback that returns True may set it.
    model : MLP
        The model in training. Callbacks may evaluate it and read or assign its weights.
    history : History
        The epochs so far.

    Examples
    --------
    >>> import fastmlp
    >>> def stop_when_good(state):
    ...     state.stop_reason = f"loss {state.loss:.1g} in epoch {state.epoch}"
    ...     return state.loss < 0.1
    >>> net = fastmlp.MLP([1, 8, 1], rng=0)
    >>> history = net.fit([[0.0], [1.0]], [0.0, 2.0], epochs=500, callbacks=[stop_when_good])
    >>> history.stop_reason.startswith("loss 0.1 in epoch")
    True
    """

    model: Any
    epochs: int
    history: History
    has_validation: bool
    epoch: int = -1
    loss: float = math.nan
    val_loss: float = math.nan
    learning_rate_scale: float = 1.0
    completed: bool = False
    stop_reason: str = ""
    engine: Any = field(default=None, repr=False)
    callbacks: Sequence[Any] = field(default=(), repr=False)

    @property
    def learning_rate(self) -> float:
        """Learning rate of the last step; NaN before the first."""
        rates = self.history.learning_rate
        return rates[-1] if rates else math.nan

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        raise AttributeError(
            f"learning_rate was set to {value!r} but is the rate of the last step: set "
            "learning_rate_scale, a factor on the rates of the next epochs, or use a schedule, "
            "such as optimizer=fastmlp.Adam(learning_rate=fastmlp.Cosine(0.01))"
        )

    def snapshot(self) -> Snapshot:
        """Return the current parameters of the model, for :meth:`restore`."""
        return Snapshot(self._kind(), self.engine.snapshot())

    def restore(self, snapshot: Snapshot) -> None:
        """Set the model's parameters to those of a snapshot.

        Parameters
        ----------
        snapshot : Snapshot
            A result of :meth:`snapshot`.

        Raises
        ------
        ValueError
            If the argument is not a snapshot of a model with the same layers, dtype and compute.
        """
        if not isinstance(snapshot, Snapshot) or snapshot.kind != self._kind():
            value = snapshot if isinstance(snapshot, Snapshot) else type(snapshot).__name__
            raise ValueError(
                f"restore was given {value} but expects a result of snapshot() for {self.model!r}"
            )
        self.engine.restore(snapshot.parameters)

    def _kind(self) -> tuple[Any, ...]:
        spec = self.engine.spec
        return type(self.engine), self.engine.level, spec.tensors, spec.loss.heads, spec.dtype.name
