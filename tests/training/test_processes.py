"""Many ranks with their own rows against one process with all: weights, losses, who is told."""

import copy
import sys

import cases
import numpy as np
import pytest
import ranks

import fastmlp
from fastmlp import reference
from fastmlp._engine import native_engine

MLPS = {"native": fastmlp.MLP, "reference": reference.MLP}
SIZES = (1, 2, 4)
RNG = np.random.default_rng(3)

# name: (layer sizes, rows, batch of all ranks, options of the model, options of fit)
FITS = {
    "plain": ([5, 17, 3], 120, 24, {}, {}),
    "one weight": ([1, 1], 8, 4, {}, {"optimizer": fastmlp.SGD(0.1)}),
    "a last batch that is shorter": ([5, 7, 2], 101, 24, {"activation": "tanh"}, {"l2": 0.02}),
    "dropout": ([5, 33, 17, 2], 120, 24, {"dropout": [0.3, 0.2]}, {}),
    "penalty, clipping, groups": (
        [5, 33, 17, 2],
        97,
        20,
        {"layer_norm": "before", "activation": "gelu", "scale": True},
        {
            "l1": 0.01,
            "l2": 0.05,
            "clip_norm": 0.3,
            "groups": fastmlp.Groups(bias_rate=2.0, bias_decay=1.0),
        },
    ),
    "means": ([5, 9, 2], 64, 16, {}, {"averaging": fastmlp.EMA(0.7), "l1": 0.02}),
    "frozen": ([5, 9, 8, 2], 64, 16, {}, {"groups": fastmlp.Groups(layer_rates=[1, 0, 1])}),
    "schedules": (
        [5, 9, 4],
        64,
        16,
        {"loss": "gaussian_nll", "activation": "tanh"},
        {
            "optimizer": fastmlp.AdamW(
                fastmlp.Cosine(0.1, 12), weight_decay=lambda s: 0.1 / (9 + s)
            ),
            "dropout": lambda step: 0.3 / (1 + step),
        },
    ),
    "classes": (
        [5, 12, 4],
        96,
        32,
        {"loss": "cross_entropy"},
        {"optimizer": fastmlp.RMSprop(0.01)},
    ),
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
            given["communicator"] = communicator
        options = {**given, "sample_weight": own[2], "batch_size": rows}
        if communicator is not None:
            options["communicator"] = communicator
        history = net.fit(own[0], own[1], **options)
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
        _engine_type = staticmethod(lambda spec: native_engine.Engine(spec, level))

    for dtype in cases.DTYPES:
        here = fit(MLP, "penalty, clipping, groups", dtype, 2)
        cases.agree(dtype, fit(reference.MLP, "penalty, clipping, groups", dtype, 2), here, here)


def regression(rows=96, features=3):
    x = np.linspace(-1, 1, rows * features).reshape(rows, features)
    return x, np.sin(3 * x[:, 0])


def test_without_an_order_of_its_own_each_rank_shuffles_and_all_learn(mlp):
    x, y = regression(400)
    orders = {}

    def work(communicator):
        net = mlp([3, 16, 1], activation="tanh", rng=0)
        shuffle = type(net._engine).shuffle
        seen = orders.setdefault(communicator.rank, [])

        class Engine(type(net._engine)):
            __slots__ = ()

            def shuffle(self, order, seed):
                shuffle(self, order, seed)
                seen.append(order.tolist())

        net._engine_type = (
            Engine if mlp is reference.MLP else lambda s: Engine(s, native_engine.level())
        )
        parameters = net._engine.parameters()
        net._attach()
        net._engine.set_parameters(*parameters)
        own = slice(communicator.rank, None, communicator.size)
        given = {"epochs": 30, "batch_size": 16, "optimizer": fastmlp.Adam(1e-2)}
        return net.fit(x[own], y[own], communicator=communicator, **given).loss

    first, second = ranks.good(ranks.run(2, work))
    assert first == second
    assert first[-1] < 0.5 * first[0]
    assert [sorted(order) for order in orders[0]] == [list(range(200))] * 30
    assert all(one != other for one, other in zip(*orders.values(), strict=True))


def test_rows_may_differ_where_steps_do_not(mlp):
    x, y = regression(90)
    counts = [50, 40]  # 16 a batch: 4 and 3; 25: 2 and 2

    def work(communicator, batch):
        own = slice(0, 50) if communicator.rank == 0 else slice(50, 90)
        net = mlp([3, 4, 1], rng=0)
        net.fit(x[own], y[own], epochs=2, batch_size=batch, communicator=communicator)
        return ranks.everything(net)

    for error in ranks.raised(ranks.run(2, lambda c: work(c, 16))):
        assert isinstance(error, ValueError)
        expected = "number of steps of rank 1 is 3 (with 40 rows) but 4 (with 50 rows) of rank 0"
        assert expected in str(error)
    whole = ranks.good(ranks.run(2, lambda c: work(c, 10_000)))  # more than there are
    net = mlp([3, 4, 1], rng=0)
    net.fit(x, y, epochs=2, batch_size=sum(counts), shuffle=False)
    np.testing.assert_array_equal(whole[0], whole[1])
    np.testing.assert_allclose(whole[0], ranks.everything(net), atol=1e-5)


def test_the_loss_on_the_validation_data_is_that_of_all_rows_of_all_ranks(mlp):
    x, y = regression(96)
    weights = np.linspace(0, 3, 40)

    def work(communicator):
        own = slice(communicator.rank * 48, communicator.rank * 48 + 48)
        held = slice(0, 10) if communicator.rank == 0 else slice(10, 40)
        validation = x[held], y[held], weights[held]
        net = mlp([3, 6, 1], dtype="float64", rng=0)
        stop = fastmlp.EarlyStopping(patience=2)
        fitted = net.fit(
            *(x[own], y[own]), epochs=4, batch_size=16, validation_data=validation,
            callbacks=[stop], communicator=communicator,
        )  # fmt: skip
        return fitted.val_loss, net

    (first, net), (second, _) = ranks.good(ranks.run(2, work))
    assert first == second
    assert min(first) == pytest.approx(net.evaluate(x[:40], y[:40], weights), rel=1e-12)


def test_who_wants_to_stop_stops_all(mlp):
    x, y = regression()

    def stop(state):
        return state.epoch == 1

    def work(communicator):
        net = mlp([3, 4, 1], rng=0)
        hooks = [stop] if communicator.rank == 1 else []
        net.fit(x, y, epochs=9, callbacks=hooks, communicator=communicator)
        return net.history

    first, second = ranks.good(ranks.run(2, work))
    assert len(first.loss) == len(second.loss) == 2
    assert first.stop_reason == "a callback of rank 1"
    assert second.stop_reason == "stop returned True"


class Watch:
    def __init__(self, last=-1):
        self.batches, self.last = [], last

    def __call__(self, state):
        return None

    def on_batch(self, state, batch):
        self.batches.append(batch)
        return batch.step == self.last


def test_batches_are_those_of_all_ranks_and_watching_them_changes_no_bit(mlp):
    x, y = regression(90)  # the last batch of 20 is shorter
    given = {"epochs": 2, "shuffle": False}
    alone = Watch()
    mlp([3, 4, 1], rng=0, dtype="float64").fit(x, y, batch_size=20, callbacks=[alone], **given)

    def work(communicator, hooks):
        net = mlp([3, 4, 1], rng=0, dtype="float64")
        own = ranks.share_of(communicator.rank, 2, 20, x, y)
        mine = hooks if communicator.rank == 1 else []
        net.fit(*own, batch_size=10, callbacks=mine, communicator=communicator, **given)
        return net.history.loss, ranks.everything(net)

    watch = Watch()
    watched, plain = (
        ranks.good(ranks.run(2, lambda c, h=hooks: work(c, h))) for hooks in ([watch], [])
    )
    for one, other in zip(watched, plain, strict=True):
        assert one[0] == pytest.approx(other[0], rel=1e-14)
        np.testing.assert_array_equal(one[1], other[1])
    assert [batch.step for batch in watch.batches] == list(range(10))
    for batch, wanted in zip(watch.batches, alone.batches, strict=True):
        assert batch.loss == pytest.approx(wanted.loss, rel=1e-12)
        assert (batch.epoch, batch.index) == (wanted.epoch, wanted.index)


def test_a_batch_may_end_the_fit_of_all(mlp):
    x, y = regression()

    def work(communicator):
        net = mlp([3, 4, 1], rng=0)
        hooks = [Watch(last=8)] if communicator.rank == 0 else []
        net.fit(x, y, batch_size=16, epochs=5, callbacks=hooks, communicator=communicator)
        return net.history, ranks.everything(net)

    (first, weights), (second, others) = ranks.good(ranks.run(2, work))
    assert len(first.loss) == len(second.loss) == 1  # of 6 batches
    assert second.stop_reason == "a callback of rank 0"
    np.testing.assert_array_equal(weights, others)


def test_progress_is_shown_on_rank_0_only(mlp, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    x, y = regression()
    ranks.good(
        ranks.run(
            3, lambda c: mlp([3, 4, 1], rng=0).fit(x, y, epochs=2, verbose=True, communicator=c)
        )
    )
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_fit_that_resumes_is_one_that_was_not_cut(mlp, shuffle):
    x, y = regression()

    def work(communicator, cut):
        own = slice(communicator.rank, None, communicator.size)
        given = {"batch_size": 16, "shuffle": shuffle, "communicator": communicator}
        net = mlp([3, 4, 1], rng=0, dropout=0.1)
        if cut:
            net.fit(x[own], y[own], epochs=2, **given)
            net = copy.deepcopy(net)
        net.fit(x[own], y[own], epochs=5, resume=cut, **given)
        return net.history.loss, ranks.everything(net)

    whole, cut = (ranks.good(ranks.run(2, lambda c, k=k: work(c, k)))[0] for k in (False, True))
    assert whole[0] == cut[0]
    np.testing.assert_array_equal(whole[1], cut[1])


def test_a_checkpoint_of_one_rank_starts_all_again(mlp, tmp_path):
    x, y = regression()
    path = str(tmp_path / "model")

    def work(communicator, epochs, path=path):
        own = slice(communicator.rank, None, communicator.size)
        net = mlp([3, 4, 1], rng=0)
        hooks = [fastmlp.Checkpoint(path)] if communicator.rank == 0 else []
        net.fit(
            *(x[own], y[own]),
            epochs=epochs,
            callbacks=hooks,
            resume=path,
            communicator=communicator,
        )
        return ranks.everything(net)

    ranks.good(ranks.run(2, lambda c: work(c, 2)))
    cut = ranks.good(ranks.run(2, lambda c: work(c, 5)))
    whole = ranks.good(ranks.run(2, lambda c: work(c, 5, path + " that is none")))
    for net in cut:
        np.testing.assert_array_equal(net, whole[0])


def test_a_checkpoint_is_refused_on_all_ranks_if_one_has_other_data(mlp, tmp_path):
    x, y = regression()
    path = str(tmp_path / "model")

    def work(communicator, change):
        own = slice(communicator.rank, None, communicator.size)
        mine = x[own] + change * communicator.rank
        hooks = [fastmlp.Checkpoint(path)] if communicator.rank == 0 else []
        given = {"callbacks": hooks, "resume": path, "communicator": communicator}
        mlp([3, 4, 1], rng=0).fit(mine, y[own], epochs=2 + change, **given)

    ranks.good(ranks.run(2, lambda c: work(c, 0)))
    for error in ranks.raised(ranks.run(2, lambda c: work(c, 1))):
        assert "differ from those of the fit to resume" in str(error)


@pytest.mark.filterwarnings("ignore:the blocks of the source differ")  # they are sorted
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.filterwarnings("ignore:the blocks of the source differ")
def test_each_rank_may_have_a_source(mlp, shuffle):
    x, y = regression(200)

    def work(communicator, whole):
        own = slice(communicator.rank, None, communicator.size)
        mine = [x[own], y[own]]
        source = fastmlp.Blocks(*mine, rows=32 if not whole else 100)
        net = mlp([3, 4, 1], rng=0)
        net.fit(source, epochs=2, batch_size=10, shuffle=shuffle, communicator=communicator)
        return ranks.everything(net)

    parts, whole = (ranks.good(ranks.run(2, lambda c, w=w: work(c, w))) for w in (False, True))
    np.testing.assert_array_equal(parts[0], parts[1])
    assert np.array_equal(parts[0], whole[0]) != shuffle


def test_sources_whose_blocks_differ_are_refused(mlp):
    x, y = regression(200)

    def work(communicator):
        source = fastmlp.Blocks(x, y, rows=100 + 100 * communicator.rank)
        mlp([3, 4, 1], rng=0).fit(source, epochs=2, batch_size=10, communicator=communicator)

    for error in ranks.raised(ranks.run(2, work)):
        assert "number of steps of rank 1 is 20" in str(error)


def test_every_message_is_of_the_length_that_all_expect():
    x, y = regression(64)

    def work(communicator):
        net = fastmlp.MLP([3, 4, 1], rng=0)
        net.fit(x, y, epochs=1, batch_size=16, communicator=communicator)
        return communicator.sent, net._engine.n_summed

    for sent, n_summed in ranks.good(ranks.run(2, work)):
        lengths = [length for length, _ in sent]
        control = lengths[0]
        assert lengths == [control, control, 4 + 2, *[n_summed] * 4, control, control, control]
        assert {dtype for _, dtype in sent[3:7]} == {"float32"}
