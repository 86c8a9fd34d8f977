"""Versions, CPU and what was chosen for it, threads and compiler, for bug reports."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

from fastmlp._engine import thread_count


def cpu_model() -> str:
    """Return the name of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def config() -> dict[str, Any]:
    """Return the values that :func:`show_config` prints."""
    try:
        from fastmlp._engine import native_engine

        native = {
            "CPU level": native_engine.level(),
            "levels built": list(native_engine.built_levels()),
            "levels available": list(native_engine.available_levels()),
            "compiler": native_engine.compiler(),
            "bfloat16": native_engine.bfloat16_unit(),
            "inputs at a time": native_engine.inputs_at_a_time(),
        }
    except ImportError as error:  # the compiled modules cannot be loaded
        native = {"CPU level": f"none: {error}"}
    return {
        "fastmlp": sys.modules["fastmlp"].__version__,
        "CPU": cpu_model(),
        **native,
        "threads": thread_count.default_threads(),
        "NumPy": np.__version__,
        "Python": platform.python_version(),
    }


def texts(facts: dict[str, Any]) -> dict[str, str]:
    """Return facts as text, by name."""
    return {k: ", ".join(v) if isinstance(v, list) else str(v) for k, v in facts.items()}


def show_config() -> None:
    """Print version, CPU, threads and compiler: paste it into a report of a fault.

    The choices are the CPU level, the unit that multiplies in bfloat16, and how many KiB of inputs
    pass through a layer at a time, which depends on the second-level cache.

    Examples
    --------
    >>> import fastmlp
    >>> fastmlp.show_config()  # doctest: +SKIP
    fastmlp           0.1.0
    CPU               AMD EPYC 9654 96-Core Processor
    CPU level         avx512
    levels built      avx512, avx2, baseline
    ...
    """
    for name, text in texts(config()).items():
        print(f"{name:<17} {text}")
