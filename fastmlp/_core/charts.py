"""Charts as SVG: ``history.plot(ax=Axes())`` draws without matplotlib, in the page's colours."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

WIDTH = 460  # the unit of all lengths here is that of SVG
PLOT = 222  # height of lines and points
LEGEND = 20  # height of a row of the legend, above them
LEFT, RIGHT, TOP, BOTTOM = 80, 16, 14, 46  # margins
BAR = 26  # height of a bar and the gap below it
NAMES = 156  # left margin for the names of bars
LONGEST = 16  # characters shown of the name of a bar
HALF_ROW, WHOLE_ROW = 20, 46  # characters for which a row of the legend has room, twice or once
MOST_TICKS = 6
COLORS = ("--c0, #3b7dd8", "--c1, #d9661f", "--c2, #2a9d5c", "--c3, #a35fc4")
GRID = "stroke: var(--edge, #8885)"
GUIDE = "fill: none; stroke-dasharray: 4 4; stroke: var(--soft, #888)"
ERROR = "stroke-width: 1.5; stroke: var(--ink, #888)"
FIRST = f"fill: var({COLORS[0]})"
SVG = (
    '<svg viewBox="0 0 {} {:g}" role="img" aria-label="{}" font-size="13" font-family="sans-serif"'
    ' style="display: block; width: 100%; max-width: 36rem">{}</svg>'
)


class Axes:
    """One chart: lines, points and vertical lines, or horizontal bars.

    Attributes
    ----------
    label : str
        Label of the next lines, instead of their own; empty for their own.
    range : tuple of two floats, optional
        Values that the axis of the lines or bars reaches; see `include`.
    xaxis : Axes
        The chart itself, for ``set_major_formatter``.
    """

    def __init__(self) -> None:
        self.label = ""
        self._lines: list[tuple[Any, Any, str, str]] = []  # x, y, CSS, label
        self._verticals: list[tuple[float, str]] = []
        self._points: list[tuple[Any, Any]] = []
        self._bars: list[tuple[str, float, float]] = []  # name, width, error; from the top
        self._labels = {"xlabel": "", "ylabel": ""}
        self.range: tuple[float, float] | None = None
        self._x_text: Callable[[float, Any], str] = lambda x, _: f"{x:.6g}"

    def plot(
        self, x: ArrayLike, y: ArrayLike, *, label: str = "", color: str = "", **style: Any
    ) -> None:
        """Draw a line; a line with a colour is a grey guide for the eye."""
        number = sum(css != GUIDE for *_, css, _ in self._lines) % len(COLORS)
        css = f"fill: none; stroke-width: 2; stroke: var({COLORS[number]}); stroke-linecap: round"
        self._lines.append((x, y, GUIDE, "") if color else (x, y, css, self.label or label))

    def axvline(self, x: float, *, label: str = "", **style: Any) -> None:
        """Draw a vertical line over the whole height."""
        self._verticals.append((x, label))

    def scatter(self, x: ArrayLike, y: ArrayLike) -> None:
        """Draw points."""
        self._points.append((x, y))

    def barh(self, names: Sequence[str], widths: Any, xerr: Any = None) -> None:
        """Draw horizontal bars, the first at the bottom."""
        errors = np.zeros(len(names)) if xerr is None else xerr
        self._bars = list(zip(names, widths, errors, strict=True))[::-1]

    def set(self, **labels: str) -> None:
        """Name the axes; ``xscale="log"`` makes the x-axis of lines logarithmic."""
        self._labels |= labels

    @property
    def xaxis(self) -> Axes:
        """The horizontal axis."""
        return self

    def set_major_formatter(self, text: Callable[[float, Any], str]) -> None:
        """Set the function from a place on the horizontal axis, and None, to its text."""
        self._x_text = text

    def include(self, low: float, high: float) -> None:
        """Let the axis of the lines or bars reach both values, so that charts have a common one."""
        self.range = low, high

    def legend(self) -> None:
        """Do nothing: every label is explained."""

    def _drawn_bars(self, across: Callable[[float], float], left: float, top: float) -> list[str]:
        """Return the bars, with their names to the left and their errors."""
        parts = []
        for k, (name, width, error) in enumerate(self._bars):
            low, high = sorted((across(0), across(width)))
            box = f'x="{low:.1f}" y="{top + BAR * k}" width="{high - low:.1f}" height="{BAR - 8}"'
            tip = f"<title>{html.escape(name)}: {width:.4g}</title>"
            parts.append(f'<rect style="{FIRST}" {box}>{tip}</rect>')
            parts.append(_text(left - 8, top + BAR * k + 14, _short(name), "end"))
            if error:
                span = across(width - error), across(width + error)
                parts.append(_path(f"M{span[0]:.1f} {top + BAR * k + 9}H{span[1]:.1f}", ERROR))
        return parts

    def svg(self, title: str) -> str:
        """Return the picture; screen readers read the title."""
        is_log = self._labels.get("xscale") == "log"
        if is_log:
            self._lines = [(np.log10(x), *more) for x, *more in self._lines]
            self._verticals = [(math.log10(x), label) for x, label in self._verticals]
        labels = [(css, label) for *_, css, label in self._lines if label]
        labels += [(GUIDE, label) for _, label in self._verticals if label]
        left, right, top = NAMES if self._bars else LEFT, WIDTH - RIGHT, TOP
        per_row = 2 if all(len(label) <= HALF_ROW for _, label in labels) else 1
        top += LEGEND * -(-len(labels) // per_row)
        bottom = top + (BAR * len(self._bars) or PLOT)
        curves = [(x, y) for x, y, *_ in self._lines] + self._points
        ends = [width + side * error for _, width, error in self._bars for side in (-1, 1)]
        xs = [*(x for x, _ in curves), [x for x, _ in self._verticals], [*ends, 0] if ends else []]
        common: list[Any] = [] if self.range is None else [self.range]
        across, x_ticks = _scale([*xs, *common * bool(self._bars)], left, right)
        down, y_ticks = _scale([*(y for _, y in curves), *common], bottom, top)
        parts = []
        for x in x_ticks:
            parts.append(_path(f"M{across(x):.1f} {top}V{bottom}", GRID))
            text = f"{float(f'{10**x:.2g}'):g}" if is_log else self._x_text(x, None)
            parts.append(_text(across(x), bottom + 16, text, "middle"))
        for y in () if self._bars else y_ticks:
            parts.append(_path(f"M{left} {down(y):.1f}H{right}", GRID))
            parts.append(_text(left - 6, down(y) + 4, f"{y:.6g}", "end"))
        parts += self._drawn_bars(across, left, top)
        for points in self._points:
            for x, y in zip(*points, strict=True):
                place = f'cx="{across(x):.1f}" cy="{down(y):.1f}"'
                parts.append(f'<circle style="{FIRST}; fill-opacity: .5" r="2.5" {place}/>')
        for x, _ in self._verticals:
            parts.append(_path(f"M{across(x):.1f} {top}V{bottom}", GUIDE))
        for xs, ys, css, _ in self._lines:
            every = -(-len(xs) // WIDTH)  # not more points than can be seen
            curve = list(zip(xs, ys, strict=True))[::-every][::-1]
            places = [f"{across(x):.1f} {down(y):.1f}" for x, y in curve if math.isfinite(y)]
            if places:
                parts.append(_path(f"M{'L'.join([places[0], *places])}", css))
        for k, (css, label) in enumerate(labels):
            x, y = LEFT + k % per_row * (WIDTH - LEFT) / 2, TOP + LEGEND * (k // per_row)
            text = _short(label, WHOLE_ROW)
            parts += [_path(f"M{x:.0f} {y}h18", css), _text(x + 24, y + 4, text, "start")]
        middle, foot = (LEFT + right) / 2, bottom + BOTTOM
        parts.append(_text(middle, foot - 8, self._labels["xlabel"], "middle"))
        if self._labels["ylabel"]:
            turn = f'<g transform="translate(13 {(top + bottom) / 2:.0f}) rotate(-90)">'
            parts.append(f"{turn}{_text(0, 0, self._labels['ylabel'], 'middle')}</g>")
        return SVG.format(WIDTH, foot, html.escape(title), "".join(parts))


def ticks(low: float, high: float) -> list[float]:
    """Return round numbers within a range, at most `MOST_TICKS`."""
    raw = (high - low) / (MOST_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * k for k in (1, 2, 2.5, 5, 10) if power * k >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _scale(
    values: Sequence[Any], start: float, end: float
) -> tuple[Callable[[float], float], list[float]]:
    """Return the map from values to places from start to end, and the ticks of the axis."""
    numbers = np.concatenate([np.asarray(array, float).ravel() for array in [*values, []]])
    finite = numbers[np.isfinite(numbers)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    room = max((high - low) * 0.02, abs(high) * 1e-6, 1e-12)  # the ends are never equal
    low, high = low - room * (low != 0), high + room

    def place(value: float) -> float:
        return start + (end - start) * (min(max(value, low), high) - low) / (high - low)

    return place, ticks(low, high)


def _short(name: str, most: int = LONGEST) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _path(commands: str, css: str) -> str:
    return f'<path style="{css}" d="{commands}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    css = "fill: var(--soft, currentColor)"
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text style="{css}" {place}>{html.escape(text)}</text>'
