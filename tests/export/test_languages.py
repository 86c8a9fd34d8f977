"""The page of other languages: each program runs by its commands, and prints what Python does.

ziglang is in this Python, or in the one that ``ZIG`` names.
"""

import contextlib
import io
import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "other-languages.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="needs the sources")
ZIG = os.environ.get("ZIG", "python")
# The file of each section's program, and what has to be installed.
LANGUAGES = {
    "rust": ("main.rs", ("rustc", "cc", "ar")),
    "go": ("main.go", ("go", "cc")),
    "r": ("main.R", ("Rscript", "cc")),
    "javascript": ("main.js", ("node",)),
}


def blocks():
    """Return the programs of the page by language, and the commands below each heading."""
    page = PAGE.read_text("utf-8")
    programs = dict(re.findall(r"^```(\w+)\n(.*?)^```$", page, re.M | re.S))
    sections = re.split(r"^## (\w+)$", page, flags=re.M)[1:]
    commands = {
        name.lower(): re.findall(r"^    (\S.*)$", re.sub(r"```.*?```", "", text, flags=re.S), re.M)
        for name, text in zip(sections[::2], sections[1::2], strict=True)
    }
    return programs, commands


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a folder with the network of the page, and what Python predicts."""
    folder = tmp_path_factory.mktemp("languages")
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(blocks()[0]["python"], {})
    return folder, printed.getvalue()


def test_every_language_has_a_program_and_commands():
    programs, commands = blocks()
    assert programs.keys() - {"python"} == commands.keys() == LANGUAGES.keys()
    assert all(commands.values())


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_programs_print_what_python_prints(language, files, tmp_path):
    name, tools = LANGUAGES[language]
    missing = [tool for tool in tools if not shutil.which(tool)]
    if language == "javascript" and not ("ZIG" in os.environ or find_spec("ziglang")):
        missing.append("ziglang")
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    folder, expected = files
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    programs, commands = blocks()
    (tmp_path / name).write_text(programs[language])
    for command in commands[language]:
        if command.startswith("python "):
            command = f"{ZIG} {command.removeprefix('python ')}"
        done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    printed = done.stdout.strip().removeprefix("[1] ")
    assert float(printed) == pytest.approx(float(expected), abs=2e-5)
