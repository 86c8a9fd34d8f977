"""The command inspect: print what is in the files of saved models, without loading them."""

from __future__ import annotations

import argparse

from fastmlp._cli.internals import inspected


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("files", metavar="FILE", nargs="+", help="a file that save() has written")


def run(options: argparse.Namespace) -> None:
    """Print the reports, with an empty line between two files."""
    for at, path in enumerate(options.files):
        print("\n" * (at > 0) + inspected(path))
