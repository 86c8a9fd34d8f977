"""Commands of `fastmlp` in a child process, with tables and models for them."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import subprocess
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import children
import numpy as np

from fastmlp._cli import main

SHELL = ("sh", "-c")
# A program that runs a command, and interrupts it when all is imported and it has begun.
INTERRUPTED = """
import os, signal, sys, threading
signal.signal(signal.SIGINT, signal.default_int_handler)
import fastmlp
from fastmlp._cli import main
fastmlp.TabMLPRegressor
threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
sys.exit(main(sys.argv[1:]))
"""
MODELS = {"rent": "dear", "dear": "rent"}  # the target, and the column that is dropped


def run(
    *arguments: str | Path, shell: str = "", folder: Path = children.TESTS, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder, perhaps by a line of the shell in which it is "$@"."""
    starter: Sequence[str] = (*SHELL, shell, "sh") if shell else ()
    return children.python("-m", "fastmlp", *arguments, starter=starter, cwd=folder, **options)


def here(*arguments: str | Path, folder: Path = children.TESTS) -> Any:
    """Run the command in a folder, but in this process, which is quicker."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("default")
        try:
            status = main([str(each) for each in arguments])
        except SystemExit as end:  # argparse refuses so
            status = end.code
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(arguments, status, *texts)


def table(n: int, seed: int) -> str:
    """Return a table as CSV: numbers, text, truth values, missing ones, two targets."""
    rng = np.random.default_rng(seed)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["area", "code", "balcony", "country", "weight", "rent", "dear"])
    for _ in range(n):
        area, code = round(rng.gamma(6, 12), 1), rng.choice(["1", "2", "x"])
        rent = round(area * (3 + 2 * (code == "x")) + rng.normal(0, 5), 2)
        first = "" if rng.random() < 0.1 else area
        balcony = rng.choice(["true", "false"])
        writer.writerow([first, code, balcony, "here", 1, rent, "yes" if rent > 250 else "no"])
    return text.getvalue()


def prepared(place: Path) -> Path:
    """Return a folder with tables, a trained model of each task, and what training printed."""
    (place / "old.csv").write_text(table(150, 0))
    (place / "new.csv").write_text(table(40, 1))
    for target, other in MODELS.items():
        words = ("train", "old.csv", "--target", target, "--drop", other, "--weight", "weight")
        more = ("--preset", "fast", "-o", f"{target}.safetensors", "--valid", "new.csv", "--json")
        trained = json.loads(children.printed(here(*words, *more, folder=place)))
        (place / f"{target}.json").write_text(json.dumps(trained))
    return place
