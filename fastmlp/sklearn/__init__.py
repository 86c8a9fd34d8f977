"""MLPClassifier and MLPRegressor: scikit-learn's estimators on the engine of fastmlp.

They take scikit-learn's parameters and leave its attributes; with the same ``random_state`` they
follow its trajectory. What is computed, and every option beyond scikit-learn's, is fastmlp's own.
This is the only part that imports scikit-learn, which is the extra ``fastmlp[sklearn]``.
"""

from __future__ import annotations

from fastmlp.sklearn.classifier import MLPClassifier
from fastmlp.sklearn.from_sklearn_network import from_sklearn
from fastmlp.sklearn.hints import HintWarning
from fastmlp.sklearn.regressor import MLPRegressor

__all__ = ["HintWarning", "MLPClassifier", "MLPRegressor", "from_sklearn"]
