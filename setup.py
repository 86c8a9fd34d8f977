"""Build of the native modules; everything static is in pyproject.toml.

What Python sees is in `src_cython/fastmlp/`. One kernel source, `src_cython/kernels/kernels.pyx`,
is translated to C once and compiled once per CPU level and dtype: the C is copied under
`build/kernels/` as `_kernels_{level}_{dtype}.c`, because an extension needs a name, a C file and an
object file of its own. A level that the compiler cannot build is left out, with a loud
message; `fastmlp._engine.cpu_levels` chooses among the levels that exist.

`python setup.py build_ext --inplace` is the development build: only the modules whose source, or a
header of which, changed are compiled again.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
from importlib import metadata
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import PlatformError

ROOT = Path(__file__).resolve().parent
SOURCES = Path("src_cython")
KERNELS = SOURCES / "kernels"
COPIES = Path("build", "kernels")
ENGINE = "fastmlp._engine"
KERNEL = "_kernels_LEVEL_DTYPE"  # stands in the C of the kernels for a name of their own

sys.path.append(str(ROOT / SOURCES))
import build_backend  # noqa: E402

# The platform that is built for, such as "linux-x86_64"; a cross build sets it (.ci/cross).
TARGET = sysconfig.get_platform().lower()
# Levels by machine, each a name and its flags. The names are those of _engine/cpu_levels.py. The
# level of old processors is a fifth smaller with -Os, and 2 % slower, with derivatives up to 20 %.
AVX2 = ("-mavx2", "-mfma")
AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", *AVX2)
X86_64 = {"baseline": ("-Os",), "avx2": AVX2, "avx512": (*AVX512, "-mprefer-vector-width=512")}
AARCH64 = {"neon": ()}
LEVELS = {"x86_64": X86_64, "amd64": X86_64, "aarch64": AARCH64, "arm64": AARCH64}
ELSEWHERE: dict[str, tuple[str, ...]] = {"baseline": ()}
DESCRIBING = {"egg_info", "dist_info", "sdist"}  # commands that list sources, and build nothing
DTYPES = {"float32": "0", "float64": "1"}  # dtype -> FM_DOUBLE

# No -ffast-math: loading the library would flush denormals in the whole process.
# No -march=native: a wheel travels.
# No -O3: it makes the kernels, whose loops are unrolled and vectorised by hand, no faster, but a
# third larger, and takes 40 % longer.
FLAGS = [
    "-O2",
    "-g0",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=off",  # fused where the source says so, nowhere else: same bits by any compiler
    "-fvisibility=hidden",
    "-Wno-psabi",  # a note about passing vectors by value: here every such function is inlined
]
# A kernel's loops stay where they are in their cache lines when code before them changes: by up to
# 10 % of the time of small networks.
ALIGNED = ["-falign-functions=64"]
# Of the modules that see Python objects: they call Python or kernels, and more optimization makes
# them larger, but no faster (those that gain by it ask for it in their first line). A kernel has no
# array that a caller's number can overrun: no guard.
PLAIN_FLAGS = ["-Os", "-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]
LINK_FLAGS, INSTALLED_FLAGS = [], []
if TARGET.startswith("linux"):
    # Addresses of functions are found when a module is loaded, and read-only from then on, so that
    # calls need no stubs; no page of stack is executable; no number for debuggers names the build.
    LINK_FLAGS = ["-Wl,-z,relro,-z,now,-z,noexecstack", "-Wl,--build-id=none"]
    FLAGS += ["-fno-plt"]
    # What is installed does not name its compiler, and has no tables for unwinding the stack: 46 kB
    # of a wheel that only debuggers and exceptions of C++ read.
    INSTALLED_FLAGS = ["-fno-asynchronous-unwind-tables", "-fno-ident"]
# What is installed keeps no symbols but those that Python looks up; a development build keeps all.
STRIP = ["-Wl,-x" if TARGET.startswith("macosx") else "-Wl,-s"]
# FASTMLP_SANITIZE=address,undefined, or thread: modules that the compiler's sanitizers watch, for
# an interpreter that has their run-time library preloaded (.ci/sanitize).
if SANITIZE := os.environ.get("FASTMLP_SANITIZE"):
    LINK_FLAGS = [f"-fsanitize={SANITIZE}"]
    FLAGS += [*LINK_FLAGS, "-O1", "-g", "-fno-omit-frame-pointer"]
    # Guards and sanitizers do not go together; reports name functions.
    PLAIN_FLAGS = STRIP = INSTALLED_FLAGS = []
# FASTMLP_ABI3=1: modules under the limited API, for every CPython from 3.11 on. FASTMLP_KERNELS: a
# folder of kernels that were compiled so already, and are copied (.ci/wheels sets both).
# FASTMLP_ALL_LEVELS=1: a CPU level that does not compile is an error. FASTMLP_LEVELS=native: a
# development build of the best level of this processor alone, in half the time.
ABI3 = bool(os.environ.get("FASTMLP_ABI3"))
LIMITED_API = "Py_LIMITED_API", "0x030B0000"
READY = os.environ.get("FASTMLP_KERNELS")
ALL_LEVELS = bool(os.environ.get("FASTMLP_ALL_LEVELS"))
WANTED_LEVELS = os.environ.get("FASTMLP_LEVELS", "")
# FASTMLP_REPOSITORY: the address of the repository, such as https://github.com/OWNER/NAME.
# A release sets it, and its metadata, which a package index shows, link to it.
REPOSITORY = os.environ.get("FASTMLP_REPOSITORY", "").rstrip("/")
DIRECTIVES = {
    "language_level": 3,
    "auto_pickle": False,  # nothing native is pickled by guesswork
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    "freethreading_compatible": True,
    # Functions are those of C, which take half the code of Cython's own; inspect.signature reads
    # theirs from the text that is embedded.
    "binding": False,
    "embedsignature": True,
    "embedsignature.format": "clinic",
    "autotestdict": False,  # no __test__ dictionary beside what the stubs declare
}


def machine_levels() -> dict[str, tuple[str, ...]]:
    """Return the levels of the machine that is built for."""
    return next((levels for name, levels in LEVELS.items() if TARGET.endswith(name)), ELSEWHERE)


def native_level() -> str:
    """Return the best level that this processor supports, by what its compiler predefines."""
    command = [*build_backend.compiler(), "-march=native", "-dM", "-E", "-x", "c", os.devnull]
    shown = subprocess.run(command, capture_output=True, text=True)
    if shown.returncode:
        raise PlatformError(
            f"FASTMLP_LEVELS is 'native', but {command[0]!r} has no -march=native here: unset it "
            "to build every level"
        )
    macros = set(re.findall(r"#define (__\w+__) ", shown.stdout))
    features = {
        level: {f"__{flag[2:].upper()}__" for flag in flags if re.fullmatch(r"-m\w+", flag)}
        for level, flags in machine_levels().items()
    }
    return [level for level, needed in features.items() if needed <= macros][-1]


def wanted_levels(developing: bool) -> dict[str, tuple[str, ...]]:
    """Return the levels to build; raise an error if FASTMLP_LEVELS cannot be followed."""
    if not WANTED_LEVELS:
        return machine_levels()
    if WANTED_LEVELS != "native":
        raise PlatformError(
            f"FASTMLP_LEVELS is {WANTED_LEVELS!r}, but only 'native' is known, the best level of "
            "this processor: unset it to build every level"
        )
    if not developing:
        raise PlatformError(
            "FASTMLP_LEVELS=native is for a development build, since a wheel runs on any "
            "processor: unset it, or use pip install -e . or setup.py build_ext --inplace"
        )
    level = native_level()
    return {level: machine_levels()[level]}


def included(source: Path, folder: Path) -> set[Path]:
    """Return the headers in a folder that a C file includes, and those that they include."""
    found: set[Path] = set()
    waiting = [source]
    while waiting:
        path = waiting.pop()
        for name in re.findall(r'^#include "(.+)"', path.read_text(encoding="utf-8"), re.MULTILINE):
            nearest = next((h for h in (path.parent / name, folder / name) if h.exists()), None)
            if nearest and nearest not in found:
                found.add(nearest)
                waiting.append(nearest)
    return found


def cpu_count() -> int:
    """Return the number of CPUs that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux has it
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@functools.cache
def translated(name: str, source: str, force: bool) -> Extension:
    """Translate a Cython module to C if it has changed; returns the C and the flags it asks for."""
    from Cython.Build import cythonize

    (module,) = cythonize(
        [Extension(name, [source])],
        build_dir="build/cython",
        include_path=[str(SOURCES), str(KERNELS)],
        compiler_directives=DIRECTIVES,
        force=force or None,
        quiet=True,
    )
    return module


def kernel_copy(stem: str, source: str) -> str:
    """Write the C of the kernels under a module's name; a copy changes only when its text does."""
    text = (ROOT / source).read_text(encoding="utf-8").replace(KERNEL, stem)
    copy = COPIES / f"{stem}.c"
    target = ROOT / copy
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return str(copy)


class BuildExtensions(build_ext):
    """Translate and compile, a job for each CPU; let a CPU level fail, but not the build."""

    def initialize_options(self) -> None:
        super().initialize_options()
        if TARGET.startswith("win"):
            self.compiler = "mingw32"  # gcc or zig: Microsoft's C has no vector types
        self.parallel = cpu_count()
        self.levels: dict[str, tuple[str, ...]] = {}  # those that are built
        self.failed: dict[str, str] = {}  # level -> first line of its error
        self.translating = threading.Lock()  # Cython works in one thread, and compilers beside it
        self.done = 0

    def finalize_options(self) -> None:
        """List the modules of this machine here and no earlier: other commands need no compiler."""
        if not DESCRIBING.issuperset(self.distribution.commands):
            build_backend.check_compiler()
            self.developing = bool(self.inplace or self.editable_mode)
            self.distribution.ext_modules[:] = self.wanted()
        super().finalize_options()

    def wanted(self) -> list[Extension]:
        """Return the modules to build, those that take longest first."""
        self.levels = wanted_levels(self.developing)
        kernels = []
        for level, flags in self.levels.items():
            for dtype, is_double in DTYPES.items():
                name = f"{ENGINE}._kernels_{level}_{dtype}"
                module = Extension(name, [str(KERNELS / "kernels.pyx")], optional=True)
                module.define_macros = [("FM_DOUBLE", is_double), ("FM_LEVEL_NAME", f'"{level}"')]
                module.extra_compile_args = [*ALIGNED, *flags]
                module.py_limited_api = bool(READY)
                kernels.append(module)
        modules = [*reversed(kernels), *map(plain_module, PLAIN)]
        for module in modules if ABI3 else ():
            module.py_limited_api = True
            module.define_macros.append(LIMITED_API)
        return modules

    def build_extensions(self) -> None:
        import numpy

        flags, link_flags = FLAGS, LINK_FLAGS
        if not self.developing:
            flags, link_flags = [*FLAGS, *INSTALLED_FLAGS], [*LINK_FLAGS, *STRIP]
        for extension in self.extensions:
            extension.include_dirs = [str(SOURCES / "c"), numpy.get_include()]
            extension.extra_compile_args = [*flags, *extension.extra_compile_args]
            extension.extra_link_args = link_flags
        count, levels = len(self.extensions), ", ".join(self.levels) or "none"
        self.say(f"compiling {count} modules, {self.parallel} at a time; CPU levels: {levels}")
        super().build_extensions()
        self.drop_failed_levels()

    def build_extension(self, ext: Extension) -> None:
        try:
            if READY and ext.optional:
                path = Path(self.get_ext_fullpath(ext.name))
                self.copy_file(str(Path(READY, path.name)), str(path))
            else:
                self.translate(ext)
                super().build_extension(ext)
        except Exception as error:  # whatever stops one level, the other levels are still good
            if not ext.optional:
                raise
            level = ext.name.split("_kernels_")[1].rsplit("_", 1)[0]
            self.failed.setdefault(level, str(error).splitlines()[0])
        self.done += 1
        self.say(f"{self.done} of {len(self.extensions)} modules: {ext.name}")

    def translate(self, ext: Extension) -> None:
        """Replace the Cython source of a module by its C."""
        package, _, stem = ext.name.rpartition(".")
        is_kernel = Path(ext.sources[0]).parent == KERNELS
        name = f"{package}.{KERNEL}" if is_kernel else ext.name
        with self.translating:
            module = translated(name, ext.sources[0], bool(self.force))
        (source,) = module.sources
        ext.sources = [kernel_copy(stem, source) if is_kernel else source]
        headers = included(ROOT / ext.sources[0], ROOT / SOURCES / "c")
        ext.depends = ["setup.py", *map(str, sorted(headers))]
        ext.extra_compile_args += module.extra_compile_args

    def say(self, text: str) -> None:
        self.announce(f"fastmlp: {text}", logging.INFO)

    def drop_failed_levels(self) -> None:
        """Leave out the levels that failed in either dtype, and what older builds left of any."""
        banner = "*" * 100
        for level, error in self.failed.items():
            message = f"fastmlp: CPU level {level!r} did not compile and is LEFT OUT: {error}"
            print(banner, message, banner, sep="\n", file=sys.stderr)
            prefix = f"{ENGINE}._kernels_{level}_"
            self.extensions[:] = [e for e in self.extensions if not e.name.startswith(prefix)]
        unwanted = machine_levels().keys() - self.levels.keys() if self.levels else set()
        for level in {*self.failed, *unwanted}:
            for dtype in DTYPES:
                built = Path(self.get_ext_fullpath(f"{ENGINE}._kernels_{level}_{dtype}"))
                for path in (built, ROOT / "fastmlp" / "_engine" / built.name):
                    path.unlink(missing_ok=True)
        if self.failed and (ALL_LEVELS or len(self.failed) == len(self.levels)):
            names = ", ".join(self.failed)
            raise PlatformError(f"the CPU levels {names} did not compile: see the messages above")


class BuildProbe(BuildExtensions):
    """Build `probe` alone, for tests; see tests/support/probing.py."""

    def wanted(self) -> list[Extension]:
        return [Extension("probe", ["tests/support/probe.pyx"], extra_compile_args=PLAIN_FLAGS)]


class BuildWheel(bdist_wheel):
    """Build from nothing, and add a bill of materials."""

    def run(self) -> None:
        """Remove the modules of an earlier build: those that are gone since would be shipped."""
        shutil.rmtree(self.get_finalized_command("build").build_lib, ignore_errors=True)
        super().run()

    def write_wheelfile(self, wheelfile_base: str, *generator: str) -> None:
        """Write the bill of materials beside WHEEL, where PEP 770 expects it."""
        super().write_wheelfile(wheelfile_base, *generator)
        sboms = Path(wheelfile_base, "sboms")
        sboms.mkdir(exist_ok=True)
        bill = bill_of_materials(self.distribution.metadata)
        Path(sboms, "fastmlp.cdx.json").write_text(json.dumps(bill, indent=1) + "\n")


def build_tools() -> dict[str, str]:
    """Return the versions of the tools that write and compile the modules, by name."""
    shown = subprocess.run([*build_backend.compiler(), "--version"], capture_output=True, text=True)
    versions = {name: metadata.version(name) for name in ("Cython", "numpy", "setuptools")}
    return {
        **versions,
        "Python": platform.python_version(),
        "C compiler": shown.stdout.partition("\n")[0],
    }


def bill_of_materials(distribution: Any) -> dict[str, object]:
    """Return, as CycloneDX, the package, the digits in it, which others made, NumPy, and tools."""
    package = {
        "type": "library",
        "bom-ref": "fastmlp",
        "name": "fastmlp",
        "version": distribution.version,
        "purl": f"pkg:pypi/fastmlp@{distribution.version}",
        "licenses": [{"expression": distribution.license_expression}],
    }
    digits = {
        "type": "data",
        "bom-ref": "digits",
        "name": "Optical Recognition of Handwritten Digits",
        "authors": [{"name": "E. Alpaydin"}, {"name": "C. Kaynak"}],
        "licenses": [{"license": {"id": "CC-BY-4.0"}}],
    }
    numpy = {
        "type": "library",
        "bom-ref": "numpy",
        "name": "numpy",
        "purl": "pkg:pypi/numpy",
        "scope": "required",
        "description": "installed beside the package, not in it",
    }
    tools = [
        {"type": "application", "name": name, "version": version}
        for name, version in build_tools().items()
    ]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": package},
        "components": [digits, numpy],
        "dependencies": [{"ref": "fastmlp", "dependsOn": ["digits", "numpy"]}],
        "formulation": [{"components": tools}],
    }


def project_urls() -> dict[str, str]:
    """Return the links of the metadata."""
    pages = {
        "Documentation": "blob/HEAD/docs/index.md",
        "Changelog": "blob/HEAD/CHANGELOG.md",
        "Source": "",
        "Issues": "issues",
    }
    return {name: f"{REPOSITORY}/{page}" for name, page in pages.items()} if REPOSITORY else {}


def description() -> str:
    """Return the README, whose links and pictures lead to the repository if it is known."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    if REPOSITORY:
        text = re.sub(r"(\]\(|src=\")(?=[\w/]+\.(svg|png))", rf"\1{REPOSITORY}/raw/HEAD/", text)
        text = re.sub(r"(?<=\]\()(?!\w+:|#)", f"{REPOSITORY}/blob/HEAD/", text)
    return text


def plain_module(path: Path) -> Extension:
    """Return a module that Python sees, built once for any CPU of the machine."""
    name = ".".join(path.relative_to(SOURCES).with_suffix("").parts)
    return Extension(name, [str(path)], extra_compile_args=PLAIN_FLAGS)


PLAIN = sorted(path.relative_to(ROOT) for path in (ROOT / SOURCES / "fastmlp").rglob("*.pyx"))
build_backend.check_folder(ROOT)  # here too: pip asks for no requirements without isolation
setup(
    long_description=description(),
    long_description_content_type="text/markdown",
    project_urls=project_urls(),
    ext_modules=[plain_module(path) for path in PLAIN],
    cmdclass={
        "bdist_wheel": BuildWheel,
        "build_ext": BuildExtensions,
        "build_probe": BuildProbe,
    },
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if ABI3 else {},
)
