"""A step of two processes together against one of a process alone, with as many rows in each.

mpiexec starts the ranks on this machine, one thread each. "together" trains with a communicator,
"apart" is each by itself at the same time, "alone" is rank 0 while the others sleep, and "one rank"
is that with a communicator of its own. "by hand" does what can be done without a communicator:
``gradients``, one sum of all arrays, Adam in NumPy, and assignments. "sum alone" is the exchange of
a step. Before that the losses must be those of one process with all rows. Target: with 128 rows a
rank a step of ``wide`` together takes at most 1.2 times as long as one apart and the sum; no quiet
machine, no such figure: ranks wait by spinning.

With --model, a table and a picture of the efficiency of many ranks on machines of their own: the
step of "one rank", then a sum by rings, 2 log2(p) latencies and 2 (p - 1) / p times the bytes. It
is a model, not a measurement: nothing is sent over a network.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import harness
import numpy as np
from harness import CannotRunError, Names, Rows, Timing
from workloads import LEARNING_RATE, RELU, Case

import fastmlp
from fastmlp._core import communicators
from fastmlp._core.charts import Axes

RANKS, STEPS, LIMIT = 2, 40, 1.2
ALONE = ("alone", "one rank")
WIDE = Names.of(RELU, "wide")
NETWORKS = {"10 Gb/s": (30e-6, 1.1e9), "100 Gb/s": (2e-6, 11e9)}  # latency, bytes per second
MODELLED = (64, 1024)  # ranks in the table


def network(case: Case) -> fastmlp.MLP:
    """Return the case's network with its first weights."""
    net = fastmlp.MLP(case.layer_sizes, activation=case.activation, loss=case.loss, rng=0)
    weights, biases = zip(*case.parameters(), strict=True)
    net.weights, net.biases = list(weights), list(biases)
    return net


def fit(net: fastmlp.MLP, x: Any, y: Any, rows: int, **options: Any) -> tuple[float, float]:
    """Train one epoch; return its loss, and the seconds of a step."""
    given = {"epochs": 1, "batch_size": rows, "n_threads": 1, "shuffle": False, **options}
    history = net.fit(x, y, optimizer=fastmlp.Adam(LEARNING_RATE), **given)
    return history.loss[0], history.seconds[0] / STEPS


def by_hand(net: fastmlp.MLP, x: Any, y: Any, rows: int, comm: Any) -> tuple[float, float]:
    """Do the same with what is public besides the communicator."""
    from mpi4py import MPI

    start, losses = time.perf_counter(), []
    parameters = [*net.weights, *net.biases]
    ends = np.cumsum([p.size for p in parameters])
    w = np.concatenate([p.ravel() for p in parameters])
    m, v = np.zeros_like(w), np.zeros_like(w)
    for step in range(1, STEPS + 1):
        batch = slice((step - 1) * rows, step * rows)
        loss, *kinds = net.gradients(x[batch], y[batch])
        g = np.concatenate([array.ravel() for kind in kinds for array in kind])
        comm.Allreduce(MPI.IN_PLACE, g)
        g /= comm.size
        m += np.float32(0.1) * (g - m)
        v += np.float32(0.001) * (g * g - v)
        rate = np.float32(LEARNING_RATE / (1 - 0.9**step))
        w -= rate * m / (np.sqrt(v / np.float32(1 - 0.999**step)) + np.float32(1e-8))
        pairs = zip(np.split(w, ends[:-1]), parameters, strict=True)
        new = [part.reshape(p.shape) for part, p in pairs]
        net.weights, net.biases = new[: len(net.weights)], new[len(net.weights) :]
        losses.append(comm.allreduce(loss) / comm.size)
    return float(np.mean(losses)), (time.perf_counter() - start) / STEPS


def sum_alone(net: fastmlp.MLP, x: Any, y: Any, rows: int, comm: Any) -> tuple[float, float]:
    """Sum as many numbers as a step does."""
    del x, y, rows
    add_up, numbers = (
        communicators.resolve(comm).allreduce,
        np.zeros(net._network.engine.n_summed, "f4"),
    )
    return 0.0, harness.repeat(lambda: add_up(numbers), STEPS) / STEPS


def sleep(comm: Any) -> None:
    """Leave the CPU to the others until all have come."""
    request = comm.Ibarrier()
    while not request.Test():
        time.sleep(1e-3)


def rank(name: str, rows: int, rounds: int) -> None:
    """Be one of the ranks; rank 0 prints the seconds of a step in each round, as JSON."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    case = dataclasses.replace(RELU[name], n_rows=rows * STEPS * comm.size)
    x, y = case.data()
    mine = np.arange(len(x)) % (rows * comm.size) // rows == comm.rank
    own = x[mine], y[mine], rows
    ways = {
        "alone": fit,
        "one rank": functools.partial(fit, communicator=MPI.COMM_SELF),
        "apart": fit,
        "together": functools.partial(fit, communicator=comm),
        "sum alone": functools.partial(sum_alone, comm=comm),
        "by hand": functools.partial(by_hand, comm=comm),
    }
    expected, _ = fit(network(case), x, y, rows * comm.size)
    for way in ("together", "by hand"):
        np.testing.assert_allclose(ways[way](network(case), *own)[0], expected, rtol=1e-4)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for order in harness.rotations(ways, rounds):
        for way in order:
            net = network(case)
            comm.Barrier()
            if way not in ALONE or comm.rank == 0:
                seconds[way].append(ways[way](net, *own)[1])
            sleep(comm)
    if comm.rank == 0:
        print(json.dumps(seconds))


def efficiency(seconds: float, n_bytes: int, ranks: int, network: str) -> float:
    """Return the share of a step that is no waiting for the sum, by the model of the module."""
    latency, bandwidth = NETWORKS[network]
    waiting = 2 * math.log2(ranks) * latency + 2 * (ranks - 1) / ranks * n_bytes / bandwidth
    return seconds / (seconds + waiting)


def draw(path: str, steps: dict[str, tuple[float, int]]) -> None:
    """Draw the efficiency over ranks, for the seconds and the summed bytes of each kind of step."""
    axes, ranks = Axes(), 2 ** np.arange(1, 11)
    axes.set(xlabel="ranks", ylabel="efficiency, %", xscale="log")
    for name, step in steps.items():
        for network in NETWORKS:
            shares = [100 * efficiency(*step, int(p), network) for p in ranks]
            axes.plot(ranks, shares, label=f"{name}, {network}")
    picture = axes.svg("Efficiency of data-parallel training, modelled")
    Path(path).write_text(picture.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1))


def measure(
    cases: Names = WIDE, rows: int = 128, rounds: int = 9, model: str | None = None
) -> Iterator[tuple[str, Rows]]:
    mpiexec = shutil.which("mpiexec")
    if mpiexec is None or find_spec("mpi4py") is None:
        raise CannotRunError("mpi4py and mpiexec are needed: pip install mpi4py mpich")
    if (cpus := harness.available_cpus()) < RANKS:
        raise CannotRunError(f"{RANKS} ranks, but {harness.counted(cpus, 'CPU')}")
    steps = {}
    for name in cases:
        command = [mpiexec, "-n", str(RANKS), sys.executable, Path(__file__), name, rows, rounds]
        output = subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE).stdout
        timings = {way: Timing.of(seconds) for way, seconds in json.loads(output).items()}
        table = {way: t.row("us/step") | {"best": t.best * 1e6} for way, t in timings.items()}
        parts = timings["apart"].median + timings["sum alone"].median
        ratio = timings["together"].median / parts
        table["one rank"] |= {"ratio": timings["one rank"].median / timings["alone"].median}
        is_target = name == "wide" and rows == 128  # elsewhere other shares of a step are the sum
        table["together"] |= harness.judged(ratio, LIMIT) if is_target else {"ratio": ratio}
        yield f"{RELU[name].title.rpartition(',')[0]}, {RANKS} ranks of {rows} rows", table
        steps[name] = timings["one rank"].median, 4 * network(RELU[name])._network.engine.n_summed
    if model is not None:
        draw(model, steps)
        yield (
            f"modelled efficiency with {rows} rows a rank",
            {
                f"{name}, {kind}": {f"{p:,} ranks": efficiency(*step, p, kind) for p in MODELLED}
                for name, step in steps.items()
                for kind in NETWORKS
            },
        )


if __name__ == "__main__":
    rank(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
