"""What is shipped: a source distribution that can be built, and an installation that is lean."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import children
import pytest

import fastmlp
from fastmlp._engine import cpu, native_engine, predictor

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = Path(predictor.__file__).parents[1]
BINARIES = sorted(INSTALLED.rglob("*.so"))
COMPILED = pytest.mark.parametrize("path", BINARIES, ids=lambda p: p.name.split(".")[0])


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
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


def test_source_distribution_has_every_source(sdist: set[str]) -> None:
    native = {path for path in (ROOT / "src_cython").rglob("*") if path.is_file()}
    wanted = {str(p.relative_to(ROOT)) for p in native if p.suffix in {".pyx", ".pxd", ".h"}}
    python = (ROOT / "fastmlp").rglob("*.py*")
    wanted |= {str(p.relative_to(ROOT)) for p in python if p.suffix in {".py", ".pyi"}}
    wanted |= {"setup.py", "pyproject.toml", "LICENSE", "README.md"}
    wanted |= {"fastmlp/py.typed", "fastmlp/data/digits.npz", "fastmlp/data/digits.txt"}
    wanted |= {str(p.relative_to(ROOT)) for p in (ROOT / "tests").rglob("*.py")}
    assert sorted(wanted - sdist) == []


def test_source_distribution_has_no_products(sdist: set[str]) -> None:
    products = {".c", ".so", ".o", ".pyc"}
    assert [n for n in sorted(sdist) if Path(n).suffix in products or n.startswith("build/")] == []


@pytest.mark.parametrize(
    ("environment", "compiler"),
    [({"CC": "nonexistent-cc"}, "nonexistent-cc"), ({"PATH": ""}, ""), ({"CC": "false"}, "false")],
)
def test_a_missing_compiler_is_told_before_anything_is_done(
    environment: dict[str, str], compiler: str, tmp_path: Path
) -> None:
    pytest.importorskip("Cython")
    if not (ROOT / "setup.py").exists():
        pytest.skip("the sources are not here")
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)  # without a source: Cython would stop with another error
    command = "setup.py", "-q", "build_ext", "--inplace"
    result = children.python(*command, cwd=tmp_path, **{"CC": None, **environment})
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: fastmlp is compiled where it is installed, but the C compiler")
    assert compiler in last
    assert "apt install gcc" in last
    assert not (tmp_path / "build").exists()


def test_the_demo_starts_in_the_source_folder(tmp_path: Path) -> None:
    """There the sources come first on the path, and the compiled modules are in another place."""
    sources = tmp_path / "fastmlp"
    shutil.copytree(Path(fastmlp.__file__).parent, sources, ignore=shutil.ignore_patterns("*.so"))
    there = {"cwd": tmp_path, "PYTHONSAFEPATH": ""}
    program = "import fastmlp; print(fastmlp.__file__, fastmlp.MLP([1, 1]))"
    found = children.printed(children.python("-c", program, **there))
    assert found.startswith(f"{sources / '__init__.py'} fastmlp.MLP(")
    children.printed(children.python("-m", "fastmlp", "--help", **there))
    if importlib.util.find_spec("sklearn"):
        program = "import fastmlp; print(fastmlp.TabMLPRegressor())"
        found = children.printed(children.python("-c", program, **there))
        assert found.startswith("TabMLPRegressor(")


def test_numpy_is_the_only_requirement_at_run_time() -> None:
    try:
        metadata = importlib.metadata.metadata("fastmlp")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("built in place, not installed")
    needed = [r for r in metadata.get_all("Requires-Dist") or [] if "extra ==" not in r]
    assert [re.match(r"[\w-]+", requirement).group() for requirement in needed] == ["numpy"]
    assert metadata["Version"] == fastmlp.__version__


def test_installation_is_complete() -> None:
    stubs = "_engine/predictor.pyi", "_engine/native.pyi", "tabular/rows.pyi"
    for name in ("py.typed", "data/digits.npz", "data/digits.txt", *stubs):
        assert (INSTALLED / name).exists(), name
    assert not list(INSTALLED.rglob("probe*")), "for tests only"
    assert (INSTALLED / "data" / "digits.npz").stat().st_size < 60_000


def test_levels_are_built_and_the_best_is_used() -> None:
    assert native_engine.built_levels()
    assert set(native_engine.available_levels()) <= set(native_engine.built_levels())
    assert native_engine.level() in native_engine.available_levels()
    assert cpu.features() >= native_engine.LEVELS[native_engine.level()]


def test_setup_builds_the_levels_that_the_library_knows() -> None:
    text = (ROOT / "setup.py").read_text()
    for level in native_engine.LEVELS:
        assert f'"{level}"' in text


def dynamic(path: Path, what: str = "-d") -> str:
    command = ["readelf", "-W", what, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf is not installed")
@COMPILED
def test_modules_need_the_c_library_only(path: Path) -> None:
    needed = re.findall(r"\(NEEDED\).*\[(.+?)\]", dynamic(path))
    allowed = re.compile(r"(libc|libm|libpthread|libpython[\d.]+t?|ld-linux.*)\.so.*|libc\.musl.*")
    assert [name for name in needed if not allowed.fullmatch(name)] == []


@pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf is not installed")
@COMPILED
def test_modules_are_hardened(path: Path) -> None:
    """Addresses are read-only after loading, the code is never written, the stack never run."""
    segments = dynamic(path, "-l")
    assert "GNU_RELRO" in segments
    (stack,) = re.findall(r"GNU_STACK.* (R\w*) ", segments)
    assert stack == "RW"
    found = dynamic(path)
    assert re.search(r"BIND_NOW|Flags: .*NOW", found)
    assert "TEXTREL" not in found


def test_loading_leaves_denormals_alone() -> None:
    # A library linked with -ffast-math would flush them in the whole process.
    assert 5e-324 * 2 == 1e-323
