"""Draws the pictures of the pages about tables into docs/figures; delete one to draw it anew.

The programs are those of the pages, run by their first lines.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS / "course")]

from pictures import BLUE, GREY, ORANGE, SIZE, save  # noqa: E402

FOLDER = DOCS / "figures"


def programs(page: str, count: int) -> dict[str, Any]:
    """Run the first programs of a page; return their names."""
    text, names = (DOCS / page).read_text("utf-8"), {}
    for code in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)[:count]:
        exec(compile(code, page, "exec"), names)
    return names


def intervals(axes: Any) -> None:
    """Draw predictions of new flats in ascending order, their intervals, and the truth."""
    its = programs("guides/intervals.md", 1)
    flats, rent = its["flats"][its["test"]][:60], its["rent"][its["test"]][:60]
    predicted, (low, high) = its["model"].predict(flats), its["model"].predict_interval(flats).T
    order, places = np.argsort(predicted), np.arange(60)
    axes.vlines(places, low[order], high[order], color=BLUE, alpha=0.4, linewidth=4)
    axes.plot(places, predicted[order], ".", color=BLUE, label="predicted, with its interval")
    axes.plot(places, rent.to_numpy()[order], ".", color=ORANGE, label="true")
    axes.set(xlabel="new flats, by their predicted rent", ylabel="rent")
    axes.legend()


def confusion(axes: Any) -> None:
    """Draw the classes of the page beside those that were predicted."""
    programs("guides/tables.md", 2)["classifier"].plot_confusion_matrix(ax=axes)


def dependence(axes: Any) -> None:
    """Draw the mean predicted rent by the area."""
    programs("guides/tables.md", 1)["model"].plot_partial_dependence("area", ax=axes)
    axes.set(xlabel="area", ylabel="mean predicted rent")


def in_time(axes: Any) -> None:
    """Draw a series, the predictions of its last days, and their intervals."""
    its = programs("guides/rows-in-time.md", 1)
    rows, future, low, high = its["shop"], its["future"], its["low"], its["high"]
    axes.plot(
        np.arange(1600, 2000), its["sold"][1600:], ".", color=GREY, markersize=3, label="sold"
    )
    days = np.arange(1800, 2000)
    axes.fill_between(days, low, high, color=BLUE, alpha=0.2, label="interval of 90 %")
    axes.plot(days, its["seller"].predict(rows[future]), color=BLUE, label="predicted")
    axes.set(xlabel="day", ylabel="units sold")
    axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))


PICTURES: dict[str, Callable[[Any], None]] = {
    "flats-intervals": intervals,
    "flats-confusion": confusion,
    "flats-dependence": dependence,
    "shop-time": in_time,
}


def draw() -> None:
    """Draw those pictures that are not there yet."""
    for name, picture in PICTURES.items():
        path = FOLDER / f"{name}.svg"
        if not path.exists():
            save(path, picture, SIZE)


if __name__ == "__main__":
    draw()
