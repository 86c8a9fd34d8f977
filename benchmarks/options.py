"""What options cost: an epoch with each, in turns with the plain case (relu, Adam, no extras).

Beside the measured ratio stands the one that the option's extra arithmetic explains. Activations:
the nanoseconds an element of their kernel alone, less those of relu. Validation and float64:
floating-point operations at the measured peak. The others: vector operations an element, counted
in the C sources, two a cycle. Each option is first trained side by side with the NumPy engine.

Levels: every CPU level that runs here against the best, float64 against float32. Targets: AVX2
within 10 percent of AVX-512, float64 at half the speed of float32 or better.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import harness
import numpy as np
from harness import Names, Rows
from workloads import RELU, Case

import fastmlp
from fastmlp import reference
from fastmlp._engine import native_engine
from fastmlp._network.activations import ACTIVATIONS

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))

CHECKED_ROWS = 512
# Vector operations an element, loads and stores included.
ADAMW_DECAY = 1
DROPOUT = 19  # two hashes of 8, a comparison, the product forward and that backward
SQUARES = 4  # the penalty loads, converts and squares half vectors
CLIPPING = 8  # store and load the gradient, add the penalty, squares
UNEXPLAINED = 1.15  # at most: loads, stores and overlap are not counted
AUX = 3  # a kept derivative instead of the fused relu: load, multiply, store


@dataclass(frozen=True)
class Costs:
    """What is measured once, to explain the rest."""

    peaks: Mapping[str, float]  # FLOP/s by dtype
    activations: Mapping[str, float]  # seconds an element, value and derivative

    def operations(self, count: float) -> float:
        """Return the seconds of element operations, vectorised, two vectors a cycle."""
        return count / (self.peaks["float32"] / 2)


@dataclass(frozen=True)
class Option:
    """Arguments of the network and of its fit, and the seconds they should add to a step."""

    explained: Callable[[Case, Costs], float]
    net: Mapping[str, Any] = field(default_factory=dict)
    fit: Mapping[str, Any] = field(default_factory=dict)
    validate: bool = False
    weigh: bool = False
    kind: type = fastmlp.MLP


def weights(case: Case) -> int:
    return case.n_weights


def hidden(case: Case) -> int:
    """Return the hidden elements of a batch."""
    return case.batch_size * sum(case.layer_sizes[1:-1])


def less(case: Case, costs: Costs) -> float:
    """Explain what does no more than the plain case."""
    return 0.0


def counted(amount: Callable[[Case], int], each: int) -> Callable[[Case, Costs], float]:
    return lambda case, costs: costs.operations(amount(case) * each)


def activated(names: Sequence[str]) -> Callable[[Case, Costs], float]:
    """Explain activations, one a hidden layer (a single one stands for all)."""

    def explained(case: Case, costs: Costs) -> float:
        sizes = case.layer_sizes[1:-1]
        each = list(names) * len(sizes) if len(names) == 1 else names
        total = 0.0
        for size, name in zip(sizes, each, strict=True):
            extra = costs.activations[name] - costs.activations["relu"]
            extra += 0.0 if name == "relu" else costs.operations(AUX)
            total += max(0.0, extra) * size * case.batch_size
        return total

    return explained


def forward_pass(case: Case, costs: Costs) -> float:
    return 2 * case.n_weights * case.batch_size / costs.peaks["float32"]


def doubles(case: Case, costs: Costs) -> float:
    return case.flops / costs.peaks["float64"] - case.flops / costs.peaks["float32"]


OPTIMIZERS = {
    "SGD": fastmlp.SGD(learning_rate=1e-3),
    "SGD, momentum": fastmlp.SGD(learning_rate=1e-3, momentum=0.9),
    "SGD, Nesterov": fastmlp.SGD(learning_rate=1e-3, momentum=0.9, nesterov=True),
    "RMSprop": fastmlp.RMSprop(learning_rate=1e-4),
}
PLAIN = "plain"
OPTIONS: dict[str, Option] = {
    PLAIN: Option(less),
    **{name: Option(less, fit={"optimizer": value}) for name, value in OPTIMIZERS.items()},
    "AdamW": Option(counted(weights, ADAMW_DECAY), fit={"optimizer": fastmlp.AdamW()}),
    "dropout 0.5": Option(counted(hidden, DROPOUT), net={"dropout": 0.5}),
    "clip_norm": Option(counted(weights, CLIPPING), fit={"clip_norm": 1.0}),
    "l2": Option(counted(weights, SQUARES), fit={"l2": 1e-4}),
    "sample_weight": Option(less, weigh=True),
    "validation": Option(forward_pass, validate=True),
    "float64": Option(doubles, net={"dtype": "float64"}),
    "relu, tanh": Option(activated(["relu", "tanh"]), net={"activation": ["relu", "tanh"]}),
    **{
        name: Option(activated([name]), net={"activation": name})
        for name in ACTIVATIONS
        if name != "relu"
    },
}


def prepare(
    case: Case, option: Option, kind: type | None = None, rows: int | None = None
) -> Callable[[], fastmlp.History]:
    """Return a function that trains one epoch, fresh optimizer included, on one thread."""
    settings = {"activation": case.activation, "loss": case.loss, "rng": 0, **option.net}
    net = (kind or option.kind)(list(case.layer_sizes), **settings)
    dtype = settings.get("dtype", "float32")
    x, y = (array[:rows] for array in case.data())
    x, y = x.astype(dtype), (y if case.classifies else y.astype(dtype))
    fit = {"batch_size": case.batch_size, "epochs": 1, "n_threads": 1, **option.fit}
    if option.validate:
        fit["validation_data"] = x, y
    if option.weigh:
        fit["sample_weight"] = np.linspace(0.5, 1.5, len(x)).astype(dtype)
    return functools.partial(net.fit, x, y, **fit)


def check(case: Case, options: Mapping[str, Option]) -> None:
    """Raise if a short epoch of an option ends with another loss than in NumPy."""
    rows = max(CHECKED_ROWS, 2 * case.batch_size)
    for name, option in options.items():
        ours, right = (prepare(case, option, kind, rows)() for kind in (None, reference.MLP))
        for key in ("loss", "val_loss"):
            got, wanted = getattr(ours, key), getattr(right, key)
            np.testing.assert_allclose(got, wanted, rtol=1e-3, err_msg=f"{name}: {key}")


def time_epochs(
    case: Case, options: Mapping[str, Option], **turns: Any
) -> dict[str, harness.Timing]:
    """Check the options, and time an epoch of each."""
    calls = {name: prepare(case, option) for name, option in options.items()}
    return harness.interleave(calls, check=functools.partial(check, case, options), **turns)


def measure_costs(names: Sequence[str], rounds: int, turn: float) -> Costs:
    """Time the activations' kernels behind the cheapest affine map there is: one input."""
    from probing import probe

    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((128, 1), (1, 192)))
    layers = {}
    for name in names:
        layers[name] = probe.Affine(native_engine.level(), "float32", 128, 1, 192, name)
        layers[name].load(x=x, w=w)

    def right() -> None:
        z = x.astype(float) @ w.astype(float)
        for name, layer in layers.items():
            layer.forward(training=True)
            np.testing.assert_allclose(
                layer.y, ACTIVATIONS[name].value(z), rtol=0, atol=2e-4, err_msg=name
            )

    calls = {name: functools.partial(each.forward, training=True) for name, each in layers.items()}
    timings = harness.interleave(calls, check=right, rounds=rounds, turn=turn)
    seconds = {name: timing.median / (128 * 192) for name, timing in timings.items()}
    return Costs({dtype: harness.peak(dtype) for dtype in native_engine.DTYPES}, seconds)


def compare(case: Case, names: Sequence[str], rounds: int, turn: float) -> Rows:
    """Return a row an option: timing of a step, ratio to the plain case, the ratio explained."""
    options = {name: OPTIONS[name] for name in dict.fromkeys([PLAIN, *names])}
    costs = measure_costs(list(ACTIVATIONS), rounds, turn / 10)
    timings = time_epochs(case, options, rounds=rounds, turn=turn)
    plain = timings[PLAIN].median
    rows: Rows = {}
    for name, timing in timings.items():
        explained = 1 + options[name].explained(case, costs) * case.steps / plain
        limited = harness.judged(timing.median / plain, UNEXPLAINED * explained)
        rows[name] = {**timing.row("us/step", case.steps), **limited, "explained": explained}
    return rows


CHOSEN, ALL = Names.of(RELU, "small", "mnist"), Names.of(OPTIONS)


def measure(
    cases: Names = CHOSEN, options: Names = ALL, rounds: int = 9, turn: float = 0.1
) -> Iterator[tuple[str, Rows]]:
    for name in cases:
        yield f"{RELU[name].title}, Adam", compare(RELU[name], options, rounds, turn)


def on_level(level: str) -> type[fastmlp.MLP]:
    """Return an MLP whose engine uses the kernels of a level."""

    class Leveled(fastmlp.MLP):
        _make_engine = staticmethod(functools.partial(native_engine.Engine, level=level))

    return Leveled


def compare_levels(case: Case, **turns: Any) -> Rows:
    """Return a row for each level and dtype; ratios are to float32 on the best level."""
    levels = native_engine.available_levels()
    options = {
        f"{level} {dtype}": Option(less, net={"dtype": dtype}, kind=on_level(level))
        for level in levels
        for dtype in native_engine.DTYPES
    }
    timings = time_epochs(case, options, **turns)
    best = timings[f"{levels[0]} float32"].median
    return {
        name: {
            **timing.row("us/step", case.steps),
            "to the best": timing.median / best,
            "to float32": timing.median / timings[name.split()[0] + " float32"].median,
        }
        for name, timing in timings.items()
    }


LEVELED = Names.of(RELU, "small", "mnist", "wide")


def levels(
    cases: Names = LEVELED, rounds: int = 9, turn: float = 0.2
) -> Iterator[tuple[str, Rows]]:
    for name in cases:
        yield RELU[name].title, compare_levels(RELU[name], rounds=rounds, turn=turn)
