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
import warnings
from collections.abc import Sequence
from typing import NoReturn

from fastmlp._cli import bench, demo, models, train
from fastmlp._cli.arguments import VERSION, CommandError, UsageError

COMMANDS = {
    entry.run.__name__: entry
    for entry in (
        *(demo.demo, bench.info, bench.bench, train.train),
        *(models.predict, models.evaluate, models.inspect, models.export),
    )
}
# The errors that the library raises about data, models and files; any other is a defect.
REPORTED = (
    *(CommandError, ArithmeticError, ImportError, MemoryError, OSError, RuntimeError),
    *(TypeError, ValueError),
)
INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """A parser whose errors suggest the command or the option that was meant."""

    def error(self, message: str) -> NoReturn:
        """Print an error and end the program."""
        options = (names for entry in COMMANDS.values() for names, _ in entry.arguments)
        words = [*COMMANDS, *itertools.chain(*options)]
        if wrong := re.search(r"(?:invalid choice: '|unrecognized arguments: )([\w-]+)", message):
            import difflib

            close = difflib.get_close_matches(wrong[1], words, 1)
            message += f": did you mean {close[0]}?" if close else ""
        super().error(message)


def parser() -> Parser:
    """Return the parser of all commands; without a command the demonstration runs."""
    whole = Parser(
        prog="fastmlp",
        description="Train multi-layer perceptrons on tables, and use them. Without a command, "
        "demo runs. fastmlp COMMAND --help explains a command.",
        epilog=demo.SOURCE,
    )
    whole.add_argument("--version", action="version", version=f"fastmlp {VERSION}")
    whole.set_defaults(run=demo.demo.run, parser=whole)
    commands = whole.add_subparsers(metavar="COMMAND", title="commands")
    demo.demo.add_to(whole.add_argument_group("options of demo"))
    for name, entry in COMMANDS.items():
        text = (entry.run.__doc__ or "").partition("\n")[0]
        one = commands.add_parser(
            name, help=text[0].lower() + text[1:].removesuffix("."), description=text
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
        print(f"{name}: error: the standard output is closed: pass it on", file=sys.stderr)
        return 1
    try:
        with warnings.catch_warnings():
            shown = functools.cache(lambda text: print(f"{name}: warning: {text}", file=sys.stderr))
            warnings.showwarning = lambda message, *_: shown(str(message))
            options.run(options)
        sys.stdout.flush()
    except UsageError as error:
        options.parser.error(str(error))
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        print(f"{name}: the reader of the output has closed it before its end", file=sys.stderr)
        return 1
    except REPORTED as error:
        print(f"{name}: error: {_sentence(error)}", file=sys.stderr)
        if isinstance(error, OSError) and error.filename is None:
            _discard_output()
        return 1
    return 0


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
