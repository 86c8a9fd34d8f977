"""The command line: `fastmlp`, or `python -m fastmlp`. One module a command; argparse alone.

Exit codes: 0, 1 (something is wrong with the data, the model or the machine), 2 (wrong usage), 130
(Ctrl-C). Results go to the standard output, progress and complaints to the standard error stream.
"""
# PYTHON_ARGCOMPLETE_OK

from __future__ import annotations

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Sequence

import fastmlp
from fastmlp._cli import bench, demo, evaluate, export, info, inspection, predict, train
from fastmlp._cli.errors import CommandError, UsageError

COMMANDS = {
    "demo": demo,
    "info": info,
    "bench": bench,
    "train": train,
    "predict": predict,
    "evaluate": evaluate,
    "inspect": inspection,
    "export": export,
}
# What the library raises about data, models and files; anything else is a fault of ours.
REPORTED = (
    *(CommandError, ArithmeticError, ImportError, MemoryError, OSError, RuntimeError),
    *(TypeError, ValueError),
)
INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; without a command the demonstration runs."""
    whole = argparse.ArgumentParser(
        prog="fastmlp",
        description="Train multi-layer perceptrons on tables, and use them. Without a command, "
        "demo runs. fastmlp COMMAND --help explains a command.",
        epilog=demo.SOURCE,
    )
    whole.add_argument("--version", action="version", version=f"fastmlp {fastmlp.__version__}")
    whole.set_defaults(run=demo.run, parser=whole)
    commands = whole.add_subparsers(metavar="COMMAND", title="commands")
    demo.add_arguments(whole.add_argument_group("options of demo"))
    for name, module in COMMANDS.items():
        text = (module.__doc__ or "").partition("\n")[0].partition(": ")[2].removesuffix(".")
        one = commands.add_parser(name, help=text, description=text[0].upper() + text[1:])
        module.add_arguments(one)
        one.set_defaults(run=module.run, parser=one)
    return whole


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code."""
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
            warnings.showwarning = lambda message, *_: print(
                f"{name}: warning: {message}", file=sys.stderr
            )
            options.run(options)
        sys.stdout.flush()
    except UsageError as error:
        options.parser.error(str(error))
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _to_nowhere()
        print(f"{name}: whoever read the output has closed it before its end", file=sys.stderr)
        return 1
    except REPORTED as error:
        print(f"{name}: error: {_sentence(error)}", file=sys.stderr)
        if isinstance(error, OSError) and error.filename is None:
            _to_nowhere()
        return 1
    return 0


def _sentence(error: BaseException) -> str:
    """Return what an error says, as one sentence without a number of the system."""
    if isinstance(error, MemoryError):
        return f"there is not enough memory: {error}"
    if isinstance(error, OSError) and error.strerror:
        where = "the standard output" if error.filename is None else error.filename
        return f"{where}: {error.strerror}"
    return str(error) or type(error).__name__


def _to_nowhere() -> None:
    """Redirect the standard output: Python flushes it once more when it ends, and must not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
