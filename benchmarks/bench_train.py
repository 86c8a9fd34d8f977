"""One epoch of each case through ``MLP.fit``, one and all threads: `pytest benchmarks`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from harness import peak
from trainers import FastmlpTrainer
from workloads import CASES, NumpyTrainer, loss

from fastmlp.threads import default_threads


@pytest.mark.parametrize("threads", sorted({1, default_threads()}))
@pytest.mark.parametrize("name", CASES)
def bench_epoch(benchmark: Any, name: str, threads: int) -> None:
    case = CASES[name]
    trainer, judge = FastmlpTrainer(case, threads), NumpyTrainer(case, np.float64)
    for each in (trainer, judge):
        each.train(1, shuffle=False)
    data = case.data()
    right = loss(case, judge.get(), *data)
    assert loss(case, trainer.get(), *data) == pytest.approx(right, rel=1e-2)
    benchmark(trainer.train, 1, True)
    if benchmark.stats is not None:  # absent under --benchmark-disable
        seconds = benchmark.stats.stats.median / case.steps
        fraction = case.flops / seconds / peak() / threads
        benchmark.extra_info.update(us_per_step=seconds * 1e6, fraction_of_peak=fraction)
