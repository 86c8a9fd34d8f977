"""What is tested: edge sizes, dtypes, networks, losses, optimizers, and random data for them.

The lists are built from the package's tables, so that a new row is in every test at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastmlp._engine import native, native_engine
from fastmlp._engine.numpy import numpy_engine
from fastmlp._engine.plan import Plan
from fastmlp._engine.thread_pool import borrowed_team
from fastmlp._network import losses, optimizers, spec
from fastmlp._network.activations import ACTIVATIONS
from fastmlp._network.data import Data
from fastmlp._network.target_kinds import KINDS as KINDS_OF_TARGETS
from fastmlp._network.tensors import TENSORS

DTYPES = ("float32", "float64")
KINDS = ("reference", *native_engine.available_levels())

# One; odd; prime; one less, equal and one more than tiles of 8, 16, 24, 32; several tiles.
SIZES = (1, 2, 3, 5, 7, 8, 9, 13, 16, 17, 23, 24, 25, 31, 32, 33, 47, 64, 67, 97)
# The same idea where every combination of two or three sizes is run.
FEW_SIZES = (1, 3, 8, 17, 25, 33)

# layer_sizes with 0 to 3 hidden layers, narrow, wide and odd; outputs fit any loss.
NETWORKS = (
    (1, 2),
    (5, 3),
    (3, 1, 2),
    (4, 8, 3),
    (7, 33, 5),
    (13, 17, 9, 2),
    (64, 32, 24, 10),
    (3, 5, 4, 3, 2),
    (2, 67, 1, 23, 4),
)


@dataclass(frozen=True)
class LossCase:
    """A loss and the kind of target it is given."""

    loss: losses.Loss
    labels: bool

    def __str__(self) -> str:
        parameter = f"-{self.loss.parameter:g}" if self.loss.parameter else ""
        return f"{self.loss.native_row(self.labels)}{parameter}"


def _loss_cases() -> tuple[LossCase, ...]:
    built = [row() for row in losses.LOSSES.values()]
    built += [
        losses.Huber(delta=0.4),
        losses.Quantile(quantile=0.9),
        losses.GaussianNLL(predict_variance=False),
        losses.CrossEntropy(label_smoothing=0.1),
        losses.Tweedie(power=1.2),
    ]
    kinds = {True: (True, False), False: (False,)}
    return tuple(
        LossCase(loss, labels) for loss in built for labels in kinds[loss.target_kind == "class"]
    )


LOSSES = _loss_cases()

OPTIMIZERS: tuple[optimizers.Optimizer, ...] = (
    *(row() for row in optimizers.OPTIMIZERS.values()),
    optimizers.SGD(0.05, momentum=0.9),
    optimizers.SGD(0.05, momentum=0.8, nesterov=True),
    optimizers.RMSprop(0.02, alpha=0.9, epsilon=1e-3),
    optimizers.Adam(0.02, beta_1=0.8, beta_2=0.95, epsilon=1e-5),
    optimizers.AdamW(0.02, weight_decay=0.2),
    optimizers.Lion(0.02, beta_1=0.8, beta_2=0.95, weight_decay=0.2),
    optimizers.SGD(0.05, momentum=0.9, rate_in_velocity=True),
    optimizers.SGD(0.05, momentum=0.8, nesterov=True, rate_in_velocity=True),
    optimizers.Adam(0.02, epsilon=1e-3, epsilon_hat=True),
    optimizers.AdamW(0.02, epsilon=1e-3, weight_decay=0.2, epsilon_hat=True),
)


def optimizer_id(optimizer: optimizers.Optimizer) -> str:
    """Return a short test id."""
    return f"{optimizer.native_row}-{optimizer.learning_rate}"


def build(
    layer_sizes: Any,
    activation: Any = "tanh",
    loss: losses.Loss | str = "squared_error",
    dtype: npt.DTypeLike = "float64",
    dropout: Any = 0.0,
    layer_norm: Any = None,
    **options: Any,
) -> spec.Spec:
    """Return a Spec; float64 and a smooth activation unless told."""
    return spec.build(layer_sizes, activation, loss, dtype, dropout, layer_norm, **options)


def mixed_activations(n_hidden: int, first: int = 0) -> list[str]:
    """Return n_hidden different activations, from the row `first` of the table on."""
    names = list(ACTIVATIONS)
    return [names[(first + k) % len(names)] for k in range(n_hidden)]


def parameters(network: spec.Spec, rng: np.random.Generator) -> tuple[list[npt.NDArray[Any]], ...]:
    """Return random parameters, kind by kind, whose outputs are of order 1."""

    def draw(kind: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        if len(shape) == 2:
            return rng.normal(size=shape) / np.sqrt(shape[0])
        return rng.normal(TENSORS[kind].first, 0.3, size=shape)

    return tuple(
        [draw(kind, shape).astype(network.dtype) for shape in shapes]
        for kind, shapes in network.tensors.items()
    )


def engine(kind: str, network: spec.Spec) -> Any:
    """Return an engine of one of `KINDS`."""
    return numpy_engine.Engine(network) if kind == "reference" else native.Engine(network, kind)


def engines(network: spec.Spec, level: str, rng: np.random.Generator) -> tuple[Any, Any]:
    """Return a native engine and the reference, with the same random parameters."""
    pair = engine(level, network), engine("reference", network)
    drawn = parameters(network, rng)
    for each in pair:
        each.set_parameters(*drawn)
    return pair


def targets(
    loss: losses.Loss,
    n: int,
    m: int,
    rng: np.random.Generator,
    dtype: npt.DTypeLike = "float64",
    labels: bool = True,
) -> npt.NDArray[Any]:
    """Return random targets of the loss's kind: (n, m) of dtype, or int32 labels (n,)."""
    if loss.target_kind == "class":
        if labels:
            return rng.integers(0, m, n).astype(np.int32)
        return rng.dirichlet(np.ones(m), n).astype(dtype)
    return KINDS_OF_TARGETS[loss.target_kind].examples(rng.normal(size=(n, m))).astype(dtype)


def data(
    network: spec.Spec,
    n: int,
    rng: np.random.Generator,
    labels: bool = True,
    weighted: bool = False,
    jacobians: bool = False,
) -> Data:
    """Return n random rows that fit the network; some weights are 0, some jacobians unknown."""
    x = rng.normal(size=(n, network.layer_sizes[0])).astype(network.dtype)
    t = targets(network.loss, n, network.n_outputs, rng, network.dtype, labels)
    weights = None
    if weighted:
        weights = rng.uniform(0.2, 2.0, n).astype(network.dtype)
        weights[1::5] = 0
    data = Data(x, t, weights, jacobian_weight=0.7)
    if jacobians:
        data.jacobians = rng.normal(size=(n, network.n_outputs, x.shape[1])).astype(network.dtype)
        data.jacobians[rng.random(data.jacobians.shape) < 0.2] = np.nan
    return data


def small_integers(
    rng: np.random.Generator, shape: Any, dtype: npt.DTypeLike, limit: int = 8
) -> npt.NDArray[Any]:
    """Return integers in [-limit, limit], whose products sum exactly while below 2**24."""
    return rng.integers(-limit, limit + 1, shape).astype(dtype)


@contextlib.contextmanager
def row(name: Any) -> Iterator[None]:
    """Have an error say for which row of a table it is."""
    try:
        yield
    except Exception as error:
        error.add_note(f"for the row {name}")
        raise


def agree(dtype: str, expected: Any, once: Any, *others: Any) -> None:
    """Compare (objectives, weights) of trainings: near the expected, and all of the same bits."""
    tolerance = 5e-5 if dtype == "float32" else 1e-10
    np.testing.assert_allclose(once[0], expected[0], rtol=tolerance)
    np.testing.assert_allclose(once[1], expected[1], rtol=0, atol=20 * tolerance)
    for again in others:
        assert again[0] == once[0]
        np.testing.assert_array_equal(again[1], once[1])


def before_link(loss: losses.Loss, p: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return outputs before the link that give predictions of `columns`, none of them 0 or 1."""
    if loss.link_name == "ascending":
        levels = p.reshape(len(p), loss.heads, -1)
        rises = np.log(np.expm1(np.diff(levels, axis=1)))
        return np.concatenate([levels[:, :1], rises], axis=1).reshape(p.shape)
    if loss.link_name == "mean_and_variance":
        mean, variance = np.split(p, 2, axis=1)
        return np.concatenate([mean, np.log(variance)], axis=1)
    if loss.link_name == "identity":
        return p
    return np.log(p) - np.log1p(-p) if loss.link_name == "sigmoid" else np.log(p)


def columns(prediction: Any) -> npt.NDArray[Any]:
    """Return a prediction of a model, (n, outputs) or by heads, as engines and exports do."""
    if isinstance(prediction, tuple):
        return np.concatenate(prediction, axis=1)
    by_level = np.moveaxis(prediction, -1, 1) if prediction.ndim == 3 else prediction
    return by_level.reshape(len(prediction), -1)


def train(
    engine: Any,
    data: Data,
    batch_size: int,
    optimizer: optimizers.Optimizer,
    n_threads: int = 1,
    **options: Any,
) -> tuple[list[float], npt.NDArray[Any]]:
    """Train an engine for two epochs; return their objectives and all parameters."""
    n_batches = -(-len(data.x) // batch_size)
    order = np.random.default_rng(1).permutation(len(data.x))
    plan = Plan(optimizer, batch_size, np.full(n_batches, 1e-2), order, seed=7, **options)
    engine.start(optimizer)
    with borrowed_team(n_threads) as plan.team:
        objectives = [engine.epoch(data, plan) for _ in range(2)]
    return objectives, np.concatenate([a.ravel() for kind in engine.parameters() for a in kind])
