"""TabMLPClassifier and TabMLPRegressor: good results on a table as it is, at defaults.

Raw columns of any kind go in; scaling, encoding, folds, members, the choice of the epoch and
calibration are inside. They are scikit-learn's estimators, so this needs the extra
``fastmlp[sklearn]``.
"""

from __future__ import annotations

from fastmlp.tabular.classifier import TabMLPClassifier
from fastmlp.tabular.regressor import TabMLPRegressor

__all__ = ["TabMLPClassifier", "TabMLPRegressor"]
