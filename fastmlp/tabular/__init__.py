"""TabMLPClassifier and TabMLPRegressor: good results on a table as it is, at defaults.

Raw columns of any kind go in; scaling, encoding, folds, members, the choice of the epoch and
calibration are inside. They are scikit-learn's estimators, so this needs scikit-learn.
"""

from __future__ import annotations

from pkgutil import extend_path

# Started in the source folder: the compiled module is where pip put it, as in fastmlp/__init__.
__path__ = extend_path(__path__, __name__)

import fastmlp.sklearn  # noqa: F401 - it tells how to get scikit-learn where that is missing
from fastmlp.tabular.classifier import TabMLPClassifier
from fastmlp.tabular.regressor import TabMLPRegressor

__all__ = ["TabMLPClassifier", "TabMLPRegressor"]
