"""The libraries that `fastmlp bench` times: those whose work is one call.

A library has a function for each kind of work; it takes a task and a number of threads and returns
`Timed`. Libraries are imported where they are used: a process holds one of them. The benchmarks of
the repository have further ones.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from fastmlp._models.mlp import MLP
from fastmlp._network.activations import Array

Parameters: TypeAlias = list[tuple[Array, Array]]  # one a layer: weights (fan_in, fan_out), bias


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

    def inputs(self, seed: int = 0) -> Array:
        """Return standard normal inputs, float32 (rows, features)."""
        shape = self.n_rows, self.layer_sizes[0]
        return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)

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
    return Timed("p(x)", {"p": task.net().predictor(threads), "x": task.inputs()})


def _onnx_predict(task: Task, threads: int) -> Timed:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    content = task.net().to_onnx().SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs() if output.name != "label"]
    names = {"run": session.run, "outputs": outputs, "x": task.inputs()}
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

Libraries: TypeAlias = dict[str, tuple[tuple[str, ...], dict[str, Callable[[Task, int], Timed]]]]

# The modules that each library needs, and its functions by kind of work.
LIBRARIES: Libraries = {
    "fastmlp": ((), {"predict": _fastmlp_predict, "table": _fastmlp_table}),
    "scikit-learn": (("sklearn",), {"table": _sklearn_table}),
    "ONNX Runtime": (("onnxruntime", "onnx"), {"predict": _onnx_predict}),
    "CatBoost": (("catboost", "sklearn"), {"table": _catboost_table}),
}
