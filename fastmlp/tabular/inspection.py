"""What a fitted estimator of tables shows: curves, calibration, importance of columns."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastmlp.tabular.columns import Table

Array = NDArray[Any]

CALIBRATION_PARTS = 10
LEVELS = np.linspace(0.05, 0.95, 19)


class Importance(NamedTuple):
    """How much worse predictions get when a column is shuffled, the most important first.

    Attributes
    ----------
    names : list of str
        Of the columns; those that are left out have none.
    means, deviations : arrays of float64
        Over the shuffles: rise of the mean cost; squared errors are in variances of y.
    """

    names: list[str]
    means: Array
    deviations: Array


def axes(ax: Any, method: str) -> Any:
    """Return where to draw."""
    if ax is not None:
        return ax
    try:
        pyplot = importlib.import_module("matplotlib.pyplot")
    except ImportError as error:
        raise ImportError(
            f"{method} needs matplotlib, which cannot be imported ({error}): pip install matplotlib"
        ) from error
    return pyplot.subplots()[1]


def history(curve: list[tuple[int, float, float, float]], best: int, target: Any, ax: Any) -> Any:
    """Plot the out-of-fold scores by epoch."""
    ax = axes(ax, "plot_history")
    epochs = [row[0] for row in curve]
    for label, column in (("single members", 1), ("members together", 2)):
        ax.plot(epochs, [target.shown(row[column]) for row in curve], label=label)
    ax.axvline(best, color="gray", linestyle=":", label="kept")
    ax.set(xlabel="epoch", ylabel=f"{target.metric}, out of fold")
    ax.legend()
    return ax


def reliability(probability: Array, happened: Array, weights: Array | None, ax: Any) -> Any:
    """Plot how often what was given a probability happened."""
    ax = axes(ax, "plot_calibration")
    w = np.ones(len(probability)) if weights is None else weights
    order = np.argsort(probability, kind="stable")
    order = order[w[order] > 0]
    parts = np.array_split(order, min(CALIBRATION_PARTS, len(order)))
    ax.plot([0, 1], [0, 1], color="gray", linestyle=":")
    ax.plot(
        [np.average(probability[rows], weights=w[rows]) for rows in parts],
        [np.average(happened[rows], weights=w[rows]) for rows in parts],
        marker="o",
        label="out of fold",
    )
    ax.set(xlabel="probability", ylabel="share that happened")
    ax.legend()
    return ax


def coverage(shares: Array, ax: Any) -> Any:
    """Plot which share of targets lay below each quantile."""
    ax = axes(ax, "plot_calibration")
    ax.plot([0, 1], [0, 1], color="gray", linestyle=":")
    ax.plot(LEVELS, shares, marker="o", label="out of fold")
    ax.set(xlabel="quantile", ylabel="share of targets below")
    ax.legend()
    return ax


def bars(found: Importance, most: int, ax: Any) -> Any:
    """Plot importance, the largest at the top."""
    ax = axes(ax, "plot_importance")
    count = min(most, len(found.names))
    ax.barh(
        found.names[:count][::-1], found.means[:count][::-1], xerr=found.deviations[:count][::-1]
    )
    ax.set(xlabel="rise of the cost when shuffled, out of fold")
    return ax


def importance(
    members: Any,
    columns: Any,
    table: Table,
    target: Any,
    weights: Array | None,
    out: list[Array],
    rounds: int,
    seed: int,
) -> Importance:
    """Shuffle each column in turn, and let members predict rows that they have not learned from.

    Source: Breiman 2001, "Random forests", section 10.

    Parameters
    ----------
    members : Blend
        Of the fit.
    columns : Columns
        What the columns are.
    table : Table
        The rows of the fit.
    target : Numbers or Classes
        Of these rows.
    weights : array, shape (n,), or None
        Of these rows.
    out : list of arrays of int
        Of each member, the rows that it has not learned from.
    rounds : int
        Shuffles of each column.
    seed : int
        Of the shuffles.
    """
    rng = np.random.default_rng(seed)
    w = np.ones(len(table)) if weights is None else weights

    def cost(some: Table) -> float:
        total, count = 0.0, 0.0
        for k, rows in enumerate(out):
            prediction = members.of_division(k, some.take(rows))
            total += float((target.costs(prediction, rows) * w[rows]).sum())
            count += float(w[rows].sum())
        return total / count

    plain, rises = cost(table), {}
    for kind, places in (("numbers", columns.numbers), ("codes", columns.categories)):
        values = getattr(table, kind)
        for k, (_, column) in enumerate(places):
            costs = []
            for _ in range(rounds):
                shuffled = values.copy()
                shuffled[:, k] = rng.permutation(values[:, k])
                costs.append(cost(table.replaced(kind, shuffled)) - plain)
            rises[column.name] = costs
    names = sorted(rises, key=lambda name: -float(np.mean(rises[name])))
    means = np.array([np.mean(rises[name]) for name in names])
    return Importance(names, means, np.array([np.std(rises[name]) for name in names]))
