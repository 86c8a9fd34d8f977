"""Why a loan was rejected: what each column adds to the risk that it is not paid back.

The values add up from the mean risk of loans that were paid back to that of the applicant (Shapley
values). The law behind the data is known: the age says nothing, which the mean over applicants
shows. `TabMLPClassifier` needs scikit-learn and pandas.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def table(n: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Return applications, as a frame, and whether their loans were not paid back."""
    import pandas as pd

    income, age = rng.gamma(6, 7, n), rng.uniform(20, 70, n)  # thousands a year; years
    debt, late = income * rng.beta(2, 4, n), rng.poisson(0.6, n)
    work = rng.choice(["employed", "own business", "none"], n, p=[0.7, 0.2, 0.1])
    score = 5 * debt / income + 0.8 * late + 1.5 * (work == "none") - income / 40 - 2
    defaults = np.where(rng.random(n) < 1 / (1 + np.exp(-score)), "default", "paid back")
    columns = {"income": income, "debt": debt, "late payments": late, "work": work, "age": age}
    return pd.DataFrame(columns).round(1), defaults


def main() -> dict[str, Any]:
    from fastmlp import TabMLPClassifier

    rng = np.random.default_rng(0)
    (X, y), (applicants, _) = table(1500, rng), table(200, rng)
    model = TabMLPClassifier(preset="fast", epochs=10, random_state=0).fit(X, y)
    risks = model.predict_proba(applicants)[:, 0]
    rejected = int(risks.argmax())
    background = X[y == "paid back"][:100]
    found = model.explain(applicants[rejected : rejected + 1], background)
    print(found.in_words(0, output="default", most=5))
    every = model.explain(applicants, X[:50])
    for name, size in sorted(
        zip(every.names, every.mean_absolute, strict=True), key=lambda p: -p[1]
    ):
        print(f"{name:<14} {size:6.1%} of risk, mean over {len(applicants)} applicants")
    return {
        "names": [
            f"{name} = {cell}" for name, cell in zip(found.names, found.data[0], strict=True)
        ],
        "values": found.values[0, :, 0],
        "base": float(found.base[0]),
        "risk": float(risks[rejected]),
        "sizes": dict(zip(every.names, every.mean_absolute, strict=True)),
    }


if __name__ == "__main__":
    main()
