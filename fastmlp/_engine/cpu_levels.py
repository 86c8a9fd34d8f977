"""The CPU level whose kernels this process uses, chosen at the first use, before any is loaded.

Loading kernels with instructions that the CPU lacks would end the process. So modules are looked up
without importing them, and `kernels.load` imports only those of a level that the CPU supports.
``FASTMLP_CPU`` overrides the choice.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Collection

from fastmlp._engine import cpu

# The features that a CPU must report for each level; the best level comes first.
LEVELS: dict[str, frozenset[str]] = {
    "avx512": frozenset({"avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl"}),
    "avx2": frozenset({"avx2", "fma"}),
    "neon": frozenset({"neon"}),
    "baseline": frozenset(),
}
DTYPES = ("float32", "float64")


def kernel_module(level: str, dtype: str) -> str:
    """Return the name of a kernel module."""
    return f"fastmlp._engine._kernels_{level}_{dtype}"


@functools.cache
def built_levels() -> tuple[str, ...]:
    """Return the levels that are installed, best first, without importing them."""
    modules = {level: [kernel_module(level, dtype) for dtype in DTYPES] for level in LEVELS}
    return tuple(level for level in LEVELS if all(map(importlib.util.find_spec, modules[level])))


@functools.cache
def available_levels() -> tuple[str, ...]:
    """Return the installed levels that this CPU supports, best first."""
    features = cpu.features()
    return tuple(level for level in built_levels() if LEVELS[level] <= features)


def choose(forced: str | None, built: Collection[str], available: Collection[str]) -> str:
    """Return the level to use: `forced`, the value of ``FASTMLP_CPU``, or else the best available.

    Raises
    ------
    ImportError
        If the forced level is unknown, not built or not supported, or if there is none at all.
    """
    if not available:
        raise ImportError(
            f"no compiled kernels of fastmlp run on this machine (built: {_names(built)}): "
            "install the package with a C compiler present (pip install .)"
        )
    if not forced:
        return next(iter(available))
    if forced not in available:
        if forced not in LEVELS:
            reason = "no such level"
        elif forced not in built:
            reason = "a level that was not built"
        else:
            reason = "a level that this CPU does not support"
        raise ImportError(
            f"FASTMLP_CPU is {forced!r}, {reason}: "
            f"choose one of {_names(available)}, or unset it to take the best"
        )
    return forced


def _names(levels: Collection[str]) -> str:
    return ", ".join(levels) or "none"


@functools.cache
def level() -> str:
    """Return the CPU level of this process."""
    return choose(os.environ.get("FASTMLP_CPU"), built_levels(), available_levels())
