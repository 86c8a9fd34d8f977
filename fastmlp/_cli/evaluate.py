"""The command evaluate: score a saved model on rows whose targets are known."""

from __future__ import annotations

import argparse
import json

from fastmlp._cli import models, scores, tables
from fastmlp._cli.errors import CommandError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    option = parser.add_argument
    option("model", metavar="MODEL", help="a file of a model")
    option("data", metavar="DATA", help="a CSV or Parquet file; - is the standard input")
    option("--target", metavar="COLUMN", help="by default the one column that is no input")
    option("--weight", metavar="COLUMN", help="weights of the rows")
    option("--json", action="store_true", help="print JSON, for programs")


def run(options: argparse.Namespace) -> None:
    """Read, predict, and print the scores."""
    model, frame, X = models.load_with_table(
        options.model, options.data, options.target, options.weight
    )
    target = options.target or models.target_of(frame, X, options.weight)
    y = models.present(tables.column(frame, target, "--target"), target)
    weights = models.weights_of(frame, options.weight)
    if hasattr(model, "get_params"):
        found = scores.of_model(model, X, y, weights)
    elif hasattr(model, "evaluate"):
        found = {"loss": float(model.evaluate(X, y, sample_weight=weights))}
    else:
        raise CommandError(f"{options.model} holds a {type(model).__name__}, which has no loss")
    print(json.dumps(found, indent=2) if options.json else scores.lines(found))
