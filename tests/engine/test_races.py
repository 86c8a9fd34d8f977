"""Threads at the same things at once: what is read is of one moment, as one thread would read it.

`.ci/sanitize` runs this under ThreadSanitizer as well, which sees the races that went well.
"""

import copy
import functools
import itertools
import pickle

import numpy as np
import pytest
from at_once import at_once, busy, repeating

import fastmlp
from fastmlp._engine import thread_count
from fastmlp._models import trainer

RNG = np.random.default_rng(11)
X = RNG.normal(size=(1000, 6)).astype(np.float32)
Y = np.column_stack([X[:, 0] * X[:, 1], np.sin(X[:, 2]), X[:, 3]]).astype(np.float32)
READERS = 8


def beside(work, reads):
    """Return {name: all that reads[name] returned}, each run over and over while `work` runs."""
    seen = {name: set() for name in reads}
    calls = [lambda name=name, read=read: seen[name].add(read()) for name, read in reads.items()]
    with busy(*map(repeating, calls)):
        work()
    return seen


def strays(seen, expected):
    """Return {name: how many of the results seen are not expected}, where there are any."""
    found = {name: len(seen[name] - set(expected[name])) for name in seen}
    return {name: count for name, count in found.items() if count}


def raw(*arrays):
    return b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)


def parameters(net):
    return raw(*net.weights, *net.biases)


def bound(table, model):
    """Return a table of functions of a model as one of functions without arguments."""
    return {name: functools.partial(read, model) for name, read in table.items()}


@pytest.fixture(params=[1, 3])
def call_threads(request, monkeypatch):
    """How many threads share the rows of a prediction, however few."""
    monkeypatch.setattr(thread_count, "CALL_SECONDS", 0.0)
    monkeypatch.setenv("FASTMLP_NUM_THREADS", str(request.param))
    return request.param


# ---- calls that change nothing ------------------------------------------------------------------

# What may be asked of an MLP by many threads.
READS = {
    "predict a row": lambda net: raw(net.predict(X[:1])),
    "predict": lambda net: raw(net.predict(X)),
    "evaluate": lambda net: net.evaluate(X, Y),
    "jacobian": lambda net: raw(net.jacobian(X[:70])),
    "gradients": lambda net: raw(*net.gradients(X[:70], Y[:70])[1]),
    "predictor": lambda net: raw(net.predictor()(X[0])),
    "weights": lambda net: raw(*net.weights),
    "copy": lambda net: parameters(copy.deepcopy(net)),
    "pickle": lambda net: parameters(pickle.loads(pickle.dumps(net))),
}
COPIES = {"copy", "pickle"}  # these are refused during a fit
PREDICTIONS = {
    "a row": lambda p: raw(p(X[0])),
    "a row, out": lambda p: raw(p(X[0], out=np.empty(3, np.float32))),
    "few rows": lambda p: raw(p(X[:3])),
    "rows": lambda p: raw(p(X)),
    "other strides": lambda p: raw(p(np.asfortranarray(X))),
    "jacobian": lambda p: raw(p.jacobian(X[:70])),
    "parameters": lambda p: raw(*itertools.chain(*p.parameters())),
    "pickle": lambda p: raw(pickle.loads(pickle.dumps(p))(X[0])),
}


def small_network(**options):
    return fastmlp.MLP([6, 48, 40, 3], **{"activation": "tanh", "rng": 0} | options)


@pytest.mark.parametrize(
    ("make", "table"),
    [(small_network, READS), (lambda: small_network().predictor(), PREDICTIONS)],
    ids=["MLP", "predictor"],
)
def test_mixed_predictions(call_threads, make, table):
    names = list(table)
    expected = {name: read() for name, read in bound(table, make()).items()}
    reads = bound(table, make())  # another one: what is made by the first call is made by many

    def work(first):
        mine = [names[(first + k) % len(names)] for k in range(3 * len(names))]
        return [name for name in mine if reads[name]() != expected[name]]

    wrong = at_once(*[functools.partial(work, first) for first in range(READERS)])
    assert wrong == [[]] * READERS


def test_a_model_for_each_thread():
    def work():
        net = small_network(dropout=0.1)
        net.fit(X, Y, epochs=5, n_threads=2)
        return parameters(net), raw(net.predict(X))

    assert set(at_once(*[work] * READERS)) == {work()}


# ---- beside a fit -------------------------------------------------------------------------------


BESIDE = {
    "fit": {"n_threads": 2},
    "everything": {
        "l2": 1e-3,
        "clip_norm": 0.1,
        "validation_data": (X, Y),
        "optimizer": fastmlp.SGD(0.01, momentum=0.9),
    },
    "means": {"l1": 1e-3, "averaging": fastmlp.EMA(), "validation_data": (X, Y)},
    "in parts": None,
}


def train(net, options, each):
    """Fit, or learn in passes; call a function after each epoch or pass."""
    if options is not None:
        callbacks, given = [lambda state: each()], {"n_threads": 3, **options}
        net.fit(X, Y, epochs=20, batch_size=100, callbacks=callbacks, **given)
    for _ in range(10 if options is None else 0):
        net.partial_fit(X, Y, batch_size=100, n_threads=2)
        each()


SLOW = ("everything", "in parts")


@pytest.mark.parametrize(
    "options",
    [pytest.param(BESIDE[k], id=k, marks=[pytest.mark.slow] * (k in SLOW)) for k in BESIDE],
)
def test_reading_beside_a_fit(call_threads, options):
    """Whatever is read is that of a whole epoch, or of the start."""
    net, twin = small_network(dropout=0.3), small_network(dropout=0.3)
    expected = {name: [read(twin)] for name, read in READS.items()}

    def note():
        for name, read in READS.items():
            expected[name].append(read(twin))

    train(twin, options, note)
    reads = bound({name: READS[name] for name in READS.keys() - COPIES}, net)
    seen = beside(lambda: train(net, options, lambda: None), reads)
    assert strays(seen, expected) == {}
    assert parameters(net) == parameters(twin)


@pytest.mark.parametrize(("m", "n_threads"), [(2, 2), (3, 2), (5, 4)])
def test_members_that_go_from_thread_to_thread(monkeypatch, m, n_threads):
    """Runs that are cut into parts: who takes the next part sees all of the last one."""
    monkeypatch.setattr(trainer, "FUSED_SECONDS", 1e9)
    nets = [fastmlp.MLP([6, 9, 3], dropout=0.2, rng=k) for k in range(m)]
    alone = copy.deepcopy(nets)
    fastmlp.Ensemble(nets).fit(X[:99], Y[:99], epochs=40, batch_size=16, n_threads=n_threads)
    for net, single in zip(nets, alone, strict=True):
        single.fit(X[:99], Y[:99], epochs=40, batch_size=16, n_threads=1)
        assert net.history.loss == single.history.loss
        assert all(np.array_equal(*pair) for pair in zip(net.weights, single.weights, strict=True))


def test_members_are_read_while_they_learn():
    expected = set()

    def fit(callback):
        nets = fastmlp.Ensemble([fastmlp.MLP([6, 9, 3], rng=k) for k in range(3)])
        callback(nets)
        folds, callbacks = [np.arange(9)] * 3, [lambda state: callback(nets)]
        options = {"epochs": 20, "validation_rows": folds, "callbacks": callbacks}
        return nets, lambda: nets.fit(X, Y, n_threads=2, scorer=lambda epoch, _: 0.0, **options)

    def read(nets):
        return nets[1].predict(X[:5]).tobytes()

    fit(lambda nets: expected.add(read(nets)))[1]()
    nets, work = fit(lambda nets: None)
    assert not strays(beside(work, {"predict": lambda: read(nets)}), {"predict": expected})
    assert len(expected) == 21
