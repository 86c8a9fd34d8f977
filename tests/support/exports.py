"""Exported models: how they are run, and the truth in float64 that they are compared with."""

from __future__ import annotations

import ctypes
import itertools
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cases
import numpy as np
import numpy.typing as npt
import onnxruntime as runtime
import pytest

import fastmlp
from fastmlp import reference
from fastmlp._models.network import network_of
from fastmlp._network.activations import ACTIVATIONS

Array = npt.NDArray[Any]

KEPT = ("layer_norm", "loss", "scale", "parametric", "skip", "linear_path")
LAYERS = (7, 33, 20, 5)
# Of what is summed up in a network, see `sizes`.
RELATIVE = {"float32": 1e-6, "float64": 1e-12}
LOSSES = [case.loss for case in cases.LOSSES if not case.labels]
# Each activation and each loss: neither knows of the other.
PAIRS = list(zip(itertools.cycle(ACTIVATIONS), LOSSES, strict=False))

# ---------------------------------------------------------------------------------- running

TYPES = dict.fromkeys(("float32", "int8", "bfloat16"), ctypes.c_float) | {
    "float64": ctypes.c_double
}
# The types of the names of classes in C; others are strings.
LABEL_TYPES = {"long long": ctypes.c_longlong, "int": ctypes.c_int, "double": ctypes.c_double}
needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")


def session_of(model: Any) -> Any:
    """Return a session of ONNX Runtime for a model of ONNX."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return runtime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run_onnx(model: Any, inputs: dict[str, Array]) -> dict[str, Array]:
    """Return the outputs of a model of ONNX, by name."""
    session = session_of(model)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def by_onnx(models: Sequence[Any], x: Array, folder: Path) -> list[tuple[Array, Any]]:
    """Return the predictions of each model, means before variances, and the labels or None."""
    found = []
    for model in models:
        outputs = run_onnx(model.to_onnx(), {"X": x})
        labels = outputs.pop("label", None)
        found.append((np.concatenate(list(outputs.values()), axis=1), labels))
    return found


def compiled(folder: Path, optimize: str = "-O1") -> Any:
    """Return the library of all C files in a folder, named anew: the loader keeps old ones."""
    library = folder / f"all{len(list(folder.glob('*.so')))}.so"
    command = ["gcc", "-std=c99", optimize, "-DFASTMLP_CASADI", "-shared", "-fPIC", "-o", library]
    subprocess.run([*command, *sorted(folder.glob("*.c")), "-lm"], check=True)
    return ctypes.CDLL(str(library))


def called(function: Any, x: Array, y: Array, *others: Array) -> Array:
    """Call a C function for each row of x and y, and of others that it fills; return y."""
    function.restype = None
    for rows_ in zip(x, y, *others, strict=True):
        function(*(each.ctypes.data_as(ctypes.c_void_p) for each in rows_))
    return y


def by_c(
    models: Sequence[Any], x: Array, folder: Path, optimize: str = "-O0", **options: Any
) -> list[tuple[Array, Any]]:
    """Return the same of the models as C."""
    for k, model in enumerate(models):
        model.to_c(folder / f"net{k}.c", **options)
    library, found = compiled(folder, optimize), []
    x = np.ascontiguousarray(x, TYPES[options.get("weights") or x.dtype.name])
    for k in range(len(models)):
        header = (folder / f"net{k}.h").read_text()
        columns = int(re.findall(r"_OUTPUTS (\d+)", header)[0])
        y = called(getattr(library, f"net{k}_predict"), x, np.empty((len(x), columns), x.dtype))
        found.append((y, labels_of(library, f"net{k}", header, x, columns)))
    return found


def labels_of(library: Any, name: str, header: str, x: Array, columns: int) -> Any:
    """Return the labels that a C file computes, None if it has no function for them."""
    if f"{name}_classes" in header:
        flags = np.zeros((len(x), columns), np.int32)
        return called(getattr(library, f"{name}_classes"), x, flags)
    if f"{name}_class(" not in header:
        return None
    function = getattr(library, f"{name}_class")
    index = np.array([function(row.ctypes.data_as(ctypes.c_void_p)) for row in x])
    return classes_of(library, name, header)[index] if f"{name}_labels" in header else index


def classes_of(library: Any, name: str, header: str) -> Array:
    """Return the names of classes in a C file."""
    ((kind, n),) = re.findall(rf"const ([\w ]+)\b.*{name}_labels\[(\d+)\]", header)
    array = LABEL_TYPES.get(kind.strip(), ctypes.c_char_p) * int(n)
    found = list(array.in_dll(library, f"{name}_labels"))
    return np.array([each.decode() if isinstance(each, bytes) else each for each in found])


# The formats of exports, each a function like `by_onnx`.
FORMATS = pytest.mark.parametrize(
    "predicted", [pytest.param(by_c, marks=needs_gcc, id="c"), pytest.param(by_onnx, id="onnx")]
)

# ---------------------------------------------------------------------------------- networks


def network(
    activation: Any,
    loss: fastmlp.Loss | str,
    dtype: str,
    layers: tuple[int, ...] = LAYERS,
    **options: Any,
) -> Any:
    """Return a network with biases, and what else there is by the options; nothing is 0 or 1."""
    net = fastmlp.MLP(layers, activation=activation, loss=loss, dtype=dtype, rng=1, **options)
    rng = np.random.default_rng(2)
    centres = {"gains": 1, "scales": 1, "alphas": 1, "biases": 0, "shifts": 0, "linear_weights": 0}
    for kind, centre in centres.items():
        arrays = getattr(net, kind)
        setattr(net, kind, [rng.normal(centre, scale=0.3, size=a.shape) for a in arrays])
    return net


def rows(n: int, n_in: int, dtype: Any) -> Array:
    """Return n rows: most of order 1; some zero, tiny, denormal, huge or of mixed orders."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, n_in))
    x[: n // 8] *= np.exp(rng.normal(scale=3, size=(n // 8, n_in)))
    x[0], x[1], x[2], x[3], x[4] = 0, 1e-30, 1e-40, 1e4, -1e4
    return x.astype(dtype)


def ordinary(n: int, n_in: int, dtype: Any) -> Array:
    """Return n rows of order 1, the first one zero."""
    x = np.random.default_rng(0).normal(size=(n, n_in))
    x[0] = 0
    return x.astype(dtype)


def exact(net: Any) -> Any:
    """Return the same network of the reference in float64."""
    options = {name: getattr(network_of(net).spec, name) for name in KEPT}
    options["activation"] = list(net.activations)
    other = reference.MLP(net.layer_sizes, dtype="float64", **options)
    other.load_state_dict(net.state_dict())
    return other


def truth(net: Any, x: Array) -> Array:
    """Return the prediction of the reference in float64."""
    with np.errstate(all="ignore"):
        return cases.columns(exact(net).predict(x.astype(np.float64)))


def assert_normalized(got: Array, net: Any, x: Array) -> None:
    """Fail unless predictions of a normalised network, for ordinary rows, are near the truth."""
    factor = 20 if net.dtype == np.float32 else 1  # a division by the deviation of a row
    wanted = truth(net, x)
    assert np.max(np.abs(got - wanted) / (1 + np.abs(wanted))) < factor * RELATIVE[net.dtype.name]


def assert_as_small(got: Array, net: Any, x: Array) -> None:
    """Fail unless the predictions of a network with int8 weights are near the truth."""
    wanted = truth(net, x)
    assert np.abs(got - wanted).max() < 0.05 * np.abs(wanted).max()


# What else a network may have, and whether its layers are normalised.
OPTIONS: dict[str, dict[str, Any]] = {
    "scale": {"scale": True},
    "parametric": {"parametric": True},
    "parametric, scale": {"parametric": [False, True], "scale": True},
    "linear path": {"linear_path": True},
    "linear path, scale": {"linear_path": True, "scale": True},
}
NORMS = ["before", "after", ["before", None], [None, "after"]]


def sizes(net: Any, x: Array) -> Array:
    """Return by row how large the numbers are that the network sums up, (n, 1)."""
    magnitude = np.abs(x.astype(np.float64))
    for scale in net.scales:
        magnitude = magnitude * np.abs(scale)
    inputs = magnitude
    for k, (w, b) in enumerate(zip(net.weights, net.biases, strict=True)):
        magnitude = magnitude @ np.abs(w) + np.abs(b)
        if k < len(net.alphas) and len(net.alphas[k]):
            magnitude = magnitude * (np.abs(1 - net.alphas[k]) + np.abs(net.alphas[k]))
    for w in net.linear_weights:
        magnitude = magnitude + inputs @ np.abs(w)
    return magnitude.max(axis=1, keepdims=True)


def assert_as_true(got: Array, net: Any, x: Array) -> None:
    """Fail unless predictions are as near to the truth as rounding lets them be."""
    wanted, relative = truth(net, x), RELATIVE[net.dtype.name] * sizes(net, x)
    largest, means = np.finfo(net.dtype).max / 2, net.layer_sizes[-1]
    assert got.dtype == net.dtype
    assert got.shape == wanted.shape
    # An error of z is one relative to exp(z), and absolute where there is no exp.
    scale = np.abs(wanted)
    if net.loss.link_name in ("identity", "mean_and_variance"):
        scale[:, :means] = 1.0
    if net.loss.levels:
        scale += 1.0
    known = (np.abs(wanted) < largest) & (relative < 1)
    with np.errstate(invalid="ignore"):  # an infinity less another, in both
        error = np.abs(got - wanted)
    assert known.mean() > 0.8
    assert np.all((error <= relative * scale + np.finfo(net.dtype).tiny)[known])


def assert_same_labels(got: Array, wanted: Array, p: Array, least: float = 1e-4) -> None:
    """Fail if labels differ where the probabilities leave no doubt."""
    top = np.sort(p, axis=1)
    each = wanted.ndim == 2
    sure = np.abs(p - 0.5).min(axis=1) > least if each else top[:, -1] - top[:, -2] > least
    assert got.shape == wanted.shape
    assert sure.mean() > 0.5
    assert np.array_equal(got[sure], wanted[sure])
