"""Callbacks that log the history's values of each epoch to a CSV file, TensorBoard or MLflow."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any, TextIO

from fastmlp._core.history import State
from fastmlp._core.optional import require

# Packages that write TensorBoard files, the smaller one first.
WRITERS = ("tensorboardX", "torch.utils.tensorboard")


def _numbers(state: State) -> dict[str, float]:
    """Return the values of the last epoch: those of the history, and the score of held-out rows.

    A fit of a table scores its rows itself, after some of the epochs; its history has no scores.
    """
    last = {name: values[-1] for name, values in state.history.columns().items()}
    return {"loss": last["loss"], "val_loss": state.val_loss, **last}


def _measured(state: State) -> dict[str, float]:
    """Return the numbers of an epoch without those that are NaN, as not measured."""
    return {name: value for name, value in _numbers(state).items() if value == value}


class CSVLog:
    """A callback that writes the losses of each epoch to a CSV file, a line each.

    Take it to look at a fit with a spreadsheet, or while it runs. The first line names the columns.

    ``val_loss`` is NaN without validation data; of a table it is the score of the rows held out.
    Each fit overwrites the file; a resumed fit appends to it and must have the same columns, so the
    same metrics.

    Parameters
    ----------
    path : str or path
        The file.

    Examples
    --------
    >>> import fastmlp, numpy as np, pathlib, tempfile
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "fit.csv")
    ...     net = fastmlp.MLP([1, 4, 1], rng=0)
    ...     history = net.fit(x, x**2, epochs=3, callbacks=[fastmlp.CSVLog(path)])
    ...     print(path.read_text().split()[0])
    epoch,loss,val_loss,seconds,learning_rate
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file: TextIO | None = None
        self._columns: list[str] = []

    def start(self, state: State) -> None:
        """Open the file."""
        goes_on = state.epoch >= 0 and self.path.exists()
        if goes_on:
            self._cut(state.epoch)
        self._columns = []
        if goes_on:
            with self.path.open(newline="", encoding="utf-8") as file:
                self._columns = next(csv.reader(file), [])
        self._file = self.path.open("a" if goes_on else "w", newline="", encoding="utf-8")

    def _cut(self, epoch: int) -> None:
        """Remove epochs after this one, which a killed fit has logged after its checkpoint."""
        whole = 0
        with self.path.open("rb+") as file:
            for line in file:
                number = line.partition(b",")[0]
                if not line.endswith(b"\n") or (number.isdigit() and int(number) > epoch):
                    break
                whole += len(line)
            file.truncate(whole)

    def __call__(self, state: State) -> None:
        """Write the epoch and flush the file."""
        assert self._file is not None
        line, write = {"epoch": state.epoch, **_numbers(state)}, csv.writer(self._file).writerow
        if not self._columns:
            self._columns = [*line]
            write(line)
        if self._columns != [*line]:
            raise ValueError(
                f"{str(self.path)!r} has the columns {', '.join(self._columns)} but this fit "
                f"{', '.join(line)}: pass another path, or the metrics that it had"
            )
        write(line.values())
        self._file.flush()

    def finish(self, state: State) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        self._file = None


class TensorBoardLog:
    """A callback that logs each epoch for TensorBoard, a program that draws curves of fits.

    It needs tensorboardX or PyTorch.

    A resumed fit writes a new file that tells TensorBoard to discard later epochs, since a killed
    fit may have logged some after its checkpoint.

    Parameters
    ----------
    folder : str or path
        Folder of this run, below TensorBoard's log folder.

    Raises
    ------
    ImportError
        At the start of a fit if neither package is installed.

    Examples
    --------
    >>> import fastmlp
    >>> callbacks = [fastmlp.TensorBoardLog("runs/first")]  # then: tensorboard --logdir runs
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = os.fspath(folder)
        self._writer: Any = None

    def start(self, state: State) -> None:
        """Open the file of this run."""
        writer = require("TensorBoardLog", *WRITERS).SummaryWriter
        later = {"purge_step": state.epoch + 1} if state.epoch >= 0 else {}
        self._writer = writer(self.folder, **later)

    def __call__(self, state: State) -> None:
        """Write the epoch."""
        for name, value in _measured(state).items():
            self._writer.add_scalar(name, value, state.epoch)

    def finish(self, state: State) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None


class MLflowLog:
    """A callback that logs each epoch to MLflow, a server that keeps and compares training runs.

    It logs to the active run, or to a new one that ends with the fit.

    A fit that resumes in the same run logs the epochs after its checkpoint again. The network's
    layers, activations, loss and dtype become the run's parameters.

    Raises
    ------
    ImportError
        At the start of a fit if mlflow is not installed.

    Examples
    --------
    >>> import fastmlp
    >>> callbacks = [fastmlp.MLflowLog()]  # for fit(callbacks=...); see docs/guides/other-tools.md
    """

    def __init__(self) -> None:
        self._mlflow: Any = None
        self._is_own = False

    def start(self, state: State) -> None:
        """Use the active run, or start a new one."""
        self._mlflow = require("MLflowLog", "mlflow")
        self._is_own = self._mlflow.active_run() is None
        if self._is_own:
            self._mlflow.start_run()
        spec = state.engine.spec
        names = ("layer_sizes", "activations", "loss", "dtype")
        self._mlflow.log_params({name: str(getattr(spec, name)) for name in names})

    def __call__(self, state: State) -> None:
        """Write the epoch."""
        self._mlflow.log_metrics(_measured(state), step=state.epoch)

    def finish(self, state: State) -> None:
        """End the run if this callback has started it."""
        if self._is_own and self._mlflow is not None:
            self._mlflow.end_run("FINISHED" if state.completed else "FAILED")
        self._mlflow, self._is_own = None, False  # a module cannot be pickled with an estimator
