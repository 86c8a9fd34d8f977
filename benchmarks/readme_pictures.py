"""Draw the pictures of the first page and of speed and tables, from stored results.

python benchmarks/readme_pictures.py

Also prints what the pages take from the results: the sentence of the first page, the tables of
training, predictions and latencies, and the ratios of docs/comparison.md. A test compares all.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
TABLES, OUTLIER = "tabular-avx512.json", "weather"
RIVALS = ("HistGB", "LightGBM", "XGBoost", "CatBoost")
CASES = ("tiny", "small", "mnist")
NETWORKS = ("8-32-32-1", "64-128-128-10", "784-256-128-10")
# The file of the results, the column of the times, and what the titles of the cases end with.
PANELS = {
    "a training step": ("train-avx512.json", "us/step", " rows, 1 thread"),
    "prediction of one row": ("predict-avx512.json", "us/call", ", 1 row, 1 thread"),
}
TITLE = re.compile(r"(\w+): (.+), [\d,]+ rows, (\d) threads?")
ROWS = {"1": PANELS["prediction of one row"][2], "1,024": ", 1,024 rows, 1 thread"}
# What the pictures call a library: its names in the results.
BARS = {
    "fastmlp": ("fastmlp", "fastmlp p(x)"),
    "LiteRT": ("LiteRT",),
    "ONNX Runtime": ("ONNX Runtime",),
    "NumPy by hand": ("NumPy",),
    "JAX": ("JAX",),
    "PyTorch": ("PyTorch",),
    "scikit-learn": ("scikit-learn",),
}
COLORS = ("#3b7dd8", "#e07b39", "#3a9a5b", "#9c6b4f", "#d8b13b", "#b05bb0", "#999999")
OURS = {"default": "TabMLP", "fast": 'TabMLP, preset="fast"'}
GREY = "#777777"

Numbers = dict[str, Any]


def results(file: str) -> Numbers:
    """Return the tables of a stored file, by title."""
    tables: Numbers = json.loads((RESULTS / file).read_text(encoding="utf-8"))["results"]
    return tables


def times(file: str, column: str, end: str) -> dict[str, dict[str, float]]:
    """Return microseconds by case and library's name, of the titles that end so."""
    return {
        title.partition(":")[0]: {name: row[column] for name, row in rows.items() if column in row}
        for title, rows in results(file).items()
        if title.endswith(end)
    }


def speed() -> Numbers:
    """Return microseconds by panel, library and case, None where a library was not measured."""
    drawn: Numbers = {}
    for panel, place in PANELS.items():
        cases = times(*place)
        drawn[panel] = {
            library: [microseconds(cases[case], names) for case in CASES]
            for library, names in BARS.items()
        }
    return drawn


def microseconds(rows: dict[str, float], names: tuple[str, ...]) -> float | None:
    """Return the time of a library, which may have one of several names."""
    return next((round(rows[name], 3) for name in names if name in rows), None)


def row() -> Numbers:
    """Return the microseconds of the prediction of one row by the smallest network, by library."""
    bars = {library: cases[0] for library, cases in speed()["prediction of one row"].items()}
    return {library: time for library, time in bars.items() if time is not None}


def sentence() -> str:
    """Return the libraries and times of the first page's picture, the fastest first."""
    bars = sorted(row().items(), key=itemgetter(1))
    return ", ".join(f"{library} {rounded(time)}" for library, time in bars)


def rounded(time: float) -> str:
    """Return a time as text: two digits of it."""
    return f"{float(f'{time:.2g}'):g}"


def training() -> list[str]:
    """Return the lines of the table of training: a step of ours, and of the best other library."""
    file, column, _ = PANELS["a training step"]
    lines = []
    for title, rows in results(file).items():
        case, network, threads = TITLE.fullmatch(title).groups()
        best, time = best_other({name: row[column] for name, row in rows.items() if column in row})
        ours, share = (rows["fastmlp"][name] for name in (column, "of peak, %"))
        cells = case, network, threads, digits(ours), f"{share:.0f} %"
        lines.append(f"| {' | '.join(cells)} | {best}, {digits(time)} | {digits(time / ours)} |")
    return lines


def best_other(rows: dict[str, float]) -> tuple[str, float]:
    """Return the fastest of the other libraries, and its time."""
    return min(((n, t) for n, t in rows.items() if n in BARS and n != "fastmlp"), key=itemgetter(1))


def predictions() -> list[str]:
    """Return the lines of the table of predictions: ours, the best other library, NumPy by hand."""
    lines = []
    (file, column, _) = PANELS["prediction of one row"]
    for size, end in ROWS.items():
        for case, rows in times(file, column, end).items():
            ours, by_hand = rows["fastmlp p(x)"], rows["NumPy"]
            best, time = best_other(rows)
            cells = case, size, digits(ours), f"{best}, {digits(time)}", digits(time / ours)
            lines.append(f"| {' | '.join(cells)} | {digits(by_hand)} |")
    return lines


def latencies() -> list[str]:
    """Return the lines of the table of single predictions: quantiles in microseconds."""
    return [
        f"| {title.partition(':')[0]}, `{way}` | {' | '.join(map(digits, quantiles.values()))} |"
        for title, ways in results("latency-avx512.json").items()
        for way, quantiles in ways.items()
    ]


def comparison() -> list[str]:
    """Return the lines of the ratios of the default's errors and CPU times to those of others."""
    stored = results(TABLES)
    errors, seconds = (
        [rows for title, of in stored.items() if title.endswith(end) for rows in of.items()]
        for end in (("RMSE", "log loss"), "cpu seconds of a fit")
    )
    lines = []
    for rival in RIVALS:
        logs = [math.log(row["default"] / row[rival]) for _, row in errors]
        rest = [log for log, (table, _) in zip(logs, errors, strict=True) if table != OUTLIER]
        means = [fmean(logs), median(logs), fmean(rest)]
        times = [math.log(row["default"] / row[rival]) for _, row in seconds]
        ours, theirs = (sum(row[model] for _, row in seconds) for model in ("default", rival))
        error = stdev(logs) / math.sqrt(len(logs))
        cells = [f"{math.exp(mean):.3f}" for mean in means]
        cells += [f"{error:.3f}", digits(math.exp(fmean(times))), digits(ours / theirs)]
        lines.append(f"| {rival} | {' | '.join(cells)} |")
    return lines


def digits(value: float) -> str:
    """Return a number as text: three digits of it, none after the point from 100 on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def tables() -> Numbers:
    """Return CPU seconds and errors, as a multiple of the default's, by model: geometric means."""
    (means,) = (rows for title, rows in results(TABLES).items() if title.startswith("means of"))
    found = {model: list(row.values()) for model, row in means.items()}
    return {
        model: [float(f"{seconds:.3g}"), round(error / found["default"][1], 3)]
        for model, (seconds, error) in found.items()
    }


def draw_speed(figure: Figure, numbers: Numbers) -> None:
    """Draw one panel of bars for training and one for the prediction of one row."""
    for axes, (title, libraries) in zip(figure.subplots(1, 2), numbers.items(), strict=True):
        for k, (library, cases) in enumerate(libraries.items()):
            bars = [(place, time) for place, time in enumerate(cases) if time is not None]
            places = [place + 0.12 * (k - 3) for place, _ in bars]
            if bars:
                axes.bar(places, [time for _, time in bars], 0.11, color=COLORS[k], label=library)
        axes.set(yscale="log", title=f"{title}, microseconds", facecolor="none")
        axes.set_xticks(range(len(CASES)), NETWORKS, fontsize=8)
    handles, labels = figure.axes[1].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=7, fontsize=8, loc="outside lower center", frameon=False)


def draw_row(figure: Figure, numbers: Numbers) -> None:
    """Draw a bar for each library on a linear scale, the fastest first."""
    axes = figure.add_subplot()
    libraries = sorted(numbers, key=numbers.__getitem__, reverse=True)
    bars = axes.barh(libraries, [numbers[library] for library in libraries], color=COLORS[-1])
    bars[-1].set_color(COLORS[0])
    axes.bar_label(bars, [rounded(numbers[library]) for library in libraries], padding=4)
    axes.set(facecolor="none")
    axes.set_title(f"microseconds for one row, {NETWORKS[0]}", loc="right")
    axes.tick_params(left=False, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)


def draw_tables(figure: Figure, numbers: Numbers) -> None:
    """Draw error over CPU seconds, a point for each model; some have their names below."""
    axes = figure.add_subplot()
    for model, point in numbers.items():
        place: Numbers = {"xytext": (6, 4)}
        is_ours = model in OURS
        if is_ours or model == "HistGB":  # beside another one
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
    "row.svg": (row, draw_row, (4.2, 2.4)),
    "speed.svg": (speed, draw_speed, (9, 3.2)),
    "tables.svg": (tables, draw_tables, (4.4, 3)),
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
    print(sentence(), *training(), *predictions(), *latencies(), *comparison(), sep="\n")
