"""Warnings that point to the line of the user's program, not to a line of the library."""

from __future__ import annotations

import sys
import warnings

# Packages whose lines lie between the user's and the warning.
BETWEEN = ("fastmlp", "sklearn", "joblib", "contextlib")


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the nearest line outside of fastmlp and of what may call it for the user.

    Parameters
    ----------
    message : str
        The text.
    category : type of Warning
        Its class.
    """
    level, frame = 1, sys._getframe()
    while frame.f_globals.get("__name__", "").partition(".")[0] in BETWEEN and frame.f_back:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
