"""An ensemble whose members are divided over ranks: the bits of one process, and how it fails."""

import copy

import numpy as np
import pytest
import ranks
from ranks import N, X, Y, schedule

import fastmlp
from fastmlp import reference

FOLDS = np.array_split(np.arange(N), 4)
OTHERS = [np.setdiff1d(np.arange(N), fold) for fold in FOLDS]
HELD = {"rows": OTHERS, "validation_rows": FOLDS}


def ensemble(mlp, size=4, **options):
    given = {"activation": "tanh", "dropout": 0.1, **options}
    return fastmlp.Ensemble(mlp([3, 5, 1], rng=seed, **given) for seed in range(size))


def train(model, communicator=None, **options):
    given = {"epochs": 12, "batch_size": 16, **options}
    return model.fit(X, Y, communicator=communicator, **given)


def state(model):
    """Return all that a fit leaves behind: weights, optimizers, generators and histories."""
    found = [model.history.loss, model.history.val_loss]
    for member in model:
        arrays = member._engine.state().items()
        found += [[(name, array.tobytes()) for name, array in arrays]]
        found += [member.history.loss, member.history.val_loss, member.history.learning_rate]
        found += [repr(member._rng.bit_generator.state), member._progress]
    return found


def alike(models):
    first, *others = map(state, models)
    for other in others:
        for one, two in zip(first, other, strict=True):
            np.testing.assert_equal(two, one)


def farthest(epoch, predictions):
    return max(float(np.abs(z[:, 0]).max()) for z in predictions)


FITS = {
    "plain": {},
    "folds": {**HELD, "callbacks": [fastmlp.EarlyStopping(patience=2)]},
    "judge": {**HELD, "judge": farthest},
    "means": {"averaging": fastmlp.EMA(0.7), "validation_data": (X, Y)},
    "members with rates of their own": {
        "rows": [rows[: 20 + 8 * k] for k, rows in enumerate(OTHERS)],
        "optimizer": fastmlp.AdamW(fastmlp.Cosine(0.01, 30), weight_decay=schedule(0.1)),
        "dropout": schedule(0.2),
    },
    "data of each member": {"sample_weight": [np.arange(N) % (2 + k) for k in range(4)]},
}


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("name", FITS)
def test_every_rank_gets_the_bits_of_one_process(mlp, name, size):
    alone = ensemble(mlp)
    train(alone, **copy.deepcopy(FITS[name]))

    def work(communicator):
        own = ensemble(mlp)
        train(own, communicator, **copy.deepcopy(FITS[name]))
        return own

    alike([alone, *ranks.good(ranks.run(size, work))])


def test_each_rank_trains_its_members_only(monkeypatch):
    trained = {}

    def work(communicator):
        own = ensemble(reference.MLP)
        for k, member in enumerate(own):
            member._engine.mark = communicator.rank, k
        train(own, communicator, epochs=1)

    whole = reference.MLP([1, 1])._engine.__class__
    epoch = whole.epoch

    def seen(engine, data, plan):
        rank, k = engine.mark
        trained.setdefault(rank, []).append(k)
        return epoch(engine, data, plan)

    monkeypatch.setattr(whole, "epoch", seen)
    ranks.good(ranks.run(3, work))
    assert trained == {0: [0, 3], 1: [1], 2: [2]}


def test_a_fit_that_was_cut_goes_on_with_other_ranks(mlp, tmp_path):
    whole, path = ensemble(mlp), tmp_path / "ensemble"
    train(whole, **HELD)

    def part(communicator, epochs):
        own = ensemble(mlp)
        callbacks = [fastmlp.Checkpoint(path)] if communicator.rank == 0 else []
        train(own, communicator, epochs=epochs, callbacks=callbacks, resume=path, **HELD)
        return own

    ranks.good(ranks.run(2, lambda c: part(c, 5)))
    cut, *_ = ranks.good(ranks.run(3, lambda c: part(c, 9)))
    train(cut, resume=True, **HELD)
    assert cut.history.val_loss == whole.history.val_loss
    for one, other in zip(cut, whole, strict=True):
        np.testing.assert_array_equal(ranks.everything(one), ranks.everything(other))


# What rank 1 has instead, of the ensemble, of the data and of the fit.
DIFFERENT = {
    "number of members": ({"size": 3}, {}),
    "hash of the data": ({}, {"validation_data": (X, Y + 1)}),
    "judge": ({}, {"judge": lambda epoch, predictions: -epoch}),
    "layer_norm": ({"layer_norm": "after"}, {}),
    "epochs": ({}, {"epochs": 3}),
    "l2": ({}, {"l2": 0.1}),
    "drops_last": ({}, {"drop_last": True}),
    "batch_size": ({}, {"batch_size": 24}),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_differs_is_named_on_every_rank_and_changes_nothing(mlp, name):
    network, options = DIFFERENT[name]

    def work(communicator):
        other = communicator.rank == 1
        own = ensemble(mlp, **(network if other else {}))
        given = {"validation_data": (X, Y), **(options if other else {})}
        with ranks.unchanged(*own):
            train(own, communicator, **given)

    assert f"{name} of rank 1 is " in ranks.told(ranks.run(3, work), ValueError)


def test_weights_and_rates_that_callbacks_of_one_rank_change_are_noticed(mlp):
    def assign(state):
        state.model[0].biases = [np.ones(5), [0]]

    def slow(state):
        state.learning_rate_scale = 0.5

    for change, what in ((assign, "checksum of the weights"), (slow, "learning_rates")):

        def work(communicator, change=change):
            callbacks = [change if communicator.rank == 1 else print]
            train(ensemble(mlp), communicator, epochs=2, callbacks=callbacks)

        for error in ranks.raised(ranks.run(2, work)):
            assert f"{what} of rank 1 is" in str(error)


def stop(state):
    return state.epoch == 1


@pytest.mark.parametrize("error", [KeyError("callback"), KeyboardInterrupt()])
def test_a_rank_that_fails_ends_the_fit_of_all_at_the_same_epoch(mlp, error):
    models = [ensemble(mlp) for _ in range(3)]

    def fail(state):
        if stop(state):
            raise error

    def work(communicator):
        callbacks = [fail] if communicator.rank == 2 else []
        train(models[communicator.rank], communicator, callbacks=callbacks)

    *told, own = ranks.raised(ranks.run(3, work))
    assert own is error
    for each in told:
        assert isinstance(each, fastmlp.RankError)
        assert (each.rank, each.error.partition(":")[0]) == (2, type(error).__name__)
    assert len(models[0].history.loss) == 2
    alike(models)
    train(models[0], epochs=3, resume=True)


def test_a_rank_that_stops_stops_all(mlp):
    def work(communicator):
        own = ensemble(mlp)
        train(own, communicator, callbacks=[stop] if communicator.rank == 1 else [])
        return own

    models = ranks.good(ranks.run(2, work))
    reasons = [own.history.stop_reason for own in models]
    assert reasons == ["a callback of rank 1", "stop returned True"]
    alike(models)


def test_a_member_that_diverges_is_named_by_all_and_all_keep_the_epoch_before(mlp):
    y = [Y, Y, np.full(N, 1e30), Y]

    def work(communicator):
        own = ensemble(mlp)
        with ranks.unchanged(*own):
            own.fit([X] * 4, y, communicator=communicator, optimizer=fastmlp.SGD(1e10))

    told = ranks.told(ranks.run(3, work), fastmlp.DivergenceError)
    assert "training of member 2 diverged in epoch 0" in told
