"""The command info."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
from typing import Any

from fastmlp._cli.arguments import JSON, command
from fastmlp._models.config import config

# Packages that commands use if they are installed.
OPTIONAL = ("scikit-learn", "polars", "pandas", "pyarrow", "onnx", "matplotlib", "tqdm")


def facts() -> dict[str, Any]:
    """Return the facts that the command prints; no optional package is imported."""
    found = {**config(), "machine": f"{platform.system()} {platform.machine()}"}
    for name in OPTIONAL:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def as_text(value: Any) -> str:
    """Return a fact as text."""
    return ", ".join(value) if isinstance(value, list) else str(value)


@command(JSON)
def info(options: argparse.Namespace) -> None:
    """Print versions, the CPU level and threads, as a bug report needs them."""
    if options.json:
        print(json.dumps(facts(), indent=2))
        return
    for name, value in facts().items():
        print(f"{name:<17} {as_text(value)}")
