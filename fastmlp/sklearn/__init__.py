"""MLPClassifier and MLPRegressor: scikit-learn's estimators on the engine of fastmlp.

They take scikit-learn's parameters and leave its attributes; with the same ``random_state`` they
follow its trajectory. What is computed, and every option beyond scikit-learn's, is fastmlp's own.
This package and fastmlp.tabular are the only ones that import scikit-learn.
"""

from __future__ import annotations

try:
    from fastmlp.sklearn.classifier import MLPClassifier
    from fastmlp.sklearn.from_sklearn_network import from_sklearn
    from fastmlp.sklearn.hints import HintWarning
    from fastmlp.sklearn.regressor import MLPRegressor
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "sklearn":
        raise
    raise ImportError(
        "fastmlp's estimators (MLPClassifier, MLPRegressor, TabMLPClassifier, TabMLPRegressor) "
        "need scikit-learn, which is not installed: pip install scikit-learn, or use fastmlp.MLP"
    ) from error

__all__ = ["HintWarning", "MLPClassifier", "MLPRegressor", "from_sklearn"]
