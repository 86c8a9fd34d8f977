"""Warnings that point to the user's code instead of the library's."""

from __future__ import annotations

import sys
import warnings

from fastmlp._core.printable import printable

# Packages whose frames may lie between the user's code and the warning.
BETWEEN = ("fastmlp", "sklearn", "joblib", "contextlib")


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the nearest line outside of fastmlp and the packages in `BETWEEN`."""
    level, frame = 1, sys._getframe()
    while frame.f_globals.get("__name__", "").partition(".")[0] in BETWEEN and frame.f_back:
        level, frame = level + 1, frame.f_back
    warnings.warn(printable(message), category, stacklevel=level)
