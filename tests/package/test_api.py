"""The public names: one table, which completion, type checkers and docs/api.md share."""

import ast
import importlib
import re
from pathlib import Path

import children
import pytest

import fastmlp

ROOT = Path(__file__).resolve().parents[2]
TREE = ast.parse(Path(fastmlp.__file__).read_text())
DOCUMENTED = re.findall(r"`(fastmlp\.[\w.]+)`", (ROOT / "docs" / "api.md").read_text())


def test_the_documentation_has_every_public_name_once():
    names = [name for name in DOCUMENTED if name.count(".") == 1]
    assert sorted(set(names)) == [f"fastmlp.{name}" for name in sorted(dir(fastmlp))]


def test_names_for_type_checkers_are_the_same():
    block = next(node for node in TREE.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    imported = {a.asname for node in imports for a in node.names} - {None}
    imported = {name.removeprefix("_") for name in imported}  # they get their types below
    for node in imports:
        if node.names[0].name == "*":
            imported.update(importlib.import_module(node.module).__all__)
    assert imported == {*dir(fastmlp)} - {"__version__"}


def test_headings_of_docstrings_have_lines_of_their_own():
    sources = [*(ROOT / "fastmlp").rglob("*.py"), *(ROOT / "src_cython").rglob("*.py[xi]")]
    joined = re.compile(r"^ +\w+ -{4,}", re.MULTILINE)
    assert [path.name for path in sources if joined.search(path.read_text())] == []


@pytest.mark.parametrize("name", sorted(set(DOCUMENTED)))
def test_what_is_documented_exists(name):
    parts = name.split(".")
    thing, rest = fastmlp, parts[1:]
    for k in range(len(parts), 1, -1):
        try:
            thing, rest = importlib.import_module(".".join(parts[:k])), parts[k:]
            break
        except ModuleNotFoundError:
            continue
    for part in rest:
        thing = getattr(thing, part)
    assert thing.__doc__


def modules_after(statement):
    """Return the modules of the package that a program has loaded."""
    program = (
        f"{statement}; import sys; print(*[n for n in sys.modules if n.startswith('fastmlp')])"
    )
    return set(children.printed(children.python("-c", program)).split())


def test_only_what_is_used_is_loaded():
    assert modules_after("import fastmlp") == {"fastmlp"}
    models = modules_after("import fastmlp; fastmlp.MLP")
    unused = (
        *("tabular", "sklearn", "callbacks", "schedules", "reference", "digits", "predictor"),
        *("_core.communicators", "_core.worker", "_core.user_warnings"),
        *("_network.functions", "_network.schedules", "_network.averaging", "_network.operators"),
        *("_network.functions.loss", "_engine.native", "_engine.numpy", "_engine.protocol"),
        *("_files", "_export.layers", "_export.c", "_export.onnx"),
        *("_training.callbacks", "_training.callback_state", "_training.metrics"),
        *("_training.sources", "_training.weight_average"),
        *("_training.distributed", "_training.loggers", "_training.readers"),
        *("_models.ensemble", "_models.checkpoint", "_models.codecs", "_models.config"),
    )
    assert not [n for n in models if n.startswith(tuple(f"fastmlp.{part}" for part in unused))]
    assert len(models) <= 53


@pytest.mark.parametrize("name", ["json", "hashlib", "pathlib", "queue", "ctypes"])
def test_costly_modules_are_loaded_by_what_needs_them(name):
    program = "import sys, numpy; before = {*sys.modules}; import fastmlp; fastmlp.MLP"
    program += f"; print({name!r} in {{*sys.modules}} - before)"
    assert children.printed(children.python("-c", program)).strip() == "False"


def test_a_name_that_is_not_public_is_an_error():
    with pytest.raises(AttributeError, match="no attribute 'Adamm'"):
        _ = fastmlp.Adamm
