"""An epoch and a prediction of each case through the public API: `pytest -n 0 benchmarks`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from harness import peak
from predictors import expected
from rivals import TRAINERS, load_training, wrong_losses
from workloads import CASES

from fastmlp._engine.thread_count import default_threads


@pytest.mark.parametrize("threads", sorted({1, default_threads()}))
@pytest.mark.parametrize("name", CASES)
def bench_epoch(benchmark: Any, name: str, threads: int) -> None:
    case, (_, make) = CASES[name], TRAINERS["fastmlp"]
    assert not wrong_losses(case, load_training(make, case, threads)[0])
    benchmark(make(case, threads).names["train"], 1, True)
    if benchmark.stats is not None:  # absent under --benchmark-disable
        seconds = benchmark.stats.stats.median / case.steps
        fraction = case.flops / seconds / peak() / threads
        benchmark.extra_info.update(us_per_step=seconds * 1e6, fraction_of_peak=fraction)


@pytest.mark.parametrize("rows", [1, 32, 1024])
@pytest.mark.parametrize("name", CASES)
def bench_predict(benchmark: Any, name: str, rows: int) -> None:
    case = CASES[name]
    net, x = case.net(), case.data()[0][:rows]
    np.testing.assert_allclose(net.predict(x), expected(case, x), rtol=1e-3, atol=1e-5)
    benchmark(net.predict, x)
