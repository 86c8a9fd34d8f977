"""How each library predicts in its own best way: NumPy array in, NumPy array out, link included.

Most are those of `libraries.py`; here are further ways of fastmlp and PyTorch, and NumPy by hand.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from libraries import LIBRARIES, torch_jit
from workloads import RELU, Array, Case, Parameters, outputs

from fastmlp._cli.rivals import Timed

PREDICTED = {name: RELU[name] for name in ("tiny", "small", "mnist")}


def expected(case: Case, x: Array, parameters: Parameters | None = None) -> Array:
    """Return the predictions in float64, by default of the initial parameters."""
    z = outputs(case, parameters or case.parameters(), x)
    return softmax(z) if case.classifies else z


def softmax(z: Array) -> Array:
    """Return exp(z) over its sum, row by row."""
    e: Array = np.exp(z - z.max(axis=1, keepdims=True))
    e /= e.sum(axis=1, keepdims=True)
    return e


bound = LIBRARIES["fastmlp"][1]["predict"]


def bound_out(case: Case, threads: int) -> Timed:
    """Predict with fastmlp's predictor, the result into an array that is there."""
    out = np.empty((case.n_rows, case.layer_sizes[-1]), np.float32)
    return Timed("p(x, out)", {**bound(case, threads).names, "out": out})


def checked(case: Case, threads: int) -> Timed:
    """Predict with fastmlp's checked method."""
    return Timed("net.predict(x)", {"net": case.net(), "x": case.data()[0]})


def by_hand(case: Case, threads: int) -> Timed:
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

    return Timed("predict(x)", {"predict": predict, "x": case.data()[0]})


# Name in the table -> modules that must be installed, function.
PREDICTORS: dict[str, tuple[tuple[str, ...], Callable[[Case, int], Timed]]] = {
    "fastmlp p(x)": (("fastmlp",), bound),
    "fastmlp p(x, out)": (("fastmlp",), bound_out),
    "fastmlp predict": (("fastmlp",), checked),
    "PyTorch eager": (("torch",), functools.partial(torch_jit, jit=False)),
    **{
        name: (modules, kinds["predict"])
        for name, (modules, kinds) in LIBRARIES.items()
        if "predict" in kinds and name != "fastmlp"
    },
    "NumPy": (("numpy",), by_hand),
}
