"""The native engine on the CPU level of this process; models import it on first use.

So ``import fastmlp`` loads nothing compiled, and ``fastmlp.reference`` works where no compiled
module can be loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastmlp._core.intervals import search_first_by

try:
    # By their whole names, so that an error has the name of the module.
    import fastmlp._engine.cpu as cpu
    import fastmlp._engine.native as native
    from fastmlp._engine.cpu_levels import DTYPES, LEVELS, available_levels, built_levels, level
except ImportError as error:
    remedies = {
        "install fastmlp with a C compiler present (pip install .)": True,
        "Python loads none from a zip archive: leave fastmlp out of it, and install it "
        "(pip install .)": type(getattr(__spec__, "loader", None)).__name__ == "zipimporter",
        "freeze the program with all modules of fastmlp (pyinstaller --collect-all fastmlp)": (
            getattr(sys, "frozen", False)
        ),
    }
    remedy = [text for text, fits in remedies.items() if fits][-1]
    raise ImportError(
        "the compiled modules of fastmlp cannot be loaded, since "
        f"{error.name or 'one of them'} is missing or broken ({error}): {remedy}, "
        "or use fastmlp.reference.MLP, which is plain NumPy",
        name=error.name,
    ) from error

# Arrays of users are searched for NaN by the kernels from now on.
search_first_by(native.all_finite)

__all__ = ["DTYPES", "LEVELS", "Engine", "available_levels", "built_levels", "level"]


class Engine(native.Engine):
    """The compiled engine with its predictor, as a class of Python."""

    __slots__ = ()

    def predictor(
        self,
        n_threads: int | None = None,
        weight_type: str | None = None,
        parameters: Sequence[Any] | None = None,
    ) -> native.Predictor:
        """Return a frozen copy of the network with a fast call."""
        arrays = self.parameters() if parameters is None else parameters
        return native.Predictor(
            self.spec, self.level, *arrays, n_threads=n_threads, weight_type=weight_type
        )


def bfloat16_unit() -> str:
    """Return what multiplies in training with ``compute="bfloat16"``."""
    units = "none, float32 instead", "AVX512-BF16", "AMX"
    return units[cpu.bfloat16_products() if native.has_bfloat16(level()) else 0]


def inputs_at_a_time() -> str:
    """Return the size of a layer's inputs that stay in the cache while all its weights pass."""
    return f"{cpu.block_bytes() >> 10} KiB"


def peak(dtype: DTypeLike = "float32") -> float:
    """Return the multiply-add rate of one core on this level, measured now, in GFLOP/s."""
    return float(native.peak(np.dtype(dtype).name, level()))


def compiler() -> str:
    """Return the name and version of the compiler that made the kernels in use."""
    return native.compiler(level())[0]
