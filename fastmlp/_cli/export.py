"""The command export: write a saved model as ONNX or as C, for other programs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import fastmlp
from fastmlp._cli.errors import CommandError, UsageError, check_writable
from fastmlp._cli.predict import levels

SUFFIXES = {"onnx": ".onnx", "c": ".c"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    option = parser.add_argument
    option("model", metavar="MODEL", help="a file of a model")
    option("--to", choices=tuple(SUFFIXES), help="by default what the name of the output says")
    option("-o", "--output", metavar="FILE", help="by default MODEL with .onnx or .c")
    option("--quantiles", metavar="LEVELS", type=levels, help="of a regressor of tables: 0.05,0.95")
    option("--json", action="store_true", help="print JSON, for programs")


def run(options: argparse.Namespace) -> None:
    """Load, write, and print what was written."""
    kind = options.to or kind_of(options.output)
    output = options.output or str(Path(options.model).with_suffix(SUFFIXES[kind]))
    check_writable(output)
    model = fastmlp.load(options.model)
    arguments: dict[str, Any] = {}
    if options.quantiles is not None:
        if not hasattr(model, "predict_quantiles"):
            raise CommandError(f"--quantiles is not for a {type(model).__name__}: leave it out")
        arguments["levels"] = options.quantiles
    found = getattr(model, f"to_{kind}")(output, **arguments)
    paths = [output] if kind == "onnx" else [str(found.source), str(found.header)]
    facts: dict[str, Any] = {"files": paths, "bytes": [Path(p).stat().st_size for p in paths]}
    if kind == "c":
        facts["largest_error"] = found.largest_error
    if options.json:
        print(json.dumps(facts, indent=2))
        return
    for path, size in zip(paths, facts["bytes"], strict=True):
        print(f"{path}  {size:,} bytes")
    if kind == "c":
        print(f"largest error of a prediction: {found.largest_error:.2g}")


def kind_of(output: str | None) -> str:
    """Return the format that a file's name says."""
    suffix = Path(output or "").suffix
    for kind, its_suffix in SUFFIXES.items():
        if suffix == its_suffix:
            return kind
    raise UsageError("--to onnx or --to c is needed, or -o with such a name")
