"""The estimators for raw tables: TabMLPClassifier, TabMLPRegressor and TabMLPSurvival.

Raw columns of any kind go in; scaling, encoding, folds, members, the selection of the epoch and
calibration are included. All are scikit-learn estimators. They are loaded on first use, so that
a saved model can be read without scikit-learn (`fastmlp.load_predictor`).
"""

from __future__ import annotations

from pkgutil import extend_path
from typing import TYPE_CHECKING

from fastmlp._core.optional import load_estimators

# Also find what pip has installed, as in fastmlp/__init__: the compiled module of `table`.
__path__ = extend_path(__path__, __name__)

if TYPE_CHECKING:
    from fastmlp.tabular.classifier import TabMLPClassifier
    from fastmlp.tabular.regressor import TabMLPRegressor
    from fastmlp.tabular.survival import TabMLPSurvival
    from fastmlp.tabular.teachers import distill

__all__ = ["TabMLPClassifier", "TabMLPRegressor", "TabMLPSurvival", "distill"]

HOMES = {
    "TabMLPClassifier": "fastmlp.tabular.classifier",
    "TabMLPRegressor": "fastmlp.tabular.regressor",
    "TabMLPSurvival": "fastmlp.tabular.survival",
    "distill": "fastmlp.tabular.teachers",
}


if not TYPE_CHECKING:
    __getattr__ = load_estimators(__name__, HOMES)
