"""MLPClassifier and MLPRegressor: scikit-learn's parameters, attributes and training.

They are loaded on first use, so that modules of this package that need NumPy alone can be imported
without scikit-learn.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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


def loaded(module: str, name: str) -> Any:
    """Return an object of a module that needs scikit-learn."""
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "sklearn":
            raise
        raise ImportError(
            "fastmlp's estimators (MLPClassifier, MLPRegressor, TabMLPClassifier, TabMLPRegressor) "
            "need scikit-learn, which is not installed: pip install scikit-learn, or use "
            "fastmlp.MLP; fastmlp.load_predictor reads their files without it"
        ) from error


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Load a public name on first use."""
        if name not in HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return globals().setdefault(name, loaded(HOMES[name], name))
