"""The command info: this machine and the versions on it, as bug reports need them."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
from typing import Any

from fastmlp._cli.arguments import JSON, command, show
from fastmlp._models import config

# Packages that commands use if they are installed.
OPTIONAL = ("scikit-learn", "polars", "pandas", "pyarrow", "onnx", "matplotlib", "tqdm")


def facts() -> dict[str, Any]:
    """Return the facts that info prints; no optional package is imported."""
    versions = {**config.config(), "machine": f"{platform.system()} {platform.machine()}"}
    for name in OPTIONAL:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


@command(JSON, examples=("fastmlp info", "fastmlp info --json"))
def info(options: argparse.Namespace) -> None:
    """Print versions, CPU, its level and threads, as a bug report needs them."""
    versions = facts()
    lines = (f"{name:<17} {text}" for name, text in config.texts(versions).items())
    show(options, versions, "\n".join(lines))
