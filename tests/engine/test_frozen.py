"""The reference's predictor and shuffle beside the compiled ones, and all of it without these."""

import copy
import json
import pickle
import shutil
from pathlib import Path

import cases
import children
import numpy as np
import pytest
import without_native
from test_predictor import BAD_INPUTS, BAD_OUTS, FORMS, X, every_dtype
from tolerances import assert_close

import fastmlp
from fastmlp import reference
from fastmlp._engine import kernels, native_engine
from fastmlp._engine.numpy import numpy_engine
from fastmlp._engine.numpy.random import shuffle
from fastmlp._network.activations import ACTIVATIONS

PRIMES = (211, 257, 1009, 7919, 104729)


def both(sizes, dtype, activation="tanh", loss="squared_error"):
    """Return a native and a reference predictor with the same weights."""
    network = cases.build(sizes, activation, loss, dtype)
    weights, biases = cases.parameters(network, np.random.default_rng(2))
    engines = native_engine.engine(network), numpy_engine.Engine(network)
    for engine in engines:
        engine.set_parameters(weights, biases)
    return [engine.predictor() for engine in engines]


@pytest.mark.parametrize("level", native_engine.available_levels())
def test_the_shuffle_is_the_native_one_bit_for_bit(level):
    seeds = (0, 1, 7, 2**32 - 1, 2**32, 0x9E3779B97F4A7C15, 2**64 - 1)
    for n in (*range(201), *PRIMES, 2**17 + 1):
        for seed in seeds if n < 300 else seeds[-2:]:
            native, ours = np.arange(n), np.arange(n)
            kernels.shuffle(native, seed, level)
            shuffle(ours, seed)
            assert np.array_equal(native, ours), (n, seed)


def test_a_shuffle_goes_on_from_the_order_it_finds():
    native, ours = np.arange(100)[::-1].copy(), np.arange(100)[::-1].copy()
    for seed in range(5):
        kernels.shuffle(native, seed, native_engine.level())
        shuffle(ours, seed)
        assert np.array_equal(native, ours)


@every_dtype
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_predictions_and_jacobians_are_the_native_ones(activation, dtype):
    rng = np.random.default_rng(5)
    for case in cases.LOSSES:
        native, ours = both((6, 17, 9, 3), dtype, activation, case.loss)
        x = rng.normal(size=(9, 6)).astype(dtype)
        for rows in (x, x[:1], x[0], x[:0]):
            assert ours(rows).dtype == ours.jacobian(rows).dtype == np.dtype(dtype)
            assert_close(native(rows), ours(rows), "gradient", dtype)
            assert_close(native.jacobian(rows), ours.jacobian(rows), "gradient", dtype)


@every_dtype
def test_of_the_model(dtype):
    net = reference.MLP([3, 5, 2], loss="gaussian_nll", dropout=0.5, dtype=dtype, rng=0)
    predictor, x = net.predictor(n_threads=3), np.ones((4, 3), dtype)
    assert (predictor.level, predictor.n_threads, predictor.spec) == ("numpy", 3, net._spec)
    assert np.array_equal(predictor(x), np.hstack(net.predict(x)))
    assert net.jacobian(x[0]).shape == (4, 3)
    assert np.array_equal(net.jacobian(x), predictor.jacobian(x))
    before = predictor(x)
    net.weights = [2 * w for w in net.weights]
    assert np.array_equal(predictor(x), before)
    for twin in (pickle.loads(pickle.dumps(predictor)), copy.deepcopy(predictor)):
        assert np.array_equal(twin(x), before)
        assert np.array_equal(twin.jacobian(x), predictor.jacobian(x))
        assert twin.n_threads == 3


@every_dtype
@pytest.mark.parametrize("form", FORMS)
def test_any_form_of_input(form, dtype):
    native, ours = both((5, 33, 3), dtype)
    x = FORMS[form](np.random.default_rng(3).normal(size=(70, 5)).astype(dtype))
    assert_close(native(x), ours(x), "gradient", dtype)


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input_raises_the_same(name):
    value, error = BAD_INPUTS[name]
    messages = set()
    for predictor in both((4, 8, 3), "float32"):
        for call in (predictor, predictor.jacobian):
            with pytest.raises(error, match=r"^x (is|holds|has) ") as caught:
                call(value)
            messages.add(str(caught.value))
    assert len(messages) == 1


@pytest.mark.parametrize("name", BAD_OUTS)
def test_bad_out_raises_the_same_and_stays(name):
    for x in (X[0], X[:1], X[:2], X):
        out, messages = BAD_OUTS[name]((*x.shape[:-1], 3)), set()
        before = repr(out)
        for predictor in both((4, 8, 3), "float32"):
            for form in (x, x.astype("f8"), x.tolist()):
                with pytest.raises(ValueError, match="^out ") as caught:
                    predictor(form, out)
                messages.add(str(caught.value))
        assert len(messages) == 1
        assert repr(out) == before


def test_out_takes_the_result(tmp_path):
    _, predictor = both((4, 8, 4), "float32")
    wanted = predictor(X)
    mapped = np.memmap(tmp_path / "out", np.float32, "w+", shape=X.shape)
    for out in (np.empty((6, 4), np.float32), mapped, X.copy()):
        assert predictor(X, out=out) is out
        assert np.array_equal(out, wanted)
    own = X.copy()
    assert np.array_equal(predictor(own, own), wanted)


def test_what_is_not_finite_stays_in_its_row():
    _, predictor = both((4, 8, 3), "float32")
    x = X.copy()
    x[2] = np.nan
    x[4] = 3e38
    others = [0, 1, 3, 5]
    assert np.isnan(predictor(x)[2]).all()
    assert np.array_equal(predictor(x)[others], predictor(X)[others])


@pytest.mark.parametrize("name", ["function_address", "context_address", "capsule"])
def test_there_is_no_address(name):
    native, ours = both((4, 8, 3), "float32")
    assert hasattr(native, name)
    with pytest.raises(AttributeError, match=r"no address.* use the predictor of a fastmlp\.MLP"):
        getattr(ours, name)


# ---- nothing compiled ----------------------------------------------------------------------------


def without(how, code, folder):
    """Run code where no compiled module can be loaded, or where there is none."""
    program = f"import without_native; {code}"
    if how == "broken":
        program = f"import without_native; without_native.block(); {code}"
        return children.printed(children.python("-c", program, folders=children.FOLDERS))
    sources = folder / "fastmlp"
    shutil.copytree(Path(fastmlp.__file__).parent, sources, ignore=shutil.ignore_patterns("*.so"))
    paths = children.importing(folder, *children.FOLDERS)
    # A package without compiled modules looks for an installed one that has them.
    alone = "import pkgutil; pkgutil.extend_path = lambda path, name: path; "
    return children.printed(children.python("-c", alone + program, **paths))


@pytest.mark.parametrize("how", ["broken", "absent"])
def test_the_reference_needs_nothing_compiled(how, tmp_path):
    found = without(how, "without_native.report()", tmp_path)
    assert json.loads(found) == json.loads(json.dumps(without_native.everything()))


@pytest.mark.parametrize("how", ["broken", "absent"])
def test_what_is_compiled_says_that_it_is_not_there(how, tmp_path):
    messages = json.loads(without(how, "without_native.complaints()", tmp_path))
    assert len(messages) == 4
    for message in messages:
        assert "cannot be loaded" in message
        assert "C compiler" in message
        assert "fastmlp.reference.MLP" in message
