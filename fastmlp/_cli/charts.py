"""Charts as SVG, drawn through those methods of matplotlib's axes that plots of estimators call.

So `model.plot_history(ax=Axes())` draws without matplotlib, in the colours of the page.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

WIDTH = 460  # of a picture, in its own units, as all lengths here
PLOT = 222  # the height of lines and points
LEGEND = 20  # the height of a row of the legend, above them
LEFT, RIGHT, TOP, BOTTOM = 80, 16, 14, 46  # margins
BAR = 26  # the height of a bar and the gap below it
NAMES = 156  # room for the names of bars
LONGEST = 16  # characters of such a name
MOST_TICKS = 6


class Axes:
    """One chart: lines, points and vertical lines, or horizontal bars.

    Attributes
    ----------
    label : str
        Of the lines to come, instead of their own; empty for their own.
    """

    def __init__(self) -> None:
        self.label = ""
        self._lines: list[tuple[Any, Any, str, str]] = []  # x, y, CSS class, label
        self._points: list[tuple[Any, Any]] = []
        self._bars: tuple[Sequence[str], Any, Any] | None = None
        self._labels = {"xlabel": "", "ylabel": ""}

    def plot(self, x: Any, y: Any, *, label: str = "", color: str = "", **style: Any) -> None:
        """Draw a line; a grey one is a guide for the eye."""
        del style
        count = sum(kind != "guide" for *_, kind, _ in self._lines)
        if color:
            self._lines.append((x, y, "guide", ""))
        else:
            self._lines.append((x, y, f"line{count}", self.label or label))

    def axvline(self, x: float, **style: Any) -> None:
        """Draw a vertical line over the whole height."""
        self._lines.append(([x, x], [math.nan, math.nan], "guide", style.get("label", "")))

    def scatter(self, x: Any, y: Any) -> None:
        """Draw points."""
        self._points.append((x, y))

    def barh(self, names: Sequence[str], widths: Any, xerr: Any = None) -> None:
        """Draw horizontal bars, the first at the bottom."""
        self._bars = (names, np.asarray(widths, float), xerr)

    def set(self, **labels: str) -> None:
        """Name the axes."""
        self._labels.update(labels)

    def legend(self) -> None:
        """Do nothing: what has a label is always explained."""

    def svg(self, title: str) -> str:
        """Return the picture; the title is for those who cannot see it."""
        height, parts = self._bar_parts() if self._bars else self._line_parts()
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(_text(middle, height - 8, self._labels["xlabel"], "middle"))
        if self._labels["ylabel"]:
            turned = f'<g transform="translate(13 {(TOP + height - BOTTOM) / 2:.0f}) rotate(-90)">'
            parts.append(f"{turned}{_text(0, 0, self._labels['ylabel'], 'middle')}</g>")
        return (
            f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{html.escape(title)}">'
            f"{''.join(parts)}</svg>"
        )

    def _line_parts(self) -> tuple[float, list[str]]:
        curves = [(x, y) for x, y, *_ in self._lines] + self._points
        x_range = _range(np.concatenate([np.asarray(x, float) for x, _ in curves]))
        y_range = _range(np.concatenate([np.asarray(y, float) for _, y in curves]))
        labels = [(kind, label) for *_, kind, label in self._lines if label]
        top = TOP + LEGEND * -(-len(labels) // 2)
        bottom = top + PLOT

        def across(x: float) -> float:
            return LEFT + (WIDTH - LEFT - RIGHT) * _share(x, x_range)

        def down(y: float) -> float:
            return bottom - PLOT * _share(y, y_range)

        parts = _x_ticks(x_range, across, top, bottom)
        for y in ticks(*y_range):
            parts.append(f'<path class="grid" d="M{LEFT} {down(y):.1f}H{WIDTH - RIGHT}"/>')
            parts.append(_text(LEFT - 6, down(y) + 4, f"{y:.6g}", "end"))
        for x, y in self._points:
            parts += [
                f'<circle class="point" r="2.5" cx="{across(a):.1f}" cy="{down(b):.1f}"/>'
                for a, b in zip(x, y, strict=True)
            ]
        for x, y, kind, _ in self._lines:
            ends = {0: bottom, 1: top}  # of a vertical line, whose heights are no numbers
            places = (
                f"{across(a):.1f} {ends[k] if math.isnan(b) else down(b):.1f}"
                for k, (a, b) in enumerate(zip(x, y, strict=True))
            )
            parts.append(f'<path class="{kind}" d="M{"L".join(places)}"/>')
        for k, (kind, label) in enumerate(labels):
            x, y = LEFT + k % 2 * (WIDTH - LEFT) / 2, TOP + LEGEND * (k // 2)
            parts.append(f'<path class="{kind}" d="M{x:.0f} {y}h18"/>')
            parts.append(_text(x + 24, y + 4, _short(label), "start"))
        return bottom + BOTTOM, parts

    def _bar_parts(self) -> tuple[float, list[str]]:
        names, widths, errors = self._bars or ((), np.empty(0), None)
        errors = np.zeros(len(widths)) if errors is None else np.asarray(errors)
        range_ = _range(np.concatenate([widths + errors, widths - errors, [0.0]]))
        height = TOP + BAR * len(names) + BOTTOM

        def across(x: float) -> float:
            return NAMES + (WIDTH - NAMES - RIGHT) * _share(x, range_)

        parts = _x_ticks(range_, across, TOP, height - BOTTOM)
        each = zip(reversed(names), widths[::-1], errors[::-1], strict=True)
        for k, (name, width, error) in enumerate(each):
            y, ends = TOP + BAR * k, sorted((across(0), across(width)))
            parts.append(
                f'<rect class="bar" x="{ends[0]:.1f}" y="{y}" height="{BAR - 8}" '
                f'width="{ends[1] - ends[0]:.1f}"><title>{html.escape(name)}: {width:.4g}</title>'
                "</rect>"
            )
            if error:
                low, high = across(width - error), across(width + error)
                parts.append(f'<path class="error" d="M{low:.1f} {y + 9}H{high:.1f}"/>')
            parts.append(_text(NAMES - 8, y + 14, _short(name), "end"))
        return height, parts


def ticks(low: float, high: float) -> list[float]:
    """Return round numbers within a range, at most `MOST_TICKS`."""
    raw = (high - low) / (MOST_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * k for k in (1, 2, 2.5, 5, 10) if power * k >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _range(values: Any) -> tuple[float, float]:
    """Return the limits of an axis: those of the finite values, never equal."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    room = max((high - low) * 0.02, abs(high) * 1e-6, 1e-12)
    return low - room * (low != 0), high + room


def _share(value: float, range_: tuple[float, float]) -> float:
    low, high = range_
    return (min(max(value, low), high) - low) / (high - low)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _x_ticks(range_: tuple[float, float], across: Any, top: float, bottom: float) -> list[str]:
    parts = []
    for x in ticks(*range_):
        parts.append(f'<path class="grid" d="M{across(x):.1f} {top}V{bottom}"/>')
        parts.append(_text(across(x), bottom + 16, f"{x:.6g}", "middle"))
    return parts


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'
