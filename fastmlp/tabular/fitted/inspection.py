"""Plots of fitted estimators of tables, and how the importance of columns is measured."""

from __future__ import annotations

import operator
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp._core.optional import Drawing, axes
from fastmlp.tabular.fitted.fitted_table import FittedTable
from fastmlp.tabular.fitted.results import NO_ROWS, Importance
from fastmlp.tabular.table.columns import Array, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

CALIBRATION_PARTS = 10
SEED = 0  # the shuffles begin with it
FEWEST_ROWS = 20  # each part has these, however short the time is
SHORTEST = 1e-4  # assumed seconds of a pass over the rows, for coarse clocks
LEVELS = np.linspace(0.05, 0.95, 19)
SAME = 1e-4  # largest relative difference of equal predictions, by rounding in float32


def reliability(
    probability: Array, happened: Array, weights: Array | None, ax: Axes | None
) -> Axes:
    """Plot the observed frequency of events against their predicted probability."""
    w = np.ones(len(probability)) if weights is None else weights
    order = np.argsort(probability, kind="stable")
    order = order[w[order] > 0]
    parts = np.array_split(order, min(CALIBRATION_PARTS, len(order)))
    x, y = (
        [np.average(values[rows], weights=w[rows]) for rows in parts]
        for values in (probability, happened)
    )
    return calibration(x, y, "probability", "share that happened", ax)


def calibration(x: ArrayLike, y: ArrayLike, xlabel: str, ylabel: str, ax: Axes | None) -> Axes:
    """Plot observed against predicted shares, with the diagonal where they agree."""
    ax = axes(ax, "plot_calibration")
    ax.plot([0, 1], [0, 1], color="gray", linestyle=":")
    ax.plot(x, y, marker="o", label="out of fold")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend()
    return ax


def history(fitted: FittedTable, ax: Axes | None) -> Axes:
    """Plot the score of held-out rows by epoch, and the epoch that is kept."""
    ax, target, facts = axes(ax, "plot_history"), fitted.target, fitted.facts
    epochs, alone, together, compared = np.reshape(facts.curve, (-1, 4)).T
    lines = {"single members": alone, "members together": together}
    if target.kind == "classes":
        lines["members together, calibrated"] = compared
    metric, shown = facts.report.metric, target.shown
    if scoring := fitted.parameters["scoring"]:
        metric, shown = str(getattr(scoring, "__name__", scoring)), operator.neg
        lines = {"members together": compared}
    for label, costs in lines.items():
        ax.plot(epochs, list(map(shown, costs)), label=label)
    ax.set(xlabel="epoch", ylabel=f"{metric}, out of fold")
    if facts.best_epoch:
        ax.axvline(facts.best_epoch, color="gray", linestyle=":", label="kept")
        ax.legend()
    else:
        ax.set_title("The blend is a linear part alone, without epochs.")
    return ax


def bars(importances: Importance, most: int, ax: Drawing) -> Drawing:
    """Plot importance, the largest at the top."""
    count = min(most, len(importances.names))
    ax.barh(
        importances.names[:count][::-1],
        importances.means[:count][::-1],
        xerr=importances.deviations[:count][::-1],
    )
    ax.set(xlabel=f"increase of {importances.unit}")
    return ax


def confusion(counts: Array, names: list[str], ax: Axes) -> None:
    """Draw the rows by true and predicted class, shaded by the share of the true class."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (i, j), share in np.ndenumerate(shares):
        color = "white" if share > 0.5 else "black"
        ax.text(j, i, f"{counts[i, j]:,.6g}", ha="center", va="center", color=color)
    ax.set_xticks(range(len(names)), names, rotation="vertical" if len(names) > 4 else None)
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="predicted class, out of fold", ylabel="true class")


def importance(
    fitted: FittedTable,
    others: tuple[Table, Any] | None,
    rounds: int,
    time_limit: float | None = None,
    verbose: bool = False,
) -> Importance:
    """Return the importance of columns on other rows, or out of fold on those of the fit.

    Columns are permuted (Breiman 2001, "Random forests", section 10). With a limit there are as
    many rounds as fit into it, at least one, of a sample of the rows if all take too long.
    """
    rows_of_all = others or fitted.rows
    if rows_of_all is None:
        raise ValueError(NO_ROWS.format("importance without X and y"))
    (table, target), columns = rows_of_all, fitted.columns
    w, parts = fitted.out_of_fold.weights, fitted.held_out_parts()
    if others and not _are_of_fit(fitted, table, parts):
        w, parts = None, [(fitted.predict, np.arange(len(table)))]
    w = target.cost_weights(w)
    w = np.ones(len(table)) if w is None else w
    rng = np.random.default_rng(SEED)

    def cost(shuffled: Table) -> float:
        total, count = 0.0, 0.0
        for predict, rows in parts:
            prediction = predict(shuffled.take(rows))
            total += float((target.costs(prediction, rows) * w[rows]).sum())
            count += float(w[rows].sum())
        return total / count

    began = time.monotonic()
    plain = cost(table)
    increases: dict[str, list[float]] = {}
    if time_limit is not None and columns.used:
        passes = time_limit / max(time.monotonic() - began, SHORTEST) / len(columns.used)
        rounds = min(rounds, max(int(passes), 1))
        if passes < 1:
            parts = [(predict, _sample(rows, passes, rng)) for predict, rows in parts]
            plain = cost(table)
    for k, name in enumerate(columns.used):
        if verbose:
            text = f"importance: column {k + 1} of {len(columns.used)}"
            print(f"\r{text}", end="", file=sys.stderr, flush=True)
        shuffled = (columns.permuted(table, k, rng) for _ in range(rounds))
        increases[name] = [cost(one) - plain for one in shuffled]
    if verbose and increases:
        print(file=sys.stderr)
    costs = np.reshape([*increases.values()], (len(increases), rounds))
    means, deviations = costs.mean(axis=1), costs.std(axis=1)
    order = np.argsort(-means, kind="stable")
    names = [list(increases)[k] for k in order]
    return Importance(names, means[order], deviations[order], target.cost_name)


def _are_of_fit(fitted: FittedTable, table: Table, parts: list[tuple[Any, Array]]) -> bool:
    """Whether these are the rows of the fit: their out-of-fold predictions are the same."""
    expected, m = fitted.out_of_fold.predictions, fitted.calibration.outputs
    if len(table) != len(expected):
        return False
    total, count = np.zeros((len(table), m)), np.zeros((len(table), 1))
    for predict, rows in parts:
        total[rows] += predict(table.take(rows))[:, :m]
        count[rows] += 1
    used = count[:, 0] > 0
    expected = expected[used, :m]
    largest = np.abs(total[used] / count[used] - expected).max()
    return bool(largest <= SAME * max(np.abs(expected).max(), np.finfo(float).tiny))


def _sample(rows: Array, share: float, rng: np.random.Generator) -> Array:
    """Return a share of rows at random, in order."""
    count = min(len(rows), max(int(share * len(rows)), FEWEST_ROWS))
    return np.sort(rng.choice(rows, count, replace=False))
