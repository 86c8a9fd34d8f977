"""An epoch and a prediction of each case through the public API: `pytest -n 0 benchmarks`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from harness import peak
from predictors import expected
from rivals import load_training, wrong_losses
from trainers import FastmlpTrainer
from workloads import CASES

from fastmlp._engine.thread_count import default_threads


@pytest.mark.parametrize("threads", sorted({1, default_threads()}))
@pytest.mark.parametrize("name", CASES)
def bench_epoch(benchmark: Any, name: str, threads: int) -> None:
    case = CASES[name]
    assert not wrong_losses(case, load_training(FastmlpTrainer, case, threads)[0])
    benchmark(FastmlpTrainer(case, threads).train, 1, True)
    if benchmark.stats is not None:  # absent under --benchmark-disable
        seconds = benchmark.stats.stats.median / case.steps
        fraction = case.flops / seconds / peak() / threads
        benchmark.extra_info.update(us_per_step=seconds * 1e6, fraction_of_peak=fraction)


@pytest.mark.parametrize("rows", [1, 32, 1024])
@pytest.mark.parametrize("name", CASES)
def bench_predict(benchmark: Any, name: str, rows: int) -> None:
    trainer = FastmlpTrainer(CASES[name], 1)
    x = trainer.x[:rows]
    right = expected(trainer.case, x)
    np.testing.assert_allclose(trainer.net.predict(x), right, rtol=1e-3, atol=1e-5)
    benchmark(trainer.net.predict, x)
