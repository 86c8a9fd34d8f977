"""The parts of a command: its arguments, their types, and the errors that end it."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from fastmlp._core.printable import printable_lines

STANDARD = "-"  # the name of standard input and output
VERSION: str = sys.modules["fastmlp"].__version__  # the package is loaded before this module


class CommandError(Exception):
    """Something is wrong with the data, the model or the machine; the exit code is 1."""


class UsageError(Exception):
    """The arguments do not go together; the exit code is 2."""


class Once(argparse.Action):
    """Stores the value of an option; an error if the option is there twice."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Store the value."""
        given = vars(namespace).setdefault("given", set())
        if self.dest in given:
            raise argparse.ArgumentError(self, "it is there twice: leave one out")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


class Command(NamedTuple):
    """A function that runs a command, whose docstring is the help, and its arguments."""

    run: Callable[[argparse.Namespace], None]
    arguments: Sequence[Argument]
    examples: Sequence[str]  # the help ends with them

    def add_to(self, parser: argparse._ActionsContainer) -> None:
        """Declare the arguments to argparse."""
        for names, options in self.arguments:
            more = options if names[0][0] != "-" else {"action": Once, **options}
            parser.add_argument(*names, **more)


Argument: TypeAlias = tuple[tuple[str, ...], dict[str, Any]]  # what argparse's `add_argument` takes


def argument(*names: str, **options: Any) -> Argument:
    """Return an argument of a command; its help shows the default."""
    if options.get("default") not in (None, []):
        options["help"] += " (default: %(default)s)"
    return names, options


def command(
    *arguments: Argument, examples: Sequence[str]
) -> Callable[[Callable[[argparse.Namespace], None]], Command]:
    """Return a decorator that makes a command of a function."""
    return lambda run: Command(run, arguments, examples)


def shown_examples(examples: Sequence[str]) -> str:
    """Return examples as the last part of a help."""
    return "\n  ".join(["examples:", *examples])


def number(kind: Callable[[str], Any], low: float, high: float, expected: str) -> Any:
    """Return an argparse type: numbers above `low` and below `high`."""

    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low < value < high:
            raise argparse.ArgumentTypeError(f"{text!r} is no {expected}")
        return value

    return read


COUNT = number(int, 0, math.inf, "integer of at least 1")
SEED = number(int, -1, 2**32, "integer from 0 to 4,294,967,295")
SECONDS = number(float, 0, math.inf, "number of seconds above 0")
LEVEL = number(float, 0, 1, "number between 0 and 1")


def levels(text: str) -> list[float]:
    """Read different levels that are separated by commas, as an argparse type."""
    numbers = [LEVEL(part) for part in text.split(",")]
    for level in numbers:
        if numbers.count(level) > 1:
            raise argparse.ArgumentTypeError(f"the level {level!r} is there twice: leave one out")
    return numbers


def character(text: str) -> str:
    """Read a separator, as an argparse type."""
    separator = {"tab": "\t", r"\t": "\t"}.get(text, text)
    if len(separator) != 1 or separator in '"\r\n':
        raise argparse.ArgumentTypeError(f"{text!r} is no single character; a tabulator is tab")
    return separator


def encoding(text: str) -> str:
    """Read the name of an encoding of text, as an argparse type."""
    try:
        "".encode(text)
    except (LookupError, ValueError):  # unknown, or of bytes
        words = f"{text!r} is no encoding that Python knows; one of Western Europe is cp1252"
        raise argparse.ArgumentTypeError(words) from None
    return text


MODEL = argument("model", metavar="MODEL", help="a file of a model")
TABLE = (
    argument("data", metavar="DATA", help="a CSV or Parquet file; - is the standard input"),
    argument(
        "--separator",
        metavar="CHARACTER",
        type=character,
        help="between the values of a CSV file, such as ; or tab; default: by the first line",
    ),
    argument("--decimal", choices=(".", ","), default=".", help="decimal mark of a CSV file"),
    argument(
        "--encoding",
        metavar="NAME",
        type=encoding,
        help="of a CSV file, such as cp1252 or latin-1; default: UTF-8, or another one of Unicode",
    ),
)
SURVIVAL = (
    argument("--time-to", metavar="COLUMN", help="instead: the time until an event, or the end"),
    argument("--event", metavar="COLUMN", help="with --time-to: whether the event happened"),
)
WEIGHT = argument("--weight", metavar="COLUMN", help="weights of the rows; by default equal ones")
JSON = argument("--json", action="store_true", help="print JSON, for programs")


def show(options: argparse.Namespace, facts: Any, text: str) -> None:
    """Print results as JSON if that is wanted, else as text."""
    print(json.dumps(facts, indent=2) if options.json else printable_lines(text))


def check_readable(*paths: str | None) -> None:
    """Raise OSError for inputs that cannot be read, before the outputs are looked at."""
    for path in filter(None, paths):
        if path != STANDARD:
            with Path(path).open("rb"):
                pass


def check_new(option: str | None, output: str, *others: str) -> None:
    """Refuse to replace files by the output of a command, and others, if no option names it."""
    for path in (output, *others):
        if option is None and os.path.lexists(path):
            words = f"{path} is there already: -o {output} replaces it, -o NAME keeps it"
            raise CommandError(words)


def check_writable(*paths: str | None, inputs: Sequence[str | None] = ()) -> None:
    """Refuse outputs that cannot be written, or would replace an input, before any work is done."""
    used = set(map(_identity, filter(None, inputs)))
    for path in filter(None, paths):
        place, folder = _identity(path), Path(path).absolute().parent
        is_there, is_file = Path(path).exists(), Path(path).is_file()
        faults = (
            (path == STANDARD, "this is the standard output: name a file"),
            (place in used, "the command uses this file already: name a new one"),
            (not folder.is_dir(), f"there is no folder {folder}: make it"),
            (not os.access(folder, os.W_OK), f"the folder {folder} is read-only: choose another"),
            (is_there and not is_file, "it is a folder, a pipe or a device: name a file"),
        )
        for is_so, fault in faults:
            if is_so:
                raise CommandError(f"{path} cannot be written: {fault}")
        used.add(place)


def _identity(path: str) -> Any:
    """Return what tells a file from others: its device and inode, or the path of a new file."""
    try:
        status = os.fstat(sys.stdin.fileno()) if path == STANDARD else Path(path).stat()
    except (AttributeError, OSError, ValueError):  # no file, or the standard input is closed
        return Path(path).resolve()
    return status.st_dev, status.st_ino
