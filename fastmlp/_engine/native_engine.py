"""The native side as models use it, on the CPU level of this process; imported on first use.

So ``import fastmlp`` loads nothing compiled, and ``fastmlp.reference`` works where nothing
compiled can be loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

try:
    from fastmlp._engine import kernels, many, native
    from fastmlp._engine.cpu_levels import DTYPES, LEVELS, available_levels, built_levels, level
    from fastmlp._engine.predictor import Predictor
except ImportError as error:
    raise ImportError(
        f"the compiled modules of fastmlp cannot be loaded ({error}): install it with a C compiler "
        "present (pip install .), or use fastmlp.reference.MLP, which is plain NumPy"
    ) from error
from fastmlp._engine.plan import Plan
from fastmlp._engine.protocol import Epochs
from fastmlp._engine.thread_pool import Team
from fastmlp._network.data import Data
from fastmlp._network.spec import Spec

__all__ = ["DTYPES", "LEVELS", "Engine", "available_levels", "built_levels", "engine", "level"]


class Engine(native.Engine):
    """The compiled engine, with what takes more than the engine's own module.

    Parameters
    ----------
    spec : fastmlp._network.spec.Spec
        The network.
    level : str
        A level of `available_levels()`.
    """

    __slots__ = ()

    @staticmethod
    def train_many(
        engines: Sequence[Any],
        datas: Sequence[Data],
        plans: Sequence[Plan],
        team: Team | None = None,
        epochs: int = 1,
        seeds: Sequence[NDArray[np.uint64]] | None = None,
        held: Sequence[Data] | None = None,
        linked: bool = True,
    ) -> Epochs:
        """Take epochs of each of many engines, each on one thread at a time."""
        return many.train_many(engines, datas, plans, team, epochs, seeds, held, linked)

    def shuffle(self, order: NDArray[np.int64], seed: int) -> None:
        """Permute an index array in place (Fisher-Yates); the seed alone (64 bits) says how.

        Raises
        ------
        ValueError
            If there are 2**32 rows or more.
        """
        kernels.shuffle(order, seed, self.level)

    def jacobian(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the derivatives of the predictions with respect to the inputs, (n, C, I)."""
        return self.predictor().jacobian(x)

    def twin(self) -> Engine:
        """Return another engine for the same network; snapshots are for both."""
        return Engine(self.spec, self.level)

    def predictor(self, n_threads: int | None = None) -> Predictor:
        """Return a frozen copy behind a fast call."""
        return Predictor(self.spec, self.level, *self.parameters(), n_threads=n_threads)


def engine(spec: Spec) -> Engine:
    """Return a native engine for one network, on the level of this process."""
    return Engine(spec, level())


def peak(dtype: DTypeLike = "float32") -> float:
    """Return the multiply-add rate of one core on this level, measured now, in GFLOP/s."""
    return float(kernels.peak(np.dtype(dtype).name, level()))


def compiler() -> str:
    """Return the name and version of the compiler that made the kernels in use."""
    return kernels.compiler(level())[0]
