"""MLPClassifier and MLPRegressor: scikit-learn's parameters, attributes and training.

They are loaded on first use, so that modules of this package that need NumPy alone can be imported
without scikit-learn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastmlp._core.optional import load_estimators

if TYPE_CHECKING:
    from fastmlp.sklearn.classifier import MLPClassifier
    from fastmlp.sklearn.from_sklearn_network import from_sklearn
    from fastmlp.sklearn.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "from_sklearn"]

HOMES = {
    "MLPClassifier": "fastmlp.sklearn.classifier",
    "MLPRegressor": "fastmlp.sklearn.regressor",
    "from_sklearn": "fastmlp.sklearn.from_sklearn_network",
}


if not TYPE_CHECKING:
    __getattr__ = load_estimators(__name__, HOMES)
