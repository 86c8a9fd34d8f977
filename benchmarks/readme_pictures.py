"""Draw the pictures of the first page and of speed and tables, from stored results.

python benchmarks/readme_pictures.py

The description in each file holds the numbers that it shows;
a test compares them with their source.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
TABLES = "tabular-avx512.json"
CASES = ("tiny", "small", "mnist")
NETWORKS = ("8-32-32-1", "64-128-128-10", "784-256-128-10")
PANELS = {  # the file of the results, and the name of a case there
    "a training step": ("train-avx512.json", "{}, 1 threads"),
    "prediction of one row": ("predict-avx512.json", "{}, 1 rows, 1 threads"),
}
# What stands in the results, and what the legend says.
BARS = {
    "fastmlp": ("fastmlp", "fastmlp p(x)"),
    "JAX": ("JAX", "JAX jit"),
    "ONNX Runtime": ("", "ONNX Runtime"),
    "PyTorch": ("PyTorch", "PyTorch jit"),
    "scikit-learn": ("scikit-learn", "scikit-learn"),
}
COLORS = ("#3b7dd8", "#e07b39", "#3a9a5b", "#b05bb0", "#999999")
OURS = {"default": "TabMLP", "fast": 'TabMLP, preset="fast"'}
GREY = "#777777"

Numbers = dict[str, Any]


def speed() -> Numbers:
    """Return microseconds by panel, library and case, None where a library was not measured."""
    found: Numbers = {}
    for column, (title, (file, key)) in enumerate(PANELS.items()):
        results = json.loads((RESULTS / file).read_text(encoding="utf-8"))["results"]
        found[title] = {
            library: [microseconds(results[key.format(case)], names[column]) for case in CASES]
            for library, names in BARS.items()
        }
    return found


def row() -> Numbers:
    """Return the microseconds of the prediction of one row by the smallest network, by library."""
    times = {library: times[0] for library, times in speed()["prediction of one row"].items()}
    return {library: time for library, time in times.items() if time is not None}


def microseconds(found: Numbers, name: str) -> float | None:
    """Return the median time of a library in a case."""
    medians = (each["median"] for each in found.get(name, {}).values() if isinstance(each, dict))
    return next((round(median * 1e6, 3) for median in medians), None)


def tables() -> Numbers:
    """Return CPU seconds and errors, as a multiple of the default's, by model: geometric means."""
    results = json.loads((RESULTS / TABLES).read_text(encoding="utf-8"))["results"]
    (means,) = (rows for title, rows in results.items() if title.startswith("means of"))
    found = {model: list(row.values()) for model, row in means.items()}
    return {
        model: [float(f"{seconds:.3g}"), round(error / found["default"][1], 3)]
        for model, (seconds, error) in found.items()
    }


def draw_speed(figure: Figure, numbers: Numbers) -> None:
    """Draw one panel of bars for training and one for the prediction of one row."""
    for axes, (title, libraries) in zip(figure.subplots(1, 2), numbers.items(), strict=True):
        for k, (library, times) in enumerate(libraries.items()):
            bars = [(place, time) for place, time in enumerate(times) if time is not None]
            places = [place + 0.16 * (k - 2) for place, _ in bars]
            axes.bar(places, [time for _, time in bars], 0.15, color=COLORS[k], label=library)
        axes.set(yscale="log", title=f"{title}, microseconds", facecolor="none")
        axes.set_xticks(range(len(CASES)), NETWORKS, fontsize=8)
    handles, labels = figure.axes[1].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=5, loc="outside lower center", frameon=False)


def draw_row(figure: Figure, numbers: Numbers) -> None:
    """Draw a bar for each library on a linear scale, the fastest first."""
    axes = figure.add_subplot()
    libraries = sorted(numbers, key=numbers.__getitem__, reverse=True)
    bars = axes.barh(libraries, [numbers[library] for library in libraries], color=COLORS[-1])
    bars[-1].set_color(COLORS[0])
    axes.bar_label(bars, [f"{numbers[library]:.2g}" for library in libraries], padding=4)
    axes.set(title=f"prediction of one row, {NETWORKS[0]}, microseconds", facecolor="none")
    axes.tick_params(left=False, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)


def draw_tables(figure: Figure, numbers: Numbers) -> None:
    """Draw error over CPU seconds, a point for each model; ours have their names below."""
    axes = figure.add_subplot()
    for model, point in numbers.items():
        place: Numbers = {"xytext": (6, 4)}
        if is_ours := model in OURS:
            place = {"xytext": (0, -16), "ha": "center"}
        axes.plot(*point, "o" if is_ours else "s", color=COLORS[not is_ours])
        axes.annotate(OURS.get(model, model), point, **place, textcoords="offset points")
    seconds, errors = zip(*numbers.values(), strict=True)
    limits = {"xlim": (min(seconds) / 1.5, 4 * max(seconds)), "ylim": (0.97, 1.03 * max(errors))}
    axes.set(xscale="log", yscale="log", facecolor="none", xlabel="CPU seconds of a fit", **limits)
    axes.set_title("tables: error, relative to TabMLP")
    axes.set_yticks((1, 1.1, 1.2), ("1", "1.1", "1.2"))
    axes.yaxis.set_minor_locator(NullLocator())


# File: its numbers, how they are drawn, and its size in inches.
PICTURES: dict[
    str,
    tuple[Callable[[], Numbers], Callable[[Figure, Numbers], None], tuple[float, float]],
] = {
    "row.svg": (row, draw_row, (8, 1.8)),
    "speed.svg": (speed, draw_speed, (9, 3.2)),
    "tables.svg": (tables, draw_tables, (6, 3.2)),
}


def main(folder: Path) -> None:
    """Draw all pictures into a folder."""
    colors = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), GREY)
    colors |= dict.fromkeys(("xtick.color", "ytick.color"), GREY)
    with mpl.rc_context({"svg.hashsalt": "fastmlp", **colors}):
        for name, (read, draw, size) in PICTURES.items():
            figure = Figure(figsize=size, layout="constrained", facecolor="none")
            numbers = read()
            draw(figure, numbers)
            for axes in figure.axes:
                axes.spines[["top", "right"]].set_visible(False)
            metadata = {"Date": None, "Description": json.dumps(numbers)}
            figure.savefig(folder / name, metadata=metadata, bbox_inches="tight")


if __name__ == "__main__":
    main(ROOT / "docs" / "figures")
