"""The command info: print versions, the CPU level and threads, as a bug report needs them."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
from typing import Any

from fastmlp._cli.internals import config

# Packages that commands use where they are installed, and the extra or package that brings them.
OPTIONAL = ("scikit-learn", "polars", "pandas", "pyarrow", "onnx", "matplotlib", "tqdm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def facts() -> dict[str, Any]:
    """Return what the command prints."""
    return {
        **config(),
        "machine": f"{platform.system()} {platform.machine()}",
        **{name: version(name) or "not installed" for name in OPTIONAL},
    }


def version(package: str) -> str | None:
    """Return the version of a package, None if it is not installed; nothing is imported."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def as_text(value: Any) -> str:
    """Return a fact as people read it."""
    return ", ".join(value) if isinstance(value, list) else str(value)


def run(options: argparse.Namespace) -> None:
    """Print the facts."""
    if options.json:
        print(json.dumps(facts(), indent=2))
        return
    for name, value in facts().items():
        print(f"{name:<17} {as_text(value)}")
