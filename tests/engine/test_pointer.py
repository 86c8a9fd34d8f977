"""The predictor for compiled code: address, capsule, and the programs of docs/prediction.md.

A thread that runs out of stack kills its process, so each level runs in one of its own, as a
program: ``python test_pointer.py LEVEL``.
"""

import contextlib
import ctypes
import functools
import gc
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import unittest.mock
from pathlib import Path

import cases
import children
import numpy as np
import pytest
from at_once import at_once
from test_predictor import assert_same_bits, every_dtype, every_level, make, rows_of

import fastmlp
from fastmlp._engine import native_engine
from fastmlp._engine.native import Predictor

LEVELS = native_engine.available_levels()

PAGE = Path(__file__).resolve().parents[2] / "docs" / "prediction.md"
PROTOTYPE = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p
)
CC = shutil.which("cc")
INCLUDE = Path(sysconfig.get_paths()["include"])
needs_compiler = pytest.mark.skipif(
    CC is None or not (INCLUDE / "Python.h").exists(), reason="needs a C compiler and Python.h"
)


def call(predictor, x, out):
    """Predict through the addresses."""
    function = PROTOTYPE(predictor.function_address)
    return function(predictor.context_address, x.ctypes.data, len(x), out.ctypes.data)


def program(language):
    """Return the program of the page in a language."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    return text


def compiled(source, folder, name):
    """Compile C into a shared library and return its path."""
    path = folder / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
    subprocess.run(
        [CC, "-shared", "-fPIC", "-O0", "-Wall", f"-I{INCLUDE}", str(source), "-o", str(path)],
        check=True,
        capture_output=True,
        text=True,
    )
    return path


@every_dtype
@every_level
@pytest.mark.parametrize(
    ("sizes", "loss"),
    [
        ((7, 33, 5), "cross_entropy"),
        ((1, 1), "poisson_nll"),
        ((5, 17, 3), "gaussian_nll"),
        ((3, 9001, 2), "cross_entropy"),
    ],
)
def test_the_function_predicts(sizes, loss, level, dtype):
    predictor = make(sizes, dtype, "silu", loss, level)
    for n in (0, 1, 5, 67):
        x = rows_of(n, predictor)
        out = np.full((n + 1, predictor.spec.shapes[-1][1]), 7, dtype)
        assert call(predictor, x, out) == 0
        assert_same_bits(out[:n], predictor(x))
        assert (out[n] == 7).all()


def square(z):
    """Return an activation and its slope, but no curvature."""
    return z * z, 2 * z


@every_dtype
@pytest.mark.parametrize("activation", ["silu", fastmlp.CustomActivation(square)])
def test_the_function_differentiates(activation, dtype):
    """It takes the interpreter's lock itself; ctypes calls it without."""
    net = fastmlp.MLP([4, 9, 3], activation=activation, loss="cross_entropy", dtype=dtype, rng=0)
    predictor = net.predictor()
    pointer = ctypes.c_void_p
    prototype = ctypes.CFUNCTYPE(ctypes.c_int, pointer, pointer, ctypes.c_int64, *[pointer] * 3)
    function = prototype(predictor.derivatives_address)
    x = rows_of(5, predictor)
    out = [np.zeros((5, *shape), dtype) for shape in ((3,), (3, 4), (3, 4, 4))]
    places = [ctypes.c_void_p(array.ctypes.data) for array in out]

    def status():
        return function(predictor.context_address, x.ctypes.data, len(x), *places)

    if activation != "silu":  # no curvature is known
        assert status() == -1
        return
    assert at_once(*[status] * 4) == [0] * 4
    for array, expected in zip(out, predictor.derivatives(x), strict=True):
        assert_same_bits(array, expected)


def test_any_alignment_of_the_type_and_in_place():
    predictor = make((5, 17, 5))
    x = rows_of(9, predictor)
    memory = np.zeros(80, np.float32)
    for shift in range(16):
        own = memory[shift : shift + 45].reshape(9, 5)
        own[...] = x
        assert call(predictor, own, own) == 0  # row by row: each is read before it is written
        assert_same_bits(own, predictor(x))


def test_addresses_stay():
    predictor = make((5, 17, 3))
    before = predictor.function_address, predictor.context_address
    predictor(rows_of(100, predictor))
    predictor.jacobian(rows_of(100, predictor))
    assert (predictor.function_address, predictor.context_address) == before
    assert make((5, 17, 3)).context_address != before[1]


def test_capsule():
    predictor = make((5, 17, 3))
    api = ctypes.pythonapi
    for name in ("GetPointer", "GetContext", "GetName"):
        getattr(api, f"PyCapsule_{name}").restype = ctypes.c_void_p
    capsule = ctypes.py_object(predictor.capsule)
    pointer = api.PyCapsule_GetPointer(capsule, b"fastmlp.predict")
    assert pointer == predictor.function_address
    assert api.PyCapsule_GetContext(capsule) == predictor.context_address
    assert ctypes.string_at(api.PyCapsule_GetName(capsule)) == b"fastmlp.predict"


def test_a_capsule_keeps_its_predictor_alive():
    predictor = make((5, 17, 3))
    before = sys.getrefcount(predictor)
    capsule = predictor.capsule
    assert sys.getrefcount(predictor) == before + 1
    del capsule
    assert sys.getrefcount(predictor) == before


def test_from_many_threads_without_the_interpreter():
    predictor = make((7, 33, 5))
    x = rows_of(2000, predictor)
    outs = [np.empty((2000, 5), np.float32) for _ in range(8)]
    at_once(*(functools.partial(call, predictor, x, out) for out in outs))
    for out in outs:
        assert_same_bits(out, predictor(x))


# ---- the programs of the documentation -----------------------------------------------------------


@needs_compiler
def test_the_program_in_c(tmp_path):
    source = tmp_path / "mean.c"
    source.write_text(program("c"))
    library = ctypes.PyDLL(str(compiled(source, tmp_path, "mean")))
    mean = library.mean_prediction
    mean.restype = ctypes.c_double
    mean.argtypes = ctypes.py_object, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64
    predictor = make((7, 33, 1))
    x = rows_of(50, predictor)
    got = mean(predictor.capsule, x.ctypes.data, *x.shape)
    assert got == pytest.approx(predictor(x).mean(dtype=float), rel=1e-12)


@pytest.mark.slow
@needs_compiler
def test_the_program_in_cython(tmp_path):
    cython = pytest.importorskip("Cython.Compiler.Main")
    source = tmp_path / "stepper.pyx"
    source.write_text(program("cython"))
    result = cython.compile(str(source), language_level=3)
    assert result.num_errors == 0
    path = compiled(result.c_file, tmp_path, "stepper")
    specification = importlib.util.spec_from_file_location("stepper", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    predictor = make((7, 33, 5))
    x = rows_of(20, predictor)
    y = np.empty((20, 5), np.float32)
    module.step_all(predictor, x, y)
    assert_same_bits(y, predictor(x))


def rollout_of(net):
    """Return the function that the page makes for numba of a network."""
    names = {}
    exec(program("numba"), names)
    return names["make_rollout"](net)


@pytest.mark.slow
@every_dtype
def test_the_program_in_numba(dtype):
    pytest.importorskip("numba")
    net = fastmlp.MLP([3, 16, 3], activation="tanh", dtype=dtype, rng=0)
    x = np.array([0.5, -1.0, 2.0], dtype)
    wanted, rollout = x.copy(), rollout_of(net)
    for _ in range(100):
        wanted += 0.01 * net.predict(wanted[np.newaxis])[0]
    np.testing.assert_allclose(rollout(x, 100, 0.01), wanted, rtol=1e-5)
    (other,) = set(native_engine.DTYPES) - {dtype}
    for misread in (np.ones(6, dtype)[::2], np.ones(3, other), np.ones((1, 3), dtype)):
        with pytest.raises(TypeError, match="No matching definition"):
            rollout(misread, 1, 0.01)
    with pytest.raises(ValueError, match="number of states"):
        rollout(np.ones(4, dtype), 1, 0.01)


def test_the_program_in_numba_keeps_the_predictor_alive(monkeypatch):
    numba = unittest.mock.MagicMock(njit=lambda signature: lambda function: function)
    monkeypatch.setitem(sys.modules, "numba", numba)

    def alive():
        gc.collect()
        return sum(type(each) is Predictor for each in gc.get_objects())

    net = fastmlp.MLP([3, 16, 3], rng=0)
    before = alive()
    rollout = rollout_of(net)
    assert alive() == before + 1
    assert rollout(np.ones(3, np.float32), 5, 0.01).shape == (3,)
    del rollout
    assert alive() == before


# ---- threads with little stack -------------------------------------------------------------------

# The least that Python allows; docs/prediction.md promises twice that to be enough. .ci/sanitize
# tries the promise itself, since a watched step of Adam alone has a frame of 26 KiB.
SMALLEST = int(os.environ.get("FASTMLP_STACK_KIB", "32")) * 1024
# Row buffers go from the stack to the heap between 450 and 1000 units, in one dtype or the other.
WIDTHS = (1, 33, 300, 430, 448, 449, 520, 900, 959, 960, 961, 1100, 9000)


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
                spec = cases.build(sizes, "gelu", fastmlp.CrossEntropy(), dtype)
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
        _make_engine = staticmethod(lambda spec: native_engine.Engine(spec, level))

    for width in (30, 2000):
        for name, call in calls_of(OnLevel([width, 20, 3], activation="gelu", rng=0)).items():
            np.testing.assert_array_equal(on_a_small_stack(call), call(), err_msg=name)


@pytest.mark.parametrize(
    "level", [LEVELS[0], *(pytest.param(level, marks=pytest.mark.slow) for level in LEVELS[1:])]
)
def test_threads_with_small_stacks(level):
    result = children.python(__file__, level, folders=children.FOLDERS)
    assert result.returncode == 0, f"exit {result.returncode}\n{result.stderr}"


if __name__ == "__main__":
    for one in predictors(sys.argv[1]):
        call_the_function(one)
    call_everything(sys.argv[1])
