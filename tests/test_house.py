"""The rules of the house as code: who imports whom, how long files are, that tables agree."""

from __future__ import annotations

import ast
import dataclasses
import doctest
import importlib
import importlib.util
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import children
import pytest

import fastmlp
from fastmlp._engine import kernels, native_engine
from fastmlp._export import c_source, c_text, onnx_nodes
from fastmlp._models import import_mlp
from fastmlp._network import activations, losses, optimizers

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fastmlp"

# Each module may import only what stands before it: arrays go down, one number comes up. What is in
# src_cython but not in a package is "native."; what is compiled for each CPU level stands at the
# end, where no module reaches it.
ORDER = (
    *("native.rounding", "native.cheaders", "native.network"),
    *("intervals", "communicators", "groups", "averaging", "turn", "training.records", "digits"),
    *(
        f"engine.{part}"
        for part in ("cpu", "levels", "kernels", "arena", "memory", "buffers", "shift")
    ),
    *("engine.jobs", "engine.rows", "engine.crew", "engine.passes", "engine.functions"),
    *("teams", "threads", "activations", "links", "functions"),
    *(f"functions.{part}" for part in ("pointers", "results", "differences", "base", "activation")),
    *(f"losses.{part}" for part in ("base", "regression", "classification", "custom")),
    *(
        "losses",
        "functions.verification",
        "schedules",
        *(f"optimizers.{part}" for part in ("base", "momentum", "adaptive")),
        "optimizers",
        "functions.optimizer",
        "normalization",
        "parametric",
        "each_layer",
        "share",
        "spec",
        "gradient",
        "operators",
        "states",
        "initializers",
    ),
    *("check.arrays", "check.options", "check.samples", "check", "callbacks"),
    *("engine.contract", "memories"),
    *(f"storage.{part}" for part in ("strict", "safetensors", "files", "record")),
    *(f"storage.{part}" for part in ("generators", "values")),
    *("storage", "storage.inspection", "checkpoint"),
    *(f"engine.{part}" for part in ("parameters", "steps", "native", "many")),
    *(
        f"export.{part}"
        for part in ("layers", "graph", "onnx", "c_text", "c_layers", "c_emitter", "c_source")
    ),
    *("export.c", "export.exportable"),
    *("export", "predictor", "engine.backend", "engine", "config", "parameter_list", "model"),
    *(f"training.{part}" for part in ("rates", "judge", "metrics", "reporter", "sources")),
    *(f"training.{part}" for part in ("averages", "loop", "exchange", "processes", "own_steps")),
    *("training", "readers", "plans", "loggers", "learner", "mlp"),
    *(
        f"ensembles.{part}"
        for part in ("portions", "members", "moment", "joint", "learner", "predictor")
    ),
    *("ensembles.ensemble", "ensembles"),
    *("randomness", "hidden", "frozen", "successive", "holder", "reference"),
    *(f"storage.{part}" for part in ("parts", "mlp", "ensemble", "predictor")),
    "storage.ensemble_predictor",
    *("export.plain", "export.read_torch", "export.terms", "export.read_onnx", "__init__"),
    *(f"sklearn.{part}" for part in ("parameters", "class_weights", "scaling", "packing")),
    *("sklearn.shown", "sklearn.fitted", "sklearn.as_mlp"),
    "sklearn.initialization",
    *(f"sklearn.{part}" for part in ("rates", "callbacks", "validation", "judge")),
    *(
        f"sklearn.{part}"
        for part in ("resuming", "hints", "stochastic", "blas", "lbfgs", "fitting")
    ),
    *(f"sklearn.{part}" for part in ("estimator", "regressor", "classifier", "storage", "foreign")),
    *("sklearn", "tabular.rows"),
    *(
        f"tabular.{part}"
        for part in ("clock", "presets", "frames", "columns", "encoding", "folds", "targets")
    ),
    *(
        f"tabular.{part}"
        for part in (
            "weights",
            "conformal",
            "networks",
            "epochs",
            "members",
            "timing",
            "selection",
            "blend",
            "temperature",
            "judged",
            "exported",
        )
    ),
    *("tabular.onnx_columns", "tabular.onnx_graph"),
    *(f"tabular.{part}" for part in ("c_names", "c_text", "c_source", "c_files")),
    *(
        f"tabular.{part}"
        for part in ("shown", "report", "parameters", "doubts", "distilled", "predictor", "kept")
    ),
    *(f"tabular.{part}" for part in ("c_methods", "estimator", "regressor", "classifier")),
    *("tabular.storage_members", "tabular.storage"),
    *("tabular", "__main__"),
    *(
        f"native.{part}"
        for part in (
            "ctables",
            "operators",
            "functions",
            "layers",
            "pieces",
            "epoch",
            "inference",
            "kernels",
        )
    ),
    "probe",  # not shipped
)
SUFFIXES = (".py", ".pyi", ".pyx", ".pxd", ".h", ".c", ".toml", ".md", ".txt", ".in", "run")
NATIVE = ROOT / "src_cython"
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
    """Return the Python modules of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def importers() -> list[Path]:
    """Return all files that import, Cython's too."""
    return [*modules(), *sorted(NATIVE.rglob("*.p[yx][xd]"))]


def module_name(path: Path) -> str:
    """Return the name below fastmlp, or of native code; that of a subpackage is its folder's."""
    package = PACKAGE if path.is_relative_to(PACKAGE) else NATIVE / "fastmlp"
    if not path.is_relative_to(package):
        return f"native.{path.stem}" if f"native.{path.stem}" in ORDER else path.stem
    return ".".join(path.relative_to(package).with_suffix("").parts).removesuffix(".__init__")


def names_in_python(text: str) -> Iterator[str]:
    """Yield what a Python file imports, wherever in it, as package.module.name."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute in this house"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def names_in_cython(text: str) -> Iterator[str]:
    """Yield the same of a Cython file, cimports too."""
    text = re.sub(r"\\\n|#.*", " ", text)
    statement = r"^[ \t]*(?:from[ \t]+(\S+)[ \t]+)?c?import[ \t]+(\([^)]*\)|.*)"
    for source, names in re.findall(statement, text, re.MULTILINE):
        assert not source.startswith("."), "imports are absolute in this house"
        for name in filter(None, map(str.split, names.strip("()").split(","))):  # "as" is dropped
            yield f"{source}.{name[0]}" if source else name[0]


def imported(text: str, cython: bool) -> set[str]:
    """Return the modules of ORDER that a file imports."""
    found: set[str] = set()
    for name in (names_in_cython if cython else names_in_python)(text):
        first, *parts = name.split(".")
        if first == "fastmlp":
            below = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
            found.add(next((part for part in below if part in ORDER), "__init__"))
        elif cython and f"native.{first}" in ORDER:
            found.add(f"native.{first}")
    return found


def wrong_imports(name: str, text: str, cython: bool) -> set[str]:
    """Return the modules that a file imports and should not."""
    allowed = {name, *ORDER[: ORDER.index(name)]}
    if name.startswith("native."):  # knows nothing of Python
        allowed = {other for other in allowed if other.startswith("native.")}
    return imported(text, cython) - allowed


@pytest.mark.parametrize("path", importers(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    name = module_name(path)
    assert name in ORDER, f"{name} needs a place in ORDER"
    assert not wrong_imports(name, path.read_text(), path.suffix != ".py")


PLANTED = [
    ("threads", False, "def f():\n    from fastmlp import mlp", "mlp"),
    ("spec", False, "import fastmlp._validation.check as c", "check"),
    ("intervals", False, "import fastmlp", "__init__"),
    ("training.rates", False, "from fastmlp._training.loop import run", "training.loop"),
    ("engine.native", True, "import numpy as np, fastmlp.predictor", "predictor"),
    (
        "engine.native",
        True,
        "cdef f():\n    from fastmlp import training  # later",
        "training",
    ),
    ("engine.native", True, "from fastmlp.predictor cimport Predictor", "predictor"),
    (
        "threads",
        True,
        "from fastmlp._engine import (\n    crew,\n    backend,\n)",
        "engine.backend",
    ),
    ("engine.crew", True, "from fastmlp._engine import \\\n    arena, native", "engine.native"),
    ("engine.native", True, "cimport layers", "native.layers"),
    ("native.layers", True, "from pieces cimport next_piece as p", "native.pieces"),
    ("native.network", True, "from fastmlp._engine.arena import allocate", "engine.arena"),
]


@pytest.mark.parametrize(("name", "cython", "text", "wrong"), PLANTED)
def test_an_import_that_points_the_other_way_is_found(
    name: str, cython: bool, text: str, wrong: str
) -> None:
    assert wrong_imports(name, text, cython) == {wrong}


def test_children_are_started_in_one_place() -> None:
    """So that the suite runs under an emulator: see children.py."""
    for path in sorted((ROOT / "tests").glob("*.py")):
        names = {ast.unparse(n) for n in ast.walk(ast.parse(path.read_text())) if is_name(n)}
        assert "sys.executable" not in names or path.name == "children.py", path.name


def test_blas_has_one_thread() -> None:
    """See conftest.py; test_sklearn_checks takes five times as long with more on a busy machine."""
    pools = pytest.importorskip("threadpoolctl").threadpool_info()
    assert {pool["num_threads"] for pool in pools if pool["user_api"] == "blas"} <= {1}


def is_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)


def test_importing_fastmlp_needs_numpy_only() -> None:
    program = (
        "import sys, fastmlp\n"
        "optional = {'sklearn', 'scipy', 'matplotlib', 'tqdm', 'pandas', 'torch', 'jax', 'onnx'}\n"
        "optional.add('mpi4py')\n"
        "print(*sorted(optional & set(sys.modules)))"
    )
    assert children.printed(children.python("-c", program)).strip() == ""


@pytest.mark.parametrize("path", sources(), ids=str)
def test_files_are_short_and_say_no_machine_paths(path: Path) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.suffix in CODE:
        assert text.count("\n") <= MOST_LINES
    # The homes and scratch folders of the machines that this was written on.
    place = r"(?<![\w.~/-])/(?:home|root|Users|work|mnt|tmp)/\w"
    assert not re.search(place, text), "an absolute path of some machine"


def test_every_package_is_in_the_wheel() -> None:
    """setuptools finds folders with an __init__.py: none with modules may lack it."""
    modules = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [folder for folder in modules if not (folder / "__init__.py").exists()] == []


def test_no_build_products_among_the_sources() -> None:
    assert not [path for path in (ROOT / "src_cython").rglob("*") if path.suffix in {".so", ".o"}]
    assert not list((ROOT / "src_cython").rglob("*.c"))


@pytest.mark.parametrize("dtype", native_engine.DTYPES)
@pytest.mark.parametrize("level", native_engine.available_levels())
def test_tables_in_c_and_python_have_the_same_rows(level: str, dtype: str) -> None:
    rows, loss_rows, optimizer_rows = kernels.tables(level, dtype)
    assert tuple(rows) == tuple(activations.ACTIVATIONS)
    assert tuple(loss_rows) == losses.NATIVE_LOSSES
    assert tuple(optimizer_rows) == optimizers.NATIVE_OPTIMIZERS


def test_tables_of_the_exporters_have_the_same_rows() -> None:
    assert (
        onnx_nodes.ACTIVATIONS.keys() == activations.ACTIVATIONS.keys() == c_text.ACTIVATIONS.keys()
    )
    assert onnx_nodes.WIDE_ACTIVATIONS.keys() == onnx_nodes.ACTIVATIONS.keys()
    links = {loss().link_name for loss in losses.LOSSES.values()}
    for table in (onnx_nodes.LINKS, c_text.LINKS, import_mlp.LOSSES, c_source.MEANINGS):
        assert table.keys() == links


# ---- documentation -------------------------------------------------------------------------------


def public() -> dict[str, Any]:
    """Return every public class and function, by its full name."""
    places = [fastmlp, importlib.import_module("fastmlp.digits")]
    if importlib.util.find_spec("sklearn") is not None:
        places.append(importlib.import_module("fastmlp.tabular"))
    found = {}
    for place in places:
        for name in place.__all__:
            thing = getattr(place, name)
            if inspect.isclass(thing) or inspect.isroutine(thing):
                found[f"{place.__name__}.{name}"] = thing
    return found


def methods() -> dict[str, Any]:
    """Return the public methods and properties of the public classes, those of our bases too."""
    found = {}
    for name, thing in public().items():
        if inspect.isclass(thing):
            ours = [each for each in inspect.getmro(thing) if each.__module__.startswith("fastmlp")]
            for key, value in {k: v for each in ours[::-1] for k, v in vars(each).items()}.items():
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
        names = {name for name in names if name.partition(".")[0] not in ("sklearn", "tabular")}
    return ["fastmlp", *(f"fastmlp.{name}" for name in sorted(names)), "fastmlp._engine.cpu"]


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
