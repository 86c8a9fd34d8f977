"""Fuzzed calls of MLP: three models get the same calls, and have to agree.

The native model gets the arguments as they were drawn. Its twin gets only the calls that the
native one accepted, with plain C-order copies of the arrays: bit-equal results show that neither
the form of an array nor a refused call leaves a trace. The reference gets everything too: the same
complaints, and results as near as `tolerances` allows.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cases
import numpy as np
import odd
from hypothesis import strategies as st

import fastmlp
from fastmlp._network.activations import ACTIVATIONS
from fastmlp._network.losses import LOSSES
from fastmlp._network.optimizers import OPTIMIZERS

CALLS = int(os.environ.get("FASTMLP_FUZZ_CALLS", "100"))
CHUNK = 50  # networks a run of hypothesis
MOST_CALLS = 4  # a network
# One argument in so many is drawn from everything there is, and not from what is good for it.
ONE_ODD_IN = 16

HUGE = [2**20, 2**19]  # 2 TB of weights, refused by every system that counts what it promises
COUNTED = Path("/proc/sys/vm/overcommit_memory")
if COUNTED.exists() and COUNTED.read_text().strip() == "1":
    HUGE = [2**20, 2**20]

# Good values of the scalar arguments.
OPTIONS: dict[str, tuple[Any, ...]] = {
    "epochs": (1, 2, 3),
    "batch_size": (1, 3, 16, 1000),
    "l1": (0.0, 0.0, 1e-3),
    "l2": (0.0, 0.0, 1e-3),
    "averaging": (None, None, fastmlp.EMA(0.5), fastmlp.SWA(start=1)),
    "clip_norm": (None, None, 0.5),
    "groups": (
        None,
        fastmlp.Groups(weight_rate=0.5, bias_rate=0, bias_decay=1.0),
        fastmlp.Groups(parametrization="ntk"),
    ),
    "shuffle": (True, False),
    "n_threads": (None, 1, 2, 3),
    "verbose": (False,),
    "activation": tuple(ACTIVATIONS),
    "dtype": ("float32", "float64", np.float32, np.dtype("float64")),
    "dropout": (0.0, 0.0, 0.3),
    "layer_norm": (None, None, "before", "after"),
    "scale": (False, False, True),
    "parametric": (False, False, True),
    "skip": (None, 1),
    "linear_path": (False, False, True),
    "compute": (None, None, "bfloat16"),
    "initializer": (None, None, "glorot_uniform"),
    "rng": (0, 1, 2**70, np.int64(3)),
}
RATES: dict[str, tuple[Any, ...]] = {
    "learning_rate": (1e-3, 0.01, 0.05, fastmlp.Cosine(0.05, 10), fastmlp.Step(0.05, 2, 0.5)),
    "momentum": (0.0, 0.9),
    "nesterov": (False,),
    "alpha": (0.9,),
    "beta_1": (0.0, 0.9),
    "beta_2": (0.99,),
    "epsilon": (1e-2,),
    "weight_decay": (0.1, fastmlp.Step(0.1, 2, 0.5)),
}
SCHEDULES = (fastmlp.Cosine, fastmlp.OneCycle, fastmlp.WarmUp, fastmlp.Step)
TRAINING = (
    *("batch_size", "optimizer", "l1", "l2", "clip_norm", "groups", "dropout", "n_threads"),
    "sample_weight",
)
# The arguments of each method, those that must be given first.
METHODS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "fit": (
        ("X", "y"),
        (*TRAINING, "averaging", "shuffle", "validation_data", "verbose", "epochs"),
    ),
    "partial_fit": (("X", "y"), TRAINING),
    "predict": (("X",), ()),
    "evaluate": (("X", "y"), ("sample_weight",)),
    "gradients": (("X", "y"), ("sample_weight", "l1", "l2")),
    "jacobian": (("X",), ()),
    "predictor": ((), ("n_threads",)),
    "call": (("X",), ()),
    "assign": (("weights",), ()),
    "copy": (("X",), ()),
}


@dataclass(frozen=True)
class Argument:
    """A value, and what it would be without its odd form."""

    value: Any
    how: str
    is_odd: bool = False

    def __repr__(self) -> str:
        return self.how


@dataclass(frozen=True)
class Call:
    """A method and its arguments; parameters of an estimator that are set before."""

    method: str
    arguments: dict[str, Argument]
    parameters: dict[str, Argument] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """How a model is made, and what is done with it."""

    kind: Any
    parameters: dict[str, Argument]
    calls: list[Call]


# ---- what is drawn -----------------------------------------------------------------------------

oddly = st.integers(1, ONE_ODD_IN).map(lambda number: number == ONE_ODD_IN)
values = st.sampled_from(odd.VALUES).map(lambda value: Argument(value, repr(value)[:60], True))


def scalars(name: str, table: dict[str, tuple[Any, ...]] = OPTIONS) -> st.SearchStrategy[Argument]:
    """Return values of one argument."""
    good = st.sampled_from(table[name]).map(lambda value: Argument(value, repr(value)))
    return oddly.flatmap(lambda is_odd: values if is_odd else good)


@st.composite
def arrays(draw: Any, plain: np.ndarray) -> Argument:
    """Return an array in some form, or something else in its place."""
    if draw(oddly):
        if draw(oddly):
            return draw(values)
        name = draw(st.sampled_from(sorted(odd.OTHER)))
        with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
            return Argument(odd.OTHER[name](plain), f"<{name} {plain.shape}>", True)
    name = draw(st.sampled_from(sorted(odd.SAME)))
    return Argument(odd.SAME[name](plain), f"<{name} {plain.dtype}{plain.shape}>", name in odd.MORE)


def built(argument: Argument) -> Any:
    """Return a value, or the schedule that it makes."""
    return argument.value() if argument.how.startswith("<class") else argument.value


@st.composite
def optimizers(draw: Any) -> Argument:
    """Return a class of optimizers and its arguments: it is made where the call is."""
    if draw(oddly):
        return draw(values)
    row = OPTIMIZERS[draw(st.sampled_from(sorted(OPTIMIZERS)))]
    names = sorted(set(RATES) & set(row.__dataclass_fields__))
    given = {name: draw(scalars(name, RATES)) for name in names}
    if draw(oddly):
        kind, count = draw(st.sampled_from(SCHEDULES)), draw(values)
        given["learning_rate"] = Argument(lambda: kind(0.05, count.value), f"{kind} {count}", True)
    is_odd = any(argument.is_odd for argument in given.values())
    return Argument(
        lambda: row(**{name: built(argument) for name, argument in given.items()}),
        f"{row.__name__}({given})",
        is_odd,
    )


@st.composite
def networks(draw: Any) -> dict[str, Argument]:
    """Return the arguments of a network."""
    loss = draw(st.sampled_from(sorted(LOSSES)))
    compute = draw(scalars("compute"))
    is_rounded = compute.how == repr("bfloat16")  # layers of 1,024 weights or more round them
    widths, fewest = ([32, 40], 2) if is_rounded else ([1, 3, 8, 17], 0)
    hidden = draw(st.lists(st.sampled_from(widths), min_size=fewest, max_size=2))
    sizes = [draw(st.integers(1, 5)), *hidden, draw(st.integers(2, 3))]
    made = {"layer_sizes": Argument(sizes, repr(sizes)), "loss": Argument(loss, repr(loss))}
    if draw(oddly):
        name = draw(st.sampled_from(sorted(made)))
        made[name] = draw(values)
    elif draw(oddly):
        strange = draw(st.sampled_from([HUGE, [*sizes[:-1], draw(values).value, sizes[-1]]]))
        made["layer_sizes"] = Argument(strange, repr(strange), True)
    names = (
        *("activation", "dtype", "dropout", "layer_norm", "scale", "parametric", "skip"),
        *("linear_path", "initializer", "rng"),
    )
    made |= {name: draw(scalars(name)) for name in names} | {"compute": compute}
    fits = {"skip": len(hidden) > 1 and len(set(hidden)) == 1, "linear_path": bool(hidden)}
    if is_rounded:
        made["dtype"] = Argument("float32", "'float32'")
    for name, absent in (("skip", None), ("linear_path", False)):
        if not made[name].is_odd and (made["layer_sizes"].is_odd or not fits[name]):
            made[name] = Argument(absent, repr(absent))
    if made["rng"].value is None:
        made["rng"] = Argument(0, "0")  # None is another network each time
    return made


@st.composite
def calls(draw: Any, network: dict[str, Argument]) -> Call:
    """Return one call of a network that these arguments make, if they are good."""
    method = draw(st.sampled_from(["fit", "partial_fit", *sorted(METHODS)]))
    needed, others = METHODS[method]
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    sizes, loss = network["layer_sizes"], network["loss"]
    n_in, n_out = (3, 2) if sizes.is_odd else (sizes.value[0], sizes.value[-1])
    row = LOSSES["squared_error" if loss.is_odd else loss.value]()
    dtype = draw(st.sampled_from(cases.DTYPES))

    def samples(n: int) -> dict[str, np.ndarray]:
        return {
            "X": rng.normal(size=(n, n_in)).astype(dtype),
            # Probabilities in float64: in float32 they miss the sum 1, and formulas differ then.
            "y": cases.targets(
                row, n, n_out, rng, "float64" if row.target_kind == "class" else dtype, labels
            ),
            "sample_weight": rng.uniform(0.1, 2.0, n).astype(dtype),
        }

    labels = draw(st.booleans())
    plain = samples(draw(st.sampled_from([1, 2, 7, 40])))
    held_out = samples(3)
    optional = [name for name in others if draw(st.booleans())]
    arguments: dict[str, Argument] = {}
    for name in (*needed, *optional):
        if name in plain:
            arguments[name] = draw(arrays(plain[name]))
        elif name == "optimizer":
            arguments[name] = draw(optimizers())
        elif name == "validation_data":
            parts = [draw(arrays(part)) for part in held_out.values()][: draw(st.integers(1, 3))]
            is_odd = len(parts) < 2 or any(part.is_odd for part in parts)
            arguments[name] = Argument([part.value for part in parts], repr(parts), is_odd)
        elif name == "weights":
            arguments[name] = draw(values) if draw(oddly) else Argument(None, "half")
        else:
            arguments[name] = draw(scalars(name))
    return Call(method, arguments)


@st.composite
def cases_of_mlp(draw: Any) -> Case:
    """Return a network and some calls of it."""
    network = draw(networks())
    some = st.lists(calls(network), min_size=1, max_size=MOST_CALLS)
    return Case(fastmlp.MLP, network, draw(some))
