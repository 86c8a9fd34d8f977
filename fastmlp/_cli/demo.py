"""The command demo: train on 1,198 handwritten digits, and print accuracy and speed.

A small tour of the public interface, and the quickest check of an installation.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import fastmlp
from fastmlp import digits
from fastmlp._cli.errors import UsageError
from fastmlp._cli.internals import backend, for_fit
from fastmlp._core.optional import require

HIDDEN = (256, 128)
DROPOUT = 0.3
BATCH_SIZE = 32
LEARNING_RATE = 2e-3
LABEL_SMOOTHING = 0.1
SOURCE = (
    "Data of demo (CC BY 4.0): E. Alpaydin, C. Kaynak (1998), Optical Recognition of Handwritten "
    "Digits, UCI Machine Learning Repository, doi:10.24432/C50P49."
)
SHADES = " .:-=+*#%@"  # of a pixel, from white to black


@dataclass
class Run:
    """A trained network with the held-out digits, what it says of them, and how it got there."""

    net: fastmlp.MLP
    history: fastmlp.History
    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    probabilities: npt.NDArray[Any]
    n_train: int
    threads: int

    @property
    def right(self) -> int:
        """Held-out digits that were recognised."""
        return int(np.sum(self.probabilities.argmax(axis=1) == self.labels))

    @property
    def samples_per_second(self) -> float:
        """Rows trained on a second."""
        return self.n_train * len(self.history.loss) / sum(self.history.seconds)

    @property
    def flops_per_second(self) -> float:
        """Operations a second: three products a layer; the first needs no input gradient."""
        sizes = [w.size for w in self.net.weights]
        return (6 * sum(sizes) - 2 * sizes[0]) * self.samples_per_second


def count(least: int) -> Callable[[str], int]:
    """Return an argparse type: an integer of at least `least`."""

    def integer(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no integer of at least {least}")
        return int(text)

    return integer


def add_arguments(parser: Any) -> None:
    """Declare the command's arguments."""
    option = parser.add_argument
    option("--epochs", type=count(1), default=40, help="passes over the digits (default 40)")
    option("--seed", type=count(0), default=0, help="of split, weights and order (default 0)")
    option("--threads", type=count(1), help="default: as many as pay for this network")
    option("--plot", metavar="FILE", type=Path, help="draw loss curves and some digits there")


def check_plot(path: Path) -> None:
    """Refuse a plot that cannot be drawn, before anything is trained."""
    try:
        require("--plot", "matplotlib")
    except ImportError as error:
        raise UsageError(str(error)) from None
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--plot {path}: there is no folder {path.parent}")


def train(epochs: int, seed: int, n_threads: int | None) -> Run:
    """Train on a random two thirds, with a line of progress every few epochs."""
    X, y, X_test, y_test = digits.split(seed)
    net = fastmlp.MLP(
        [X.shape[1], *HIDDEN, 10],
        loss=fastmlp.CrossEntropy(label_smoothing=LABEL_SMOOTHING),
        dropout=DROPOUT,
        rng=seed,
    )
    n_weights = sum(w.size for w in net.weights)
    threads = for_fit(n_threads, n_weights, BATCH_SIZE)
    sizes = "-".join(map(str, [X.shape[1], *HIDDEN, 10]))
    print(f"fastmlp {fastmlp.__version__}: handwritten digits, 8 x 8 pixels")
    print(f"{len(X):,} to learn from, {len(X_test):,} held out; network {sizes}\n")
    print("  epoch    loss    held out: loss   accuracy")

    def progress(state: fastmlp.State) -> None:
        if (state.epoch + 1) % 5 == 0 or state.epoch in (0, epochs - 1):
            accuracy = np.mean(probabilities(net, X_test).argmax(axis=1) == y_test)
            line = f"  {state.epoch + 1:>5}  {state.loss:.4f}  {state.val_loss:>14.4f}"
            print(f"{line}  {accuracy:>9.4f}", flush=True)

    n_steps = epochs * -(-len(X) // BATCH_SIZE)
    history = net.fit(
        X,
        y,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        optimizer=fastmlp.Adam(fastmlp.Cosine(LEARNING_RATE, n_steps)),
        validation_data=(X_test, y_test),
        callbacks=[progress],
        n_threads=n_threads,
    )
    return Run(net, history, X_test, y_test, probabilities(net, X_test), len(X), threads)


def probabilities(net: fastmlp.MLP, X: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the probability of each digit, of shape (n, 10)."""
    return np.asarray(net.predict(X))


def latency(net: fastmlp.MLP, row: npt.NDArray[Any]) -> float:
    """Return the seconds of predicting one row, the median of some hundred thousand calls."""
    net.predict(row)
    blocks, calls = 21, 1000
    seconds = []
    for _ in range(blocks):
        start = time.perf_counter()
        for _ in range(calls):
            net.predict(row)
        seconds.append((time.perf_counter() - start) / calls)
    return statistics.median(seconds)


def chosen(run: Run, n: int) -> npt.NDArray[np.int64]:
    """Return `n` held-out digits to show: of the first kinds one each, then the hardest of all."""
    shown = np.array([np.flatnonzero(run.labels == digit)[0] for digit in range(n)])
    given = run.probabilities[np.arange(len(run.labels)), run.labels]
    shown[-1] = np.argmin(given)
    return shown


def drawing(run: Run, n: int = 4) -> str:
    """Return some held-out digits as text, with what the network takes them for."""
    shown = chosen(run, n)
    levels = ((run.images[shown] + 1) / 2 * (len(SHADES) - 1)).round().astype(int)
    lines = [
        "  ".join("".join(SHADES[v] * 2 for v in image) for image in row)
        for row in levels.reshape(n, 8, 8).transpose(1, 0, 2)
    ]
    captions = []
    for index in shown:
        guess = int(run.probabilities[index].argmax())
        truth = "" if guess == run.labels[index] else f" (a {run.labels[index]})"
        captions.append(f"{guess}: {run.probabilities[index, guess]:.0%}{truth}".center(16))
    return "\n".join(f"  {line}" for line in [*lines, "  ".join(captions)])


def report(run: Run) -> None:
    """Print how well and how fast."""
    peak = backend().peak("float32") * run.threads
    gflops = run.flops_per_second / 1e9
    n = len(run.labels)
    plural = "s" if run.threads > 1 else ""
    seconds = sum(run.history.seconds)
    one = latency(run.net, run.images[:1]) * 1e6
    print(f"\n{drawing(run)}\n")
    print(f"test accuracy    {run.right / n:.4f}   ({run.right} of {n} held-out digits)")
    print(f"training         {seconds:.2f} s, {run.samples_per_second:,.0f} samples/s")
    print(f"CPU              level {backend().level()}, {run.threads} thread{plural}")
    print(f"one prediction   {one:.2f} us")
    print(f"of FMA peak      {gflops / peak:.0%}   ({gflops:.0f} of {peak:.0f} GFLOP/s)")


def plot(run: Run, path: Path, n: int = 6) -> None:
    """Draw the loss curves, and some digits with the probabilities predicted for them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    grid = figure.add_gridspec(3, n, height_ratios=[2.2, 1, 0.8])
    curves = figure.add_subplot(grid[0, :])
    epochs = np.arange(1, len(run.history.loss) + 1)
    curves.plot(epochs, run.history.loss, label="training (with dropout)")
    curves.plot(epochs, run.history.val_loss, label="held out")
    curves.set(xlabel="epoch", ylabel=f"cross-entropy, labels smoothed by {LABEL_SMOOTHING}")
    curves.set_title(f"{run.right / len(run.labels):.1%} of the held-out digits recognised")
    curves.legend()
    for column, index in enumerate(chosen(run, n)):
        image = figure.add_subplot(grid[1, column])
        image.imshow(run.images[index].reshape(8, 8), cmap="gray_r")
        image.set(xticks=[], yticks=[], title=f"a {run.labels[index]}")
        bars = figure.add_subplot(grid[2, column])
        colors = ["C1" if digit == run.labels[index] else "C0" for digit in range(10)]
        bars.bar(np.arange(10), run.probabilities[index], color=colors)
        bars.set(ylim=(0, 1), xticks=np.arange(10), yticks=[0, 1] if column == 0 else [])
        bars.tick_params(labelsize="x-small")
    figure.savefig(path)


def run(options: argparse.Namespace) -> None:
    """Train, print how well and how fast, and plot if that is asked for."""
    if options.plot is not None:
        check_plot(options.plot)
    result = train(options.epochs, options.seed, options.threads)
    report(result)
    if options.plot is not None:
        try:
            plot(result, options.plot)
        except (OSError, ValueError) as error:  # not writable, or not a known format
            raise UsageError(f"--plot {options.plot}: {error}") from error
        print(f"figure           {options.plot}")
