"""Plant mistakes in a copy of the sources, one at a time, and count those that the tests notice.

    python tests/campaign/mutants.py                   all of them
    python tests/campaign/mutants.py --kind "lost weight" --folder tabular
    python tests/campaign/mutants.py --native          those in Cython and C as well

A mistake is a row of `planted_mistakes.MISTAKES`. It is noticed if a test fails, crashes or hangs.
The copy has the modules that are built in this folder; a native mistake compiles all that depend on
its file. Whatever the tests do not notice is listed at the end, and wants a test.
"""

from __future__ import annotations

import argparse
import collections
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "support")]

import children  # noqa: E402
from planted_mistakes import MISTAKES, Mistake  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("fastmlp", "src_cython", "tests", "docs", "examples", "benchmarks", ".ci", "build")
LONGEST = 600  # seconds that tests may take; a mistake that makes them hang is noticed
NATIVE = "src_cython"
NOTICED, MISSED, BROKEN = "noticed", "MISSED", "not planted"


def copy_of_sources(folder: Path) -> None:
    """Copy what tests need, with the times of files: only what changes is compiled again."""
    for name in COPIED:
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, folder / name)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy2(path, folder)


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a Python command in the copy; a hang ends with status 124."""
    try:
        return children.python(
            *command,
            cwd=folder,
            timeout=LONGEST,
            starter=("timeout", "--kill-after=5", str(LONGEST - 10)),
            PYTHONPATH=str(folder),
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", "hangs")


def tested(folder: Path, tests: list[str], every_test: bool) -> tuple[int, str]:
    """Run tests up to the first that fails; return pytest's status, and that test."""
    options = ["-q", "-x", "-n0", "-p", "no:cacheprovider", *(["-m", ""] if every_test else [])]
    result = run(folder, "-m", "pytest", *options, *tests)
    lines = [line for line in result.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    first = lines[0].partition(" ")[2].partition(" - ")[0] if lines else ""
    return result.returncode, first


def tried(folder: Path, mistake: Mistake, every_test: bool) -> tuple[str, str]:
    """Plant a mistake, run its tests, and take it back; return the outcome, and the first test."""
    path = folder / mistake.path
    text = path.read_text()
    if text.count(mistake.right) != 1:
        return BROKEN, f"{mistake.right!r} is {text.count(mistake.right)} times in {mistake.path}"
    is_native = mistake.path.startswith(NATIVE)
    kept = {file: file.read_bytes() for file in folder.glob("fastmlp/**/*.so") if is_native}
    path.write_text(text.replace(mistake.right, mistake.wrong))
    try:
        if is_native:
            result = run(folder, "setup.py", "-q", "build_ext", "--inplace")
            if result.returncode:
                return BROKEN, result.stderr[-500:]
            if all(file.read_bytes() == content for file, content in kept.items()):
                return BROKEN, "the compiled modules are the same"
        tests = [f"tests/{name}" for name in mistake.tests.split()]
        status, first = tested(folder, tests, every_test)
    finally:
        path.write_text(text)  # sources older than the modules are not compiled again
        for file, content in kept.items():
            file.write_bytes(content)
    if status == 0:
        return MISSED, ""
    if status in (4, 5):
        return BROKEN, "no tests ran"
    if first and tested(folder, [first], True)[0] != 0:
        return BROKEN, f"{first} fails without the mistake, too"
    return NOTICED, first or f"status {status}"


def main() -> int:
    """Try the mistakes that are wanted, and print a table; return 1 if one was missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kind", choices=sorted({each.kind for each in MISTAKES}))
    parser.add_argument("--folder", default="", help="a part of the path of the sources")
    parser.add_argument("--native", action="store_true", help="with those in Cython and C")
    parser.add_argument("--slow", action="store_true", help="with the tests marked slow")
    options = parser.parse_args()
    chosen = [
        each
        for each in MISTAKES
        if (options.native or not each.path.startswith(NATIVE))
        and options.kind in (None, each.kind)
        and options.folder in each.path
    ]
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_of_sources(folder)
        for mistake in chosen:
            began = time.monotonic()
            outcome, detail = tried(folder, mistake, options.slow)
            counts[mistake.kind, outcome] += 1
            seconds = f"{time.monotonic() - began:5.0f} s"
            what = f"{mistake.path}: {mistake.right.strip().splitlines()[0][:60]}"
            print(f"{outcome:<12} {seconds}  {mistake.kind:<17} {what}\n    {detail}", flush=True)
    print("\n| kind | noticed | missed | not planted |\n| --- | ---: | ---: | ---: |")
    for kind in sorted({each.kind for each in chosen}):
        print(f"| {kind} | {' | '.join(str(counts[kind, o]) for o in (NOTICED, MISSED, BROKEN))} |")
    return int(any(outcome != NOTICED for _, outcome in counts))


if __name__ == "__main__":
    sys.exit(main())
