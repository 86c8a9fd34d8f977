"""What `fastmlp bench` times: libraries, each in its own way and in a process of its own.

A library's function for a kind of task takes the task and returns two callables: what is timed,
and what gives predictions to check. Libraries are imported where they are used.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import fastmlp
from fastmlp._cli import litert

Array = NDArray[Any]
Calls = tuple[Callable[[], Any], Callable[[], Array]]

RATE = 1e-3  # of Adam, everywhere
TOLERANCE = 1e-3  # of predictions, relative to the largest


class Task(NamedTuple):
    """One thing to do: "predict" rows, "train" one epoch, or fit a "table"."""

    kind: str
    sizes: tuple[int, ...] = ()  # of the layers; relu between them, squared error behind
    rows: int = 0
    batch: int = 0

    @property
    def title(self) -> str:
        """The task in a table."""
        if self.kind == "table":
            return "fit of a table, 295 rows x 10"
        net = "-".join(map(str, self.sizes))
        if self.kind == "train":
            return f"epoch of {self.rows:,} rows, batch {self.batch}, {net}"
        return f"prediction of {self.rows:,} row{'s' * (self.rows > 1)}, {net}"

    def net(self) -> fastmlp.MLP:
        """Return the network from which everybody starts."""
        return fastmlp.MLP(list(self.sizes), activation="relu", rng=0)

    def parameters(self) -> list[tuple[Array, Array]]:
        """Return its weights, (fan_in, fan_out), and biases by layer."""
        net = self.net()
        return list(zip(net.weights, net.biases, strict=True))

    def data(self) -> tuple[Array, Array]:
        """Return inputs and targets, float32."""
        x = np.random.default_rng(0).standard_normal((self.rows, self.sizes[0]), np.float32)
        return x, np.sin(2 * x[:, : self.sizes[-1]])


SIZES = ((8, 32, 32, 1), (64, 128, 128, 10), (784, 256, 128, 10))
TASKS = [
    *(Task("predict", sizes, rows) for rows in (1, 1024) for sizes in SIZES),
    *(
        Task("train", sizes, 4096, batch)
        for sizes, batch in zip(SIZES, (32, 128, 128), strict=True)
    ),
    Task("table"),
]


def _fastmlp_predict(task: Task) -> Calls:
    predict, x = task.net().predictor(n_threads=1), task.data()[0]
    return lambda: predict(x), lambda: np.asarray(predict(x))


def _fastmlp_train(task: Task) -> Calls:
    net, (x, y) = task.net(), task.data()
    fit: Any = {"batch_size": task.batch, "optimizer": fastmlp.Adam(RATE), "n_threads": 1}
    return lambda: net.fit(x, y, epochs=1, **fit), lambda: np.asarray(net.predict(x))


def _sklearn_net(task: Task) -> Any:
    from sklearn.neural_network import MLPRegressor

    x, y = task.data()
    net = MLPRegressor(
        hidden_layer_sizes=task.sizes[1:-1],
        batch_size=task.batch or 1,
        learning_rate_init=RATE,
        alpha=0,
    )
    return net.partial_fit(x, y.ravel() if y.shape[1] == 1 else y)


def _sklearn_predict(task: Task) -> Calls:
    net, x = _sklearn_net(task), task.data()[0]
    net.coefs_, net.intercepts_ = map(list, zip(*task.parameters(), strict=True))
    return lambda: net.predict(x), lambda: net.predict(x)


def _sklearn_train(task: Task) -> Calls:
    net, (x, y) = _sklearn_net(task), task.data()
    y = y.ravel() if y.shape[1] == 1 else y
    return lambda: net.partial_fit(x, y), lambda: net.predict(x)


def _torch_net(task: Task) -> tuple[Any, Any]:
    import torch

    torch.set_num_threads(1)
    layers: list[Any] = []
    with torch.no_grad():
        for weights, bias in task.parameters():
            layers += [torch.nn.Linear(*weights.shape), torch.nn.ReLU()]
            layers[-2].weight.copy_(torch.from_numpy(weights.T.copy()))
            layers[-2].bias.copy_(torch.from_numpy(bias.copy()))
    return torch, torch.nn.Sequential(*layers[:-1])


def _torch_predict(task: Task) -> Calls:
    torch, net = _torch_net(task)
    x = task.data()[0]
    with torch.no_grad():
        traced = torch.jit.freeze(torch.jit.trace(net.eval(), torch.from_numpy(x)))

    def predict() -> Array:
        with torch.inference_mode():
            return np.asarray(traced(torch.from_numpy(x)).numpy())

    return predict, predict


def _torch_train(task: Task) -> Calls:
    torch, net = _torch_net(task)
    x, y = map(torch.from_numpy, task.data())
    optimizer, loss = torch.optim.Adam(net.parameters(), lr=RATE, fused=True), torch.nn.MSELoss()

    def epoch() -> None:
        for rows in torch.randperm(task.rows).split(task.batch):
            optimizer.zero_grad(set_to_none=True)
            loss(net(x[rows]), y[rows]).backward()
            optimizer.step()

    return epoch, lambda: np.asarray(net(x).detach().numpy())


def _jax_forward(parameters: Any, x: Any) -> Any:
    import jax

    for weights, bias in parameters[:-1]:
        x = jax.nn.relu(x @ weights + bias)
    return x @ parameters[-1][0] + parameters[-1][1]


def _jax_predict(task: Task) -> Calls:
    import jax

    parameters, x = task.parameters(), task.data()[0]
    forward = jax.jit(lambda rows: _jax_forward(parameters, rows))
    return lambda: np.asarray(forward(x)), lambda: np.asarray(forward(x))


def _jax_train(task: Task) -> Calls:
    import jax
    import jax.numpy as jnp

    x, y = map(jnp.asarray, task.data())
    zeros = jax.tree.map(jnp.zeros_like, task.parameters())
    state = [jax.tree.map(jnp.asarray, task.parameters()), zeros, zeros, jnp.zeros(())]
    rng = np.random.default_rng(0)

    def step(state: Any, rows: Any) -> Any:
        p, m, v, t = state
        gradient = jax.grad(lambda q: jnp.mean((_jax_forward(q, x[rows]) - y[rows]) ** 2))(p)
        t = t + 1
        m = jax.tree.map(lambda a, g: 0.9 * a + 0.1 * g, m, gradient)
        v = jax.tree.map(lambda a, g: 0.999 * a + 0.001 * g * g, v, gradient)
        rate = RATE * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        p = jax.tree.map(lambda w, a, b: w - rate * a / (jnp.sqrt(b) + 1e-8), p, m, v)
        return (p, m, v, t), None

    run = jax.jit(lambda state, order: jax.lax.scan(step, state, order)[0])

    def epoch() -> None:
        order = rng.permutation(task.rows).reshape(-1, task.batch)
        state[:] = jax.block_until_ready(run(tuple(state), order))

    return epoch, lambda: np.asarray(_jax_forward(state[0], x))


def _onnx_predict(task: Task) -> Calls:
    import onnxruntime

    options, x = onnxruntime.SessionOptions(), task.data()[0]
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    content = task.net().to_onnx().SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    predict = lambda: np.asarray(session.run(None, {name: x})[0])  # noqa: E731
    return predict, predict


def _litert_predict(task: Task) -> Calls:
    predict = litert.predictor(task.parameters(), task.data()[0], threads=1)
    return predict, predict


def _table(make: Callable[[], Any]) -> Callable[[Task], Calls]:
    """Return the calls of an estimator: a fit of two thirds of a set, predictions of the rest."""

    def calls(task: Task) -> Calls:
        del task
        x, y, x_test, _ = table()
        model = make()
        return lambda: model.fit(x, y), lambda: np.asarray(model.predict(x_test))

    return calls


def table() -> tuple[Array, Array, Array, Array]:
    """Return scikit-learn's diabetes set: rows and targets to learn from, and to test on."""
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    test = np.arange(len(y)) % 3 == 2
    return x[~test], y[~test], x[test], y[test]


def _boosting() -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(random_state=0)


def _catboost() -> Any:
    from catboost import CatBoostRegressor

    return CatBoostRegressor(
        random_seed=0, verbose=False, thread_count=1, allow_writing_files=False
    )


def _tabmlp() -> Any:
    return fastmlp.TabMLPRegressor(preset="fast", random_state=0, n_jobs=1)


# Name -> the modules it needs, and its functions by kind of task.
LIBRARIES: dict[str, tuple[tuple[str, ...], dict[str, Callable[[Task], Calls]]]] = {
    "fastmlp": (
        (),
        {"predict": _fastmlp_predict, "train": _fastmlp_train, "table": _table(_tabmlp)},
    ),
    "scikit-learn": (
        ("sklearn",),
        {"predict": _sklearn_predict, "train": _sklearn_train, "table": _table(_boosting)},
    ),
    "PyTorch": (("torch",), {"predict": _torch_predict, "train": _torch_train}),
    "JAX": (("jax",), {"predict": _jax_predict, "train": _jax_train}),
    "ONNX Runtime": (("onnxruntime", "onnx"), {"predict": _onnx_predict}),
    "LiteRT": (("ai_edge_litert", "flatbuffers"), {"predict": _litert_predict}),
    "CatBoost": (("catboost", "sklearn"), {"table": _table(_catboost)}),
}

_timed: dict[str, Callable[[], Any]] = {}  # what this process times now


def prepare(library: str, task: Task) -> Array:
    """Make what is timed, call it once, and return its predictions."""
    call, predictions = LIBRARIES[library][1][task.kind](task)
    call()
    _timed["call"] = call
    return predictions()


def measure(seconds: float) -> float:
    """Return the seconds of a call, the mean over about so many seconds."""
    call, calls, began = _timed["call"], 0, time.perf_counter()
    while True:
        for _ in range(max(calls, 1)):  # twice as many each time: the clock is read seldom
            call()
        calls = max(2 * calls, 1)
        spent = time.perf_counter() - began
        if spent >= seconds / 2:
            return spent / calls


def error(predictions: Any) -> float:
    """Return the root mean squared error of predictions of the table."""
    return float(np.sqrt(np.mean((predictions - table()[3]) ** 2)))


def fault(task: Task, predictions: Array) -> str:
    """Return what is wrong with predictions, if anything: what is wrong is not timed."""
    if task.kind == "table":
        better = error(predictions) < error(np.mean(table()[1]))
        return "" if better else "it predicts no better than the mean"
    x, y = task.data()
    right = x.astype(float)
    for k, (weights, bias) in enumerate(task.parameters()):
        right = right @ weights.astype(float) + bias
        right = np.maximum(right, 0) if k < len(task.sizes) - 2 else right
    got = predictions.reshape(right.shape)
    if task.kind == "predict":
        away = np.max(np.abs(got - right)) / np.max(np.abs(right))
        return "" if away < TOLERANCE else f"predictions are wrong by {away:.2g}"
    return "" if np.mean((got - y) ** 2) < np.mean((right - y) ** 2) else "it does not learn"
