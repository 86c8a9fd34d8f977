"""The libraries that `fastmlp bench` times: those whose work is one call.

A library has a function for each kind of work; it takes a task and a number of threads and returns
`Timed`. Libraries are imported where they are used: a process holds one of them. The benchmarks of
the repository have further ones.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from fastmlp._models.mlp import MLP
from fastmlp._network.activations import Array
from fastmlp._network.optimizers import Adam

Parameters: TypeAlias = list[tuple[Array, Array]]  # per layer: weights (fan_in, fan_out), bias

LEARNING_RATE = 1e-3  # of Adam, everywhere


class Timed(NamedTuple):
    """A statement to time, since a function would cost a further call."""

    statement: str
    names: dict[str, Any]
    result: str = ""  # the expression of the predictions to check; by default the statement

    def predictions(self) -> Array:
        """Return the predictions."""
        return np.asarray(eval(self.result or self.statement, self.names))


@dataclass(frozen=True)
class Task:
    """One network with its loss, batch and number of rows (a multiple of the batch)."""

    name: str
    layer_sizes: tuple[int, ...]
    activation: str  # relu or tanh
    loss: Any  # squared_error or cross_entropy
    batch_size: int
    n_rows: int

    @property
    def classifies(self) -> bool:
        """Whether the targets are labels and a softmax follows the last layer."""
        return bool(self.loss == "cross_entropy")

    def data(self, seed: int = 0) -> tuple[Array, Array]:
        """Return inputs, float32 (rows, features), and targets: float32 (rows, n) or labels."""
        rng = np.random.default_rng(seed)
        n_in, n_out = self.layer_sizes[0], self.layer_sizes[-1]
        x = rng.standard_normal((self.n_rows, n_in), dtype=np.float32)
        teacher = rng.standard_normal((n_in, n_out)).astype(np.float32) / np.float32(n_in**0.5)
        if not self.classifies:
            return x, np.sin(x @ teacher * 2)
        return x, np.argmax(x @ teacher, axis=1).astype(np.int32)

    def net(self) -> MLP:
        """Return the network before training."""
        return MLP(self.layer_sizes, activation=self.activation, loss=self.loss, rng=1)  # type: ignore[arg-type]

    def parameters(self) -> Parameters:
        """Return the float32 parameters from which all libraries start."""
        net = self.net()
        return [(w.copy(), b.copy()) for w, b in zip(net.weights, net.biases, strict=True)]


def outputs(parameters: Any, x: Any, hidden: Callable[[Any], Any]) -> Any:
    """Return a network's outputs before its link; ``hidden`` is the activation function."""
    for weights, bias in parameters[:-1]:
        x = hidden(x @ weights + bias)
    return x @ parameters[-1][0] + parameters[-1][1]


def _fastmlp_predict(task: Task, threads: int) -> Timed:
    return Timed("p(x)", {"p": task.net().predictor(threads), "x": task.data()[0]})


def _fastmlp_train(task: Task, threads: int) -> Timed:
    del threads  # FASTMLP_NUM_THREADS limits them
    net, (x, y), adam = task.net(), task.data(), Adam(LEARNING_RATE)
    fixed: Any = {"batch_size": task.batch_size, "optimizer": adam}

    def train(epochs: int, shuffle: bool) -> None:
        net.fit(x, y, epochs=epochs, shuffle=shuffle, **fixed)

    return Timed("train(1, True)", {"train": train, "net": net, "x": x}, "net.predict(x)")


def _sklearn_net(task: Task) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    warnings.simplefilter("ignore", ConvergenceWarning)
    net = (MLPClassifier if task.classifies else MLPRegressor)(
        hidden_layer_sizes=task.layer_sizes[1:-1],
        activation=task.activation,
        batch_size=task.batch_size,
        alpha=0.0,
        learning_rate_init=LEARNING_RATE,
        max_iter=1,
        warm_start=True,
        tol=0.0,
        n_iter_no_change=10**9,
        random_state=2,
    )
    inputs, *_, outputs = task.layer_sizes
    labels = np.arange(max(outputs, task.batch_size, 2)) % outputs  # each class occurs
    y = labels if task.classifies else np.eye(outputs, dtype=np.float32)[labels].squeeze()
    net.fit(np.zeros((len(labels), inputs), np.float32), y)
    net.coefs_, net.intercepts_ = map(list, zip(*task.parameters(), strict=True))
    return net


def _sklearn_predict(task: Task, threads: int) -> Timed:
    method = "predict_proba" if task.classifies else "predict"
    return Timed(f"net.{method}(x)", {"net": _sklearn_net(task), "x": task.data()[0]})


def _sklearn_train(task: Task, threads: int) -> Timed:
    (statement, names, _), (x, y) = _sklearn_predict(task, threads), task.data()

    def train(epochs: int, shuffle: bool) -> None:
        names["net"].set_params(max_iter=epochs, shuffle=shuffle).fit(x, y.squeeze())

    return Timed("train(1, True)", {**names, "train": train}, statement)


def _onnx_predict(task: Task, threads: int) -> Timed:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    content = task.net().to_onnx().SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs() if output.name != "label"]
    names = {"run": session.run, "outputs": outputs, "x": task.data()[0]}
    return Timed("run(outputs, {'X': x})[0]", names)


def table() -> tuple[Array, Array, Array, Array]:
    """Return scikit-learn's diabetes set: rows and targets to learn from, and to test on."""
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    test = np.arange(len(y)) % 3 == 2
    return x[~test], y[~test], x[test], y[test]


def _fit(module: str, name: str, **options: Any) -> Callable[[Task, int], Timed]:
    """Return the function that fits an estimator to the table."""

    def timed(task: Task, threads: int) -> Timed:
        x, y, x_test, _ = table()
        model = getattr(importlib.import_module(module), name)(**options)
        names = {"model": model, "x": x, "y": y, "x_test": x_test}
        return Timed("model.fit(x, y)", names, "model.fit(x, y).predict(x_test)")

    return timed


_fastmlp_table = _fit("fastmlp.tabular", "TabMLPRegressor", preset="fast", random_state=0, n_jobs=1)
_sklearn_table = _fit("sklearn.ensemble", "HistGradientBoostingRegressor", random_state=0)
_CATBOOST = {"random_seed": 0, "verbose": False, "allow_writing_files": False, "thread_count": 1}
_catboost_table = _fit("catboost", "CatBoostRegressor", **_CATBOOST)

# The modules that each library needs, and its functions by kind of work.
LIBRARIES: dict[str, tuple[tuple[str, ...], dict[str, Callable[[Task, int], Timed]]]] = {
    "fastmlp": (
        (),
        {"predict": _fastmlp_predict, "train": _fastmlp_train, "table": _fastmlp_table},
    ),
    "scikit-learn": (
        ("sklearn",),
        {"predict": _sklearn_predict, "train": _sklearn_train, "table": _sklearn_table},
    ),
    "ONNX Runtime": (("onnxruntime", "onnx"), {"predict": _onnx_predict}),
    "CatBoost": (("catboost", "sklearn"), {"table": _catboost_table}),
}
