"""The rules of the house as code: who imports whom, how long files are, that tables agree."""

import ast
import collections
import dataclasses
import doctest
import functools
import graphlib
import importlib
import importlib.util
import inspect
import io
import re
import runpy
import tokenize
from pathlib import Path

import children
import pages
import pytest

import fastmlp
import fastmlp.digits
import fastmlp.tabular
from fastmlp._engine import native, native_engine
from fastmlp._export import c_derivatives, c_source, c_text, onnx_nodes
from fastmlp._network import activations, losses, optimizers

ROOT = Path(__file__).resolve().parents[2]

# The packages of fastmlp from the bottom up: a module imports from its own package and from those
# before it. "" are the modules of fastmlp itself, which only re-export, and `__main__`.
LAYERS = (
    *("_core", "_files", "_network", "_validation", "_export", "_explain", "_engine"),
    *("_training", "_models", "sklearn", "tabular", "dask", "_cli", ""),
)
SUFFIXES = (
    *(".py", ".pyi", ".pyx", ".pxi", ".pxd", ".h", ".c", ".toml", ".md", ".txt", ".in"),
    *("run", "wheels", "aarch64"),
)
NATIVE = ROOT / "src_cython"
FOLDERS = ("fastmlp", "src_cython", "tests", "benchmarks", "examples", "docs", ".ci")
CODE = (".py", ".pyi", ".pyx", ".pxi", ".pxd", ".h", ".c")
MOST_LINES = 800
SLOW = pytest.mark.slow


def sources():
    """Return every file that people read, as a path below the root."""
    found = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in FOLDERS:
        found += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    return sorted(p.relative_to(ROOT) for p in found if p.name.endswith(SUFFIXES))


def module_files():
    """Return the files of each module of the package: Python, or Cython's .pyx, .pxi and .pxd."""
    found = {}
    for root in (ROOT, NATIVE):
        for path in sorted((root / "fastmlp").rglob("*.p[yx]*")):
            if path.suffix in (".py", ".pyx", ".pxi", ".pxd"):
                name = ".".join(path.relative_to(root).with_suffix("").parts)
                found.setdefault(name.removesuffix(".__init__"), []).append(path)
    return found


# The rooms of tables, upwards; the last one has what users call. A larger one wants to be two.
ROOMS = (
    *("table", "outcome", "plan", "recipe", "selection", "fitted", "report", "files", "export"),
    *("sources", "fit", ""),
)
MOST_FILES, MOST_CODE = 16, 1_800

MODULES = module_files()


def layer_of(module):
    """Return the number of a module's layer, from 0 at the bottom."""
    package = module.split(".")[1:2]
    return LAYERS.index(package[0] if package and package[0] in LAYERS else "")


@functools.cache
def names_in_python(text):
    """Return what a Python file imports, wherever in it, as package.module.name."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute in this house"
            found += (f"{node.module}.{alias.name}" for alias in node.names)
    return found


def names_in_cython(text):
    """Yield the same of a Cython file, cimports too."""
    text = re.sub(r"\\\n|#.*", " ", text)
    statement = r"^[ \t]*(?:from[ \t]+(\S+)[ \t]+)?c?import[ \t]+(\([^)]*\)|.*)"
    for source, names in re.findall(statement, text, re.MULTILINE):
        assert not source.startswith("."), "imports are absolute in this house"
        for name in filter(None, map(str.split, names.strip("()").split(","))):  # "as" is dropped
            yield f"{source}.{name[0]}" if source else name[0]


def imported(text, cython):
    """Return the modules of the package that a file imports."""
    found = set()
    for name in (names_in_cython if cython else names_in_python)(text):
        parts = name.split(".")
        if parts[0] == "fastmlp":
            below = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
            found.add(next(part for part in below if part in MODULES))
    return found


def wrong_imports(module, text, cython):
    """Return the modules of higher layers that a file imports."""
    return {name for name in imported(text, cython) if layer_of(name) > layer_of(module)}


def test_imports_point_down():
    wrong = {
        f"{module} imports {name}"
        for module, paths in MODULES.items()
        for path in paths
        for name in wrong_imports(module, path.read_text(), path.suffix != ".py")
    }
    assert not wrong


def test_imports_make_no_circle():
    graph = {
        module: {
            name
            for path in paths
            for name in imported(path.read_text(), path.suffix != ".py")
            if name != module
        }
        for module, paths in MODULES.items()
    }
    assert sum(map(len, graph.values())) > 300
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def room_of(module):
    """Return the number of the room of a module of tables, from 0 at the bottom."""
    room = module.split(".")[2:3]
    return ROOMS.index(room[0] if room and room[0] in ROOMS else "")


def lines_of_code(text):
    """Return the number of lines of a Python file that are no comment, docstring or import."""
    lines, left_out = set(), set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.string.strip() and token.type != tokenize.COMMENT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_text or isinstance(node, ast.Import | ast.ImportFrom):
            left_out.update(range(node.lineno, node.end_lineno + 1))
    return len(lines - left_out)


def test_rooms_of_tables_import_from_those_below_them():
    """Of fastmlp/tabular, wherever in a file."""
    own = {name: paths for name, paths in MODULES.items() if name.startswith("fastmlp.tabular.")}
    wrong = {
        f"{module} imports {name}"
        for module, paths in own.items()
        for path in paths
        for name in imported(path.read_text(), path.suffix != ".py") & own.keys()
        if room_of(name) > room_of(module)
    }
    assert not wrong


def test_rooms_of_tables_are_small():
    files, code = collections.Counter(), collections.Counter()
    for name, paths in MODULES.items():
        if name.startswith("fastmlp.tabular"):
            room = ROOMS[room_of(name)]
            files[room] += 1
            code[room] += sum(lines_of_code(p.read_text()) for p in paths if p.suffix == ".py")
    assert files.keys() == {*ROOMS}
    assert not {room: count for room, count in files.items() if count > MOST_FILES}
    assert not {room: count for room, count in code.items() if count > MOST_CODE}


def test_lines_of_code_are_without_comments_docstrings_and_imports():
    text = '"""What\nit is."""\n\nimport os\n\n# One.\nx = [\n    1,  # one\n]\n'
    assert lines_of_code(text) == 3


def test_kernels_know_nothing_of_the_package():
    """What is compiled for each CPU level, and the headers that it shares."""
    paths = [*NATIVE.glob("*.pxd"), *(NATIVE / "kernels").iterdir()]
    assert len(paths) > 8
    for path in paths:
        assert "fastmlp" not in {name.split(".")[0] for name in names_in_cython(path.read_text())}


def test_children_are_started_in_one_place():
    """So that the suite runs under an emulator: see children.py."""
    texts = {path.name: path.read_text() for path in (ROOT / "tests").rglob("*.py")}
    trees = {name: ast.parse(text) for name, text in texts.items() if "sys.executable" in text}
    using = {n for n, tree in trees.items() if "sys.executable" in map(ast.unparse, ast.walk(tree))}
    assert using == {"children.py"}


def test_blas_has_one_thread():
    """See conftest.py; test_sklearn_checks takes five times as long with more on a busy machine."""
    pools = pytest.importorskip("threadpoolctl").threadpool_info()
    assert {pool["num_threads"] for pool in pools if pool["user_api"] == "blas"} <= {1}


def test_importing_fastmlp_needs_numpy_only():
    program = (
        "import sys, fastmlp\n"
        "optional = {'sklearn', 'scipy', 'matplotlib', 'tqdm', 'pandas', 'torch', 'jax', 'onnx'}\n"
        "optional.add('mpi4py')\n"
        "print(*sorted(optional & set(sys.modules)))"
    )
    assert children.printed(children.python("-c", program)).strip() == ""


def test_files_are_short_and_say_no_machine_paths():
    # The homes and scratch folders of the machines that this was written on.
    place = r"(?<![\w.~/-])/(?:home|root|Users|work|mnt|tmp)/\w"
    texts = {path: (ROOT / path).read_text(encoding="utf-8") for path in sources()}
    long = [path for path, text in texts.items() if text.count("\n") > MOST_LINES]
    assert not [path for path in long if path.suffix in CODE]
    assert not [path for path, text in texts.items() if re.search(place, text)]


def test_tests_that_pages_and_scripts_name_are_there():
    for path in sources():
        if path.parts[0] != "tests":
            for name in re.findall(r"\btests/[\w/]+\.py\b", (ROOT / path).read_text("utf-8")):
                assert (ROOT / name).exists() or "FOLDER" in name, f"{path} names {name}"


def test_files_of_tests_have_names_of_their_own():
    """Pytest imports them by name alone: of two with one name, it refuses the second."""
    names = collections.Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_planted_mistakes_still_have_their_places():
    """See tests/campaign/mutants.py; a place is a text that the file has once."""
    module = runpy.run_path(str(ROOT / "tests" / "campaign" / "planted_mistakes.py"))
    for _, path, right, _, tests in module["MISTAKES"]:
        assert (ROOT / path).read_text(encoding="utf-8").count(right) == 1, (path, right)
        assert not [name for name in tests.split() if not (ROOT / "tests" / name).exists()], path
    for page in ("CONTRIBUTING.md", "docs/trust.md"):
        assert f" {len(module['MISTAKES'])} mistakes " in (ROOT / page).read_text("utf-8"), page


def test_the_page_about_additions_names_what_is_there():
    """Files by their whole path or its end, and names as `module.name`."""
    text = (ROOT / "docs" / "adding.md").read_text("utf-8")
    folders = ("fastmlp", "src_cython", "tests", "docs")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.*")]
    there = "\n".join(f"/{path.relative_to(ROOT).as_posix()}" for path in paths) + "\n/setup.py\n"
    files = re.findall(r"`([\w./-]+\.(?:py|pyx|pxd|pxi|h|md|json|txt|patch))`", text)
    assert len(files) > 50
    assert not [name for name in files if f"/{name}\n" not in there]
    modules = {path.stem: path for path in paths if path.suffix == ".py"}
    names = re.findall(r"`(\w+)\.(\w+)`", text)
    assert not [
        f"{module}.{name}"
        for module, name in names
        if name not in ("py", "pxd", "pxi")
        and module in modules
        and not re.search(rf"^(def |class )?{name}\b", modules[module].read_text("utf-8"), re.M)
    ]


def test_every_file_that_needs_another_library_is_run_with_it():
    """.ci/others installs what tests skip without, and names their files."""
    script = (ROOT / ".ci" / "others").read_text()
    packages, files = (
        re.search(rf"^{name}=\((.*?)\)$", script, re.MULTILINE | re.DOTALL)[1].split()
        for name in ("packages", "tests")
    )
    needed = re.compile(rf"importorskip\(\"(?:{'|'.join(packages)})\"")
    tests = {p.relative_to(ROOT / "tests") for p in (ROOT / "tests").rglob("test_*.py")}
    found = {str(path) for path in tests if needed.search((ROOT / "tests" / path).read_text())}
    assert "export/test_read_torch.py" in found
    assert found <= set(files)
    assert not [name for name in files if not (ROOT / "tests" / name).exists()]


def test_every_package_is_in_the_wheel():
    """setuptools finds folders with an __init__.py: none with modules may lack it."""
    modules = {path.parent for path in (ROOT / "fastmlp").rglob("*.py")}
    assert not [folder for folder in modules if not (folder / "__init__.py").exists()]


def test_no_build_products_among_the_sources():
    assert not [path for path in (ROOT / "src_cython").rglob("*") if path.suffix in {".so", ".o"}]
    assert not list((ROOT / "src_cython").rglob("*.c"))


@pytest.mark.parametrize("dtype", native_engine.DTYPES)
@pytest.mark.parametrize("level", native_engine.available_levels())
def test_tables_in_c_and_python_have_the_same_rows(level, dtype):
    rows, loss_rows, optimizer_rows = native.tables(level, dtype)
    assert tuple(rows) == tuple(activations.ACTIVATIONS)
    assert tuple(loss_rows) == losses.NATIVE_LOSSES
    assert tuple(optimizer_rows) == optimizers.NATIVE_OPTIMIZERS


def test_exporters_have_all_links():
    links = {loss().link_name for loss in losses.LOSSES.values()}
    for table in (onnx_nodes.LINKS, c_text.LINKS, c_source.MEANINGS):
        assert table.keys() == links
    assert {*c_text.LINK_FORMULAS, "identity", "softmax"} == links
    # Files with derivatives have neither weights of int8 nor tables.
    assert {*c_derivatives.DERIVATIVE_WRITERS, "scaling", "entries"} == c_source.WRITERS.keys()


# ---- documentation -------------------------------------------------------------------------------


def public():
    """Return every public class and function, by its full name."""
    found = {}
    for place in (fastmlp, fastmlp.digits, fastmlp.tabular):
        for name in place.__all__:
            thing = getattr(place, name)
            if inspect.isclass(thing) or inspect.isroutine(thing):
                found[f"{place.__name__}.{name}"] = thing
    return found


def methods():
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
def test_public_names_are_documented(name):
    thing = public()[name]
    text = inspect.getdoc(thing) or ""
    assert text.partition("\n")[0].endswith((".", ":")), "a summary sentence on the first line"
    # A class explains what it adds to its bases.
    family = inspect.getmro(thing) if inspect.isclass(thing) else (thing,)
    explained = set().union(*(documented_parameters(each.__doc__ or "") for each in family))
    for parameter in parameters(thing):
        assert parameter in explained, f"{name} does not explain {parameter}"


@pytest.mark.parametrize("name", methods())
def test_public_methods_are_documented(name):
    method = methods()[name]
    text = inspect.getdoc(method) or ""
    assert text not in {"", inspect.getdoc(type(method))}, f"{name} has no docstring of its own"
    if inspect.isfunction(method) and "Parameters\n" in text:
        for parameter in parameters(method):
            assert parameter in documented_parameters(text), f"{name} does not explain {parameter}"


def parameters(thing):
    """Return the parameters that a caller gives; what a record hides from its repr is internal."""
    if isinstance(thing, type) and issubclass(thing, BaseException):
        return []
    fields = dataclasses.fields(thing) if dataclasses.is_dataclass(thing) else ()
    hidden = {"self", "args", "kwargs"} | {field.name for field in fields if not field.repr}
    return [n for n in inspect.signature(thing).parameters if n[0] != "_" and n not in hidden]


def documented_parameters(text):
    """Return the names of numpydoc's entries, ``name : type`` or ``name, name``, then a text."""
    entry = r"^ *((?:\*{0,2}\w+)(?:, \*{0,2}\w+)*)(?: :.*)?\n +\S"
    found = re.findall(entry, text, re.MULTILINE)
    return {name.strip(" *") for names in found for name in names.split(",")}


def test_examples_run():
    for name in MODULES.keys() - {"fastmlp.__main__"}:
        module = importlib.import_module(name) if name_is_importable(name) else None
        if module is not None:
            assert (module.__doc__ or "").strip() or not is_python(name), f"{name} has no docstring"
            assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0, name


def is_python(name):
    return MODULES[name][0].suffix == ".py"


def name_is_importable(name):
    """A file that others include is no module, and a hook is read by PyInstaller alone."""
    return "hook-" not in name and any(path.suffix in (".py", ".pyx") for path in MODULES[name])


GUIDES = "docs/guides"  # they take as long as all other pages


@pytest.mark.parametrize("name", ["README.md", "docs", pytest.param(GUIDES, marks=SLOW)])
def test_examples_of_the_documentation_run(name):
    path = ROOT / name
    left_out = set() if name == GUIDES else {*(ROOT / GUIDES).iterdir()}
    found = sorted({*path.rglob("*.md")} - left_out) if path.is_dir() else [path]
    assert found
    for page in found:
        assert pages.failures(page) == 0


def test_numbers_of_pages_may_differ_in_their_last_digits_only(tmp_path):
    shown = {"0.18": "0.17", "1e-05": "2e-05", "1,200.5": "1,200.6", "words 3 0.1": "words 3 0.2"}
    wrong = {"0.18": "0.14", "3": "4", "True": "False", "1.0 m": "1.0 s", "[1.0]": "[1.0, 1.0]"}
    for want, got in (shown | wrong).items():
        (tmp_path / "page.md").write_text(f">>> print({got!r})\n{want}\n")
        assert pages.failures(tmp_path / "page.md") == (want in wrong and wrong[want] == got)
    (tmp_path / "page.md").write_text(">>> print('7.0 s')  # doctest: +TIMES\n0.1 s\n")
    assert pages.failures(tmp_path / "page.md") == 0


def test_outputs_of_the_course_are_numbers_and_pictures():
    for page in sorted((ROOT / "docs" / "course").glob("*.md")):
        for example in doctest.DocTestParser().get_examples(page.read_text("utf-8")):
            words = set(re.findall(r"[\w.]+", example.want))
            assert not words or words - {"True", "False"}, f"{page.name}: {example.source}"


def test_the_check_of_the_site_finds_planted_mistakes(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    check_site = importlib.import_module("check_site")
    planted = {
        '<a href="other.html">': "links to other.html, which is not there",
        '<a href="#nowhere">': "links to #nowhere, which is not there",
        '<a href="http://example.org/a">': "links to http://example.org/a, which is not https",
        '<a href="https://example/a">': "which is no address of a server",
        f'<a href="{check_site.SOURCES}none.md">': "which the repository does not have",
        '<script src="https://example.org/a.js">': "loads https://example.org/a.js",
    }
    fine = ("https://example.org/a", f"{check_site.SOURCES}README.md", "#here", "page.html")
    links = "".join(f'<a id="here" href="{link}">' for link in fine)
    (tmp_path / "page.html").write_text(links + '<img src="large.svg">')
    (tmp_path / "large.svg").write_text(" " * check_site.LARGEST_PAGE)
    (tmp_path / "wrong.html").write_text("".join(planted))
    found = check_site.wrong_files(tmp_path)
    for message in ("bytes, with the files that it loads", *planted.values()):
        assert sum(message in each for each in found) == 1, message
    assert len(found) == 1 + len(planted)
    visits = [check_site.visits_of(tmp_path, theme) for theme in check_site.THEMES]
    assert all(len(each) == 2 * len(check_site.WIDTHS) for each in visits)


def test_pages_are_short(monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "docs")
    words = importlib.import_module("words")
    page = (
        "# Two words\n\none two\n- three\n- four ![five](a.svg)\n\n| six |\n|---|\n\n```\nno\n```\n"
    )
    assert words.size_of(page) == (words.Size(8, 2), 1)
    assert not words.main(), capsys.readouterr().out


def test_each_decision_has_a_number_of_its_own():
    files = sorted((ROOT / "docs/adr").glob("[0-9]*.md"))
    numbers = [int(file.name[:4]) for file in files]
    assert sorted(set(numbers)) == numbers
    titles = [file.read_text(encoding="utf-8").split(".")[0] for file in files]
    assert titles == [f"# {number}" for number in numbers]


def test_every_test_file_that_the_sanitizers_run_is_there():
    arrays = re.findall(
        r"^declare -A (?:tables|others)=\((.*?)\)$",
        (ROOT / ".ci/sanitize").read_text(),
        flags=re.DOTALL | re.MULTILINE,
    )
    names = [
        n for a in arrays for text in re.findall('"(.*?)"', a, re.DOTALL) for n in text.split()
    ]
    assert len(names) > 20
    assert [name for name in names if not list(ROOT.glob(f"tests/*/test_{name}.py"))] == []
