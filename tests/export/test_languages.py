"""The page of other languages: each program runs by its commands, and prints what Python does.

ziglang is in this Python, or in the one that ``ZIG`` names.
"""

import contextlib
import importlib
import io
import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "guides" / "other-languages.md"
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


def has_zig():
    return "ZIG" in os.environ or find_spec("ziglang") is not None


def ran(command, folder):
    """Run a command of the page; return what it prints."""
    if command.startswith("python "):
        command = f"{ZIG} {command.removeprefix('python ')}"
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_programs_print_what_python_prints(language, files, tmp_path):
    name, tools = LANGUAGES[language]
    missing = [tool for tool in tools if not shutil.which(tool)]
    if language == "javascript" and not has_zig():
        missing.append("ziglang")
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    folder, expected = files
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    programs, commands = blocks()
    (tmp_path / name).write_text(programs[language])
    for command in commands[language]:
        printed = ran(command, tmp_path)
    number = printed.strip().removeprefix("[1] ")
    assert float(number) == pytest.approx(float(expected), abs=2e-5)


# A page that sends what its program prints, or why it has failed.
BROWSER = """<!doctype html><meta charset="utf-8"><script>
const tell = (text) => fetch("/found", { method: "POST", body: JSON.stringify([String(text)]) });
window.onerror = tell;
window.onunhandledrejection = (event) => tell(event.reason);
console.log = tell;
PROGRAM
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(not has_zig(), reason="needs ziglang")
@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_the_program_of_a_browser_prints_what_python_prints(files, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    check_site = importlib.import_module("check_site")
    site, expected = shutil.copytree(files[0], tmp_path / "site"), files[1]
    programs, commands = blocks()
    ran(commands["javascript"][0], site)
    words = r"no first line, and\s+`(\S+)` takes the place of `(\S+)`"
    streamed, read = re.search(words, PAGE.read_text("utf-8")).groups()
    _, _, program = programs["javascript"].partition("\n")
    assert program.count(read) == 1
    harness = BROWSER.replace("PROGRAM", program.replace(read, streamed))
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    (printed,) = check_site.told_by_browser(site, "chromium", harness, profile)
    assert float(printed) == pytest.approx(float(expected), abs=2e-5)
