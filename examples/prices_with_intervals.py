"""A table with text, categories and gaps: predictions with intervals that hold on new rows.

`TabMLPRegressor` takes a data frame unchanged (needs scikit-learn and
pandas). Each row is predicted by networks that have not seen it, which gives the intervals.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def table(n: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Return cars, as a frame, and their prices in thousands."""
    import pandas as pd

    age, make = rng.uniform(0, 15, n), rng.choice(["Alta", "Boro", "Cid"], n)
    km = 1000 * age * rng.gamma(6, 2, n)
    new = np.select([make == "Alta", make == "Boro"], [40, 25], 18)
    price = new * np.exp(-age / 8 - km / 400_000) * np.exp(0.1 * rng.normal(size=n))
    km[rng.random(n) < 0.2] = np.nan
    return pd.DataFrame({"age": age, "make": make, "km": km}), price


def main() -> dict[str, Any]:
    from fastmlp import TabMLPRegressor

    rng = np.random.default_rng(0)
    (X, y), (X_new, y_new) = table(1000, rng), table(300, rng)
    model = TabMLPRegressor(preset="fast", random_state=0).fit(X, y)
    low, high = model.predict_interval(X_new, coverage=0.9).T
    inside = float(np.mean((low <= y_new) & (y_new <= high)))
    print(f"R2 on {len(y_new)} new cars: {model.score(X_new, y_new):.2f}")
    print(f"prices inside their 90 % intervals: {inside:.0%}")
    print(model.importance(X_new, y_new))
    return {"inside": inside, "low": low, "high": high, "truth": y_new}


if __name__ == "__main__":
    main()
