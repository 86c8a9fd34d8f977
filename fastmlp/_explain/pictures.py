"""Pictures of explanations, with matplotlib, or in HTML by the charts of the library."""

from __future__ import annotations

import contextlib
import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp._core import charts
from fastmlp._core.optional import axes
from fastmlp._core.printable import printable
from fastmlp._explain.explained import Array
from fastmlp._validation.arrays import is_missing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UP, DOWN = "tab:red", "tab:blue"
JITTER = 0.35  # points move by this share of the height of a column
MARGIN = 0.05  # the bars of a row have it, as a share of their range
LONGEST = 24  # characters shown of a value


def shown(value: Any) -> str:
    """Return a cell of a table as people read it."""
    if is_missing(value):
        return "missing"
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    text = printable(str(value)).removesuffix(" 00:00:00")
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def largest_first(values: Array, most: int) -> tuple[Array, float]:
    """Return the places of the largest values, and the sum of the others."""
    order = np.argsort(-np.abs(values), kind="stable")
    kept = order[: most if len(order) <= most else most - 1]
    return kept, float(values.sum() - values[kept].sum())


def bars(
    names: Sequence[str], data: Array, values: Array, most: int
) -> tuple[list[str], list[float]]:
    """Return labels and values of one row, the largest first; the last may be all others."""
    kept, others = largest_first(values, most)
    labels = [f"{printable(names[k])} = {shown(data[k])}" for k in kept]
    heights = values[kept].tolist()
    if len(kept) < len(values):
        labels.append(f"{len(values) - len(kept)} others")
        heights.append(others)
    return labels, heights


def waterfall(
    labels: list[str], heights: list[float], base: float, unit: str, ax: Axes | None
) -> Axes:
    """Plot how columns lead from the base, below, to the prediction, above."""
    ax = axes(ax, "Explanation.plot")
    widths = np.array(heights[::-1])
    ends = base + np.cumsum(widths)
    colors = [UP if width >= 0 else DOWN for width in widths]
    ax.barh(labels[::-1], widths, left=ends - widths, color=colors)
    ax.axvline(base, color="gray", linestyle=":", label=f"base {base:.4g}")
    ax.axvline(ends[-1] if len(ends) else base, color="black", linestyle=":", label="prediction")
    low, high = np.append(ends, base).min(), np.append(ends, base).max()
    margin = MARGIN * (high - low) or 1.0
    ax.set(xlabel=unit, xlim=(low - margin, high + margin))
    ax.legend()
    return ax


def all_rows(
    names: Sequence[str], data: Array, values: Array, most: int, unit: str, ax: Axes | None
) -> Axes:
    """Plot a point for each row and column, coloured by the rank of its value."""
    ax = axes(ax, "Explanation.plot")
    size = np.abs(values).mean(axis=0) if len(values) else np.zeros(len(names))
    kept = np.argsort(-size, kind="stable")[:most][::-1]
    for place, k in enumerate(kept):
        shares = ranks(data[:, k])
        height = place + JITTER * np.sin(np.arange(len(values)) * 2.4)  # spreads them evenly
        points = ax.scatter(values[:, k], height, c=shares, cmap="coolwarm", vmin=0, vmax=1, s=9)
    if len(kept):
        bar = ax.figure.colorbar(points, ax=ax, ticks=[0, 1])
        bar.ax.set_yticklabels(["low", "high"])
    ax.axvline(0.0, color="gray", linestyle=":")
    ax.set_yticks(range(len(kept)), [printable(names[k]) for k in kept])
    ax.set(xlabel=f"contribution to the {unit}")
    return ax


def scatter(name: str, cells: Array, values: Array, unit: str, ax: Axes | None) -> Axes:
    """Plot the contributions of a column by its values; categories are in their order."""
    ax = axes(ax, "Explanation.plot_scatter")
    numbers = as_numbers(cells)
    if numbers is None:
        texts, places = np.unique([shown(cell) for cell in cells], return_inverse=True)
        ax.scatter(places, values, s=9)
        ax.set_xticks(range(len(texts)), texts, rotation=45, ha="right")
    else:
        ax.scatter(numbers, values, s=9)
    ax.set(xlabel=printable(name), ylabel=f"contribution to the {unit}")
    return ax


def as_numbers(cells: Array) -> Array | None:
    """Return the numbers or dates of a column, None if it has other values."""
    if cells.dtype == object:
        cells = np.array([None if is_missing(cell) else cell for cell in cells], object)
    for dtype in (np.float64, "M8[us]"):
        with contextlib.suppress(TypeError, ValueError):
            return np.asarray(cells, dtype)
    return None


def ranks(cells: Array) -> Array:
    """Return the places of values among the distinct ones, from 0 to 1; 0.5 without an order."""
    numbers = as_numbers(cells)
    if numbers is None:
        return np.full(len(cells), 0.5)
    distinct, places = np.unique(numbers, return_inverse=True)
    return places / max(len(distinct) - 1, 1)


def as_html(sentence: str, names: Sequence[str], widths: Sequence[float], xlabel: str) -> str:
    """Return a sentence and bars for notebooks."""
    chart = charts.Axes()
    chart.barh(list(names)[::-1], list(widths)[::-1])
    chart.set(xlabel=xlabel)
    return f"<p>{html.escape(sentence)}</p>{chart.svg(sentence)}"
