"""Predictions on threads with little stack: the function for compiled code, and every Python call.

A thread that runs out of stack kills its process, so each level runs in one of its own, as a
program: ``python test_small_stacks.py LEVEL``.
"""

import contextlib
import ctypes
import sys
import threading

import cases
import children
import numpy as np
import pytest

import fastmlp
from fastmlp._engine import native_engine
from fastmlp._engine.predictor import Predictor
from fastmlp._network import losses

SMALLEST = 32 * 1024  # that Python allows; docs/prediction.md promises twice that to be enough
# Row buffers go from the stack to the heap between 450 and 1000 units, in one dtype or the other.
WIDTHS = (1, 33, 300, 430, 448, 449, 520, 900, 959, 960, 961, 1100, 9000)
PROTOTYPE = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p
)


def on_a_small_stack(function):
    """Run a function on a thread of the smallest stack and return its result."""
    found = []
    before = threading.stack_size()
    for size in (SMALLEST, 4 * SMALLEST):  # the least of some systems is larger
        with contextlib.suppress(ValueError):
            threading.stack_size(size)
            break
    try:
        thread = threading.Thread(target=lambda: found.append(function()))
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    return found[0]


def predictors(level):
    """Yield a predictor with each of the widths as fan-in, hidden layer and outputs."""
    rng = np.random.default_rng(0)
    for dtype in native_engine.DTYPES:
        for width in WIDTHS:
            for sizes in ((width, 3, 2), (3, width, 2), (3, 2, width + 1)):
                spec = cases.build(sizes, "gelu", losses.CrossEntropy(), dtype)
                yield Predictor(spec, level, *cases.parameters(spec, rng))


def call_the_function(predictor):
    """Predict through the addresses, there and here."""
    spec = predictor.spec
    x = np.linspace(-1, 1, 2 * spec.layer_sizes[0], dtype=spec.dtype).reshape(2, -1)
    out = np.empty((2, spec.shapes[-1][1]), spec.dtype)
    function = PROTOTYPE(predictor.function_address)
    arguments = predictor.context_address, x.ctypes.data, 2, out.ctypes.data
    assert on_a_small_stack(lambda: function(*arguments)) == 0
    np.testing.assert_array_equal(out, predictor(x))


def calls_of(net):
    """Return everything that Python calls, by name."""
    width = net.layer_sizes[0]
    predict, many = net.predictor(), net.predictor(n_threads=2)
    x, y = np.ones((400, width), np.float32), np.ones((400, 3), np.float32)
    return {
        "one row": lambda: predict(x[0]),
        "a few rows": lambda: predict(x[:3]),
        "rows": lambda: predict(x),
        "rows, two threads": lambda: many(x),
        "list": lambda: predict([1.0] * width),
        "predict, one row": lambda: net.predict(x[:1]),
        "predict": lambda: net.predict(x),
        "evaluate": lambda: np.array(net.evaluate(x, y)),
        "gradients": lambda: net.gradients(x, y)[1][0],
        "jacobian": lambda: predict.jacobian(x[:65]),
        "fit": lambda: net.fit(x, y, epochs=2, n_threads=1).loss[:0],
        "fit, two threads": lambda: net.fit(x, y, epochs=2, n_threads=2).loss[:0],
    }


def call_everything(level):
    """Make every call, with a width on each side of the limit."""

    class OnLevel(fastmlp.MLP):
        _engine_type = staticmethod(lambda spec: native_engine.Engine(spec, level))

    for width in (30, 2000):
        for name, call in calls_of(OnLevel([width, 20, 3], activation="gelu", rng=0)).items():
            np.testing.assert_array_equal(on_a_small_stack(call), call(), err_msg=name)


@pytest.mark.parametrize("level", native_engine.available_levels())
def test_threads_with_small_stacks(level):
    result = children.python(__file__, level, folders=children.FOLDERS)
    assert result.returncode == 0, f"exit {result.returncode}\n{result.stderr}"


if __name__ == "__main__":
    for one in predictors(sys.argv[1]):
        call_the_function(one)
    call_everything(sys.argv[1])
