"""Build of the native modules; everything static is in pyproject.toml.

What Python sees is in `src_cython/fastmlp/`. One kernel source, `src_cython/kernels/kernels.pyx`,
is compiled once per CPU level and dtype: it is copied under `build/kernels/` as
`_kernels_{level}_{dtype}.pyx`, because an extension needs a name, a C file and an object file of
its own. A level that the compiler cannot build is left out, with a loud
message; `fastmlp._engine.cpu_levels` chooses among the levels that exist.

`python setup.py build_ext --inplace` is the development build: only what changed is compiled again.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import tempfile
from itertools import takewhile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext, customize_compiler, new_compiler
from setuptools.errors import CompileError, PlatformError

ROOT = Path(__file__).resolve().parent
SOURCES = Path("src_cython")
KERNELS = SOURCES / "kernels"
COPIES = Path("build", "kernels")
ENGINE = "fastmlp._engine"

# Levels by machine, each a name and its flags. The names are those of _engine/cpu_levels.py.
AVX2 = ("-mavx2", "-mfma")
AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", *AVX2)
X86_64 = {"baseline": (), "avx2": AVX2, "avx512": (*AVX512, "-mprefer-vector-width=512")}
AARCH64 = {"neon": ()}
LEVELS = {"x86_64": X86_64, "amd64": X86_64, "aarch64": AARCH64, "arm64": AARCH64}
ELSEWHERE: dict[str, tuple[str, ...]] = {"baseline": ()}
DESCRIBING = {"egg_info", "dist_info", "sdist"}  # commands that list sources, and build nothing
DTYPES = {"float32": "0", "float64": "1"}  # dtype -> FM_DOUBLE

# No -ffast-math: loading the library would flush denormals in the whole process.
# No -march=native: a wheel travels.
FLAGS = [
    "-O3",
    "-g0",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=off",  # fused where the source says so, nowhere else: same bits by any compiler
    "-fvisibility=hidden",
    "-Wno-psabi",  # a note about passing vectors by value: here every such function is inlined
]
# Of the modules that see Python objects. A kernel has no array that a caller's number can overrun.
GUARDED = ["-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]
# Addresses of functions are read-only after loading; no page of stack is executable.
LINK_FLAGS = ["-Wl,-z,relro,-z,now,-z,noexecstack"] if sys.platform == "linux" else []
# FASTMLP_SANITIZE=address,undefined, or thread: modules that the compiler's sanitizers watch, for
# an interpreter that has their run-time library preloaded (.ci/sanitize).
if SANITIZE := os.environ.get("FASTMLP_SANITIZE"):
    LINK_FLAGS = [f"-fsanitize={SANITIZE}"]
    FLAGS += [*LINK_FLAGS, "-O1", "-g", "-fno-omit-frame-pointer"]
    GUARDED = []  # the two do not go together
DIRECTIVES = {
    "language_level": 3,
    "auto_pickle": False,  # nothing native is pickled by guesswork
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    "freethreading_compatible": True,
    "autotestdict": False,  # no __test__ dictionary beside what the stubs declare
}


def machine_levels() -> dict[str, tuple[str, ...]]:
    """Return the levels of the machine built for, by its platform tag (a cross build sets it)."""
    platform = sysconfig.get_platform().lower()
    return next((levels for name, levels in LEVELS.items() if platform.endswith(name)), ELSEWHERE)


def dependencies() -> list[str]:
    """Return the files whose change rebuilds every extension: headers, .pxd files, this script."""
    found = sorted(path for path in (ROOT / SOURCES).rglob("*") if path.suffix in {".h", ".pxd"})
    return [*(str(path.relative_to(ROOT)) for path in found), "setup.py"]


def kernel_copy(stem: str) -> str:
    """Write `kernels.pyx` under a module's name; the copy is touched only when its text changes."""
    text = (ROOT / KERNELS / "kernels.pyx").read_bytes()
    copy = COPIES / f"{stem}.pyx"
    target = ROOT / copy
    if not target.exists() or target.read_bytes() != text:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text)
    return str(copy)


# What every module needs of the compiler and the system.
TRIAL = """
#include <Python.h>
#include <pthread.h>
typedef float vector __attribute__((vector_size(16)));
vector twice(vector a) { return a + a; }
"""
REMEDY = (
    "install a C compiler and Python's headers (Debian and Ubuntu: apt install gcc libc6-dev "
    "python3-dev; Fedora: dnf install gcc python3-devel; Alpine: apk add gcc musl-dev python3-dev; "
    "macOS: xcode-select --install), or name another compiler, as in CC=clang pip install ."
)


def check_compiler() -> None:
    """Compile a few lines, and say what to do if that fails, before minutes have been spent."""
    compiler = new_compiler()
    if compiler.compiler_type == "msvc":
        raise PlatformError("fastmlp needs gcc or clang: its kernels use their vector types")
    customize_compiler(compiler)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "trial.c")
        source.write_text(TRIAL)
        include = [sysconfig.get_path("include"), sysconfig.get_path("platinclude")]
        try:
            compiler.compile([str(source)], output_dir=folder, include_dirs=include)
        except CompileError as error:
            command = " ".join(takewhile(lambda word: word[0] != "-", compiler.compiler_so))
            raise PlatformError(
                f"fastmlp is compiled where it is installed, but the C compiler {command!r} is "
                f"missing here, or cannot compile for this Python: {REMEDY}"
            ) from error


class BuildExtensions(build_ext):
    """Cythonize late, compile in two jobs, and let a kernel level fail but not the build."""

    def initialize_options(self) -> None:
        super().initialize_options()
        self.parallel = 2
        self.failed: dict[str, str] = {}  # level -> first line of its error

    def finalize_options(self) -> None:
        """Replace the `.pyx` sources by C here and no earlier: other commands need no compiler."""
        if not DESCRIBING.issuperset(self.distribution.commands):
            check_compiler()
            self.distribution.ext_modules[:] = self.cythonized()
        super().finalize_options()

    def wanted(self) -> list[Extension]:
        """Return the modules to build, kernels too."""
        found = list(self.distribution.ext_modules)
        for level, flags in machine_levels().items():
            for dtype, is_double in DTYPES.items():
                stem = f"_kernels_{level}_{dtype}"
                macros = [("FM_DOUBLE", is_double), ("FM_LEVEL_NAME", f'"{level}"')]
                kernels = Extension(f"{ENGINE}.{stem}", [kernel_copy(stem)], define_macros=macros)
                kernels.extra_compile_args = list(flags)
                found.append(kernels)
        return found

    def cythonized(self) -> list[Extension]:
        import numpy
        from Cython.Build import cythonize

        depends = dependencies()
        include = [str(SOURCES / "c"), numpy.get_include()]
        extensions = self.wanted()
        for extension in extensions:
            extension.include_dirs = include
            extension.depends = depends
            extension.extra_compile_args = [*FLAGS, *extension.extra_compile_args]
            extension.extra_link_args = LINK_FLAGS
        extensions = cythonize(
            extensions,
            build_dir="build/cython",
            include_path=[str(SOURCES), str(KERNELS)],
            compiler_directives=DIRECTIVES,
            force=self.force or None,
        )
        for extension in extensions:  # an in-place build may lack the modules of a failed level
            extension.optional = extension.name.startswith(f"{ENGINE}._kernels_")
        return extensions

    def build_extensions(self) -> None:
        super().build_extensions()
        self.drop_failed_levels()

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except Exception as error:  # whatever stops one level, the other levels are still good
            if not ext.optional:
                raise
            level = ext.name.split("_kernels_")[1].rsplit("_", 1)[0]
            self.failed.setdefault(level, str(error).splitlines()[0])

    def drop_failed_levels(self) -> None:
        """Leave out the levels that failed in either dtype, and what older builds left of them."""
        levels = machine_levels()
        banner = "*" * 100
        for level, error in self.failed.items():
            message = f"fastmlp: CPU level {level!r} did not compile and is LEFT OUT: {error}"
            print(banner, message, banner, sep="\n", file=sys.stderr)
            prefix = f"{ENGINE}._kernels_{level}_"
            for ext in [ext for ext in self.extensions if ext.name.startswith(prefix)]:
                self.extensions.remove(ext)
                built = Path(self.get_ext_fullpath(ext.name))
                for path in (built, ROOT / "fastmlp" / "_engine" / built.name):
                    path.unlink(missing_ok=True)
        if len(self.failed) == len(levels):
            names = ", ".join(levels)
            raise PlatformError(f"none of the CPU levels {names} compiled: see the messages above")


class BuildProbe(BuildExtensions):
    """Build `probe` alone, for tests and benchmarks; see tests/support/probing.py."""

    def wanted(self) -> list[Extension]:
        return [plain_module(SOURCES / "probe.pyx")]


def plain_module(path: Path) -> Extension:
    """Return a module that Python sees, built once for any CPU of the machine."""
    name = ".".join(path.relative_to(SOURCES).with_suffix("").parts)
    return Extension(name, [str(path)], extra_compile_args=GUARDED)


PLAIN = sorted(path.relative_to(ROOT) for path in (ROOT / SOURCES / "fastmlp").rglob("*.pyx"))
setup(
    ext_modules=[plain_module(path) for path in PLAIN],
    cmdclass={"build_ext": BuildExtensions, "build_probe": BuildProbe},
)
