"""The rules of the house as code: who imports whom, how long files are, that tables agree."""

from __future__ import annotations

import ast
import dataclasses
import doctest
import importlib
import importlib.util
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fastmlp
from fastmlp import _backend, activations, losses, optimizers, workspace

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fastmlp"

# Each module may import only what stands before it: arrays go down, one number comes up.
ORDER = (
    *("intervals", "turn", "arena", "workspace", "crew", "threads", "_cpu", "digits"),
    *("activations", "losses", "schedules", "optimizers", "spec", "initializers", "check"),
    *("core", "predictor", "probe", "_backend", "network"),
    *("training", "callbacks", "mlp", "reference", "__init__"),
    *(f"sklearn.{part}" for part in ("parameters", "scaling", "network", "initialization")),
    *(f"sklearn.{part}" for part in ("rates", "callbacks", "validation", "stochastic")),
    *(f"sklearn.{part}" for part in ("blas", "lbfgs", "fitting")),
    *(f"sklearn.{part}" for part in ("estimator", "regressor", "classifier")),
    *("sklearn", "__main__"),
)
SUFFIXES = (".py", ".pyi", ".pyx", ".pxd", ".h", ".c", ".toml", ".md", ".txt", ".in", "run")
FOLDERS = ("fastmlp", "src_cython", "tests", "benchmarks", "examples", "docs", ".ci")
CODE = (".py", ".pyi", ".pyx", ".pxd", ".h", ".c")
MOST_LINES = 400


def sources() -> list[Path]:
    """Return every file that people read, as a path below the root."""
    found = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in FOLDERS:
        found += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    return sorted(p.relative_to(ROOT) for p in found if p.name.endswith(SUFFIXES))


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    """Return the name below fastmlp; that of a subpackage is its folder's."""
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return name.removesuffix(".__init__")


def imported(path: Path) -> set[str]:
    """Return the modules of fastmlp that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are absolute in this house"
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in found:
            first, *parts = name.split(".")
            if first == "fastmlp":
                below = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
                names.add(next((part for part in below if part in ORDER), "__init__"))
    return names


@pytest.mark.parametrize("path", modules(), ids=module_name)
def test_imports_point_one_way(path: Path) -> None:
    name = module_name(path)
    assert name in ORDER, f"{name} needs a place in ORDER"
    before = ORDER[: ORDER.index(name)]
    assert imported(path) <= {name, *before}


def test_importing_fastmlp_needs_numpy_only() -> None:
    program = (
        "import sys, fastmlp\n"
        "optional = {'sklearn', 'scipy', 'matplotlib', 'tqdm', 'pandas', 'torch', 'jax'}\n"
        "print(*sorted(optional & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program]
    # The package under test, whether installed or built in place: not what the current folder has.
    env = {**os.environ, "PYTHONPATH": str(Path(fastmlp.__file__).parents[1])}
    cwd = Path(__file__).parent
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=env, cwd=cwd)
    assert result.stdout.strip() == ""


@pytest.mark.parametrize("path", sources(), ids=str)
def test_files_are_short_and_say_no_machine_paths(path: Path) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.suffix in CODE:
        assert text.count("\n") <= MOST_LINES
    # The homes and scratch folders of the machines that this was written on.
    place = r"(?<![\w.~/-])/(?:home|root|Users|work|mnt|tmp)/\w"
    assert not re.search(place, text), "an absolute path of some machine"


def test_no_build_products_among_the_sources() -> None:
    assert not [path for path in (ROOT / "src_cython").rglob("*") if path.suffix in {".so", ".o"}]
    assert not list((ROOT / "src_cython").glob("*.c"))


@pytest.mark.parametrize("dtype", _backend.DTYPES)
@pytest.mark.parametrize("level", _backend.available_levels())
def test_tables_in_c_and_python_have_the_same_rows(level: str, dtype: str) -> None:
    rows, loss_rows, optimizer_rows = workspace.tables(level, dtype)
    assert tuple(rows) == tuple(activations.ACTIVATIONS)
    assert tuple(loss_rows) == losses.NATIVE_LOSSES
    assert tuple(optimizer_rows) == optimizers.NATIVE_OPTIMIZERS


# ---- documentation -------------------------------------------------------------------------------


def public() -> dict[str, Any]:
    """Return every public class and function, by its full name."""
    places = [fastmlp, importlib.import_module("fastmlp.digits")]
    found = {}
    for place in places:
        for name in place.__all__:
            thing = getattr(place, name)
            if inspect.isclass(thing) or inspect.isroutine(thing):
                found[f"{place.__name__}.{name}"] = thing
    return found


def methods() -> dict[str, Any]:
    """Return the public methods and properties of the public classes that they define."""
    found = {}
    for name, thing in public().items():
        if inspect.isclass(thing):
            for key, value in vars(thing).items():
                documented = inspect.isfunction(value) or isinstance(value, property)
                if documented and not key.startswith("_"):
                    found[f"{name}.{key}"] = value
    return found


@pytest.mark.parametrize("name", public())
def test_public_names_are_documented(name: str) -> None:
    thing = public()[name]
    text = inspect.getdoc(thing) or ""
    assert text.partition("\n")[0].endswith((".", ":")), "a summary sentence on the first line"
    # A class explains what it adds to its bases.
    family = inspect.getmro(thing) if inspect.isclass(thing) else (thing,)
    explained = set().union(*(documented_parameters(each.__doc__ or "") for each in family))
    for parameter in parameters(thing):
        assert parameter in explained, f"{name} does not explain {parameter}"


@pytest.mark.parametrize("name", methods())
def test_public_methods_are_documented(name: str) -> None:
    method = methods()[name]
    text = inspect.getdoc(method) or ""
    assert text, f"{name} has no docstring"
    if inspect.isfunction(method) and "Parameters\n" in text:
        for parameter in parameters(method):
            assert parameter in documented_parameters(text), f"{name} does not explain {parameter}"


def parameters(thing: Any) -> list[str]:
    """Return the parameters that a caller gives; what a record hides from its repr is internal."""
    if isinstance(thing, type) and issubclass(thing, BaseException):
        return []
    fields = dataclasses.fields(thing) if dataclasses.is_dataclass(thing) else ()
    hidden = {"self", "args", "kwargs"} | {field.name for field in fields if not field.repr}
    return [n for n in inspect.signature(thing).parameters if n[0] != "_" and n not in hidden]


def documented_parameters(text: str) -> set[str]:
    """Return the names of numpydoc's entries, ``name : type`` or ``name, name``, then a text."""
    entry = r"^ *((?:\*{0,2}\w+)(?:, \*{0,2}\w+)*)(?: :.*)?\n +\S"
    found = re.findall(entry, text, re.MULTILINE)
    return {name.strip(" *") for names in found for name in names.split(",")}


def documented_modules() -> list[str]:
    names = {module_name(path) for path in modules()} - {"__init__", "__main__"}
    if importlib.util.find_spec("sklearn") is None:
        names = {name for name in names if name.partition(".")[0] != "sklearn"}
    return ["fastmlp", *(f"fastmlp.{name}" for name in sorted(names)), "fastmlp._cpu"]


@pytest.mark.parametrize("name", documented_modules())
def test_examples_run(name: str) -> None:
    module = importlib.import_module(name)
    assert (module.__doc__ or "").strip(), f"{name} does not say what it is for"
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


@pytest.mark.parametrize("name", ["README.md", "docs"])
def test_examples_of_the_documentation_run(name: str) -> None:
    path = ROOT / name
    for page in sorted(path.rglob("*.md")) if path.is_dir() else [path]:
        result = doctest.testfile(str(page), module_relative=False, optionflags=doctest.ELLIPSIS)
        assert result.failed == 0
