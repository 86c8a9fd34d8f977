"""Tasks in fresh environments: `nox` runs lint, types and tests; `nox -l` lists all."""

from __future__ import annotations

import nox

nox.needs_version = ">=2025.10.14"
nox.options.default_venv_backend = "venv"
PROJECT = nox.project.load_toml("pyproject.toml")


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group."""
    return list(nox.project.dependency_groups(PROJECT, name))


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format, of Python and Cython, and the hosted workflows."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("cython-lint", "src_cython", "tests/support/probe.pyx")
    session.run("zizmor", "--offline", ".github")


@nox.session
def types(session: nox.Session) -> None:
    """Check types."""
    session.install(".[test]", *group("types"))
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests on the installed package: `nox -s tests -- tests/engine` runs some."""
    session.install(".[test]")
    session.run("pytest", *session.posargs)


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """Measure which branches of the Python code the tests reach, with the processes they start."""
    session.install("-e", ".[test]", "coverage>=7.10")
    session.run("coverage", "erase")
    try:
        # One process: pytest-xdist kills workers that take long to write their figures.
        session.run("coverage", "run", "-m", "pytest", "-n", "0", *session.posargs)
    finally:  # a failed test does not lose the figures
        session.run("coverage", "combine", "--quiet")
        session.run("coverage", "report", "--precision=1", "--sort=cover")


@nox.session(default=False)
def wheels(session: nox.Session) -> None:
    """Build and test all files of a release."""
    session.run(".ci/wheels", external=True)
    session.run(".ci/test-wheels", external=True)


@nox.session(default=False)
def cross(session: nox.Session) -> None:
    """Compile and link all modules for Windows and macOS."""
    session.run(".ci/cross", external=True)
