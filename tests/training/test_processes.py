"""Many ranks with their own rows against one process with all: weights, losses, who is told."""

import copy
import sys
import tempfile

import cases
import numpy as np
import pytest
import ranks
import scipy.sparse
from models import Watch

import fastmlp
from fastmlp import reference
from fastmlp._engine import native_engine
from fastmlp._models.mlp import model_of
from fastmlp._models.network import Network, network_of

MLPS = {"native": fastmlp.MLP, "reference": reference.MLP}
SIZES = (1, 2, 4)
RNG = np.random.default_rng(3)

SCHEDULED = fastmlp.AdamW(fastmlp.Cosine(0.1, 12), weight_decay=lambda step: 0.1 / (9 + step))
RMSPROP, BIASES = fastmlp.RMSprop(0.01), fastmlp.Groups(bias_rate=2.0, bias_decay=1.0)
# name: (layer sizes, rows, batch of all ranks, options of the model, options of fit)
FITS = {
    "plain": ([5, 17, 3], 120, 24, {}, {}),
    "one weight": ([1, 1], 8, 4, {}, {"optimizer": fastmlp.SGD(0.1)}),
    "a last batch that is shorter": ([5, 7, 2], 101, 24, {"activation": "tanh"}, {"l2": 0.02}),
    "dropout": ([5, 33, 17, 2], 120, 24, {"dropout": [0.3, 0.2]}, {}),
    "penalty, clipping, groups": (
        *([5, 33, 17, 2], 97, 20),
        {"layer_norm": "before", "activation": "gelu", "scale": True},
        {"l1": 0.01, "l2": 0.05, "clip_norm": 0.3, "groups": BIASES},
    ),
    "means": ([5, 9, 2], 64, 16, {}, {"averaging": fastmlp.EMA(0.7), "l1": 0.02}),
    "frozen": ([5, 9, 8, 2], 64, 16, {}, {"groups": fastmlp.Groups(layer_rates=[1, 0, 1])}),
    "schedules": (
        *([5, 9, 4], 64, 16, {"loss": "gaussian_nll", "activation": "tanh"}),
        {"optimizer": SCHEDULED, "dropout": lambda step: 0.3 / (1 + step)},
    ),
    "classes": ([5, 12, 4], 96, 32, {"loss": "cross_entropy"}, {"optimizer": RMSPROP}),
    "blocks": ([3, 4, 1], 9000, 8400, {"activation": "tanh"}, {"clip_norm": 0.1}),
}


def data(name, dtype):
    """Return X, y and weights, some of them 0, for all ranks."""
    sizes, n, _, model, _ = FITS[name]
    loss = fastmlp._network.spec.build(sizes, "tanh", model.get("loss", "squared_error")).loss
    rng = np.random.default_rng(7)
    weights = rng.uniform(0.1, 2.0, n)
    weights[1::7] = 0
    y = cases.targets(loss, n, sizes[-1], rng)
    return rng.normal(size=(n, sizes[0])).astype(dtype), y, weights


def fit(mlp, name, dtype, size=None, **more):
    """Return (losses, weights) of all ranks, or of one process; they must have the same on all."""
    sizes, _, batch, model, options = FITS[name]
    x, y, weights = data(name, dtype)
    given = {"epochs": 3, "shuffle": False, **options, **more}

    def work(communicator=None):
        net, own, rows = mlp(sizes, dtype=dtype, rng=1, **model), (x, y, weights), batch
        if communicator is not None:
            own, rows = ranks.share_of(communicator.rank, size, batch, *own), batch // size
        own_options = {"sample_weight": own[2], "batch_size": rows, "communicator": communicator}
        history = net.fit(own[0], own[1], **given, **own_options)
        return history.loss, ranks.everything(net)

    if size is None:
        return work()
    results = ranks.good(ranks.run(size, work))
    for losses, parameters in results:
        assert losses == results[0][0]
        np.testing.assert_array_equal(parameters, results[0][1])
    return results[0]


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("side", MLPS)
def test_many_ranks_train_as_one_process_and_repeat_it(side, name, dtype):
    alone = fit(MLPS[side], name, dtype)
    for size in SIZES:
        once, again = (fit(MLPS[side], name, dtype, size) for _ in range(2))
        cases.agree(dtype, alone, once, again)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("name", ["plain", "penalty, clipping, groups", "dropout", "blocks"])
def test_one_rank_has_the_bits_of_a_fit_without_a_communicator(name, dtype):
    alone, one = fit(fastmlp.MLP, name, dtype), fit(fastmlp.MLP, name, dtype, 1)
    assert alone[0] == one[0]
    np.testing.assert_array_equal(alone[1], one[1])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["plain", "blocks", "penalty, clipping, groups"])
def test_a_team_in_each_rank_changes_no_bit(name, size):
    one, two = (fit(fastmlp.MLP, name, "float32", size, n_threads=n) for n in (1, 2))
    assert one[0] == two[0]
    np.testing.assert_array_equal(one[1], two[1])


@pytest.mark.parametrize("level", native_engine.available_levels())
def test_every_level_and_the_reference_agree(level, monkeypatch):
    class MLP(fastmlp.MLP):
        _make_engine = staticmethod(lambda spec: native_engine.Engine(spec, level))

    for dtype in cases.DTYPES:
        here = fit(MLP, "penalty, clipping, groups", dtype, 2)
        cases.agree(dtype, fit(reference.MLP, "penalty, clipping, groups", dtype, 2), here, here)


X, Y = ranks.X, ranks.Y


def regression(rows, features=3):
    x = np.linspace(-1, 1, rows * features).reshape(rows, features)
    return x, np.sin(3 * x[:, 0])


def every_other(x=X, y=Y):
    """Return the rows of one of two ranks."""
    return lambda rank: (x[rank::2], y[rank::2])


def together(mlp, own, of_rank=lambda rank: {}, network=None, size=2, **options):
    """Fit on ranks with their own data, and perhaps options; return their models, or errors."""

    def work(communicator):
        net = mlp(**{"layer_sizes": [3, 4, 1], "rng": 0} | (network or {}))
        more = {"epochs": 2, **options, **of_rank(communicator.rank)}
        net.fit(*own(communicator.rank), communicator=communicator, **more)
        return net

    return ranks.run(size, work)


def alike(*nets, exactly=True):
    """Fail unless all have the same weights."""
    for net in nets[1:]:
        a, b = ranks.everything(nets[0]), ranks.everything(net)
        np.testing.assert_allclose(a, b, rtol=0, atol=0 if exactly else 1e-5)


def test_without_an_order_of_its_own_each_rank_shuffles_and_all_learn(mlp):
    orders = {}

    def work(communicator):
        net, seen = mlp([3, 16, 1], activation="tanh", rng=0), []
        shuffle, orders[communicator.rank] = type(network_of(net).engine).shuffle, seen

        class Engine(type(network_of(net).engine)):
            __slots__ = ()

            def shuffle(self, order, seed):
                shuffle(self, order, seed)
                seen.append(order.tolist())

        native = lambda spec: Engine(spec, native_engine.level())  # noqa: E731
        make_engine = Engine if mlp is reference.MLP else native
        net = model_of(Network.restored(network_of(net).state(), make_engine), mlp)
        given = {"epochs": 30, "batch_size": 16, "optimizer": fastmlp.Adam(1e-2)}
        own = every_other(*regression(400))(communicator.rank)
        return net.fit(*own, communicator=communicator, **given).loss

    first, second = ranks.good(ranks.run(2, work))
    assert first == second
    assert first[-1] < 0.5 * first[0]
    assert [sorted(order) for order in orders[0]] == [list(range(200))] * 30
    assert all(one != other for one, other in zip(*orders.values(), strict=True))


def uneven(x, y, w=None):
    """Return the rows of two ranks: 50 and 40 of 90."""
    arrays = [array for array in (x, y, w) if array is not None]
    return lambda rank: [array[:50] if rank == 0 else array[50:] for array in arrays]


@pytest.mark.parametrize("has_weights", [False, True])
@pytest.mark.parametrize("make", [np.asarray, scipy.sparse.csr_array], ids=["dense", "sparse"])
def test_ranks_may_have_different_numbers_of_steps(mlp, make, has_weights):
    x, y = regression(90)  # 16 of 50 and 40 rows a batch: 4 and 3 steps
    w = np.linspace(0, 2, 90) if has_weights else np.ones(90)
    own = uneven(x, y, w if has_weights else None)

    def rows(rank):
        inputs, targets, *weights = own(rank)
        return {"X": make(inputs), "y": targets, "sample_weight": weights[0] if weights else None}

    network = {"dtype": "float64"}
    options = {"batch_size": 16, "shuffle": False}
    both = ranks.good(together(mlp, lambda rank: (), rows, network, **options))
    padded = np.zeros((4, 32, 5))  # one process has x, y and weights of the batches of both
    for batch in range(4):
        at = 0
        for rank in (0, 1):
            part = np.column_stack(uneven(x, y, w)(rank))[16 * batch : 16 * (batch + 1)]
            padded[batch, at : at + len(part)] = part
            at += len(part)
    padded = padded.reshape(128, 5)
    net = mlp([3, 4, 1], rng=0, **network)
    expected = {"sample_weight": padded[:, 4], "batch_size": 32, "shuffle": False, "epochs": 2}
    net.fit(padded[:, :3], padded[:, 3], **expected)
    assert both[0].history.loss == both[1].history.loss
    assert both[0].history.loss == pytest.approx(net.history.loss, rel=1e-12)
    alike(*both)
    np.testing.assert_allclose(ranks.everything(both[0]), ranks.everything(net), rtol=1e-9)
    assert both[1].predict(x).shape == (90,)


def test_uneven_ranks_may_have_missing_targets(mlp):
    x, _ = regression(90)
    y = np.column_stack([x[:, 0], np.where(np.arange(90) % 3, x[:, 1], np.nan)])

    def work(communicator):
        net = mlp([3, 4, 2], rng=0, dtype="float64")
        options = {"epochs": 2, "batch_size": 16, "shuffle": False, "communicator": communicator}
        net.fit(*uneven(x, y)(communicator.rank), **options)
        return net

    both = ranks.good(ranks.run(2, work))
    alike(*both)
    net = mlp([3, 4, 2], rng=0, dtype="float64")
    batches = [np.r_[k : min(k + 16, 50), 50 + k : min(k + 66, 90)] for k in (0, 16, 32, 48)]
    rows = np.concatenate([np.resize(batch, 32) for batch in batches])
    weights = np.concatenate([np.arange(32) < len(batch) for batch in batches])
    expected = {"sample_weight": weights, "batch_size": 32, "shuffle": False, "epochs": 2}
    net.fit(x[rows], y[rows], **expected)
    np.testing.assert_allclose(ranks.everything(both[0]), ranks.everything(net), rtol=1e-9)


def test_the_loss_on_the_validation_data_is_that_of_all_rows_of_all_ranks(mlp):
    x, y, weights = *regression(96), np.linspace(0, 3, 40)

    def validation(rank):
        held = slice(0, 10) if rank == 0 else slice(10, 40)
        stop = fastmlp.EarlyStopping(patience=2)
        return {"validation_data": (x[held], y[held], weights[held]), "callbacks": [stop]}

    network = {"layer_sizes": [3, 6, 1], "dtype": "float64"}
    found = together(mlp, every_other(x, y), validation, network, epochs=4, batch_size=16)
    first, second = ranks.good(found)
    assert first.history.val_loss == second.history.val_loss
    wanted = first.evaluate(x[:40], y[:40], weights)
    assert min(first.history.val_loss) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(("watch", "epochs"), [({"epoch": 1}, 2), ({"last": 8}, 1)], ids=str)
def test_who_wants_to_stop_stops_all(mlp, watch, epochs):
    """After an epoch, or after a batch: of 6 in an epoch."""

    def hooks(rank):
        return {"callbacks": [Watch(**watch)] if rank == 1 else []}

    own = every_other(*regression(192))
    first, second = ranks.good(together(mlp, own, hooks, batch_size=16, epochs=9))
    assert len(first.history.loss) == len(second.history.loss) == epochs
    assert first.history.stop_reason == "a callback of rank 1"
    assert second.history.stop_reason == "Watch returned True"
    alike(first, second)


def test_batches_are_those_of_all_ranks_and_watching_them_changes_no_bit(mlp):
    x, y = regression(90)  # the last batch of 20 is shorter
    given, network = {"epochs": 2, "shuffle": False}, {"dtype": "float64"}
    alone, watch = Watch(), Watch()
    net = mlp([3, 4, 1], rng=0, **network)
    net.fit(x, y, batch_size=20, callbacks=[alone], **given)
    watched, plain = (
        ranks.good(
            together(
                mlp,
                lambda rank: ranks.share_of(rank, 2, 20, x, y),
                lambda rank, hooks=hooks: {"callbacks": hooks if rank == 1 else []},
                network,
                batch_size=10,
                **given,
            )
        )
        for hooks in ([watch], [])
    )
    for one, other in zip(watched, plain, strict=True):
        assert one.history.loss == pytest.approx(other.history.loss, rel=1e-14)
        alike(one, other)
    assert [batch.step for batch in watch.batches] == list(range(10))
    for batch, wanted in zip(watch.batches, alone.batches, strict=True):
        assert batch.loss == pytest.approx(wanted.loss, rel=1e-12)
        assert (batch.epoch, batch.index) == (wanted.epoch, wanted.index)


def test_progress_is_shown_on_rank_0_only(mlp, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    ranks.good(together(mlp, lambda rank: (X, Y), size=3, verbose=True))
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("of_rank", [every_other(), uneven(*regression(90))])
def test_a_fit_that_resumes_is_one_that_was_not_cut(mlp, of_rank, shuffle):
    def work(communicator, cut):
        own = of_rank(communicator.rank)
        given = {"batch_size": 16, "shuffle": shuffle, "communicator": communicator}
        net = mlp([3, 4, 1], rng=0, dropout=0.1)
        if cut:
            net.fit(*own, epochs=2, **given)
            net = copy.deepcopy(net)
        net.fit(*own, epochs=5, resume=cut, **given)
        return net

    whole, cut = (ranks.good(ranks.run(2, lambda c, k=k: work(c, k)))[0] for k in (False, True))
    assert whole.history.loss == cut.history.loss
    alike(whole, cut)


def test_a_checkpoint_of_one_rank_starts_all_again_unless_one_has_other_data(mlp, tmp_path):
    path = str(tmp_path / "model")

    def job(epochs, path=path, change=0):
        return together(
            mlp,
            lambda rank: (X[rank::2] + change * rank, Y[rank::2]),
            lambda rank: {"callbacks": [fastmlp.Checkpoint(path)] if rank == 0 else []},
            epochs=epochs,
            resume=path,
        )

    ranks.good(job(2))
    for error in ranks.raised(job(3, change=1)):
        assert "differ from those of the fit to resume" in str(error)
    alike(*ranks.good(job(5)), *ranks.good(job(5, path + " that is none")))


@pytest.mark.filterwarnings("ignore:the blocks of the source differ")  # they are sorted
@pytest.mark.parametrize(
    ("options", "is_same"),
    [
        *(({"shuffle": False}, True), ({}, False)),
        ({"shuffle_folder": tempfile.gettempdir(), "shuffle_buffer": 50}, True),
    ],
)
def test_each_rank_may_have_a_source(mlp, options, is_same):
    own = every_other(*regression(200))
    parts, whole = (
        ranks.good(
            together(
                mlp,
                lambda rank, rows=rows: [fastmlp.Blocks(*own(rank), rows=rows)],
                batch_size=10,
                **options,
            )
        )
        for rows in (32, 100)
    )
    alike(*parts)
    same = np.array_equal(ranks.everything(parts[0]), ranks.everything(whole[0]))
    assert same == is_same


def test_sources_whose_blocks_differ_are_refused(mlp):
    x, y = regression(200)
    sources = [[fastmlp.Blocks(x, y, rows=rows)] for rows in (100, 200)]
    for error in ranks.raised(together(mlp, sources.__getitem__, batch_size=10)):
        assert "number of steps of rank 1 is 20" in str(error)


def test_every_message_is_of_the_length_that_all_expect():
    def work(communicator):
        net = fastmlp.MLP([3, 4, 1], rng=0)
        net.fit(*regression(64), epochs=1, batch_size=16, communicator=communicator)
        return communicator.sent, network_of(net).engine.n_summed

    for sent, n_summed in ranks.good(ranks.run(2, work)):
        lengths = [length for length, _ in sent]
        control = lengths[0]
        assert lengths == [*[control] * 3, 4 + 2, *[n_summed] * 4, *[control] * 3]
        assert {dtype for _, dtype in sent[4:8]} == {"float32"}
