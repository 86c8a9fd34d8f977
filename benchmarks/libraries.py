"""The libraries that training and prediction are compared with, beyond those of `fastmlp bench`.

A library has a function for each kind of work; it takes a task and a number of threads and returns
`Timed`. Libraries are imported where they are used: a process holds one of them.
"""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from workloads import LEARNING_RATE, Case

from fastmlp import Adam
from fastmlp._cli import rivals
from fastmlp._cli.rivals import Array, Timed, outputs


def training(task: Case, epoch: Callable[[Array], None], result: str, **names: Any) -> Timed:
    """Return training, ``train(epochs, shuffle)``, by a function of the batches' rows, int32."""
    rng = np.random.default_rng(2)

    def train(epochs: int, shuffle: bool) -> None:
        for _ in range(epochs):
            order = rng.permutation(task.n_rows) if shuffle else np.arange(task.n_rows)
            epoch(order.astype(np.int32).reshape(-1, task.batch_size))

    return Timed("train(1, True)", {"train": train, **names}, result)


def _fastmlp_train(task: Case, threads: int) -> Timed:
    del threads  # FASTMLP_NUM_THREADS limits them
    net, (x, y), adam = task.net(), task.data(), Adam(LEARNING_RATE)
    fixed: Any = {"batch_size": task.batch_size, "optimizer": adam}

    def train(epochs: int, shuffle: bool) -> None:
        net.fit(x, y, epochs=epochs, shuffle=shuffle, **fixed)

    return Timed("train(1, True)", {"train": train, "net": net, "x": x}, "net.predict(x)")


def _sklearn_net(task: Case) -> Any:
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


def _sklearn_predict(task: Case, threads: int) -> Timed:
    method = "predict_proba" if task.classifies else "predict"
    return Timed(f"net.{method}(x)", {"net": _sklearn_net(task), "x": task.data()[0]})


def _sklearn_train(task: Case, threads: int) -> Timed:
    (statement, names, _), (x, y) = _sklearn_predict(task, threads), task.data()

    def train(epochs: int, shuffle: bool) -> None:
        names["net"].set_params(max_iter=epochs, shuffle=shuffle).fit(x, y.squeeze())

    return Timed("train(1, True)", {**names, "train": train}, statement)


_modes = contextlib.ExitStack()  # keeps PyTorch's inference mode until the next task


def torch_net(task: Case, threads: int) -> tuple[Any, Any]:
    """Return torch, and a network whose last module is the link."""
    import torch

    _modes.close()
    torch.set_num_threads(threads)
    torch.manual_seed(2)
    layers: list[Any] = []
    for weights, bias in task.parameters():
        linear = torch.nn.Linear(*weights.shape)
        linear.weight.data, linear.bias.data = map(torch.tensor, (weights.T, bias))
        layers += [linear, torch.nn.Tanh() if task.activation == "tanh" else torch.nn.ReLU()]
    layers[-1] = torch.nn.Softmax(dim=1) if task.classifies else torch.nn.Identity()
    return torch, torch.nn.Sequential(*layers)


def torch_jit(task: Case, threads: int, jit: bool = True) -> Timed:
    """PyTorch in inference mode, traced, frozen and optimised, or module by module."""
    torch, net = torch_net(task, threads)
    x = task.data()[0]
    _modes.enter_context(torch.inference_mode())
    if jit:
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(net.eval(), torch.from_numpy(x))
        net = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
    names = {"net": net, "from_numpy": torch.from_numpy, "x": x}
    return Timed("net(from_numpy(x)).numpy()", names)


def _torch_train(task: Case, threads: int) -> Timed:
    torch, net = torch_net(task, threads)
    x, y = task.data()
    inputs, targets = torch.tensor(x), torch.tensor(y)
    targets = targets.long() if task.classifies else targets
    optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE, fused=True)
    loss = torch.nn.CrossEntropyLoss() if task.classifies else torch.nn.MSELoss()
    factor = 1.0 if task.classifies else 0.5

    def epoch(batches: Array) -> None:
        for rows in torch.from_numpy(batches).long():
            optimizer.zero_grad(set_to_none=True)
            (factor * loss(net[:-1](inputs[rows]), targets[rows])).backward()
            optimizer.step()

    return training(task, epoch, "net(x).detach().numpy()", net=net, x=inputs)


def _jax_functions(task: Case) -> tuple[Any, Callable[..., Any], Callable[[Any], Any]]:
    """Return jax, the activation of hidden layers, and the link."""
    import jax

    hidden = jax.numpy.tanh if task.activation == "tanh" else jax.nn.relu
    return jax, hidden, jax.nn.softmax if task.classifies else (lambda z: z)


def _jax_predict(task: Case, threads: int) -> Timed:
    jax, hidden, link = _jax_functions(task)
    parameters = jax.tree.map(jax.numpy.asarray, task.parameters())
    predict = jax.jit(lambda x: link(outputs(parameters, x, hidden)))
    return Timed("asarray(p(x))", {"p": predict, "asarray": np.asarray, "x": task.data()[0]})


def _jax_train(task: Case, threads: int) -> Timed:
    """Run an epoch as one jitted scan over shuffled batches, with donated buffers."""
    jax, hidden, link = _jax_functions(task)
    jnp = jax.numpy
    optimizers = importlib.import_module("jax.example_libraries.optimizers")
    init, update, parameters_of = optimizers.adam(LEARNING_RATE)
    x, y = map(jnp.asarray, task.data())
    states = [(0, init(jax.tree.map(jnp.asarray, task.parameters())))]

    def objective(parameters: Any, rows: Any) -> Any:
        z, targets = outputs(parameters, x[rows], hidden), y[rows]
        if not task.classifies:
            return 0.5 * jnp.mean((z - targets) ** 2)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), targets[:, None], axis=1))

    def step(state: Any, rows: Any) -> Any:
        count, adam = state
        gradients = jax.grad(objective)(parameters_of(adam), rows)
        return (count + 1, update(count, gradients, adam)), None

    scan = jax.jit(lambda state, order: jax.lax.scan(step, state, order)[0], donate_argnums=0)

    def epoch(batches: Array) -> None:
        states[0] = jax.block_until_ready(scan(states[0], batches))

    def predict() -> Any:
        return link(outputs(parameters_of(states[0][1]), x, hidden))

    return training(task, epoch, "predict()", predict=predict)


def _litert_file(task: Case) -> bytes:
    """Return a network as a LiteRT file, which LiteRT itself makes of other libraries' models only.

    Layers are FULLY_CONNECTED with fused relu; the link is SOFTMAX.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def made(kind: str, **fields: Any) -> Any:
        table = getattr(schema, f"{kind}T")()
        vars(table).update(fields)
        return table

    tensors: list[Any] = []
    operators: list[Any] = []
    buffers = [made("Buffer")]  # computed tensors share an empty buffer

    def tensor(shape: Sequence[int], values: Array | None = None) -> int:
        if values is not None:
            buffers.append(made("Buffer", data=np.frombuffer(values.tobytes(), np.uint8)))
        place = 0 if values is None else len(buffers) - 1
        kind, name = schema.TensorType.FLOAT32, f"t{len(tensors)}"
        tensors.append(made("Tensor", name=name, shape=list(shape), buffer=place, type=kind))
        return len(tensors) - 1

    def operator(code: int, inputs: list[int], width: int, options: str, **fields: Any) -> int:
        output, kind = tensor((task.n_rows, width)), getattr(schema.BuiltinOptions, options)
        given = {"builtinOptionsType": kind, "builtinOptions": made(options, **fields)}
        ends = {"inputs": inputs, "outputs": [output]}
        operators.append(made("Operator", opcodeIndex=code, **ends, **given))
        return output

    layers = task.parameters()
    first = at = tensor((task.n_rows, task.layer_sizes[0]))
    for k, (weights, bias) in enumerate(layers):
        inputs = [at, tensor(weights.T.shape, weights.T), tensor(bias.shape, bias)]
        fused = {"fusedActivationFunction": int(k < len(layers) - 1)}  # 0 is none, 1 is relu
        at = operator(0, inputs, len(bias), "FullyConnectedOptions", **fused)
    if task.classifies:
        at = operator(1, [at], task.layer_sizes[-1], "SoftmaxOptions", beta=1.0)
    ends = {"inputs": [first], "outputs": [at]}
    fields = {
        "subgraphs": [made("SubGraph", tensors=tensors, operators=operators, **ends)],
        "operatorCodes": [
            made("OperatorCode", builtinCode=code, deprecatedBuiltinCode=code)
            for code in (schema.BuiltinOperator.FULLY_CONNECTED, schema.BuiltinOperator.SOFTMAX)
        ],
        "buffers": buffers,
    }
    builder = flatbuffers.Builder(1024)
    builder.Finish(made("Model", version=3, **fields).Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _litert_predict(task: Case, threads: int) -> Timed:
    from ai_edge_litert.interpreter import Interpreter

    # XNNPACK is its default.
    machine = Interpreter(model_content=_litert_file(task), num_threads=threads)
    machine.allocate_tensors()
    ends = machine.get_input_details(), machine.get_output_details()
    (first, last), x = (details[0]["index"] for details in ends), task.data()[0]

    def predict() -> Array:
        machine.set_tensor(first, x)
        machine.invoke()
        return np.asarray(machine.get_tensor(last))

    return Timed("predict()", {"predict": predict})


# The modules that each library needs, and its functions by kind of work.
LIBRARIES: dict[str, tuple[tuple[str, ...], dict[str, Callable[[Case, int], Timed]]]] = {
    **rivals.LIBRARIES,
    "fastmlp": ((), {**rivals.LIBRARIES["fastmlp"][1], "train": _fastmlp_train}),
    "scikit-learn": (("sklearn",), {"predict": _sklearn_predict, "train": _sklearn_train}),
    "PyTorch": (("torch",), {"predict": torch_jit, "train": _torch_train}),
    "JAX": (("jax",), {"predict": _jax_predict, "train": _jax_train}),
    "LiteRT": (("ai_edge_litert", "flatbuffers"), {"predict": _litert_predict}),
}
