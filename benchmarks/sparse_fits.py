"""Inputs that are mostly zeros: CPU time and memory of a fit, beside scikit-learn and PyTorch.

Each fit runs in a process of its own, in turns, on one CPU, with the same rows, first weights and
batches; their losses are compared before anything is reported. Memory is the resident peak of the
fit above what the process held with the matrix. Linux only.
"""

from __future__ import annotations

import importlib
import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import harness
import numpy as np
from harness import FAULT, CannotRunError, Names, Rows
from large import STATUS, resident

CACHE = Path("/sys/devices/system/cpu/cpu0/cache/index3/size")
ADDRESSES = 2**30  # bytes that a limited process may address
Fit = Callable[[], list[float]]  # what is timed; returns the loss of each epoch


@dataclass(frozen=True)
class Case:
    """A matrix, a fit, its rival, and what was promised."""

    shape: tuple[int, int]
    per_row: int
    dtype: str
    epochs: int
    fits: dict[str, Callable[[Case, Any, Any], Fit]]  # the keys are fastmlp and the rival
    ratio: float  # the rival's CPU time over ours, at least
    memory: float = float("inf")  # MB, at most
    is_limited: bool = False  # whether our process may address `ADDRESSES` alone
    zipf: bool = True
    options: dict[str, Any] = field(default_factory=dict)

    def data(self) -> tuple[Any, Any]:
        """Return documents as counts of words, and which of two topics each has."""
        from scipy.sparse import csr_matrix

        rng, (n, n_words) = np.random.default_rng(0), self.shape
        share = 1 / np.arange(1, n_words + 1) if self.zipf else np.ones(n_words)
        ends = np.cumsum(share / share.sum())[:-1]
        words = np.searchsorted(ends, rng.random(n * self.per_row))
        indptr = np.arange(0, n * self.per_row + 1, self.per_row)
        x = csr_matrix((np.ones(len(words), self.dtype), words, indptr), self.shape)
        x.sum_duplicates()
        x.data = 1 + np.log(x.data)
        return x, (x @ rng.normal(size=n_words) > 0).astype(np.int64)


def estimator(module: str) -> Callable[[Case, Any, Any], Fit]:
    """Return a maker of fits of a module's MLPClassifier."""

    def prepared(case: Case, x: Any, y: Any) -> Fit:
        build = importlib.import_module(module).MLPClassifier
        net = build((100,), max_iter=case.epochs, random_state=0, tol=0.0, **case.options)
        return lambda: list(net.fit(x, y).loss_curve_)

    return prepared


def first_weights(case: Case) -> tuple[list[Any], list[Any]]:
    """Return the weights and biases of a network with 100 hidden units and two outputs."""
    rng, inputs = np.random.default_rng(1), case.shape[1]
    weights = [rng.normal(0, 0.1, shape).astype(np.float32) for shape in ((inputs, 100), (100, 2))]
    return weights, [np.zeros(100, np.float32), np.zeros(2, np.float32)]


def ours_sgd(case: Case, x: Any, y: Any) -> Fit:
    import fastmlp

    net = fastmlp.MLP([case.shape[1], 100, 2], loss="cross_entropy", rng=0)
    net.weights, net.biases = first_weights(case)
    options = {"optimizer": fastmlp.SGD(0.1), "batch_size": 200, "shuffle": False}
    return lambda: net.fit(x, y, epochs=case.epochs, **options).loss


def torch_sgd(case: Case, x: Any, y: Any) -> Fit:
    import torch

    torch.set_num_threads(1)
    weights, biases = ([torch.from_numpy(a) for a in arrays] for arrays in first_weights(case))
    bag = torch.nn.EmbeddingBag.from_pretrained(weights[0], freeze=False, mode="sum", sparse=True)
    bias, last = torch.nn.Parameter(biases[0]), torch.nn.Linear(100, 2)
    with torch.no_grad():
        last.weight.copy_(weights[1].T), last.bias.copy_(biases[1])
    optimizer = torch.optim.SGD([*bag.parameters(), bias, *last.parameters()], lr=0.1)
    indptr, indices, values, targets = (
        torch.from_numpy(a) for a in (x.indptr.astype("i8"), x.indices.astype("i8"), x.data, y)
    )
    cross_entropy = torch.nn.functional.cross_entropy

    def fit() -> list[float]:
        losses = []
        for _ in range(case.epochs):
            total = 0.0
            for at in range(0, len(y), 200):
                rows, t = indptr[at : at + 201], targets[at : at + 200]
                stored = slice(rows[0], rows[-1])
                z = bag(indices[stored], rows[:-1] - rows[0], per_sample_weights=values[stored])
                loss = cross_entropy(last(torch.relu(z + bias)), t)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(t)
            losses.append(total / len(y))
        return losses

    return fit


def cache_bytes() -> int:
    """Return the size of the third-level cache; 0 if it is not known."""
    return int(CACHE.read_text().strip().removesuffix("K")) * 1024 if CACHE.exists() else 0


ESTIMATORS = {"fastmlp": estimator("fastmlp"), "sklearn": estimator("sklearn.neural_network")}
# Weights and both moments of the first case have 24 MB.
FITS_CACHE = cache_bytes() >= 3 * 8 * 10_000 * 100
CASES: dict[str, Case] = {
    "10,000 columns, Adam, beside sklearn": Case(
        (6_000, 10_000), 60, "float64", 3, ESTIMATORS, 2.5 if FITS_CACHE else 2.0, 60, zipf=False
    ),
    "100,000 words, SGD, beside torch": Case(
        (20_000, 100_000), 100, "float32", 3, {"fastmlp": ours_sgd, "torch": torch_sgd}, 5.0
    ),
    "100,000 words, Adam, beside sklearn": Case(
        (20_000, 100_000), 100, "float64", 5, ESTIMATORS, 2.0, is_limited=True,
        options={"batch_size": 200},
    ),
    "tiny": Case((300, 500), 10, "float64", 2, ESTIMATORS, 0.0, zipf=False),
}  # fmt: skip
CHOSEN = Names.of(CASES, *list(CASES)[:-1])


def trial(name: str, who: str) -> tuple[list[float], dict[str, float]]:
    """Fit in this process; return the losses, and seconds and megabytes."""
    import resource

    case = CASES[name]
    warnings.simplefilter("ignore")  # ConvergenceWarning: the epochs are counted on purpose
    with harness.limited(1):
        x, y = case.data()
        if case.is_limited and who == "fastmlp":
            resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
        tiny = replace(CASES["tiny"], dtype=case.dtype)
        case.fits[who](tiny, *tiny.data())()  # imports what a fit needs
        fit = case.fits[who](case, x, y)
        Path("/proc/self/clear_refs").write_text("5")  # sets the peak to the size of now
        before, cpu = resident("VmRSS"), time.process_time()
        losses = fit()
        return losses, {"CPU s": time.process_time() - cpu, "MB": resident("VmHWM") - before}


def measure(cases: Names = CHOSEN, rounds: int = 3) -> Iterator[tuple[str, Rows]]:
    """Compare fits on one CPU."""
    if not STATUS.exists() or not find_spec("sklearn"):
        raise CannotRunError("memory is read from /proc, and scikit-learn makes the matrices")
    rows: Rows = {}
    for name in cases:
        case = CASES[name]
        installed = [who for who in case.fits if find_spec(who)]
        results: dict[str, list[Any]] = {who: [] for who in installed}
        for order in harness.rotations(installed, rounds):
            for who in order:
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                    results[who].append(pool.submit(trial, name, who).result())
        for who in installed[1:]:
            tolerance = 1e-6 if case.dtype == "float64" else 1e-3
            np.testing.assert_allclose(results["fastmlp"][0][0], results[who][0][0], tolerance)
        medians = {
            who: {
                column: statistics.median(numbers[column] for _, numbers in turns)
                for column in ("CPU s", "MB")
            }
            for who, turns in results.items()
        }
        rows[name] = row = medians["fastmlp"]
        for who in installed[1:]:
            row |= {f"rival, {column}": value for column, value in medians[who].items()}
            row |= {"ratio": row["rival, CPU s"] / row["CPU s"], "at least": case.ratio}
        if row.get("ratio", case.ratio) < case.ratio or row["MB"] > case.memory:
            row[FAULT] = "MISSED"
    yield f"fits on one CPU; its third-level cache has {cache_bytes() >> 20} MiB", rows
