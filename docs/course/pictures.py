"""Draws the pictures of the course into docs/course/pictures; delete one to draw it anew."""

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
BLUE, ORANGE, GREEN, GREY = "#3b7dd8", "#e07b39", "#3a9a5b", "#777777"
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
    axes.set(xlabel="w", ylabel="L", xlim=(-3.2, 3.2), ylim=(-0.2, 6.5))
    axes.legend(loc="upper center")


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


def layers(axes: Any, sizes: list[int], left: float, color: str) -> list[Any]:
    """Draw the neurons of layers as circles, joined by lines; return their heights by layer."""
    heights = [np.arange(n) - (n - 1) / 2 for n in sizes]
    for k, ys in enumerate(heights):
        for y in ys:
            for after in heights[k + 1] if k + 1 < len(sizes) else []:
                axes.plot([left + k, left + k + 1], [y, after], color=color, alpha=0.5, zorder=1)
        axes.scatter(np.full(len(ys), left + k), ys, s=150, color=color, zorder=2)
    return heights


def label(axes: Any, x: float, y: float, text: str, color: str = GREY) -> None:
    """Write a text about a point."""
    axes.text(x, y, text, ha="center", va="center", color=color, fontsize=9)


def stacked(axes: Any) -> None:
    """Draw three affine layers, and the single one that computes the same."""
    layers(axes, [3, 4, 2, 3], 0, BLUE)
    layers(axes, [3, 3], 4.6, ORANGE)
    label(axes, 3.8, 0, "=", GREY)
    for x, text in ((0.5, "W0, b0"), (1.5, "W1, b1"), (2.5, "W2, b2")):
        label(axes, x, -2, text, BLUE)
    label(axes, 5.1, -2, "W0 W1 W2, b", ORANGE)
    axes.set(xlim=(-0.5, 6), ylim=(-2.4, 2))
    axes.axis("off")


def backpropagation(axes: Any) -> None:
    """Draw the network of the chapter, with its values above and its derivatives below."""
    columns = [
        ("x0", ["1", "2"], ["", ""]),
        ("z0", ["1", "-1"], ["1", "0"]),
        ("x1", ["1", "0"], ["1", "1.5"]),
        ("z1", ["2.5"], ["0.5"]),
        ("L", ["0.125"], ["1"]),
    ]
    arrows = ["W0, b0", "relu", "W1, b1", "(z1 - t)²/2"]
    places = [np.arange(len(values)) * -1.0 + (len(values) - 1) / 2 for _, values, _ in columns]
    for k, (name, values, slopes) in enumerate(columns):
        label(axes, 2 * k, 1.25, name)
        for y, value, slope in zip(places[k], values, slopes, strict=True):
            axes.scatter([2 * k], [y], s=900, facecolor="none", edgecolor=GREY)
            label(axes, 2 * k, y, value, BLUE)
            label(axes, 2 * k, y - 0.42, slope, ORANGE)
        if k:
            for y in places[k]:
                for before in places[k - 1] if k != 2 else [y]:
                    axes.plot([2 * k - 1.75, 2 * k - 0.25], [before, y], color=GREY, alpha=0.4)
            label(axes, 2 * k - 1, 1.25, arrows[k - 1], BLUE)
    label(axes, 1.2, -1.4, "values, forward →", BLUE)
    label(axes, 6, -1.4, "← derivatives of L, backward", ORANGE)
    axes.set(xlim=(-0.6, 8.6), ylim=(-1.7, 1.6))
    axes.axis("off")


def batches(axes: Any) -> None:
    """Draw the paths of three optimizers in a narrow valley."""
    slopes = np.array([1.0, 20.0])
    side, across = np.meshgrid(np.linspace(-3.2, 0.8, 80), np.linspace(-1, 1, 80))
    heights = slopes[0] * side**2 + slopes[1] * across**2
    axes.contour(side, across, np.sqrt(heights), 12, colors=GREY, alpha=0.5, linewidths=0.8)

    def path(update: Callable[[Any, Any, int], Any]) -> Any:
        points, memory = [np.array([-3.0, 0.7])], [np.zeros(2), np.zeros(2)]
        for k in range(1, 31):
            points.append(points[-1] - update(slopes * points[-1], memory, k))
        return np.transpose(points)

    def momentum(g: Any, memory: Any, k: int) -> Any:
        memory[0] = 0.8 * memory[0] + g
        return 0.02 * memory[0]

    def adam(g: Any, memory: Any, k: int) -> Any:
        memory[0] = 0.9 * memory[0] + 0.1 * g
        memory[1] = 0.999 * memory[1] + 0.001 * g**2
        return 0.15 * (memory[0] / (1 - 0.9**k)) / np.sqrt(memory[1] / (1 - 0.999**k))

    for update, name, color in (
        (lambda g, memory, k: 0.085 * g, "plain steps", ORANGE),
        (momentum, "momentum", GREEN),
        (adam, "Adam", BLUE),
    ):
        axes.plot(*path(update), ".-", color=color, markersize=4, label=name)
    axes.set(xlim=(-3.2, 0.8), ylim=(-1, 1))
    axes.legend(loc="upper right")


def first_weights(axes: Any) -> None:
    """Draw the size of the activations over twenty layers of relu, for three variances."""
    rng, n = np.random.default_rng(0), 100
    for factor, color in ((4, ORANGE), (2, BLUE), (1, GREEN)):
        x, sizes = rng.normal(size=(500, n)), [1.0]
        for _ in range(20):
            x = np.maximum(x @ rng.normal(0, np.sqrt(factor / n), (n, n)), 0)
            sizes.append(float(np.sqrt(np.mean(x**2))))
        axes.plot(sizes, "o-", color=color, markersize=4, label=f"variance {factor} / I")
    axes.set(yscale="log", xlabel="layer", ylabel="size of the activations")
    axes.legend()


def overfitting(axes: Any) -> None:
    """Draw the error on thirty noisy examples and on other rows over the epochs."""
    rng = np.random.default_rng(0)

    def rows(n: int) -> tuple[Any, Any]:
        x = rng.uniform(-1, 1, (n, 1))
        return x, np.sin(3 * x) + rng.normal(0, 0.3, x.shape)

    (x, t), others = rows(30), rows(500)
    net = fastmlp.MLP([1, 64, 64, 1], rng=0)
    options = {"epochs": 1000, "batch_size": 30, "optimizer": fastmlp.Adam(0.01)}
    history = net.fit(x, t, validation_data=others, **options)
    best = int(np.argmin(history.val_loss))
    axes.plot(history.loss, color=BLUE, label="examples")
    axes.plot(history.val_loss, color=ORANGE, label="other rows")
    axes.axvline(best, color=GREY, linestyle=":", label="best epoch")
    axes.set(xscale="log", yscale="log", xlabel="epoch", ylabel="loss", xlim=(1, None))
    axes.legend()


def wrong_digits(axes: Any) -> None:
    """Draw test pictures that the network of the chapter misread, with the truth first."""
    from fastmlp import digits

    x, t, x_test, t_test = digits.split(seed=0)
    net = fastmlp.MLP([64, 100, 10], loss="cross_entropy", rng=0)
    net.fit(x, t, epochs=60, optimizer=fastmlp.Adam(0.003))
    guesses = net.predict(x_test).argmax(axis=1)
    for k, row in enumerate(np.flatnonzero(guesses != t_test)[:8]):
        picture = x_test[row].reshape(8, 8)
        axes.imshow(picture, cmap="Greys", extent=(10 * k, 10 * k + 8, 0, 8))
        label(axes, 10 * k + 4, -3, f"{t_test[row]},\nnot {guesses[row]}")
    axes.set(xlim=(-1, 79), ylim=(-6, 8.5))
    axes.axis("off")


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
    for hidden, color in ((2, ORANGE), (8, GREEN), (64, BLUE)):
        net = fastmlp.MLP([1, hidden, 1], rng=0)
        net.fit(x, np.sin(2 * x), epochs=1000, batch_size=50, optimizer=fastmlp.Adam(0.01))
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


def classes(axes: Any) -> None:
    """Draw the loss of a row over the probability that its right class got."""
    p = np.linspace(0.002, 1, 300)
    axes.plot(p, -np.log(p), color=BLUE)
    for probability in (0.1, 0.26, 0.9):
        loss = -np.log(probability)
        axes.plot(probability, loss, "o", color=ORANGE)
        axes.text(probability + 0.03, loss + 0.1, f"{probability}: {loss:.2f}", color=GREY)
    axes.set(xlabel="probability of the right class", ylabel="loss of the row", ylim=(0, 6))


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
    axes.set(xlabel="networks in the mean", ylabel="error", ylim=(0, 0.26))


PICTURES: dict[str, Callable[[Any], None]] = {
    "examples": examples,
    "descent": descent,
    "divergence": divergence,
    "batches": batches,
    "map": affine_map,
    "stacked": stacked,
    "xor": xor,
    "approximation": approximation,
    "probability": probability,
    "classes": classes,
    "backpropagation": backpropagation,
    "first-weights": first_weights,
    "overfitting": overfitting,
    "digits": wrong_digits,
    "fast": fast,
    "tables": tables,
}
# In inches, so that a phone shows letters of 10 pixels.
SIZE = (4.2, 2.8)
SIZES = {"stacked": (4.6, 2.2), "backpropagation": (5.2, 2.5), "digits": (4.6, 1.2)}


def save(path: Path, picture: Callable[[Any], None], size: tuple[float, float]) -> None:
    """Draw a picture of a width and a height in inches into a file."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="tight")
        picture(figure.subplots())
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def draw() -> None:
    """Draw those pictures that are not there yet."""
    FOLDER.mkdir(exist_ok=True)
    for name, picture in PICTURES.items():
        path = FOLDER / f"{name}.svg"
        if not path.exists():
            save(path, picture, SIZES.get(name, SIZE))


if __name__ == "__main__":
    draw()
