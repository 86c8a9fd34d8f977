"""MLPClassifier and MLPRegressor: scikit-learn's parameters, attributes and training.

They are loaded on first use, so that modules of this package that need NumPy alone can be imported
without scikit-learn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastmlp._core.optional import with_sklearn

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

    def __getattr__(name: str) -> Any:
        """Load a public name on first use."""
        if name not in HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = with_sklearn(HOMES[name], "use fastmlp.MLP")
        return globals().setdefault(name, getattr(module, name))
