"""The command demo: a small tour of the library, and the quickest check of an installation."""

from __future__ import annotations

import argparse
import statistics
import timeit
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastmlp._cli.arguments import COUNT, SEED, VERSION, argument, check_writable, command
from fastmlp._core import digits
from fastmlp._core.history import History, State
from fastmlp._core.optional import require
from fastmlp._engine import thread_count
from fastmlp._models.mlp import MLP
from fastmlp._network.losses import CrossEntropy
from fastmlp._network.optimizers import Adam
from fastmlp._network.schedules import Cosine

HIDDEN = (256, 128)
DROPOUT = 0.3
BATCH_SIZE = 32
LEARNING_RATE = 2e-3
LABEL_SMOOTHING = 0.1
SOURCE = (
    "Data of demo (CC BY 4.0): E. Alpaydin, C. Kaynak (1998), Optical Recognition of Handwritten "
    "Digits, UCI Machine Learning Repository, doi:10.24432/C50P49."
)
CALLS, CHUNKS = 50, 400  # predictions timed at once: so few that most chunks are not disturbed
SHADES = " .:-=+*#%@"  # characters for pixels, from white to black


class Run(NamedTuple):
    """A trained network, its number of training rows, and its predictions of held-out digits."""

    net: MLP
    n_train: int
    history: History
    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    probabilities: NDArray[Any]

    @property
    def right(self) -> int:
        """Number of held-out digits that were recognised."""
        return int(np.sum(self.probabilities.argmax(axis=1) == self.labels))

    def examples(self, n: int) -> NDArray[np.int64]:
        """Return `n` held-out digits to show: one of each of the first kinds, and the hardest."""
        shown = np.array([np.flatnonzero(self.labels == digit)[0] for digit in range(n)])
        shown[-1] = np.argmin(self.probabilities[np.arange(len(self.labels)), self.labels])
        return shown


def train(epochs: int, seed: int, n_threads: int | None) -> Run:
    """Train on a random two thirds, with a line of progress every few epochs."""
    X, y, X_test, y_test = digits.split(seed)
    sizes = [X.shape[1], *HIDDEN, 10]
    loss = CrossEntropy(label_smoothing=LABEL_SMOOTHING)
    net = MLP(sizes, loss=loss, dropout=DROPOUT, rng=seed)
    print(
        f"fastmlp {VERSION}: handwritten digits, 8 x 8 pixels\n"
        f"{len(X):,} to learn from, {len(X_test):,} held out; "
        f"network {'-'.join(map(str, sizes))}\n"
        f"labels smoothed by {LABEL_SMOOTHING}, which raises all losses\n\n"
        "  epoch    loss    held out: loss   accuracy"
    )

    def progress(state: State) -> None:
        if (state.epoch + 1) % 5 == 0 or state.epoch in (0, epochs - 1):
            accuracy = np.mean(np.argmax(net.predict(X_test), axis=1) == y_test)
            line = f"  {state.epoch + 1:>5}  {state.loss:.4f}  {state.val_loss:>14.4f}"
            print(f"{line}  {accuracy:>9.4f}", flush=True)

    history = net.fit(
        X,
        y,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        optimizer=Adam(Cosine(LEARNING_RATE)),
        validation_data=(X_test, y_test),
        callbacks=[progress],
        n_threads=n_threads,
    )
    return Run(net, len(X), history, X_test, y_test, np.asarray(net.predict(X_test)))


def drawing(run: Run, n: int = 4) -> str:
    """Return some held-out digits as text, with the network's answers below."""
    shown = run.examples(n)
    shades = ((run.images[shown] + 1) / 2 * (len(SHADES) - 1)).round().astype(int)
    lines = [
        "  ".join("".join(SHADES[v] * 2 for v in image) for image in row)
        for row in shades.reshape(n, 8, 8).transpose(1, 0, 2)
    ]
    captions = []
    for p, label in zip(run.probabilities[shown], run.labels[shown], strict=True):
        truth = "" if p.argmax() == label else f" (is {label})"
        captions.append(f"{p.argmax()}: {p.max():.0%}{truth}".center(16))
    return "\n".join(f"  {line}" for line in [*lines, "  ".join(captions)])


def report(run: Run, n_threads: int | None) -> str:
    """Return how well and how fast the network learned."""
    from fastmlp._engine import native_engine  # `info` works without compiled modules

    n, row = len(run.labels), run.images[:1]
    n_weights = sum(weights.size for weights in run.net.weights)
    threads = thread_count.for_fit(n_threads, n_weights, BATCH_SIZE)
    seconds = sum(run.history.seconds)
    samples = run.n_train * len(run.history.loss) / seconds
    chunks = timeit.repeat(lambda: run.net.predict(row), number=CALLS, repeat=CHUNKS)
    return f"""
{drawing(run)}

test accuracy    {run.right / n:.4f}   ({run.right} of {n} held-out digits)
training         {seconds:.2f} s, {samples:,.0f} samples/s
CPU              level {native_engine.level()}, {threads} thread{"s" * (threads > 1)}
one prediction   {statistics.median(chunks) / CALLS * 1e6:.2f} us, with {n_weights:,} weights"""


def plot(run: Run, path: str, n: int = 6) -> None:
    """Draw the loss curves, and some digits with the probabilities predicted for them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    grid = figure.add_gridspec(3, n, height_ratios=[2.2, 1, 0.8])
    curves = run.history.plot(figure.add_subplot(grid[0, :]))
    curves.set_title(f"{run.right / len(run.labels):.1%} of the held-out digits recognised")
    for column, index in enumerate(run.examples(n)):
        label = run.labels[index]
        image = figure.add_subplot(grid[1, column])
        image.imshow(run.images[index].reshape(8, 8), cmap="gray_r")
        image.set(xticks=[], yticks=[], title=f"a {label}")
        bars = figure.add_subplot(grid[2, column])
        bars.bar(np.arange(10), run.probabilities[index]).patches[label].set_color("C1")
        bars.set(ylim=(0, 1), xticks=np.arange(10), yticks=[0, 1] if column == 0 else [])
        bars.tick_params(labelsize="x-small")
    figure.savefig(path)


@command(
    argument("--epochs", type=COUNT, default=40, help="passes over the digits"),
    argument("--seed", type=SEED, default=0, help="of split, weights and order"),
    argument("--threads", type=COUNT, help="default: as many as pay for this network"),
    argument("--plot", metavar="FILE", help="draw loss curves and some digits there"),
    examples=("fastmlp", "fastmlp demo --epochs 100 --plot digits.png"),
)
def demo(options: argparse.Namespace) -> None:
    """Train on 1,198 handwritten digits, and print accuracy and speed."""
    if options.plot is not None:
        require("--plot", "matplotlib")
        check_writable(options.plot)
    run = train(options.epochs, options.seed, options.threads)
    print(report(run, options.threads))
    if options.plot is not None:
        plot(run, options.plot)
        print(f"figure           {options.plot}")
