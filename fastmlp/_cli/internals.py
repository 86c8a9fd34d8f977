"""What the commands need beyond the public API of fastmlp, in this one place."""

from __future__ import annotations

import importlib
from typing import Any

from fastmlp._core.atomic_files import write
from fastmlp._engine.thread_count import for_fit
from fastmlp._files.inspection import report as inspected
from fastmlp._models.config import config

__all__ = ["backend", "columns_of", "config", "for_fit", "inspected", "write"]


def backend() -> Any:
    """Return the module of the compiled side, which is loaded now: `info` works without it."""
    return importlib.import_module("fastmlp._engine.native_engine")


def columns_of(model: Any) -> tuple[list[str] | None, list[str]]:
    """Return the names of a model's columns, None without names, and those that hold text."""
    columns = getattr(model, "_columns", None)
    if columns is None:
        names = getattr(model, "feature_names_in_", None)
        return (None if names is None else list(names)), []
    text = [column.name for _, column in columns.categories if column.has_text]
    return (list(columns.names) if columns.named else None), text
