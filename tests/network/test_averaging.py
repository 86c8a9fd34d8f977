"""Means of weights: the formulas, who sees them, and that training knows nothing of them."""

import copy
import pickle

import cases
import numpy as np
import pytest
import test_bits
from models import Watch, X, Y, digest, network
from states import same

import fastmlp
from fastmlp import reference
from fastmlp._models.network import network_of
from fastmlp._training.loop import Evaluator

EPOCHS = 7
HELD = X[:20], Y[:20]
AVERAGINGS = (fastmlp.EMA(0.7), fastmlp.EMA(0.9, start=3), fastmlp.SWA(), fastmlp.SWA(start=4))
EACH_AVERAGING = pytest.mark.parametrize("averaging", AVERAGINGS, ids=repr)


def arrays(net):
    """Return copies of all parameters."""
    return [p for kind in network_of(net).engine.parameters() for p in kind]


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


NETWORKS = {"plain": {}, "normalised": {"layer_norm": "before", "scale": True, "dropout": 0.2}}


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
    np.testing.assert_equal(arrays(net), means[-1])
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
    options = {"epochs": 4, "batch_size": 10, "shuffle": False, "averaging": fastmlp.SWA()}
    net.fit(source, callbacks=[lambda state: after.append(digest(net))], **options)
    assert set(within) <= {digest(network(mlp)), *after}
    whole.fit(X, Y, n_threads=1, **options)
    assert digest(net) == digest(whole) == after[3]


def test_batches_are_trained_behind_the_mean(mlp):
    class Behind(Watch):
        """Notes the weights that it sees."""

        def on_batch(self, state, batch):
            self.seen.append(digest(state.model))
            return batch.step == self.last

        def __call__(self, state):
            means.append(digest(state.model))

    nets, options = [network(mlp) for _ in range(3)], {"averaging": fastmlp.EMA(), "epochs": 3}
    for net, last in zip(nets, (None, None, 2), strict=True):
        watch, means, begun = Behind(last), [], digest(net)
        callbacks = [] if net is nets[1] else [watch]
        history = net.fit(X, Y, batch_size=45, callbacks=callbacks, **options)
        if net is nets[0]:
            assert watch.seen == [each for each in (begun, *means[:2]) for _ in range(2)]
        assert net is nets[1] or digest(net) == means[-1]
        assert len(history.loss) == (1 if last else 3)
    assert digest(nets[0]) == digest(nets[1])


def test_early_stopping_chooses_among_means(mlp):
    options = {"epochs": 40, "validation_data": HELD, "averaging": fastmlp.EMA(0.5)}
    options |= {"optimizer": fastmlp.SGD(0.9, momentum=0.9)}
    net, seen, stop = network(mlp), [], fastmlp.EarlyStopping(patience=3)
    callbacks = [lambda state: seen.append(digest(net)), stop]
    history = net.fit(X, Y, callbacks=callbacks, **options)
    assert len(history.loss) < 40
    assert stop.best_epoch == int(np.argmin(history.val_loss)) < len(seen) - 1
    assert digest(net) == seen[stop.best_epoch]


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_what_is_frozen_keeps_its_bytes(mlp, dtype):
    net = network(mlp, dtype=dtype)
    before = arrays(net)
    options = {"optimizer": fastmlp.AdamW(weight_decay=0.1), "averaging": fastmlp.EMA(0.7)}
    net.fit(X, Y, epochs=EPOCHS, groups=fastmlp.Groups(layer_rates=[0, 1]), **options)
    after = arrays(net)
    unmoved = [a.tobytes() == b.tobytes() for a, b in zip(before, after, strict=True)]
    assert unmoved == [True, False, True, False]


# ---- arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("averaging", "last", "words"),
    [
        (fastmlp.SWA(EPOCHS), None, r"=7\) but .* 7 epochs.*start=5$"),
        (fastmlp.EMA(0.5, 75), None, r"=75\) but .* 7 epochs.*start=5$"),
        (fastmlp.SWA(5), 2, r"start=5\) but .* after 3 of 7 epochs"),
    ],
    ids=repr,
)
def test_a_start_after_the_last_epoch_warns(mlp, averaging, last, words):
    nets = [network(mlp) for _ in range(2)]
    options = {"epochs": EPOCHS, "callbacks": [Watch(epoch=last)]}
    with pytest.warns(UserWarning, match=words) as caught:
        nets[0].fit(X, Y, averaging=averaging, **options)
    assert [each.filename for each in caught] == [__file__]
    nets[1].fit(X, Y, **options)
    same(*nets)


# ---- ensembles -----------------------------------------------------------------------------------


@EACH_AVERAGING
@pytest.mark.parametrize("n_threads", [1, 2])
def test_members_end_as_they_would_alone(mlp, averaging, n_threads):
    options = {"epochs": EPOCHS, "batch_size": 16, "validation_data": HELD, "averaging": averaging}
    ensemble = fastmlp.Ensemble([network(mlp, rng=seed, dropout=0.1) for seed in range(3)])
    seen = []
    callbacks = [lambda state: seen.append(ensemble.evaluate(*HELD))]
    history = ensemble.fit(X, Y, n_threads=n_threads, callbacks=callbacks, **options)
    assert history.val_loss == seen
    for seed, member in enumerate(ensemble):
        alone = network(mlp, rng=seed, dropout=0.1)
        alone.fit(X, Y, **options)
        same(member, alone)


# ---- a fit that was cut goes on; what fails leaves a whole model ---------------------------------


def test_the_other_engine_goes_on_with_it(tmp_path):
    path, nets = tmp_path / "net", []
    options = {"batch_size": 32, "averaging": fastmlp.EMA(0.7)}
    for mlp, other in ((fastmlp.MLP, "reference"), (reference.MLP, "native")):
        net, callbacks = network(mlp, dtype="float64"), [fastmlp.Checkpoint(path)]
        net.fit(X, Y, epochs=3, callbacks=callbacks, **options)
        nets.append(fastmlp.load(path, engine=other))
        nets[-1].fit(X, Y, epochs=EPOCHS, resume=True, **options)
    for a, b in zip(*map(arrays, nets), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_without_it_a_fit_goes_on_with_the_weights_in_training(mlp):
    plain, net = network(mlp), network(mlp)
    plain.fit(X, Y, epochs=EPOCHS)
    net.fit(X, Y, epochs=3, averaging=fastmlp.SWA())
    net.fit(X, Y, epochs=EPOCHS, resume=True)
    same(net, plain)
    assert network_of(net).resume_state.averaged is None


def test_it_may_begin_with_a_fit_that_goes_on(mlp):
    """The epochs before had no mean; start counts the epochs of all."""
    raw, _ = path_of(network(mlp), epochs=EPOCHS)
    for averaging, first in ((fastmlp.SWA(), 3), (fastmlp.SWA(start=5), 5), (fastmlp.EMA(0.5), 3)):
        net = network(mlp)
        net.fit(X, Y, epochs=3)
        net.fit(X, Y, epochs=EPOCHS, resume=True, averaging=averaging)
        same_kind = copy.copy(averaging)
        object.__setattr__(same_kind, "start", first)
        for got, wanted in zip(arrays(net), mean(same_kind, raw), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("how", ["item", "state_dict"])
def test_assigned_weights_are_gone_on_with(mlp, how):
    """They take the place of those in training, and the mean begins anew."""
    nets = [network(mlp) for _ in range(2)]
    for net, averaging in zip(nets, (fastmlp.EMA(), None), strict=True):
        net.fit(X, Y, epochs=2, averaging=averaging)
        if how == "item":
            net.weights, net.biases = network(mlp, rng=5).weights, network(mlp, rng=5).biases
        else:
            net.load_state_dict(network(mlp, rng=5).state_dict())
    net, plain = nets
    net.fit(X, Y, epochs=3, resume=True, averaging=fastmlp.SWA())
    plain.fit(X, Y, epochs=3, resume=True)
    same(net, plain)


# ---- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("resume", [False, True])
def test_an_interrupt_leaves_the_mean_of_the_epochs_before(mlp, resume, monkeypatch):
    net, seen, real = network(mlp), [], Evaluator.measure
    options = {"averaging": fastmlp.EMA(), "validation_data": HELD}
    if resume:
        net.fit(X, Y, epochs=1, **options)
        seen.append(digest(net))

    def interrupted(self, *arguments):
        if len(seen) == 3:
            raise KeyboardInterrupt  # the mean of this epoch was published already
        return real(self, *arguments)

    monkeypatch.setattr(Evaluator, "measure", interrupted)
    callbacks = [lambda state: seen.append(digest(net))]
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y, epochs=9, callbacks=callbacks, resume=resume, **options)
    assert digest(net) == seen[-1]
    assert len(net.history.loss) == len(seen) == 3


@pytest.mark.parametrize("before", [None, fastmlp.EMA()])
@pytest.mark.parametrize("averaging", [None, fastmlp.SWA()])
@pytest.mark.parametrize("resume", [False, True])
def test_an_epoch_that_fails_at_once_has_changed_nothing(mlp, before, averaging, resume):
    def rate(step):
        if fails:
            raise ZeroDivisionError
        return 0.1

    fails, options = False, {"optimizer": fastmlp.SGD(rate, momentum=0.5), "batch_size": 45}
    whole, net = network(mlp), network(mlp)
    for each in (whole, net):
        each.fit(X, Y, epochs=2, averaging=before, **options)
    bits, history = digest(net), net.history
    fails = True
    with pytest.raises(ZeroDivisionError):
        net.fit(X, Y, epochs=4, averaging=averaging, resume=resume, **options)
    assert (digest(net), net.history) == (bits, history)
    fails = False
    for each in (whole, net):
        each.fit(X, Y, epochs=4, averaging=averaging, resume=True, **options)
    same(net, whole)


def test_what_callbacks_assign_stays_until_the_next_epoch(mlp):
    def zero(state):
        state.model.weights = [np.zeros((3, 8)), np.zeros((8, 2))]

    nets = [network(mlp) for _ in range(2)]
    options = {"averaging": fastmlp.EMA(), "batch_size": 32}
    nets[0].fit(X, Y, epochs=3, callbacks=[zero], **options)
    assert not any(np.any(w) for w in nets[0].weights)
    nets[1].fit(X, Y, epochs=3, **options)
    for net in nets:
        net.fit(X, Y, epochs=5, resume=True, **options)
    same(*nets)
