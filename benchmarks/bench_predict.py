"""Latency of one row and throughput of many through ``MLP.predict``: `pytest benchmarks`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from trainers import FastmlpTrainer
from workloads import CASES, forward


@pytest.mark.parametrize("rows", [1, 32, 1024])
@pytest.mark.parametrize("name", CASES)
def bench_predict(benchmark: Any, name: str, rows: int) -> None:
    case = CASES[name]
    trainer = FastmlpTrainer(case, 1)
    x = trainer.x[:rows]
    z = forward(case, trainer.get(), x.astype(float))[-1]
    if case.loss == "cross_entropy":
        z = np.exp(z - z.max(axis=1, keepdims=True))
        z /= z.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(trainer.net.predict(x), z, rtol=1e-3, atol=1e-5)
    benchmark(trainer.net.predict, x)
