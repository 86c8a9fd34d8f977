"""A page about a trained model: one HTML file with everything inside."""

from __future__ import annotations

from typing import Any


def write(path: str, model: Any, X: Any, y: Any, weights: Any, found: dict[str, Any]) -> None:
    """Write the page."""
