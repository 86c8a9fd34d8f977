"""Sources: blocks of any size train as one array does; what is wrong with one is said, and ends."""

import itertools
import re
import sys
import threading
from types import SimpleNamespace

import children
import numpy as np
import pytest
import trials
from blocks import SIZES, N, cut
from cases import DTYPES
from states import refused, same

import fastmlp
from fastmlp._models.network import network_of
from fastmlp._network.data import Data
from fastmlp._training import planning
from fastmlp._training.shuffles import Shuffles

pytestmark = pytest.mark.usefixtures("no_thread_stays")
BATCHES = (1, 16, 64, 100, N, 1000)
OPTIONS = {
    "plain": {},
    "all": {
        "l2": 1e-2,
        "clip_norm": 0.5,
        "dropout": (lambda step: 0.1 + 0.01 * (step % 5), 0.3),
        "groups": fastmlp.Groups(layer_rates=[0.1, 1.0, 1.0], bias_decay=1.0),
        "optimizer": fastmlp.AdamW(learning_rate=fastmlp.Cosine(1e-2, n_steps=300)),
    },
}


def arrays(dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((N, 5)).astype(dtype)
    # Weights above 0 are equal: the divisor of a batch follows their mean in the block.
    return x, np.sin(x[:, :2]).astype(dtype), rng.choice([0, 0.5], N).astype(dtype)


def model(mlp=fastmlp.MLP, dtype="float32", **options):
    return mlp([5, 9, 7, 2], dtype=dtype, rng=3, **options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("sizes", SIZES)
def test_blocks_train_as_one_array_does(mlp, dtype, options, sizes):
    for batch, n_threads in zip(BATCHES, itertools.cycle((1, 2)), strict=False):
        given = arrays(dtype)
        wanted, net = model(mlp, dtype), model(mlp, dtype)
        common = {"epochs": 3, "batch_size": batch, "shuffle": False, "n_threads": n_threads}
        common |= {"validation_data": given, **OPTIONS[options]}
        wanted.fit(*given[:2], sample_weight=given[2], **common)
        net.fit(cut(*given, sizes=SIZES[sizes]), **common)
        same(wanted, net)


@pytest.mark.parametrize("batch", [1030, 2050])
def test_batches_of_several_blocks_of_the_engine(batch):
    x = np.tile(arrays()[0], (14, 1))
    wanted, net = model(), model()
    wanted.fit(x, x[:, :2], epochs=2, batch_size=batch, shuffle=False)
    net.fit(fastmlp.Blocks(x, x[:, :2], rows=300), epochs=2, batch_size=batch, shuffle=False)
    same(wanted, net)


def test_a_source_of_other_rows_is_not_gone_on_with():
    x, y, _ = arrays()
    net = model()
    net.fit(cut(x, y), epochs=1)
    with pytest.raises(ValueError, match="157"):
        net.fit(cut(x, y, sizes=[9]), epochs=2, resume=True)


def orders(make, shuffle=True, epochs=2, seed=0):
    """Return the blocks of rows of each epoch in the order in which a fit sees them."""
    net = fastmlp.MLP([1, 1], rng=0)
    stream = planning.data(planning.GivenRows(make(), None, None), network_of(net).spec)
    shuffles = Shuffles([np.random.default_rng(seed)]) if shuffle else None
    stream.begin(5, shuffles, network_of(net).engine.shuffle, 0)
    found = []
    for _ in range(epochs):
        with stream.blocks() as blocks:
            rows = np.concatenate([block.x[:, 0] for block in blocks])
        found.append(rows.reshape(-1, 4).astype(int))
    return found


TWENTY = np.arange(20.0, dtype="float32")[:, np.newaxis]


@pytest.mark.parametrize("is_ordered", [False, True])
def test_shuffling_differs_by_epoch_and_block(is_ordered):
    """Blocks of arrays come in a random order, those of other sources in their own."""
    source = fastmlp.Blocks(TWENTY, TWENTY, rows=4)

    def make():
        return (lambda: iter(source)) if is_ordered else source

    one, two = orders(make)
    assert not np.array_equal(one, two)
    firsts = [[part.min() for part in order] for order in (one, two)]
    assert all(sorted(order) == [0, 4, 8, 12, 16] for order in firsts)
    assert (firsts[0] == sorted(firsts[0])) == is_ordered
    assert (firsts[0] == firsts[1]) == is_ordered
    assert all(np.ptp(part) == 3 for order in (one, two) for part in order)
    assert len({tuple(part % 4) for part in one}) > 1
    np.testing.assert_array_equal(one, orders(make, epochs=1)[0])
    assert not np.array_equal(one, orders(make, epochs=1, seed=1)[0])
    np.testing.assert_array_equal(orders(make, shuffle=False)[0].ravel(), np.arange(20))


def test_an_error_names_the_block_in_random_order_too():
    bad = TWENTY.copy()
    bad[13] = np.nan
    with pytest.raises(ValueError, match="(?s)X\\[1, 0\\].*block 3 "):
        fastmlp.MLP([1, 1], rng=0).fit(fastmlp.Blocks(bad, TWENTY, rows=4))


def test_labels_lists_and_callbacks():
    x, _, _ = arrays()
    labels = (x[:, 0] > 0).astype(int)
    net, wanted = (model(loss="cross_entropy") for _ in range(2))
    seen = []

    def stop(state):
        seen.append(state.epoch)
        return state.epoch == 1

    common = {"epochs": 9, "shuffle": False, "callbacks": [stop]}
    net.fit(lambda: [(x[:50], labels[:50]), [x[50:], labels[50:]]], **common)
    wanted.fit(x, labels, **common)
    assert seen == [0, 1, 0, 1]
    same(net, wanted)


# ---- what may be wrong ---------------------------------------------------------------------------

X, Y, W = arrays()


def raising():
    yield X, Y
    raise OSError("disk on fire")


def stopping():
    raise StopIteration


class Stopping:
    """Looks like an array."""

    shape, dtype = X.shape, X.dtype

    def __array__(self, dtype=None, copy=None):
        raise StopIteration


def generating():
    yield X, Y
    stopping()


def counted(change):
    """Return a source that is another one in its second epoch."""
    calls = itertools.count()
    return lambda: change(next(calls))


WRONG = [
    (lambda: X, TypeError, "y is None"),
    (lambda: [(X, Y)], TypeError, "y is None"),
    (lambda: 3, TypeError, "y is None"),
    (lambda: lambda: [(X, None)], TypeError, "y of a block is None but"),
    (lambda: raising(), TypeError, "only once"),
    (lambda: lambda: 3, TypeError, "iterable"),
    (lambda: lambda: None, TypeError, "the source returned None .* but"),
    (lambda: lambda: (), ValueError, "no block"),
    (lambda: lambda: [X], TypeError, "no tuple"),
    (lambda: lambda: [(X,)], TypeError, "a tuple of length 1 but"),
    (lambda: lambda: [(X, Y), (X[:, :4], Y)], ValueError, "4 features"),
    (lambda: lambda: [(X, Y), (X, Y[:3])], ValueError, "3 rows"),
    (lambda: lambda: [(X[:0], Y[:0])], ValueError, "0 rows"),
    (lambda: lambda: [(X, Y), (X.astype("float64"), Y)], ValueError, "dtype of X"),
    (lambda: lambda: [(X, Y), (X, Y.astype("int8"))], ValueError, "dtype of y"),
    (lambda: lambda: [(X, Y, W), (X, Y)], ValueError, "sample_weight is None in a"),
    (lambda: lambda: [(X, Y), (X * np.nan, Y)], ValueError, "block 1"),
    (lambda: raising, OSError, "on fire"),
    (lambda: raising, OSError, "block 1"),
    (lambda: lambda: 1 / 0, ZeroDivisionError, "division"),
    (lambda: stopping, RuntimeError, "the source .* raised StopIteration for block 0"),
    (lambda: lambda: [(X, Y), (Stopping(), Y)], RuntimeError, "Iteration .* block 1"),
    (lambda: generating, RuntimeError, "source .* raised StopIteration for block 1"),
    (lambda: lambda: sys.exit(3), SystemExit, "3"),
    (lambda: lambda epoch: [], TypeError, "epoch"),
]
LATER = {
    "early": (lambda k: [(X, Y)] * (2 - k), ValueError, "ended after 157 rows but had 314"),
    "late": (lambda k: [(X, Y)] * (2 + k), ValueError, "471 rows or more but had 314"),
    "once": (None, ValueError, "ended after 0 rows.* whenever it is called"),
    "raises": (lambda k: raising() if k else [(X, Y)], OSError, "on fire"),
    "dtype": (lambda k: [(X.astype("f8") if k else X, Y)], ValueError, "dtype of X"),
}


@pytest.mark.parametrize(("make", "kind", "message"), WRONG)
def test_a_wrong_source_changes_nothing(mlp, make, kind, message):
    net = model(mlp)
    with refused(kind, message, net):
        net.fit(make(), epochs=2)


@pytest.mark.parametrize("case", LATER)
def test_a_source_that_fails_later_leaves_the_last_whole_epoch(mlp, case):
    change, kind, message = LATER[case]
    once = iter([(X, Y)])
    net, kept = model(mlp), []
    callbacks = [lambda state: kept.append(state.model.weights[0])]
    source = counted(change or (lambda k: once))
    with pytest.raises(kind, match=re.compile(message)):
        net.fit(source, epochs=3, batch_size=50, callbacks=callbacks)
    assert len(net.history.loss) == len(kept) == 1
    assert np.array_equal(net.weights[0], kept[0])
    again = (lambda: [(X, Y), (X, Y)]) if case in ("early", "late") else (lambda: [(X, Y)])
    if case in ("once", "dtype"):  # no step of the second epoch was taken: nothing is lost
        whole = model(mlp)
        whole.fit(again, epochs=4, batch_size=50)
        net.fit(again, epochs=4, batch_size=50, resume=True)
        same(whole, net)
    else:
        with pytest.raises(ValueError, match="ended within an epoch"):
            net.fit(again, epochs=4, batch_size=50, resume=True)
        net.fit(again, epochs=1)


class Unindexable:
    """Rows that NumPy cannot index, since the memory for it is missing."""

    shape = (2, 1)

    def __getitem__(self, rows):
        raise SystemError("error return without exception set")


def test_the_error_of_numpy_without_memory_is_a_memory_error():
    with pytest.raises(MemoryError, match="out of memory for a copy of some rows"):
        Data(Unindexable(), np.zeros((2, 1))).part(np.array([1, 0]))


def test_divergence_ends_the_reading():
    net = model()
    with pytest.raises(fastmlp.DivergenceError):
        net.fit(lambda: itertools.repeat((X, Y)), optimizer=fastmlp.SGD(learning_rate=1e30))


def test_a_thread_that_waits_within_the_source_is_left_to_itself():
    waits, go, net = threading.Event(), threading.Event(), model()

    def source():
        yield X, Y
        waits.set()
        go.wait()
        yield X, Y

    def rate(step):
        waits.wait()
        return 1e30

    with pytest.raises(fastmlp.DivergenceError):
        net.fit(source, batch_size=8, optimizer=fastmlp.SGD(learning_rate=rate))
    assert trials.workers() == 1
    go.set()


INTERRUPTED = """
import signal, threading, time, fastmlp, numpy as np
x, go = np.ones((64, 2), "float32"), threading.Event()
def source():
    yield x, x
    go.set()
    time.sleep(3600)
def interrupt():
    go.wait()
    time.sleep(0.3)
    signal.raise_signal(signal.SIGINT)
net = fastmlp.MLP([2, 2], rng=0)
before = net.weights[0]
threading.Thread(target=interrupt, daemon=True).start()
try:
    net.fit(source, epochs=3)
except KeyboardInterrupt:
    print("interrupted", np.array_equal(net.weights[0], before))
"""


def test_ctrl_c_while_waiting_for_a_block():
    printed = children.printed(children.python("-c", INTERRUPTED))
    assert printed.split() == ["interrupted", "True"]


# ---- arrays on disk ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_blocks_of_a_mapped_file(tmp_path, mode):
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode=mode)
    if mode != "r":
        mapped[3, 1] = 0.25
    expected = np.array(mapped)
    blocks = fastmlp.Blocks(mapped, Y, W, rows=31)
    for _ in range(2):
        parts = [tuple(np.array(a) for a in block) for block in blocks]
        for all_rows, part in zip((expected, Y, W), zip(*parts, strict=True), strict=True):
            assert np.array_equal(np.concatenate(part), all_rows)


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        (([[1.0]], Y), TypeError, "X has type list"),
        ((SimpleNamespace(shape=X.shape), Y), TypeError, "X has type SimpleNamespace"),  # a frame
        ((X, 3), TypeError, "y has type int"),
        ((X, None, W), TypeError, "sample_weight is passed without y"),
        ((X, None, None, X), TypeError, "dy is passed without y"),
        ((X, Y, None, X[:, 0]), ValueError, r"dy has shape \(157,\) but"),
        ((None, Y), TypeError, "X has type NoneType"),
        ((X, Y[:9]), ValueError, "y has 9 rows but X has 157"),
        ((X, Y, W[:9]), ValueError, "sample_weight has 9 rows"),
    ],
)
def test_blocks_complain(given, kind, message):
    with pytest.raises(kind, match=message):
        fastmlp.Blocks(*given[:3], **dict(zip(["dy"], given[3:], strict=False)))


@pytest.mark.parametrize("rows", [0, -1, 1.5, "many"])
def test_blocks_have_rows(rows):
    with pytest.raises((TypeError, ValueError), match="rows is"):
        fastmlp.Blocks(X, Y, rows=rows)
