"""The command line: `fastmlp`, or `python -m fastmlp`; it uses argparse alone.

Exit codes: 0, 1 (something is wrong with the data, the model or the machine), 2 (wrong usage), 130
(Ctrl-C). Results go to the standard output, progress and messages to the standard error stream.
"""
# PYTHON_ARGCOMPLETE_OK

from __future__ import annotations

import argparse
import functools
import importlib
import itertools
import os
import re
import sys
import textwrap
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from fastmlp._cli import bench, demo, info, models, train
from fastmlp._cli.arguments import (
    VERSION,
    CommandError,
    UsageError,
    argument,
    command,
    shown_examples,
)
from fastmlp._core.printable import printable


@command(
    argument("about", metavar="COMMAND", nargs="?", help="by default all of them"),
    examples=("fastmlp help", "fastmlp help train"),
)
def show_help(options: argparse.Namespace) -> None:
    """Explain a command, as its --help does."""
    parser().parse_args([*filter(None, [options.about]), "--help"])


@command(examples=("fastmlp version", "fastmlp -V"))
def show_version(options: argparse.Namespace) -> None:
    """Print the version, as --version does."""
    print(f"fastmlp {VERSION}")


OF_MODELS = (
    *(train.train, models.predict, models.explain),
    *(models.evaluate, models.inspect, models.export),
)
COMMANDS = {
    entry.run.__name__.removeprefix("show_"): entry
    for entry in (demo.demo, *OF_MODELS, info.info, bench.bench, show_help, show_version)
}
EXAMPLES = ("fastmlp train flats.csv --target rent", "fastmlp predict model.safetensors new.csv")
LAYOUT = argparse.RawDescriptionHelpFormatter  # examples keep their lines
ABOUT = f"""\
Train multi-layer perceptrons on tables, and use them. Without a command, demo
runs. fastmlp COMMAND --help explains a command.

{textwrap.fill(demo.SOURCE, 78)}"""
# The errors that the library raises about data, models and files; any other is a defect.
REPORTED = (
    *(CommandError, ArithmeticError, ImportError, MemoryError, OSError, RuntimeError),
    *(TypeError, ValueError),
)
INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """A parser whose errors suggest the command or the option that was meant."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse arguments; unknown ones of a command are its error, not that of the program."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Print an error, as one line that names the help, and end the program."""
        named = COMMANDS.get(self.prog.partition(" ")[2])
        entries = COMMANDS.values() if named is None else [named]
        options = (names for entry in entries for names, _ in entry.arguments)
        words = [*COMMANDS, *itertools.chain(*options)]
        if wrong := re.search(r"(?:invalid choice: '|unrecognized arguments: )([\w-]+)", message):
            import difflib

            close = difflib.get_close_matches(wrong[1], words, 1)
            message += f": did you mean {close[0]}?" if close else ""
        line = f"{self.prog}: error: {message} (see {self.prog} --help)"
        self.exit(2, f"{printable(line)}\n")


def parser() -> Parser:
    """Return the parser of all commands; without a command the demonstration runs."""
    whole = Parser(
        prog="fastmlp",
        description=ABOUT,
        epilog=shown_examples(EXAMPLES),
        formatter_class=LAYOUT,
    )
    whole.add_argument("-V", "--version", action="version", version=f"fastmlp {VERSION}")
    whole.set_defaults(run=demo.demo.run, parser=whole)
    commands = whole.add_subparsers(metavar="COMMAND", title="commands")
    demo.demo.add_to(whole.add_argument_group("options of demo"))
    for name, entry in COMMANDS.items():
        text = (entry.run.__doc__ or "").partition("\n")[0]
        one = commands.add_parser(
            name,
            help=text[0].lower() + text[1:].removesuffix("."),
            description=text,
            epilog=shown_examples(entry.examples),
            formatter_class=LAYOUT,
        )
        entry.add_to(one)
        one.set_defaults(run=entry.run, parser=one)
    return whole


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code."""
    if sys.stderr is None:  # it is closed
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    whole = parser()
    if "_ARGCOMPLETE" in os.environ:  # the shell asks for completions
        importlib.import_module("argcomplete").autocomplete(whole)
    options = whole.parse_args(argv)
    name = options.parser.prog
    if sys.stdout is None:
        _say(f"{name}: error: the standard output is closed: pass it on")
        return 1
    try:
        with warnings.catch_warnings():
            said = functools.cache(lambda text: _say(f"{name}: warning: {text}"))
            warnings.showwarning = lambda message, *_: said(str(message))
            options.run(options)
        sys.stdout.flush()
    except UsageError as error:
        options.parser.error(str(error))
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        _say(f"{name}: the reader of the output has closed it before its end")
        return 1
    except REPORTED as error:
        _say(f"{name}: error: {_sentence(error)}")
        if isinstance(error, OSError) and error.filename is None:
            _discard_output()
        return 1
    return 0


def _say(line: str) -> None:
    """Print a line, which may have names from data, to the standard error stream."""
    print(printable(line), file=sys.stderr)


def _sentence(error: BaseException) -> str:
    """Return the message of an error as one sentence, without a system's error number."""
    if isinstance(error, MemoryError):
        return f"there is not enough memory: {error}"
    if isinstance(error, OSError) and error.strerror:
        where = "the standard output" if error.filename is None else error.filename
        return f"{where}: {error.strerror}"
    return str(error) or type(error).__name__


def _discard_output() -> None:
    """Redirect the standard output: Python flushes it once more when it ends, and must not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
