"""Rows come from a query, and `predict(...)` becomes a function of the database.

SQLite is part of Python. A network learns the price of houses from a table, and queries then call
its predictor for each row: to fill a gap, to sort, or to find prices that look wrong.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import numpy as np

import fastmlp


def houses() -> sqlite3.Connection:
    """Return a database with a table of houses, every tenth without a price."""
    rng = np.random.default_rng(0)
    area, year = rng.uniform(40, 200, 1000), rng.integers(1900, 2025, 1000)
    price = 2 * area * (1 + ((year - 1960) / 80) ** 2) + 20 * rng.normal(size=1000)
    database = sqlite3.connect(":memory:")
    database.execute("create table houses (area real, year real, price real)")
    rows = zip(area.tolist(), year.tolist(), price.tolist(), strict=True)
    values = [(a, y, None if k % 10 == 0 else p) for k, (a, y, p) in enumerate(rows)]
    database.executemany("insert into houses values (?, ?, ?)", values)
    return database


def main() -> dict[str, Any]:
    database = houses()
    query = "select area, year, price from houses where price is not null"
    data = np.array(database.execute(query).fetchall())
    mean, deviation = data.mean(axis=0), data.std(axis=0)
    X, y = np.split((data - mean) / deviation, [2], axis=1)
    net = fastmlp.MLP([2, 32, 1], dtype="float64", rng=0)
    net.fit(X, y)
    p = net.predictor()

    def predict(*row: float) -> float:
        scaled = p((np.array(row) - mean[:2]) / deviation[:2])
        return float(mean[2] + deviation[2] * scaled[0])

    database.create_function("predict", 2, predict)
    database.execute("update houses set price = predict(area, year) where price is null")
    (left,) = database.execute("select count(*) from houses where price is null").fetchone()
    query = "select area, year, price, predict(area, year) from houses order by 4 desc limit 3"
    dearest = database.execute(query).fetchall()
    print(f"houses without a price: {left}\n    area    year   price   predicted")
    for row in dearest:
        print("".join(f"{value:8.0f}" for value in row))
    return {"left": left, "dearest": dearest}


if __name__ == "__main__":
    main()
