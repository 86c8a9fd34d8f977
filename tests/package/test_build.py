"""What is shipped: a source distribution that can be built, and an installation that is lean."""

import ast
import importlib.metadata
import itertools
import json
import os
import re
import runpy
import shutil
import subprocess
import sysconfig
import tarfile
import tomllib
import zipapp
from pathlib import Path
from unittest import mock

import children
import numpy as np
import pytest

import fastmlp
from fastmlp._engine import native, native_engine

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = Path(native.__file__).parents[1]
BINARIES = sorted(INSTALLED.rglob("*.so"))
TEXTS = "c_table_templates", "c_templates", "digits", "refusals", "synonyms"
DATA = [f"data/{name}" for name in ("digits.npz", *(f"{name}.txt" for name in TEXTS))]
COMPILED = pytest.mark.parametrize("path", BINARIES, ids=lambda p: p.name.split(".")[0])


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """Return the names in a source distribution, made from a copy of the sources."""
    pytest.importorskip("Cython")
    if not (ROOT / "setup.py").exists():
        pytest.skip("the sources are not here")
    copy = tmp_path_factory.mktemp("sdist") / "source"
    ignored = shutil.ignore_patterns(".git", "build", "dist", "*.egg-info", "*.so", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=ignored)
    children.printed(children.python("setup.py", "-q", "sdist", "--formats=gztar", cwd=copy))
    (archive,) = (copy / "dist").iterdir()
    with tarfile.open(archive) as tar:
        return {name.partition("/")[2] for name in tar.getnames()}


def test_source_distribution_has_every_source(sdist):
    native = {path for path in (ROOT / "src_cython").rglob("*") if path.is_file()}
    wanted = {
        str(p.relative_to(ROOT)) for p in native if p.suffix in {".pyx", ".pxi", ".pxd", ".h"}
    }
    python = (ROOT / "fastmlp").rglob("*.py*")
    wanted |= {str(p.relative_to(ROOT)) for p in python if p.suffix in {".py", ".pyi"}}
    wanted |= {"setup.py", "pyproject.toml", "LICENSE", "README.md"}
    wanted |= {"fastmlp/py.typed", *(f"fastmlp/{name}" for name in DATA)}
    wanted |= {str(p.relative_to(ROOT)) for p in (ROOT / "tests").rglob("*.py")}
    assert sorted(wanted - sdist) == []


def test_source_distribution_has_no_products(sdist):
    products = {".c", ".so", ".o", ".pyc"}
    assert [n for n in sorted(sdist) if Path(n).suffix in products or n.startswith("build/")] == []


# As pip asks what to download, where setuptools is not yet; and a build by hand.
ASKED = """\
import build_backend
assert callable(build_backend.build_editable)
print(build_backend.get_requires_for_build_wheel())"""
BUILDS = {
    "pip": ("-S", "-c", f"import sys; sys.path.append('src_cython')\n{ASKED}"),
    "setup.py": ("setup.py", "-q", "build_ext", "--inplace"),
}


@pytest.fixture
def recipe(tmp_path):
    """Return a folder with what says how to build, and no source: Cython would find nothing."""
    if not (ROOT / "setup.py").exists():
        pytest.skip("the sources are not here")
    (tmp_path / "src_cython").mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "src_cython/build_backend.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize(
    ("environment", "compiler"),
    [({"CC": "nonexistent-cc"}, "nonexistent-cc"), ({"PATH": ""}, ""), ({"CC": "false"}, "false")],
)
def test_a_missing_compiler_is_told_before_anything_is_done(environment, compiler, build, recipe):
    result = children.python(*BUILDS[build], cwd=recipe, **{"CC": None, **environment})
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: fastmlp is compiled where it is installed, but the C compiler")
    assert compiler in last
    assert "apt install gcc" in last
    assert not (recipe / "build").exists()


def test_a_build_asks_for_what_the_tests_build_with(recipe):
    asked = ast.literal_eval(children.printed(children.python(*BUILDS["pip"], cwd=recipe)))
    project = tomllib.loads((recipe / "pyproject.toml").read_text())["project"]
    assert {*asked} - {"numpy>=2.0"} <= {*project["optional-dependencies"]["test"]}


def commands():
    """Return what setup.py defines."""
    if not (ROOT / "setup.py").exists():
        pytest.skip("the sources are not here")
    with mock.patch("setuptools.setup"):
        return runpy.run_path(str(ROOT / "setup.py"))


@pytest.mark.parametrize("build", ["wheel", "sdist"])
def test_a_folder_that_cannot_be_written_is_told_before_anything_is_done(build, monkeypatch):
    read_only = Path("/proc/self")  # even root cannot write here
    if not read_only.exists() or not (ROOT / "setup.py").exists():
        pytest.skip("needs Linux and the sources")
    backend = runpy.run_path(str(ROOT / "src_cython" / "build_backend.py"))
    monkeypatch.chdir(read_only)
    words = r"^error: fastmlp is compiled .* but '/proc/.*' cannot be written \(.*\): copy it"
    with pytest.raises(SystemExit, match=words):
        backend[f"get_requires_for_build_{build}"]()


@pytest.mark.slow
def test_modules_compile_under_the_limited_api():
    """Otherwise only a release would find out: `.ci/wheels` builds a wheel for all CPythons so."""
    setup = commands()
    sources = [ROOT / "build/cython" / path.with_suffix(".c") for path in setup["PLAIN"]]
    if not all(path.exists() for path in sources) or not shutil.which("gcc"):
        pytest.skip("needs gcc, and the C that Cython wrote here")
    folders = ROOT / "src_cython/c", sysconfig.get_path("include"), np.get_include()
    options = ["-D{}={}".format(*setup["LIMITED_API"]), *(f"-I{folder}" for folder in folders)]
    command = ["gcc", "-fsyntax-only", "-Wall", "-Werror", *options, *map(str, sources)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.slow
def test_kernels_compile_without_warnings():
    """What the headers define differs by level and dtype."""
    source = ROOT / "build/cython/src_cython/kernels/kernels.c"
    if not source.exists() or not shutil.which("gcc"):
        pytest.skip("needs gcc, and the C that Cython wrote here")
    folders = ROOT / "src_cython/c", sysconfig.get_path("include"), np.get_include()
    names = "-DFM_LEVEL_NAME=0", *(f"-I{folder}" for folder in folders)
    for flags, is_double in itertools.product(commands()["machine_levels"]().values(), "01"):
        command = "gcc", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wno-psabi", *names
        options = *flags, f"-DFM_DOUBLE={is_double}", str(source)
        result = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr[-3000:]


def test_a_module_depends_on_the_headers_that_it_includes(tmp_path):
    """Those beside the includer, those in the folder of headers, and what these include."""
    (tmp_path / "c" / "deep").mkdir(parents=True)
    texts = {
        "module.c": '#include <math.h>\n#include "Python.h"\n#include "deep/a.h"\n',
        "c/deep/a.h": '#include "b.h"\n#include "top.h"\n',
        "c/deep/b.h": '#include "deep/a.h"\n',
        "c/top.h": "",
        "c/other.h": '#include "top.h"\n',
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    included = commands()["included"]
    found = included(tmp_path / "module.c", tmp_path / "c")
    assert found == {tmp_path / "c" / name for name in ("deep/a.h", "deep/b.h", "top.h")}
    headers = ROOT / "src_cython" / "c"
    needed = {path.relative_to(headers) for path in included(headers / "encoding.h", headers)}
    assert needed == {Path("simd/vec.h")}


def test_a_development_build_may_have_the_level_of_this_processor_alone(monkeypatch):
    monkeypatch.setenv("FASTMLP_LEVELS", "native")
    build = commands()
    if not shutil.which(build["build_backend"].compiler()[0]):
        pytest.skip("needs the compiler")
    wanted = build["wanted_levels"](developing=True)
    (level,) = wanted
    assert wanted == {level: build["machine_levels"]()[level]}
    assert level in native_engine.available_levels()
    with pytest.raises(build["PlatformError"], match=r"wheel runs on any processor: unset it"):
        build["wanted_levels"](developing=False)
    monkeypatch.setenv("FASTMLP_LEVELS", "avx1024")
    build = commands()
    with pytest.raises(build["PlatformError"], match=r"'avx1024', but only 'native' is known"):
        build["wanted_levels"](developing=True)
    monkeypatch.delenv("FASTMLP_LEVELS")
    build = commands()
    assert build["wanted_levels"](developing=False) == build["machine_levels"]()


LINKS = re.compile(r'\]\(([^)#]+)|(?:src|href)="([^"#]+)')


@pytest.mark.parametrize("address", ["", "https://example.org/some/one", "https://example.org/a/"])
def test_metadata_of_a_release_link_to_the_repository(address, monkeypatch):
    """Its address is a setting; without it, links are those of the README."""
    if not (ROOT / "setup.py").exists():
        pytest.skip("the sources are not here")
    monkeypatch.setenv("FASTMLP_REPOSITORY", address)
    with mock.patch("setuptools.setup") as setup:
        runpy.run_path(str(ROOT / "setup.py"))
    options = setup.call_args.kwargs
    shown = [link or source for link, source in LINKS.findall(options["long_description"])]
    written = [link or source for link, source in LINKS.findall((ROOT / "README.md").read_text())]
    assert all((ROOT / link).exists() for link in written if "://" not in link)
    assert sum("://" not in link for link in written) >= 10
    if not address:
        assert (shown, options["project_urls"]) == (written, {})
        return
    start = address.rstrip("/") + "/"
    assert all(url.startswith(start) for url in options["project_urls"].values())
    assert {"Source", "Documentation", "Changelog"} <= {*options["project_urls"]}
    for link, target in zip(shown, written, strict=True):
        kind = "raw" if target.endswith((".svg", ".png")) else "blob"
        assert link == (target if "://" in target else f"{start}{kind}/HEAD/{target}")


def test_a_wheel_holds_nothing_of_earlier_builds(tmp_path, monkeypatch):
    wheel = commands()["BuildWheel"]
    import setuptools

    monkeypatch.chdir(tmp_path)
    command = wheel(setuptools.Distribution({"name": "fastmlp", "version": "0"}))
    command.ensure_finalized()
    left = tmp_path / command.get_finalized_command("build").build_lib / "fastmlp" / "gone.py"
    left.parent.mkdir(parents=True)
    left.touch()
    with mock.patch.object(wheel.__base__, "run") as run:
        command.run()
    run.assert_called_once_with()
    assert not left.exists()


def test_a_wheel_has_a_bill_of_materials(tmp_path):
    pytest.importorskip("Cython")
    build = commands()
    import setuptools

    with (ROOT / "pyproject.toml").open("rb") as file:
        licence = tomllib.load(file)["project"]["license"]
    package = {"name": "fastmlp", "version": "1.2", "license_expression": licence}
    wheel = build["BuildWheel"](setuptools.Distribution(package))
    wheel.ensure_finalized()
    wheel.write_wheelfile(str(tmp_path))
    bill = json.loads((tmp_path / "sboms" / "fastmlp.cdx.json").read_text())
    package = bill["metadata"]["component"]
    assert package["purl"] == "pkg:pypi/fastmlp@1.2"
    assert package["licenses"] == [{"expression": licence}]
    digits, numpy = bill["components"]
    assert digits["licenses"][0]["license"]["id"] == "CC-BY-4.0"
    assert (numpy["purl"], numpy["scope"]) == ("pkg:pypi/numpy", "required")
    tools = {tool["name"]: tool["version"] for tool in bill["formulation"][0]["components"]}
    assert tools["Cython"] == importlib.metadata.version("Cython")
    assert tools.keys() == {"Cython", "numpy", "setuptools", "Python", "C compiler"}
    assert all(tools.values())


def test_one_header_knows_the_system():
    """Threads, clock and affinity differ between POSIX and Windows in one place."""
    known = re.compile(r"pthread|windows\.h|<(time|sched|unistd)\.h>")
    sources = [
        path for kind in ("h", "pxd", "pxi", "pyx") for path in ROOT.glob(f"src_cython/**/*.{kind}")
    ]
    assert {path.name for path in sources if known.search(path.read_text())} <= {"system.h"}


def test_workflows_use_actions_by_digest():
    workflows = list((ROOT / ".github" / "workflows").glob("*.yml"))
    if not workflows:
        pytest.skip("the workflows are not here")
    used = re.findall(r"uses: (\S+)", "".join(path.read_text() for path in workflows))
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w/.-]+@[0-9a-f]{40}", action)] == []


@pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf is not installed")
@COMPILED
def test_installed_modules_are_stripped(path):
    if path.is_relative_to(ROOT / "fastmlp"):
        pytest.skip("a development build keeps its symbols")
    assert ".symtab" not in dynamic(path, "-S")


@pytest.mark.slow
def test_the_demo_starts_in_the_source_folder(tmp_path):
    """There the sources come first on the path, and the compiled modules are in another place."""
    sources = tmp_path / "fastmlp"
    shutil.copytree(Path(fastmlp.__file__).parent, sources, ignore=shutil.ignore_patterns("*.so"))
    there = {"cwd": tmp_path, "PYTHONSAFEPATH": ""}
    program = "import fastmlp; print(fastmlp.__file__, fastmlp.MLP([1, 1]))"
    found = children.printed(children.python("-c", program, **there))
    assert found.startswith(f"{sources / '__init__.py'} fastmlp.MLP(")
    children.printed(children.python("-m", "fastmlp", "--help", **there))
    pytest.importorskip("sklearn.base")
    program = "import fastmlp; print(fastmlp.TabMLPRegressor())"
    found = children.printed(children.python("-c", program, **there))
    assert found.startswith("TabMLPRegressor(")


def test_numpy_is_the_only_requirement_at_run_time():
    try:
        metadata = importlib.metadata.metadata("fastmlp")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("built in place, not installed")
    needed = [r for r in metadata.get_all("Requires-Dist") or [] if "extra ==" not in r]
    assert [re.match(r"[\w-]+", requirement).group() for requirement in needed] == ["numpy"]
    assert metadata["Version"] == fastmlp.__version__


def test_installation_is_complete():
    stubs = "_engine/native.pyi", "tabular/table/rows.pyi"
    for name in ("py.typed", *DATA, *stubs):
        assert (INSTALLED / name).exists(), name
    assert not list(INSTALLED.rglob("probe*")), "for tests only"
    assert (INSTALLED / "data" / "digits.npz").stat().st_size < 60_000


def configuration():
    """Return pyproject.toml."""
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("the sources are not here")
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_extra_all_has_every_extra_but_those_for_clusters_and_tests():
    extras = configuration()["project"]["optional-dependencies"]
    (together,) = (re.fullmatch(r"fastmlp\[(.*)\]", entry)[1] for entry in extras["all"])
    assert {*together.split(",")} == extras.keys() - {"all", "mpi", "test"}


def test_classifiers_name_each_python_that_has_wheels():
    project, tools = (configuration()[name] for name in ("project", "tool"))
    wheels = {re.match(r"cp3(\d+)", name)[1] for name in tools["cibuildwheel"]["build"]}
    pattern = r"Programming Language :: Python :: 3\.(\d+)"
    assert wheels == {*re.findall(pattern, "\n".join(project["classifiers"]))}


def test_a_release_has_what_the_script_makes_and_classifiers_name_its_systems():
    """Wheels of other systems are made of the script's source distribution, as of its time."""
    path = ROOT / ".github" / "workflows" / "wheels.yml"
    if not path.exists():
        pytest.skip("the workflows are not here")
    text = path.read_text()
    assert ".ci/wheels release\n" in text
    assert "--sdist" not in text
    builds = re.findall(r"-m cibuildwheel .*", text)
    assert builds
    assert all(build.endswith(" source/*.tar.gz") for build in builds)
    for words in ("SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)", "check_sizes dist"):
        assert words in text
    names = {"macos": "MacOS", "windows": "Microsoft :: Windows", "ubuntu": "POSIX :: Linux"}
    built = {names[name] for name in re.findall(r"\b(macos|windows|ubuntu)-\d", text)}
    found = re.findall(
        r"Operating System :: (.*)", "\n".join(configuration()["project"]["classifiers"])
    )
    assert {*found} == built


def test_a_release_without_the_address_of_its_repository_stops():
    script = ROOT / ".ci" / "wheels"
    if not script.exists():
        pytest.skip("the scripts are not here")
    environment = {**os.environ, "FASTMLP_REPOSITORY": ""}
    command = ["bash", str(script), "release"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stdout == "FASTMLP_REPOSITORY is not set: a release links to its repository\n"


def test_an_archive_without_compiled_modules_says_what_to_do(tmp_path):
    folder = tmp_path / "program"
    shutil.copytree(
        Path(fastmlp.__file__).parent,
        folder / "fastmlp",
        ignore=shutil.ignore_patterns("*.so", "__pycache__"),
    )
    lines = (
        "import without_native",
        "without_native.block()",
        "import fastmlp",
        "fastmlp.MLP([1, 1])",
    )
    (folder / "__main__.py").write_text("\n".join(lines))
    zipapp.create_archive(folder, tmp_path / "program.pyz")
    result = children.python(tmp_path / "program.pyz", folders=[children.TESTS])
    assert result.returncode == 1
    assert "Python loads none from a zip archive: leave fastmlp out of it, and in" in result.stderr


def test_pyinstaller_finds_the_hook():
    project = configuration()["project"]
    module, _, function = project["entry-points"]["pyinstaller40"]["hook-dirs"].partition(":")
    (folder,) = getattr(importlib.import_module(module), function)()
    assert Path(folder, "hook-fastmlp.py").exists()


def test_setup_builds_the_levels_that_the_library_knows():
    build = commands()
    known = {*build["X86_64"], *build["AARCH64"], *build["ELSEWHERE"]}
    assert known == {*native_engine.LEVELS}


def dynamic(path, what="-d"):
    command = ["readelf", "-W", what, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf is not installed")
@COMPILED
def test_modules_need_the_c_library_only(path):
    needed = re.findall(r"\(NEEDED\).*\[(.+?)\]", dynamic(path))
    allowed = re.compile(r"(libc|libm|libpthread|libpython[\d.]+t?|ld-linux.*)\.so.*|libc\.musl.*")
    assert [name for name in needed if not allowed.fullmatch(name)] == []


@pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf is not installed")
@COMPILED
def test_modules_are_hardened(path):
    """Addresses are read-only after loading, the code is never written, the stack never run."""
    segments = dynamic(path, "-l")
    assert "GNU_RELRO" in segments
    (stack,) = re.findall(r"GNU_STACK.* (R\w*) ", segments)
    assert stack == "RW"
    found = dynamic(path)
    assert re.search(r"BIND_NOW|Flags: .*NOW", found)
    assert "TEXTREL" not in found


def test_loading_leaves_denormals_alone():
    # A library linked with -ffast-math would flush them in the whole process.
    assert 5e-324 * 2 == 1e-323
