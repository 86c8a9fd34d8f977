"""How an ensemble is trained: many epochs at once, rows that are held out, scores."""

from contextlib import nullcontext

import cases
import numpy as np
import pytest
from models import digest, saved
from states import refused, same
from test_ensemble import FITS, TRIALS, WEIGHTS, N, X, compare, members

import fastmlp
from fastmlp import reference
from fastmlp._engine import native_engine
from fastmlp._engine.numpy import numpy_engine
from fastmlp._models import trainer
from fastmlp._models.network import network_of

KINDS = [fastmlp.MLP, reference.MLP]
EPOCHS = 14


def leaps(monkeypatch, seconds=1e9):
    """Let all epochs after the first be one call, or none; return how many each call takes."""
    monkeypatch.setattr(trainer, "FUSED_SECONDS", seconds)
    monkeypatch.setattr(trainer, "STORED_SECONDS", seconds)
    taken = []
    for engine in (native_engine.Engine, numpy_engine.Engine):
        train_many = engine.train_many

        def counted(*given, own=train_many, **options):
            taken.append(given[4])
            return own(*given, **options)

        monkeypatch.setattr(engine, "train_many", staticmethod(counted))
    return taken


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize(("m", "n_threads"), TRIALS)
@pytest.mark.parametrize("name", FITS)
def test_many_epochs_in_one_call_have_the_bits_of_each(monkeypatch, name, m, n_threads, dtype):
    taken = leaps(monkeypatch)
    compare(fastmlp.MLP, name, m, n_threads, dtype, EPOCHS)
    assert taken == [1, EPOCHS - 1, *[EPOCHS - 1] * m]  # the members alone leap, too


@pytest.mark.parametrize("name", FITS)
def test_the_reference_takes_many_epochs_too(monkeypatch, name):
    taken = leaps(monkeypatch)
    compare(reference.MLP, name, 2, None, "float64", EPOCHS)
    assert taken == [1, *[EPOCHS - 1] * 3]


def test_a_part_of_a_members_epochs_waits_for_the_part_before(monkeypatch):
    """The thread with the quick members takes the second part while the first is still at work."""
    leaps(monkeypatch)
    found, rows = [], [np.tile(np.arange(N), 30), np.arange(8), np.arange(8)]
    for n_threads in (1, 2):
        nets = [fastmlp.MLP([5, 16, 1], rng=k) for k in range(3)]
        fastmlp.Ensemble(nets).fit(
            X, X[:, 0], rows=rows, epochs=300, batch_size=8, n_threads=n_threads
        )
        found.append([*map(digest, nets)])
    assert found[0] == found[1]


def test_members_with_one_generator_draw_from_it_in_turn(monkeypatch):
    found = []
    for seconds in (0, 1e9):
        leaps(monkeypatch, seconds)
        rng = np.random.default_rng(3)
        nets = [fastmlp.MLP([5, 7, 1], dropout=0.2, rng=rng) for _ in range(3)]
        fastmlp.Ensemble(nets).fit(X, X[:, 0], epochs=EPOCHS, batch_size=8)
        found.append([*map(digest, nets), rng.bit_generator.state])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "watched", [{"callbacks": [lambda state: None]}, {"validation_data": (X, X[:, 0])}]
)
def test_who_looks_sees_every_epoch(monkeypatch, watched):
    taken = leaps(monkeypatch)
    nets = [fastmlp.MLP([5, 7, 1], rng=k) for k in range(2)]
    fastmlp.Ensemble(nets).fit(X, X[:, 0], epochs=EPOCHS, **watched)
    assert taken == [1] * EPOCHS


class Reader:
    """A callback that notes what it reads, and ends the fit in an epoch, perhaps by an error."""

    def __init__(self, is_passive, end, error=None):
        self.is_passive, self.end, self.error, self.notes = is_passive, end, error, []

    def __call__(self, state):
        parameters = [digest(net) for net in getattr(state.model, "members", [state.model])]
        self.notes.append((state.epoch, state.loss, len(state.history.loss), parameters))
        if state.epoch == self.end and self.error:
            raise self.error
        return state.epoch == self.end


@pytest.mark.parametrize("error", [None, KeyboardInterrupt()], ids=["returns True", "interrupt"])
@pytest.mark.parametrize("end", [0, 1, 5, EPOCHS - 1, EPOCHS])
@pytest.mark.parametrize("m", [0, 3])
@pytest.mark.parametrize("mlp", KINDS)
def test_passive_callbacks_read_each_of_the_epochs_of_a_call(monkeypatch, mlp, m, end, error):
    """In the end the model is as if it had been trained epoch by epoch, but for what is ahead."""
    results, options = [], {"epochs": EPOCHS, "batch_size": 16}
    for is_passive in (False, True):
        taken, reader = leaps(monkeypatch), Reader(is_passive, end, error)
        nets = members(mlp, "schedules, rows", m or 1)
        model = fastmlp.Ensemble(nets) if m else nets[0]
        stops = pytest.raises(KeyboardInterrupt) if error and end < EPOCHS else nullcontext()
        with stops:
            model.fit(X, X[:, :4], **options, callbacks=[reader])
        assert max(taken or [0]) == (EPOCHS - 1 if is_passive and end else 1 if m else 0)
        results.append((model, reader.notes))
        monkeypatch.undo()
    (one, notes), (other, notes_of_other) = results
    assert notes == notes_of_other
    assert len(notes) == min(end + 1, EPOCHS)
    if end in (0, EPOCHS - 1, EPOCHS):
        same(one, other)
        for model in (one, other):
            model.fit(X, X[:, :4], **options | {"epochs": EPOCHS + 9}, resume=True)
        same(one, other)
        return
    for net, again in zip([one, *(one if m else ())], [other, *(other if m else ())], strict=True):
        assert [net.history.loss, net.history.learning_rate, net.history.stop_reason] == [
            again.history.loss,
            again.history.learning_rate,
            again.history.stop_reason,
        ]
    assert [*map(digest, one if m else [one])] == [*map(digest, other if m else [other])]
    with pytest.raises(ValueError, match="resume"):
        other.fit(X, X[:, :4], **options, resume=True)


@pytest.mark.parametrize("m", [0, 3])
@pytest.mark.parametrize("mlp", KINDS)
def test_a_resumed_call_that_ends_early_leaves_a_model_for_files(monkeypatch, tmp_path, mlp, m):
    nets, options = members(mlp, "plain", m or 1), {"batch_size": 16}
    model = fastmlp.Ensemble(nets) if m else nets[0]
    model.fit(X, X[:, :3], epochs=2, **options)
    taken, ends = leaps(monkeypatch), [Reader(is_passive=True, end=5)]
    model.fit(X, X[:, :3], epochs=EPOCHS, **options, resume=True, callbacks=ends)
    assert taken == [EPOCHS - 2]
    again = saved(model, tmp_path / "model")
    assert len(again.history.loss) == 6
    assert [*map(digest, again if m else [again])] == [*map(digest, model if m else [model])]
    with refused(ValueError, "there is no fit to resume", model):
        model.fit(X, X[:, :3], epochs=EPOCHS, **options, resume=True)


def test_few_parameters_are_kept_for_passive_callbacks(monkeypatch):
    taken, size = leaps(monkeypatch), 3 * 8 * (5 * 7 + 7 + 7 * 3 + 3)
    for kept, calls in ((size, [1] * EPOCHS), (5 * size, [1, 5, 5, 3])):
        monkeypatch.setattr(trainer, "STORED_BYTES", kept)
        ensemble = fastmlp.Ensemble(members(fastmlp.MLP, "plain", 3))
        ensemble.fit(X, X[:, :3], epochs=EPOCHS, callbacks=[Reader(True, EPOCHS)])
        assert taken == calls
        taken.clear()


@pytest.mark.parametrize("mlp", KINDS)
def test_passive_callbacks_see_no_epoch_that_diverges(monkeypatch, mlp):
    notes = []
    for is_passive in (False, True):
        leaps(monkeypatch)
        reader = Reader(is_passive, 30)
        ensemble = fastmlp.Ensemble(members(mlp, "plain", 3))
        with pytest.raises(fastmlp.DivergenceError, match="0 diverged in epoch 10 "):
            ensemble.fit(
                *(X, X[:, :3]),
                epochs=30,
                batch_size=16,
                optimizer=fastmlp.SGD(rising),
                callbacks=[reader],
            )
        notes.append(reader.notes)
        monkeypatch.undo()
    assert len(notes[0]) == 10
    assert notes[0] == notes[1]


def rising(step):
    return 0.01 if step < 40 else 1e200


@pytest.mark.parametrize("mlp", KINDS)
def test_what_diverges_in_one_of_many_epochs_diverges_as_one_by_one(monkeypatch, mlp):
    options = {"epochs": 30, "batch_size": 16, "optimizer": fastmlp.SGD(rising), "n_threads": 2}
    ensembles, said = [], []
    for seconds, most in ((0, 1), (1e9, 29)):
        taken = leaps(monkeypatch, seconds)
        ensembles.append(fastmlp.Ensemble(members(mlp, "plain", 3)))
        with pytest.raises(fastmlp.DivergenceError, match="0 diverged in epoch 10 ") as error:
            ensembles[-1].fit(X, X[:, :3], **options)
        said.append(str(error.value))
        assert {len(net.history.seconds) for net in ensembles[-1]} == {10}
        assert max(taken) == most
        monkeypatch.undo()
    same(*ensembles)
    assert said[0] == said[1]


def failing(step):
    if step > 50:
        raise OSError("no rate")
    return 0.01


@pytest.mark.parametrize("mlp", KINDS)
def test_a_schedule_that_fails_leaves_whole_epochs(monkeypatch, mlp):
    leaps(monkeypatch)
    nets, optimizer = members(mlp, "plain", 3), fastmlp.SGD(failing)
    with pytest.raises(OSError, match="no rate"):
        fastmlp.Ensemble(nets).fit(X, X[:, :3], epochs=60, optimizer=optimizer)
    for net, other in zip(nets, members(mlp, "plain", 3), strict=True):
        other.fit(X, X[:, :3], epochs=len(net.history.loss), optimizer=optimizer, n_threads=1)
        same(net, other)


def test_an_interrupt_within_many_epochs_takes_them_back(monkeypatch, interrupt_after):
    leaps(monkeypatch)
    nets = members(fastmlp.MLP, "plain", 3)
    ensemble = fastmlp.Ensemble(nets)
    interrupt_after(0.3)
    with pytest.raises(KeyboardInterrupt):
        ensemble.fit(X, X[:, :3], epochs=10**6, n_threads=2)
    assert len(ensemble.history.loss) == 1
    assert all(
        network_of(net).engine.can_go_on(1) for net in nets
    )  # what the optimizer knows is back too
    for net, other in zip(nets, members(fastmlp.MLP, "plain", 3), strict=True):
        other.fit(X, X[:, :3], epochs=1, n_threads=1)
        same(net, other)


FOLDS = np.array_split(np.random.default_rng(8).permutation(N), 3)
OVERLAPPING = [np.arange(40), np.arange(30, N - 5)[::-1], np.array([3])]


def expected(loss, apart, rows):
    """Return what the members predict for each row that one of them holds out."""
    found = []
    for row in np.unique(np.concatenate(rows)):
        each = [
            p[k][list(own).index(row)]
            for k, (p, own) in enumerate(zip([apart] * 3, rows, strict=True))
            if row in own
        ]
        values = np.array(each, np.float64)
        mean = values.mean(0)
        if loss.heads == 2:
            m = len(mean) // 2
            mean[m:] += values[:, :m].var(0)
        found.append(mean)
    return np.array(found)


@pytest.mark.parametrize("mlp", KINDS)
@pytest.mark.parametrize("rows", [FOLDS, OVERLAPPING, [np.arange(9)] * 3])
@pytest.mark.parametrize("case", cases.LOSSES, ids=str)
def test_rows_that_are_held_out_are_predicted_by_those_that_hold_them_out(mlp, rows, case):
    y = cases.targets(case.loss, N, 2, np.random.default_rng(2), labels=case.labels)
    nets = [mlp([5, 6, 2], loss=case.loss, dtype="float64", rng=seed) for seed in range(3)]
    ensemble, seen = fastmlp.Ensemble(nets), []

    def scorer(epoch, predictions):
        seen.append(predictions)
        return -float(epoch)

    def judged(state):
        for net, own, p in zip(nets, rows, seen[-1], strict=True):
            np.testing.assert_array_equal(p, net.predict(X[own]))

    def look(state):
        apart = [
            network_of(net).engine.predict(X[own]) for net, own in zip(nets, rows, strict=True)
        ]
        mixed = expected(case.loss, apart, rows)
        union = np.unique(np.concatenate(rows))
        z = cases.before_link(case.loss, mixed)
        values, _ = case.loss.value_and_gradient(z, y[union])
        loss = np.average(values, weights=WEIGHTS[0][union])
        np.testing.assert_allclose(state.val_loss, loss, rtol=1e-7)
        state.model.apart = [
            net.evaluate(X[own], y[own], WEIGHTS[0][own])
            for net, own in zip(nets, rows, strict=True)
        ]

    options = {"epochs": 3, "n_threads": 2, "sample_weight": WEIGHTS[0], "validation_rows": rows}
    history = ensemble.fit(X, y, callbacks=[look], **options)
    assert [net.history.val_loss[-1] for net in nets] == ensemble.apart
    assert len(history.val_loss) == 3
    ensemble.fit(X, y, scorer=scorer, callbacks=[judged], **options)
    assert len(seen) == 3
    assert ensemble.history.val_loss == [0, -1, -2]


@pytest.mark.parametrize("weights", [None, list(WEIGHTS[:3])])
def test_of_data_of_their_own_the_losses_are_pooled(weights):
    nets = members(fastmlp.MLP, "plain", 3)
    x, y = [X, X + 1, X[:50]], [X[:, :3], X[:, 2:], X[:50, :3]]
    if weights:
        x, y = [X] * 3, [X[:, :3]] * 3
    rows = [np.arange(9), np.array([3]), np.arange(49, 2, -1)]
    history = fastmlp.Ensemble(nets).fit(
        x, y, sample_weight=weights, epochs=2, validation_rows=rows
    )
    weights = weights or [np.ones(N)] * 3
    each = [
        net.evaluate(x[k][own], y[k][own], weights[k][own])
        for k, (net, own) in enumerate(zip(nets, rows, strict=True))
    ]
    assert [net.history.val_loss[-1] for net in nets] == each
    sums = [weights[k][own].sum() for k, own in enumerate(rows)]
    assert np.isclose(history.val_loss[-1], np.average(each, weights=sums))


@pytest.mark.parametrize("mlp", KINDS)
@pytest.mark.parametrize(
    ("scores", "best"), [([3, 1, 2, 1, 5], 3), ([1, np.nan, 2], 0), ([np.nan] * 3, 2), ([2, 1], 1)]
)
def test_the_last_of_the_best_epochs_is_kept_of_all_members(mlp, scores, best):
    nets, seen = members(mlp, "plain", 3), []
    ensemble = fastmlp.Ensemble(nets)
    history = ensemble.fit(
        *(X, X[:, :3]),
        epochs=len(scores),
        validation_rows=FOLDS,
        scorer=lambda epoch, _: scores[epoch],
        callbacks=[
            lambda state: seen.append([*map(digest, nets)]),
            fastmlp.EarlyStopping(patience=9),
        ],
    )
    np.testing.assert_array_equal(history.val_loss, scores)
    assert [*map(digest, nets)] == seen[best]


def test_a_scorer_that_fails_takes_the_epoch_back():
    nets, seen = members(fastmlp.MLP, "plain", 2), []

    def scorer(epoch, predictions):
        seen.append([*map(digest, nets)])
        return 0.0 if epoch < 2 else "good"

    ensemble = fastmlp.Ensemble(nets)
    with pytest.raises(TypeError, match="scorer returned 'good' but a number"):
        ensemble.fit(X, X[:, :3], epochs=5, validation_rows=FOLDS[:2], scorer=scorer)
    assert [*map(digest, nets)] == seen[1]
    assert [len(net.history.loss) for net in nets] == [2, 2]


@pytest.mark.parametrize("mlp", KINDS)
@pytest.mark.parametrize("shuffle", [False, True])
def test_rows_behind_the_last_whole_batch_are_left_out(mlp, shuffle):
    """As if the step of the last 13 rows of each epoch had the rate 0."""
    seen, options = [], {"epochs": 3, "batch_size": 16, "shuffle": shuffle}
    nets, others = members(mlp, "plain", 2), members(mlp, "plain", 2)
    rate = fastmlp.SGD(lambda step: seen.append(step) or 0.01)
    fastmlp.Ensemble(nets).fit(X, X[:, :3], drop_last=True, optimizer=rate, **options)
    assert max(seen) == 3 * (N // 16) - 1
    for net, other in zip(nets, others, strict=True):
        still = fastmlp.SGD(lambda step: 0.01 * (step % 4 < 3))
        other.fit(X, X[:, :3], optimizer=still, n_threads=1, **options)
        assert digest(net) == digest(other)


WRONG = [
    ({"validation_rows": [[0], [1]]}, "validation_rows has 2 entries"),
    ({"validation_rows": [[0], [1], [N]]}, rf"validation_rows\[2\] holds {N}"),
    ({"validation_rows": [[0], [1, 1], [2]]}, r"validation_rows\[1\] has a row twice"),
    ({"validation_rows": [[0], [], [2]]}, r"validation_rows\[1\] is"),
    ({"scorer": print}, "there is nothing to score"),
    ({"scorer": 3, "validation_rows": FOLDS}, "scorer is 3 but a callable"),
    (
        {"validation_rows": [[0], [1], [2]], "sample_weight": np.arange(N) > 2},
        r"validation_rows\[0\] has rows of sample weight 0 alone",
    ),
]


@pytest.mark.parametrize(("wrong", "match"), WRONG)
def test_what_cannot_be_measured_is_refused(wrong, match):
    ensemble = fastmlp.Ensemble(members(fastmlp.MLP, "plain", 3))
    with refused((TypeError, ValueError), match, ensemble):
        ensemble.fit(**{"X": X, "y": X[:, :3], **wrong})
