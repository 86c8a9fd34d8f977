"""Own activations and losses: twins of the tables' rows, both engines, NumPy and C."""

import copy
import ctypes
import functools
import itertools
import pickle
import re
import subprocess
from pathlib import Path

import cases
import numpy as np
import own
import pytest
import ranks
from at_once import at_once
from models import X, Y, digest
from test_own_failures import Failing, PlantedError, raises
from test_pointer import call
from tolerances import assert_all_close, assert_close

import fastmlp
from fastmlp import Groups
from fastmlp._engine import native, native_engine
from fastmlp._engine.native import Predictor
from fastmlp._engine.numpy import numpy_engine
from fastmlp._network.activations import ACTIVATIONS
from fastmlp._network.spec import BLOCK_ROWS

every_dtype = pytest.mark.parametrize("dtype", cases.DTYPES)
LEVELS = native_engine.available_levels()
every_level = pytest.mark.parametrize("level", LEVELS)

# Widths: one; prime; less, equal and more than a panel of any level; no hidden layer.
SIZES = ((3, 5, 4, 2), (1, 33, 9, 1), (32, 8, 3), (131, 97, 2), (7, 1, 5, 3))
WAYS = (
    (37, 16, {}),
    (37, 16, {"l2": 0.1, "clip_norm": 0.05}),
    (BLOCK_ROWS + 7, BLOCK_ROWS + 7, {"l2": 0.1}),
    (3, 1, {}),
    (60, 20, {"groups": Groups(bias_rate=3.0), "l2": 1.0}),
)


def made(kind, network, parameters):
    engine = cases.engine(kind, network)
    engine.set_parameters(*parameters)
    return engine


def agree_with_twin(twin, plain, level, dtype, seed, way, labels=True):
    """Train a network of own functions and its twin on the reference, and on 1 and 2 threads."""
    n, batch_size, options = way
    parameters = cases.parameters(plain, np.random.default_rng(seed))
    weighted = seed % 3 == 1
    data = cases.data(plain, n, np.random.default_rng(seed), labels, weighted)
    optimizer, results = fastmlp.SGD(momentum=0.9 * (seed % 2)), []
    for network, n_threads in ((plain, 1), (twin, 0), (twin, 1), (twin, 2)):
        engine = made(level if n_threads else "reference", network, parameters)
        done = cases.train(engine, data, batch_size, optimizer, max(n_threads, 1), **options)
        results.append(done)
    cases.agree(dtype, results[0], results[2], results[3])
    cases.agree(dtype, results[1], results[2], results[3])


@every_dtype
@every_level
@pytest.mark.parametrize("norm", [None, "before", "after"])
def test_a_twin_of_an_activation_trains_alike(norm, level, dtype):
    ways = zip(ACTIVATIONS, itertools.cycle(WAYS), itertools.cycle(SIZES), strict=False)
    for at, (name, way, sizes) in enumerate(ways):
        given = {"dtype": dtype, "layer_norm": norm, "dropout": 0.2 * (at % 2), "scale": at % 2 > 0}
        twin = cases.build(sizes, own.activation(name), "huber", **given)
        agree_with_twin(twin, cases.build(sizes, name, "huber", **given), level, dtype, at, way)
    given |= {"skip": 1, "linear_path": True, "scale": True, "dropout": 0.2}
    for at, sizes in enumerate(((3, 8, 8, 2), (8, 8, 8, 8, 1), (1, 33, 33, 9, 9, 3))):
        twin, plain = (
            cases.build(sizes, each, "huber", **given) for each in (own.activation("tanh"), "tanh")
        )
        agree_with_twin(twin, plain, level, dtype, at, WAYS[at])
        check_calls(twin, plain, level, dtype)


@every_dtype
@every_level
@pytest.mark.parametrize("case", [c for c in cases.LOSSES if not c.loss.levels], ids=str)
def test_a_twin_of_a_loss_trains_alike(case, level, dtype):
    for at, (way, sizes) in enumerate(zip(WAYS, SIZES, strict=True)):
        sizes = (*sizes[:-1], max(sizes[-1], 2))
        twin = cases.build(sizes, "tanh", own.loss(case.loss), dtype)
        plain = cases.build(sizes, "tanh", case.loss, dtype)
        agree_with_twin(twin, plain, level, dtype, at, way, case.labels)


@own.needs_cc
@every_dtype
@every_level
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_c_functions_train_and_predict_alike(sizes, level, dtype):
    for at, way in enumerate(WAYS):
        given = {"dtype": dtype, "dropout": 0.2 * (at % 2)}
        twin = cases.build(sizes, own.c_tanh(), own.c_square(), **given)
        plain = cases.build(sizes, "tanh", "squared_error", **given)
        agree_with_twin(twin, plain, level, dtype, at, way)
    classes = (*sizes[:-1], 3)
    twin = cases.build(classes, own.c_tanh(), own.c_square("class"), dtype)
    engine = native.Engine(twin, level)
    engine.set_parameters(*cases.parameters(twin, np.random.default_rng(0)))
    data = cases.data(twin, 9, np.random.default_rng(0))
    assert data.targets.ndim == 1
    wanted = 0.5 * np.sum((engine.predict(data.x) - np.eye(3)[data.targets]) ** 2, axis=1)
    assert_close(engine.evaluate(data), wanted.mean(), "loss", dtype)


def check_calls(twin, plain, level, dtype, rows=BLOCK_ROWS + 1):
    """Compare predictions, Jacobians, losses and gradients, of blocks and of single rows."""
    rng = np.random.default_rng(3)
    parameters, data = cases.parameters(plain, rng), cases.data(plain, rows, rng)
    a, b = (made(level, network, parameters) for network in (twin, plain))
    whole = a.predict(data.x)
    largest = float(np.abs(whole).max())
    assert_close(whole, b.predict(data.x), "gradient", dtype, largest)
    assert_close(a.evaluate(data), b.evaluate(data), "loss", dtype)
    found, wanted = (numpy_engine.flat(each.gradients(data)[1:]) for each in (a, b))
    assert_all_close(found, wanted, "gradient", dtype)
    predict = Predictor(twin, level, *parameters)
    np.testing.assert_array_equal(predict(data.x), whole)
    np.testing.assert_array_equal(predict(data.x[:3]), whole[:3])
    assert_close(predict(data.x[5]), whole[5], "gradient", dtype, largest)
    other = Predictor(plain, level, *parameters).jacobian(data.x[:70])
    assert_close(predict.jacobian(data.x[:70]), other, "gradient", dtype, np.abs(other).max())


@every_dtype
@every_level
def test_predictions_and_jacobians_are_alike(level, dtype):
    for sizes, name in itertools.product(SIZES, ("tanh", "gelu", "softplus")):
        twin = cases.build(sizes, own.activation(name), own.loss(cases.LOSSES[0].loss), dtype)
        check_calls(twin, cases.build(sizes, name, dtype=dtype), level, dtype)


@own.needs_cc
@every_dtype
@every_level
def test_predictions_of_c_functions_are_alike(level, dtype):
    wide = (3, 9001, 2)  # a row of any width has room
    for sizes, rows in (*((sizes, BLOCK_ROWS + 1) for sizes in SIZES), (wide, 70)):
        twin = cases.build(sizes, own.c_tanh(), own.c_square(), dtype)
        check_calls(twin, cases.build(sizes, dtype=dtype), level, dtype, rows)


@own.needs_cc
@every_dtype
@every_level
def test_c_code_calls_a_predictor_with_c_functions(level, dtype):
    twin = cases.build((5, 17, 3), own.c_tanh(), dtype=dtype)
    predict = Predictor(twin, level, *cases.parameters(twin, np.random.default_rng(0)))
    x = np.random.default_rng(1).normal(size=(5, 5)).astype(dtype)
    out = np.empty((5, 3), dtype)
    assert call(predict, x, out) == 0
    np.testing.assert_array_equal(out, np.stack([predict(row) for row in x]))
    python = cases.build((5, 17, 3), own.activation("tanh"), dtype=dtype)
    predict = Predictor(python, level, *predict.parameters())
    for name in ("function_address", "capsule"):
        with pytest.raises(AttributeError, match="is a Python function"):
            getattr(predict, name)


@own.needs_cc
def test_an_address_may_be_given_in_many_ways(mlp):
    function = own.library().tanh_float64
    address = ctypes.cast(function, ctypes.c_void_p).value
    new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
        ("PyCapsule_New", ctypes.pythonapi)
    )

    class Compiled:  # numba.cfunc makes such objects
        pass

    Compiled.address = address
    name = ctypes.c_char_p(b"void (void const *, int64_t, double const *, double *, double *)")
    ways = [function, address, np.int64(address), ctypes.c_void_p(address), Compiled]
    ways += [new(address, None, None), new(address, name, None)]
    for given in ways:
        activation = fastmlp.CustomActivation(fastmlp.CFunction(float64=given), name="own")
        net = mlp([3, 8, 2], activation=activation, dtype="float64", rng=0)
        twin = mlp([3, 8, 2], activation=own.c_tanh(), dtype="float64", rng=0)
        np.testing.assert_array_equal(net.predict(X), twin.predict(X))


@own.needs_cc
def test_a_context_reaches_the_function(mlp):
    factor = np.array([2.0])
    for n_threads in (1, 2):
        twice = own.c_tanh(context=factor.ctypes.data)
        a = mlp([3, 8, 2], activation=twice, dtype="float64", rng=0)
        b = mlp([3, 8, 2], activation=own.c_tanh(), dtype="float64", rng=0)
        b.weights[1] = 2 * b.weights[1]
        np.testing.assert_allclose(a.predict(X), b.predict(X))
        a.fit(X, Y, epochs=1, n_threads=n_threads)


def test_a_function_that_threads_call_at_once(mlp):
    """Predictions from several threads, each with arrays of its own."""
    net = mlp([3, 40, 2], activation=own.activation("tanh"), loss=own.loss(cases.LOSSES[0].loss))
    x = np.tile(X, (20, 1))
    wanted = net.predict(x)
    for found in at_once(*[lambda: net.predict(x)] * 8):
        np.testing.assert_array_equal(found, wanted)


def test_members_of_an_ensemble(mlp):
    activation, loss = own.activation("tanh"), own.loss(cases.LOSSES[0].loss)
    alone, members, plain = (
        [mlp([3, 8, 2], activation=each, loss=of, rng=k) for k in range(3)]
        for each, of in ((activation, loss), (activation, loss), ("tanh", "squared_error"))
    )
    ensemble, twin = fastmlp.Ensemble(members), fastmlp.Ensemble(plain)
    ensemble.fit(X, Y, epochs=2, n_threads=2)
    twin.fit(X, Y, epochs=2, n_threads=2)
    for net, member in zip(alone, members, strict=True):
        net.fit(X, Y, epochs=2)
        np.testing.assert_array_equal(net.predict(X), member.predict(X))
    np.testing.assert_allclose(ensemble.predict(X), twin.predict(X), rtol=1e-4, atol=1e-5)
    assert ensemble.evaluate(X, Y) == pytest.approx(twin.evaluate(X, Y), rel=1e-4)


@own.needs_cc
def test_copies_and_pickles(mlp):
    net = mlp([3, 8, 2], activation=own.activation("tanh"), loss=fastmlp.CustomLoss(own.square))
    net.partial_fit(X, Y, batch_size=16)
    twins = [copy.deepcopy(net), copy.copy(net), pickle.loads(pickle.dumps(net))]
    frozen = pickle.loads(pickle.dumps(net.predictor()))
    np.testing.assert_array_equal(frozen(X), net.predict(X))
    net.partial_fit(X, Y, batch_size=16)
    for twin in twins:
        twin.partial_fit(X, Y, batch_size=16)
        np.testing.assert_array_equal(twin.predict(X), net.predict(X))
        assert twin.loss == net.loss
        assert twin.activations == net.activations
    for options in ({"activation": own.c_tanh()}, {"loss": own.c_square()}):
        pointers = mlp([3, 8, 2], **options)
        np.testing.assert_array_equal(copy.deepcopy(pointers).predict(X), pointers.predict(X))
        with pytest.raises(TypeError, match="an address in this process and cannot be pickled"):
            pickle.dumps(pointers)
    with pytest.raises((AttributeError, pickle.PicklingError), match="pickle"):
        pickle.dumps(mlp([3, 8, 2], activation=fastmlp.CustomActivation(lambda z: (z, z * 0 + 1))))


@own.needs_cc
@pytest.mark.parametrize("kind", ["numpy", "c"])
def test_files_name_them(tmp_path, mlp, kind):
    activation = own.activation("tanh") if kind == "numpy" else own.c_tanh()
    loss = fastmlp.CustomLoss(own.square) if kind == "numpy" else own.c_square()
    functions = {activation.name: activation, loss.name: loss}
    net = mlp([3, 8, 5, 2], activation=["relu", activation], loss=loss)
    net.fit(X, Y, epochs=2)
    path = tmp_path / "net.safetensors"
    net.save(path)
    again = fastmlp.load(path, functions=functions)
    np.testing.assert_array_equal(again.predict(X), net.predict(X))
    net.fit(X, Y, epochs=3, resume=True)
    again.fit(X, Y, epochs=3, resume=True)
    np.testing.assert_array_equal(again.predict(X), net.predict(X))
    for wrong, message in (
        (None, "needs the CustomActivation"),
        ({activation.name: activation}, "needs the CustomLoss"),
        ({activation.name: loss, loss.name: loss}, "needs the CustomActivation"),
        (functions | {"third": loss}, "no function 'third'"),
    ):
        with pytest.raises(fastmlp.ModelFormatError, match=message):
            fastmlp.load(path, functions=wrong)
    made = functools.partial(fastmlp.CustomLoss, own.square, name="mine")
    mlp([3, 8, 2], loss=made(link="exp")).save(path)
    assert fastmlp.load(path, functions={"mine": made(link="exp")}).loss.link_name == "exp"
    for other, message in (({}, "'link' 'exp'"), ({"link": "exp", "targets": "count"}, "'real'")):
        with pytest.raises(fastmlp.ModelFormatError, match=f"with the .*{message}, but functions"):
            fastmlp.load(path, functions={"mine": made(**other)})
    with pytest.raises(TypeError, match="functions is .* but a dictionary is expected"):
        fastmlp.load(path, functions=[made()])
    same = [fastmlp.CustomActivation(f, name="same") for f in (own.softsign, own.Row("tanh"))]
    with pytest.raises(ValueError, match="several functions of the same name"):
        mlp([3, 8, 5, 2], activation=same).save(path)


def test_exports(tmp_path, mlp):
    net = mlp([3, 8, 2], activation=own.activation("tanh"))
    for write in (net.to_onnx, net.predictor().to_onnx, lambda: net.to_c(tmp_path / "net.c")):
        with pytest.raises(TypeError, match=r"CustomActivation\('tanh'\).*save\(path\)"):
            write()
    texts = []
    # Of a loss, programs need the link alone.
    for loss in (own.loss(fastmlp.BinaryCrossEntropy()), "binary_cross_entropy"):
        mlp([3, 8, 2], loss=loss, rng=0).to_c(tmp_path / "net.c")
        texts.append((tmp_path / "net.c").read_text())
    assert texts[0] == texts[1]


# ---- processes ----------------------------------------------------------------------------------


def test_many_processes_train_with_own_functions(mlp):
    softsign, square = fastmlp.CustomActivation(own.softsign), fastmlp.CustomLoss(own.square)

    def work(communicator):
        mine = ranks.share_of(communicator.rank, 2, 30, X, Y)
        net = mlp([3, 8, 2], activation=softsign, loss=square, dtype="float64", rng=0)
        given = {"epochs": 2, "batch_size": 15, "shuffle": False}
        return net, net.fit(*mine, communicator=communicator, **given).loss

    (one, losses), (other, same) = ranks.good(ranks.run(2, work))
    assert losses == same
    assert digest(one) == digest(other)
    alone = mlp([3, 8, 2], activation=softsign, dtype="float64", rng=0)
    wanted = alone.fit(X, Y, epochs=2, batch_size=30, shuffle=False).loss
    np.testing.assert_allclose(losses, wanted)  # a batch has the rows of two of theirs


@pytest.mark.parametrize("kind", ["activation", "loss"])
def test_a_failure_in_one_process_ends_all(mlp, kind):
    wrap, function = {
        "activation": (fastmlp.CustomActivation, own.softsign),
        "loss": (fastmlp.CustomLoss, own.square),
    }[kind]

    def work(communicator):
        failing = Failing(function, raises, 20 if communicator.rank == 1 else 10**9)
        net = mlp([3, 8, 2], rng=0, **{kind: wrap(failing, check=False, name="same")})
        net.fit(X, Y, epochs=9, batch_size=15, communicator=communicator)

    errors = ranks.raised(ranks.run(2, work))
    assert isinstance(errors[1], PlantedError)
    assert isinstance(errors[0], fastmlp.RankError)
    assert "from inside" in str(errors[0])


# ---- the programs of docs/functions.md; its Python runs in test_house.py ------------------------

PAGE = Path(__file__).resolve().parents[2] / "docs" / "functions.md"


@own.needs_cc
def test_the_c_program_of_the_page(tmp_path, monkeypatch):
    text = PAGE.read_text()
    (source,) = re.findall(r"^```c\n(.*?)^```$", text, re.M | re.S)
    (program,) = re.findall(r"^```python\n(import ctypes\n.*?)^```$", text, re.M | re.S)
    (command,) = re.findall(r"`(cc -.*?)`", text)
    monkeypatch.chdir(tmp_path)
    Path("own.c").write_text(source)
    subprocess.run(command.split(), check=True)
    found = {}
    exec(program, found)
    net, x, y = found["net"], X[:, :2], X[:, 0] * X[:, 1]
    (activation,) = net.activations
    twin = fastmlp.MLP(
        [2, 16, 1],
        activation=fastmlp.CustomActivation(own.softsign),
        loss=fastmlp.CustomLoss(lambda z, t: (np.sum(np.log(np.cosh(z - t)), 1), np.tanh(z - t))),
    )
    twin.load_state_dict(net.state_dict())
    np.testing.assert_allclose(net.predict(x), twin.predict(x), rtol=1e-5, atol=1e-6)
    assert np.isclose(net.evaluate(x, y), twin.evaluate(x, y), rtol=1e-5)
    for options in ({"dtype": "float32"}, {"dtype": "float64"}):
        other = fastmlp.MLP([2, 8, 1], activation=activation, loss=net.loss, rng=0, **options)
        losses = other.fit(x, y, epochs=30, n_threads=2).loss
        assert losses[-1] < losses[0]


@pytest.mark.slow
def test_the_program_in_numba():
    pytest.importorskip("numba")
    (program,) = re.findall(r"^```numba\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    names = {}
    exec(program, names)
    kinds = names["softsign"], own.softsign
    for dtype in ("float32", "float64"):
        nets = [
            fastmlp.MLP([3, 40, 40, 2], activation=each, dtype=dtype, rng=0)
            for each in map(fastmlp.CustomActivation, kinds)
        ]
        losses = [net.fit(X, Y, epochs=3, n_threads=2).loss for net in nets]
        np.testing.assert_allclose(*losses, rtol=1e-5)
        predict = nets[0].predictor()
        rows = np.stack([predict(row) for row in X.astype(dtype)])
        np.testing.assert_array_equal(rows, nets[0].predict(X))
