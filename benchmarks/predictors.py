"""How each library predicts in its own best way: NumPy array in, NumPy array out, link included.

A library is a function ``(case, x, threads) -> (statement, names)``: what a user's loop would say
to predict ``x``, and what the names in it are. Timing a statement adds the cost of no wrapper.
Libraries are imported where they are used: a process holds one of them.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from trainers import FastmlpTrainer, SklearnTrainer, TorchTrainer
from workloads import RELU, Array, Case, outputs

Call = tuple[str, dict[str, Any]]

PREDICTED = {name: RELU[name] for name in ("tiny", "small", "mnist")}


def expected(case: Case, x: Array) -> Array:
    """Return the predictions in float64."""
    z = outputs(case, case.parameters(), x)
    return softmax(z) if case.classifies else z


def softmax(z: Array) -> Array:
    """Return exp(z) over its sum, row by row."""
    e: Array = np.exp(z - z.max(axis=1, keepdims=True))
    e /= e.sum(axis=1, keepdims=True)
    return e


def bound(case: Case, x: Array, threads: int) -> Call:
    """Predict with fastmlp's predictor."""
    return "p(x)", {"p": FastmlpTrainer(case, threads).net.predictor(threads), "x": x}


def bound_out(case: Case, x: Array, threads: int) -> Call:
    """Predict with fastmlp's predictor, the result into an array that is there."""
    out = np.empty((len(x), case.layer_sizes[-1]), np.float32)
    return "p(x, out)", bound(case, x, threads)[1] | {"out": out}


def checked(case: Case, x: Array, threads: int) -> Call:
    """Predict with fastmlp's checked method."""
    return "net.predict(x)", {"net": FastmlpTrainer(case, threads).net, "x": x}


def onnx_runtime(case: Case, x: Array, threads: int) -> Call:
    """ONNX Runtime: Gemm and Relu nodes, all graph optimisations, as many threads as told."""
    import onnxruntime
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes, constants, name = [], [], "x"
    parameters = case.parameters()
    for depth, (w, b) in enumerate(parameters):
        constants += [numpy_helper.from_array(w, f"w{depth}")]
        constants += [numpy_helper.from_array(b, f"b{depth}")]
        nodes.append(helper.make_node("Gemm", [name, f"w{depth}", f"b{depth}"], [f"z{depth}"]))
        name = f"z{depth}"
        if depth < len(parameters) - 1:
            nodes.append(helper.make_node("Relu", [name], [f"y{depth}"]))
            name = f"y{depth}"
    if case.classifies:
        nodes.append(helper.make_node("Softmax", [name], ["p"], axis=-1))
        name = "p"
    ends = [
        helper.make_tensor_value_info(label, TensorProto.FLOAT, ["n", width])
        for label, width in (("x", case.layer_sizes[0]), (name, case.layer_sizes[-1]))
    ]
    graph = helper.make_graph(nodes, case.name, ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return "run(names, {'x': x})[0]", {"run": session.run, "names": [name], "x": x}


def lite_rt(case: Case, x: Array, threads: int) -> Call:
    """LiteRT with XNNPACK."""
    from fastmlp._cli.litert import predictor

    return "predict()", {"predict": predictor(case.parameters(), x, threads, case.classifies)}


@functools.cache  # once a process; the mode lasts as long as its object
def torch_inference_mode() -> Any:
    """Enter PyTorch's inference mode for good, not in every call."""
    import torch

    mode = torch.inference_mode()
    mode.__enter__()
    return mode


def torch_net(case: Case, threads: int) -> tuple[Any, Any]:
    """Return torch, in inference mode from now on, and the network of a case."""
    import torch

    with torch.inference_mode(False):
        net = TorchTrainer(case, threads).net
    link = [torch.nn.Softmax(dim=1)] if case.classifies else []
    torch_inference_mode()
    return torch, torch.nn.Sequential(*net, *link).eval()


def torch_eager(case: Case, x: Array, threads: int) -> Call:
    """PyTorch, module by module, in inference mode."""
    torch, net = torch_net(case, threads)
    names = {"net": net, "from_numpy": torch.from_numpy, "x": x}
    return "net(from_numpy(x)).numpy()", names


def torch_jit(case: Case, x: Array, threads: int) -> Call:
    """PyTorch, traced, frozen and optimised for inference."""
    warnings.simplefilter("ignore", DeprecationWarning)
    torch, net = torch_net(case, threads)
    traced = torch.jit.trace(net, torch.from_numpy(x))
    frozen = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
    names = {"net": frozen, "from_numpy": torch.from_numpy, "x": x}
    return "net(from_numpy(x)).numpy()", names


def jax_jit(case: Case, x: Array, threads: int) -> Call:
    """JAX, jitted, the weights constants of the program."""
    import jax

    parameters = [(jax.numpy.asarray(w), jax.numpy.asarray(b)) for w, b in case.parameters()]

    def predict(y: Any) -> Any:
        for w, b in parameters[:-1]:
            y = jax.nn.relu(y @ w + b)
        z = y @ parameters[-1][0] + parameters[-1][1]
        return jax.nn.softmax(z, axis=1) if case.classifies else z

    return "asarray(predict(x))", {"asarray": np.asarray, "predict": jax.jit(predict), "x": x}


def scikit_learn(case: Case, x: Array, threads: int) -> Call:
    """scikit-learn, an estimator with the weights of the case."""
    method = "predict_proba" if case.classifies else "predict"
    return f"net.{method}(x)", {"net": SklearnTrainer(RELU[case.name], threads).net, "x": x}


def by_hand(case: Case, x: Array, threads: int) -> Call:
    """NumPy, as one writes it for speed: in place where that is possible."""
    *hidden, (w_out, b_out) = case.parameters()
    link = softmax if case.classifies else (lambda z: z)

    def predict(y: Array) -> Array:
        for w, b in hidden:
            y = y @ w
            y += b
            np.maximum(y, 0, out=y)
        z = y @ w_out
        z += b_out
        return link(z)

    return "predict(x)", {"predict": predict, "x": x}


# Name in the table -> modules that must be installed, function.
PREDICTORS: dict[str, tuple[tuple[str, ...], Callable[[Case, Array, int], Call]]] = {
    "fastmlp p(x)": (("fastmlp",), bound),
    "fastmlp p(x, out)": (("fastmlp",), bound_out),
    "fastmlp predict": (("fastmlp",), checked),
    "ONNX Runtime": (("onnxruntime", "onnx"), onnx_runtime),
    "LiteRT": (("ai_edge_litert", "flatbuffers"), lite_rt),
    "PyTorch eager": (("torch",), torch_eager),
    "PyTorch jit": (("torch",), torch_jit),
    "JAX jit": (("jax",), jax_jit),
    "scikit-learn": (("sklearn",), scikit_learn),
    "NumPy": (("numpy",), by_hand),
}
