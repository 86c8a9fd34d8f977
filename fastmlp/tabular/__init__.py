"""TabMLPClassifier and TabMLPRegressor: estimators for raw tables, with good results at defaults.

Raw columns of any kind go in; scaling, encoding, folds, members, the selection of the epoch and
calibration are included. Both are scikit-learn estimators, so this package needs scikit-learn.
"""

from __future__ import annotations

from pkgutil import extend_path

# Also find the compiled module where pip has installed it, as in fastmlp/__init__.
__path__ = extend_path(__path__, __name__)

import fastmlp.sklearn  # noqa: F401 - it tells how to get scikit-learn where that is missing
from fastmlp.tabular.classifier import TabMLPClassifier
from fastmlp.tabular.regressor import TabMLPRegressor

__all__ = ["TabMLPClassifier", "TabMLPRegressor"]
