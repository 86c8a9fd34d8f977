"""`partial_fit` of sources and of iterators: the bits of arrays, also through files."""

import itertools

import numpy as np
import pytest
from blocks import SIZES, N, cut
from cases import DTYPES
from states import refused, state

import fastmlp

pytestmark = pytest.mark.usefixtures("no_thread_stays")
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, 5))
Y, W = np.sin(X[:, :2]), RNG.uniform(0.5, 2, N)
OPTIONS = {
    "plain": {},
    "all": {
        "l2": 1e-2,
        "clip_norm": 0.5,
        "dropout": (lambda step: 0.1 + 0.01 * (step % 5), 0.3),
        "optimizer": fastmlp.AdamW(fastmlp.Cosine(1e-2, n_steps=300)),
    },
}


def model(mlp=fastmlp.MLP, dtype="float32"):
    return mlp([5, 9, 7, 2], dtype=dtype, rng=3)


def arrays(dtype):
    return [array.astype(dtype) for array in (X, Y, W)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("sizes", SIZES)
def test_blocks_are_steps(mlp, dtype, options, sizes):
    wanted, net = model(mlp, dtype), model(mlp, dtype)
    source = cut(*arrays(dtype), sizes=SIZES[sizes])
    for _ in range(2):
        losses, weights = [], []
        for x, y, w in source():
            weights.append(w.sum())
            losses.append(wanted.partial_fit(x, y, sample_weight=w, **OPTIONS[options]))
        loss = net.partial_fit(source, **OPTIONS[options])
        assert loss == pytest.approx(np.average(losses, weights=weights), rel=1e-5)
    assert state(net) == state(wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("batch", [1, 16, 1000])
def test_batches_go_on_across_blocks(mlp, dtype, options, sizes, batch):
    wanted, net = model(mlp, dtype), model(mlp, dtype)
    x, y, w = arrays(dtype)
    w = (w > 1).astype(dtype)  # weights above 0 are equal, so that blocks have the mean of all rows
    for _ in range(2):
        expected = wanted.partial_fit(x, y, sample_weight=w, batch_size=batch, **OPTIONS[options])
        source = cut(x, y, w, sizes=SIZES[sizes])()  # an iterator, which is read once
        assert net.partial_fit(source, batch_size=batch, **OPTIONS[options]) == expected
    assert state(net) == state(wanted)


def messages(last=None):
    """Yield blocks, of which one may be wrong."""
    for k in itertools.count():
        yield X + (np.nan if k == last else 0), Y


WRONG = {
    "a block is wrong": (lambda: messages(3), ValueError, "(?s)is nan.*source of X, block 3"),
    "nothing": (lambda: iter(()), ValueError, "yields no block"),
    "no tuple": (lambda: iter([X]), TypeError, "no tuple"),
    "no source": (lambda: X, TypeError, "y is None"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_pass_that_fails_is_undone(mlp, case):
    make, kind, words = WRONG[case]
    net = model(mlp)
    net.partial_fit(X, Y)
    before = [array.copy() for array in net.weights]
    with pytest.raises(kind, match=words):
        net.partial_fit(make())
    assert all(map(np.array_equal, net.weights, before))
    net.partial_fit(X, Y)


def test_a_pass_that_diverges_ends(mlp):
    net = model(mlp)
    with refused(fastmlp.DivergenceError, "diverged", net):
        net.partial_fit(messages(), optimizer=fastmlp.SGD(1e30))


def test_an_endless_stream_is_read_in_pieces():
    net, stream = model(), messages()
    losses = [net.partial_fit(itertools.islice(stream, 20)) for _ in range(5)]
    assert losses[-1] < 0.5 * losses[0]


BESIDE = {"y": {"y": Y}, "sample_weight": {"sample_weight": W}}


@pytest.mark.parametrize("name", BESIDE)
def test_targets_beside_a_source_are_refused(name):
    with refused(TypeError, f"{name} is given but X is a", net := model()):
        net.partial_fit(messages(), **BESIDE[name])
