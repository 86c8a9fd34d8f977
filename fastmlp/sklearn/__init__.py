"""MLPClassifier and MLPRegressor: scikit-learn's parameters, attributes and training."""

from __future__ import annotations

try:
    from fastmlp.sklearn.classifier import MLPClassifier
    from fastmlp.sklearn.from_sklearn_network import from_sklearn
    from fastmlp.sklearn.regressor import MLPRegressor
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "sklearn":
        raise
    raise ImportError(
        "fastmlp's estimators (MLPClassifier, MLPRegressor, TabMLPClassifier, TabMLPRegressor) "
        "need scikit-learn, which is not installed: pip install scikit-learn, or use fastmlp.MLP"
    ) from error

__all__ = ["MLPClassifier", "MLPRegressor", "from_sklearn"]
