"""How a report of a fit looks in a notebook, and as a page of a model without its rows."""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fastmlp._core import page
from fastmlp._core.charts import Axes

Lines = Iterable[tuple[str, str]]  # facts, each with its name

WITHOUT_ROWS = "Errors and columns are on the page that is written right after the fit."


def as_html(lines: Lines, pictures: Sequence[Callable[..., Any]]) -> str:
    """Return a table of the facts, and pictures."""
    cell = '<tr><th style="text-align: left">{}</th><td style="text-align: left">{}</td></tr>'
    rows = [cell.format(*map(html.escape, line)) for line in lines]
    charts = [Axes() for _ in pictures]
    for draw, ax in zip(pictures, charts, strict=True):
        draw(ax=ax)
    drawn = [ax.svg("part of the report of a fit") for ax in charts]
    return "".join(["<table>", *rows, "</table>", *drawn])


def write_facts(path: str | os.PathLike[str], lines: Lines) -> None:
    """Write a page of the facts alone."""
    page.write(path, "A model of a table", WITHOUT_ROWS, [("What was done", "", page.table(lines))])
