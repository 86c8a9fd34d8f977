"""Means of weights: the formulas, who sees them, and that training knows nothing of them."""

import copy
import pickle

import cases
import numpy as np
import pytest
import test_bits
from models import X, Y, digest, network
from states import same

import fastmlp

EPOCHS = 7
HELD = X[:20], Y[:20]
AVERAGINGS = (
    fastmlp.EMA(decay=0.7),
    fastmlp.EMA(0.9, start=3),
    fastmlp.SWA(),
    fastmlp.SWA(start=4),
)
EACH_AVERAGING = pytest.mark.parametrize("averaging", AVERAGINGS, ids=repr)


def arrays(net):
    """Return copies of all parameters."""
    return [p for kind in net._engine.parameters() for p in kind]


def path_of(net, x=X, y=Y, **options):
    """Fit; return all parameters after each epoch, as a callback sees them, and the history."""
    seen = []
    history = net.fit(x, y, callbacks=[lambda state: seen.append(arrays(net))], **options)
    return seen, history


def mean(averaging, path):
    """Return the mean of a path by its definition, a weighted sum in float64."""
    n = len(path) - averaging.start
    if n <= 1:
        return path[-1]
    d = getattr(averaging, "decay", 1.0)
    shares = d ** np.arange(n - 1, -1, -1.0)
    shares /= shares.sum()
    kinds = zip(*path[averaging.start :], strict=True)
    return [sum(s * p.astype(float) for s, p in zip(shares, ps, strict=True)) for ps in kinds]


NETWORKS = {
    "plain": {},
    "normalised, scaled": {"layer_norm": "before", "scale": True, "dropout": 0.2},
}


@EACH_AVERAGING
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("kind", NETWORKS)
def test_it_is_the_mean_of_what_a_fit_without_it_goes_through(mlp, kind, dtype, averaging):
    options = {"epochs": EPOCHS, "batch_size": 32, "l1": 1e-3, "clip_norm": 1.0}
    raw, expected = path_of(network(mlp, dtype=dtype, **NETWORKS[kind]), **options)
    net = network(mlp, dtype=dtype, **NETWORKS[kind])
    means, history = path_of(net, averaging=averaging, **options)
    assert history.loss == expected.loss
    for n in range(1, EPOCHS + 1):
        for got, wanted in zip(means[n - 1], mean(averaging, raw[:n]), strict=True):
            assert got.dtype == dtype
            tolerance = 2 * np.finfo(dtype).eps
            np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)
    for got, wanted in zip(arrays(net), means[-1], strict=True):
        np.testing.assert_array_equal(got, wanted)
    moved = [a for a, b in zip(means[-1], raw[-1], strict=True) if not np.array_equal(a, b)]
    assert len(moved) == len([a for a in raw[-1] if a.size])


@pytest.mark.parametrize("averaging", [fastmlp.EMA(0.0), fastmlp.EMA(0.5, 6), fastmlp.SWA(6)])
def test_a_mean_of_one_is_itself(mlp, averaging):
    nets = [network(mlp, dropout=0.1) for _ in range(2)]
    for net, mine in zip(nets, (averaging, None), strict=True):
        net.fit(X, Y, epochs=EPOCHS, averaging=mine, validation_data=HELD)
    same(*nets)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("name", test_bits.FITS)
def test_the_same_bits_on_any_level_and_threads(name, dtype, monkeypatch):
    sizes, model, options = test_bits.FITS[name]
    plain = test_bits.digest(name, test_bits.LEVELS[0], dtype)
    options = {**options, "averaging": fastmlp.EMA(0.8)}
    monkeypatch.setitem(test_bits.FITS, name, (sizes, model, options))
    found = {
        level: {test_bits.digest(name, level, dtype, n_threads) for n_threads in (1, 3)}
        for level in test_bits.LEVELS
    }
    assert {len(each) for each in found.values()} == {1}
    assert len(set.union(set(), *(found[level] for level in test_bits.FMA_LEVELS))) <= 1
    assert plain not in found[test_bits.LEVELS[0]]


@EACH_AVERAGING
def test_everybody_sees_the_mean(mlp, averaging):
    """Validation, metrics, callbacks, predictions, copies, pickles: of the same weights."""
    net, seen = network(mlp), []

    def look(state):
        seen.append(digest(net))
        assert state.val_loss == net.evaluate(*HELD)
        error = np.mean((net.predict(HELD[0]) - HELD[1]) ** 2)
        assert state.history.metrics["val_mean_squared_error"][-1] == pytest.approx(error, 1e-5)
        for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
            assert digest(twin) == seen[-1]

    options = {"validation_data": HELD, "metrics": ["mean_squared_error"], "averaging": averaging}
    net.fit(X, Y, epochs=EPOCHS, callbacks=[look], **options)
    assert len(set(seen)) == EPOCHS
    assert digest(net) == seen[-1]


def test_within_an_epoch_too(mlp):
    """A source is asked in the middle of epochs, while the weights in training are others."""
    within, after = [], []

    def source():
        for at in range(0, 90, 30):
            within.append(digest(net))
            yield X[at : at + 30], Y[at : at + 30]

    net, whole = network(mlp), network(mlp)
    net.fit(
        source,
        epochs=4,
        batch_size=10,
        shuffle=False,
        averaging=fastmlp.SWA(),
        callbacks=[lambda state: after.append(digest(net))],
    )
    assert set(within) <= {digest(network(mlp)), *after}
    means, _ = path_of(
        whole, epochs=4, batch_size=10, shuffle=False, averaging=fastmlp.SWA(), n_threads=1
    )
    assert len(means) == 4
    assert digest(net) == digest(whole)


class Batches:
    """What a callback sees after each batch, and what after each epoch."""

    def __init__(self, net, last=None):
        self.net, self.last, self.seen, self.means = net, last, [], []

    def on_batch(self, state, batch):
        self.seen.append(digest(self.net))
        return batch.step == self.last

    def __call__(self, state):
        self.means.append(digest(self.net))


def test_batches_are_trained_behind_the_mean(mlp):
    net, plain = network(mlp), network(mlp)
    watch, begun = Batches(net), digest(net)
    net.fit(X, Y, epochs=3, batch_size=45, averaging=fastmlp.EMA(), callbacks=[watch])
    plain.fit(X, Y, epochs=3, batch_size=45, averaging=fastmlp.EMA())
    assert watch.seen == [each for each in (begun, *watch.means[:2]) for _ in range(2)]
    assert digest(net) == digest(plain) == watch.means[-1]
    stopped = network(mlp)
    watch = Batches(stopped, last=2)
    stopped.fit(X, Y, epochs=3, batch_size=45, averaging=fastmlp.EMA(), callbacks=[watch])
    assert len(stopped.history.loss) == 1
    assert digest(stopped) == watch.means[-1]


def test_early_stopping_chooses_among_means(mlp):
    averaging = fastmlp.EMA(0.5)
    options = {"epochs": 40, "optimizer": fastmlp.SGD(0.9, momentum=0.9), "validation_data": HELD}
    net, seen, stop = network(mlp), [], fastmlp.EarlyStopping(patience=3)
    history = net.fit(
        *(X, Y),
        callbacks=[lambda state: seen.append(digest(net)), stop],
        averaging=averaging,
        **options,
    )
    assert len(history.loss) < 40
    assert stop.best_epoch == int(np.argmin(history.val_loss)) < len(seen) - 1
    assert digest(net) == seen[stop.best_epoch]


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_what_is_frozen_keeps_its_bytes(mlp, dtype):
    net = network(mlp, dtype=dtype)
    before = arrays(net)
    net.fit(X, Y, groups=fastmlp.Groups(layer_rates=[0, 1]), averaging=fastmlp.EMA(0.7))
    after = arrays(net)
    unmoved = [a.tobytes() == b.tobytes() for a, b in zip(before, after, strict=True)]
    assert unmoved == [True, False, True, False]


# ---- arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize("averaging", [0.9, "EMA", fastmlp.EMA, True, {"decay": 0.9}])
def test_an_object_is_expected(mlp, averaging):
    net = network(mlp)
    before = digest(net), net._rng.bit_generator.state
    for fit in (net.fit, fastmlp.Ensemble([net]).fit):
        with pytest.raises(TypeError, match="averaging is .* but an object of fastmlp.EMA or"):
            fit(X, Y, averaging=averaging)
    assert (digest(net), net._rng.bit_generator.state, net.history) == (*before, None)


@pytest.mark.parametrize("averaging", [fastmlp.SWA(EPOCHS), fastmlp.EMA(0.5, 75)], ids=repr)
def test_a_start_after_the_last_epoch_warns(mlp, averaging):
    nets = [network(mlp) for _ in range(2)]
    with pytest.warns(
        UserWarning, match=rf"={averaging.start}\) but .* 7 epochs.*start=5$"
    ) as caught:
        nets[0].fit(X, Y, epochs=EPOCHS, averaging=averaging)
    assert caught[0].filename == __file__
    nets[1].fit(X, Y, epochs=EPOCHS)
    same(*nets)


def test_nobody_else_is_slower_or_larger(mlp, monkeypatch):
    """Without averaging there is no twin, and nothing more is remembered."""
    monkeypatch.setattr(mlp._engine_type(cases.build([1, 1])).__class__, "twin", None)
    net = network(mlp)
    net.fit(X, Y, epochs=2, validation_data=HELD)
    assert net._progress.averaged is None


# ---- ensembles -----------------------------------------------------------------------------------


@EACH_AVERAGING
@pytest.mark.parametrize("n_threads", [1, 2])
def test_members_end_as_they_would_alone(mlp, averaging, n_threads):
    options = {"epochs": EPOCHS, "batch_size": 16, "validation_data": HELD, "averaging": averaging}
    ensemble = fastmlp.Ensemble([network(mlp, rng=seed, dropout=0.1) for seed in range(3)])
    seen = []
    history = ensemble.fit(
        *(X, Y),
        n_threads=n_threads,
        callbacks=[lambda state: seen.append(ensemble.evaluate(*HELD))],
        **options,
    )
    assert history.val_loss == seen
    for seed, member in enumerate(ensemble):
        alone = network(mlp, rng=seed, dropout=0.1)
        alone.fit(X, Y, **options)
        assert digest(member) == digest(alone)
        assert member.history.val_loss == alone.history.val_loss


def test_an_ensemble_that_diverges_keeps_its_means(mlp):
    rate = fastmlp.SGD(lambda step: 0.1 if step < 6 else 1e30)
    ensemble, seen = fastmlp.Ensemble([network(mlp, rng=seed) for seed in range(3)]), []
    with pytest.raises(fastmlp.DivergenceError):
        ensemble.fit(
            *(X, Y),
            batch_size=30,
            optimizer=rate,
            averaging=fastmlp.SWA(),
            callbacks=[lambda state: seen.append([digest(each) for each in ensemble])],
        )
    assert len(seen) == 2
    assert [digest(each) for each in ensemble] == seen[-1]
