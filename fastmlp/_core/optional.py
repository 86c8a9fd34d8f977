"""Imports of optional packages; an error names the feature and the package to install."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fastmlp._core import charts

Drawing = TypeVar("Drawing", bound="Axes | charts.Axes")  # what a plot is drawn on


def require(feature: str, *modules: str) -> ModuleType:
    """Return the first of these modules that can be imported; ``feature`` needs one of them."""
    errors = []
    for name in modules:
        try:
            return import_module(name)
        except ImportError as error:
            errors.append(str(error))
    packages = [name.partition(".")[0] for name in modules]
    raise ImportError(
        f"{feature} needs {' or '.join(packages)}, which cannot be imported ({'; '.join(errors)}): "
        f"pip install {packages[0]}"
    )


def with_sklearn(module: str, instead: str) -> ModuleType:
    """Return a module that needs scikit-learn; an error without it says what to use instead."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "sklearn":
            raise
        raise ImportError(
            "fastmlp's estimators (MLPClassifier, MLPRegressor, TabMLPClassifier, TabMLPRegressor) "
            f"need scikit-learn, which is not installed: pip install scikit-learn, or {instead}"
        ) from error


def load_estimators(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package: it loads a name from its module on first use."""

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(with_sklearn(homes[name], "use fastmlp.MLP"), name)
        setattr(sys.modules[package], name, value)  # later look-ups do not call this function
        return value

    return load


@overload
def axes(ax: None, feature: str) -> Axes: ...
@overload
def axes(ax: Drawing, feature: str) -> Drawing: ...
def axes(ax: Drawing | None, feature: str) -> Axes | Drawing:
    """Return the given matplotlib axes, or those of a new figure."""
    if ax is not None:
        return ax
    figure_axes: Axes = require(feature, "matplotlib.pyplot").subplots()[1]
    return figure_axes
