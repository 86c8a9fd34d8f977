"""Pages of HTML: one file with all pictures and styles inside."""

from __future__ import annotations

import html
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from fastmlp._core.atomic_files import write as write_file
from fastmlp._core.charts import Axes

STYLE, PAGE = (Path(__file__).with_name(f"page.{kind}") for kind in ("css", "html"))

# Title and text, both plain, and HTML, or charts by their captions.
Section: TypeAlias = tuple[str, str, "str | Axes | dict[str, Axes]"]


def write(path: str | os.PathLike[str], title: str, lead: str, sections: Iterable[Section]) -> None:
    """Write a page of sections, which opens with a sentence."""
    parts = []
    for name, text, body in sections:
        if isinstance(body, Axes):
            body = body.svg(name)
        elif isinstance(body, dict):
            body = "".join(_figure(name, caption, chart) for caption, chart in body.items())
        above = f"<h2>{html.escape(name)}</h2>" + f"<p>{html.escape(text)}</p>" * bool(text)
        parts.append(f"<section>{above}{body}</section>")
    page = PAGE.read_text(encoding="utf-8").format(
        title=html.escape(title),
        lead=html.escape(lead),
        style=STYLE.read_text(encoding="utf-8"),
        sections="\n".join(parts),
        version=sys.modules["fastmlp"].__version__,
    )
    write_file(path, [page.encode()])


def _figure(name: str, caption: str, chart: Axes) -> str:
    picture = chart.svg(f"{name}: {caption}")
    return f"<figure><figcaption>{html.escape(caption)}</figcaption>{picture}</figure>"


def number(value: float) -> str:
    """Return a number rounded to four digits, below ten million without an exponent."""
    text = f"{value:.4g}"
    return f"{float(text):,.0f}" if "e+0" in text and abs(value) < 1e7 else text


def table(rows: Iterable[Iterable[Any]], head: Iterable[Any] = ()) -> str:
    """Return a table of HTML; the cells are plain text."""
    names = "".join(f"<th>{html.escape(str(cell))}</th>" for cell in head)
    lines = [f"<tr>{names}</tr>"] if names else []
    for first, *others in rows:
        cells = "".join(f"<td>{html.escape(str(cell))}</td>" for cell in others)
        lines.append(f"<tr><th>{html.escape(str(first))}</th>{cells}</tr>")
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def bars(values: Mapping[str, float], label: str) -> Axes:
    """Return a chart of bars, the first at the top."""
    ax = Axes()
    ax.barh(list(values)[::-1], list(values.values())[::-1])
    ax.set(xlabel=label)
    return ax
