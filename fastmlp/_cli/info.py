"""The command info: this machine and the versions on it, as bug reports need them."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
from pathlib import Path
from typing import Any

from fastmlp._cli.arguments import JSON, command, show
from fastmlp._models import config

# Packages that commands use if they are installed.
OPTIONAL = ("scikit-learn", "polars", "pandas", "pyarrow", "onnx", "matplotlib", "tqdm")


def cpu() -> str:
    """Return the name of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


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
    """Print versions, the CPU level and threads, as a bug report needs them."""
    versions = facts()
    lines = (f"{name:<17} {text}" for name, text in config.texts(versions).items())
    show(options, versions, "\n".join(lines))
