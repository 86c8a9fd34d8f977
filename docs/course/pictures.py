"""Draws the pictures of the course into docs/course/pictures, when the site is built."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

import fastmlp

FOLDER = Path(__file__).parent / "pictures"
BLUE, ORANGE, GREEN, GREY = "#3b7dd8", "#e07b39", "#3a9a5b", "#888888"
STYLE = {
    "svg.hashsalt": "fastmlp",  # the same file each time
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    # Readable on a light and on a dark page.
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), GREY),
    **dict.fromkeys(("xtick.color", "ytick.color"), GREY),
    "legend.frameon": False,
}


def examples(axes: Any) -> None:
    """Draw points, a poor line and a good line, with the errors of the poor one."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, 20)
    t = 2 * x + 1 + rng.normal(0, 0.1, 20)
    axes.vlines(x, x + 1, t, color=ORANGE, alpha=0.5)
    axes.plot([0, 1], [1, 2], color=ORANGE, label="x + 1")
    axes.plot([0, 1], [1, 3], color=BLUE, label="2x + 1")
    axes.plot(x, t, "o", color=GREY)
    axes.legend()


def descent(axes: Any) -> None:
    """Draw contours of the squared loss over w and b, and the path of gradient descent."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, 50)
    t = 2 * x + 1 + rng.normal(0, 0.1, 50)
    w, b = np.meshgrid(np.linspace(-0.5, 4, 80), np.linspace(-0.5, 2.5, 80))
    loss = np.mean((w[..., None] * x + b[..., None] - t) ** 2, axis=-1) / 2
    axes.contour(w, b, np.sqrt(loss), 15, colors=GREY, alpha=0.5, linewidths=0.8)
    path = [np.zeros(2)]
    for _ in range(400):
        e = path[-1][0] * x + path[-1][1] - t
        path.append(path[-1] - 0.5 * np.array([np.mean(e * x), np.mean(e)]))
    axes.plot(*np.transpose(path), ".-", color=BLUE, markersize=4)
    axes.set(xlabel="w", ylabel="b")


def divergence(axes: Any) -> None:
    """Draw descents on a parabola of curvature 1 with three step sizes."""
    w = np.linspace(-3, 3, 100)
    axes.plot(w, w**2 / 2, color=GREY)
    for rate, color, start in ((0.3, BLUE, 2.8), (1.7, GREEN, 2.2), (2.15, ORANGE, 1.4)):
        path = start * (1 - rate) ** np.arange(6)
        axes.plot(path, path**2 / 2, "o-", color=color, label=f"step size {rate}", markersize=4)
    axes.set(xlabel="w", ylabel="L", xlim=(-3.2, 3.2))
    axes.legend()


def affine_map(axes: Any) -> None:
    """Draw a square with a mark, and its image under an affine map."""
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]], dtype=float)
    mark = np.array([[0.2, 0.2], [0.2, 0.8], [0.6, 0.8]])
    W, b = np.array([[1.1, 0.5], [-0.6, 0.9]]), np.array([2.3, 0.1])
    for points, color in ((square, BLUE), (mark, BLUE), (square @ W + b, ORANGE)):
        axes.plot(*points.T, color=color)
    axes.plot(*(mark @ W + b).T, color=ORANGE)
    axes.annotate(
        "x W + b", (1.9, 0.7), (1.15, 0.7), arrowprops={"arrowstyle": "->", "color": GREY}
    )
    axes.set_aspect("equal")


def boxes(axes: Any, rows: list[tuple[float, str, list[str], str]]) -> None:
    """Draw rows of boxes, from left to right, with arrows between them."""
    for height, arrow, texts, color in rows:
        for k, text in enumerate(texts):
            box = {"boxstyle": "round", "edgecolor": color, "facecolor": "none"}
            style = {"ha": "center", "va": "center", "color": color, "fontsize": 8}
            axes.text(k, height, text, bbox=box, **style)
            if k:
                axes.text(k - 0.5, height, arrow, **style)
    widest = max(len(texts) for _, _, texts, _ in rows)
    axes.set(xlim=(-0.5, widest - 0.5), ylim=(-0.5, 1.5))
    axes.axis("off")


def stacked(axes: Any) -> None:
    """Draw three affine layers, and the one that they are."""
    three = ["x", "· W1 + b1", "· W2 + b2", "· W3 + b3", "z"]
    one = ["x", "· W1 W2 W3 + b", "z"]
    boxes(axes, [(1.0, "→", three, BLUE), (0.0, "→", one, ORANGE)])


def backpropagation(axes: Any) -> None:
    """Draw values that go forward, and derivatives that go backward."""
    forward = ["x0", "z0 = x0 W0 + b0", "x1 = f(z0)", "z1 = x1 W1 + b1", "L"]
    backward = ["dW0 = x0ᵀ dz0", "dz0 = f'(z0) dx1", "dx1 = dz1 W1ᵀ", "dz1", "dL = 1"]
    boxes(axes, [(1.0, "→", forward, BLUE), (0.0, "←", backward, ORANGE)])


def xor(axes: Any) -> None:
    """Draw the probability of class 1 that a small network learned from the four corners."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype="float32")
    t = np.array([0, 1, 1, 0])
    net = fastmlp.MLP([2, 8, 2], activation="tanh", loss="cross_entropy", rng=1)
    net.fit(x, t, epochs=500, batch_size=4, optimizer=fastmlp.Adam(0.05))
    side = np.linspace(-0.5, 1.5, 80)
    a, b = np.meshgrid(side, side)
    p = net.predict(np.column_stack([a.ravel(), b.ravel()]))[:, 1].reshape(a.shape)
    axes.contourf(a, b, p, np.linspace(0, 1, 11), cmap="coolwarm", alpha=0.5)
    axes.scatter(*x.T, c=np.where(t, ORANGE, BLUE), s=90, edgecolor="white")
    axes.set(xlabel="first bit", ylabel="second bit", aspect="equal")


def approximation(axes: Any) -> None:
    """Draw a sine on an interval, and networks of three widths inside and outside of it."""
    x, wide = np.linspace(-3, 3, 200)[:, None], np.linspace(-5, 5, 400)[:, None]
    axes.axvspan(-3, 3, color=GREY, alpha=0.12)
    axes.plot(wide, np.sin(2 * wide), color=GREY, linewidth=3, alpha=0.6, label="sin 2x")
    for hidden, color in ((2, ORANGE), (8, GREEN), (32, BLUE)):
        net = fastmlp.MLP([1, hidden, 1], activation="tanh", rng=0)
        net.fit(x, np.sin(2 * x), epochs=1500, batch_size=50, optimizer=fastmlp.Adam(0.01))
        axes.plot(wide, net.predict(wide), color=color, label=f"{hidden} neurons")
    axes.set(ylim=(-3, 3))
    axes.legend(ncols=2)


def probability(axes: Any) -> None:
    """Draw points whose noise grows with x, the predicted mean, and two standard deviations."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (2000, 1))
    t = np.sin(3 * x) + (0.25 + 0.2 * x) * rng.normal(size=x.shape)
    net = fastmlp.MLP([1, 32, 1], activation="tanh", loss="gaussian_nll", rng=0)
    net.fit(x, t, epochs=200, batch_size=50, optimizer=fastmlp.Adam(0.003))
    line = np.linspace(-1, 1, 100)[:, None]
    mean, variance = (each[:, 0] for each in net.predict(line))
    band = 2 * np.sqrt(variance)
    axes.plot(x[::4], t[::4], ".", color=GREY, markersize=2)
    axes.fill_between(line[:, 0], mean - band, mean + band, color=BLUE, alpha=0.2)
    axes.plot(line, mean, color=BLUE)


def fast(axes: Any) -> None:
    """Draw how many multiplications a sample of each network needs, layer by layer."""
    names = ["2-8-1", "8-32-32-1", "64-128-128-10", "784-256-128-10"]
    sizes = [[int(n) for n in name.split("-")] for name in names]
    work = [sum(a * b for a, b in pairwise(layers)) for layers in sizes]
    axes.barh(names, work, color=BLUE)
    axes.set(xscale="log", xlabel="multiplications of one prediction")


def tables(axes: Any) -> None:
    """Draw the test error of the mean of M networks that learned from noisy rows."""
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(1500, 4))
    y = np.sin(6 * X[:, 0]) + X[:, 1] ** 2 + rng.normal(0, 0.3, len(X))
    truth = np.sin(6 * X[500:, 0]) + X[500:, 1] ** 2
    predictions = []
    for seed in range(12):
        net = fastmlp.MLP([4, 64, 1], rng=seed)
        net.fit(X[:500], y[:500], epochs=100, optimizer=fastmlp.Adam(0.005))
        predictions.append(net.predict(X[500:]))
    counts = np.arange(1, len(predictions) + 1)
    means = np.cumsum(predictions, axis=0) / counts[:, None]
    axes.plot(counts, np.sqrt(np.mean((means - truth) ** 2, axis=1)), "o-", color=BLUE)
    axes.set(xlabel="networks in the mean", ylabel="error", ylim=(0, None))


PICTURES: dict[str, Callable[[Any], None]] = {
    "examples": examples,
    "descent": descent,
    "divergence": divergence,
    "map": affine_map,
    "stacked": stacked,
    "xor": xor,
    "approximation": approximation,
    "probability": probability,
    "backpropagation": backpropagation,
    "fast": fast,
    "tables": tables,
}
WIDE = ("stacked", "backpropagation")


def draw() -> None:
    """Draw those pictures that are not there yet."""
    FOLDER.mkdir(exist_ok=True)
    for name, picture in PICTURES.items():
        path = FOLDER / f"{name}.svg"
        if not path.exists():
            with mpl.rc_context(STYLE):
                figure = Figure(figsize=(9, 1.8) if name in WIDE else (5.6, 3.4), layout="tight")
                picture(figure.subplots())
                figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    draw()
