"""Ensembles live on: in parts, in files, after cuts, as predictors, in the terms of others."""

import copy
import functools
import os
import warnings
import weakref

import numpy as np
import pytest
import stored
import trials
from at_once import at_once, busy, repeating
from models import COPIES, digest
from states import refused, state
from test_ensemble import X, inputs, members
from test_joint import KINDS

import fastmlp
from fastmlp import reference
from fastmlp._engine.numpy import numpy_engine
from fastmlp._validation import check

OPTIONS = {
    "batch_size": 16,
    "optimizer": fastmlp.AdamW(fastmlp.Cosine(0.05, 100), weight_decay=0.1),
}
Y = X[:, :3]


def make(mlp):
    return fastmlp.Ensemble([mlp([5, 7, 3], dropout=0.2, rng=seed) for seed in range(3)])


def test_a_member_goes_on_alone_as_if_it_had_always_been():
    ensemble, other = make(fastmlp.MLP), make(fastmlp.MLP)[1]
    ensemble.fit(X, Y, epochs=3, **OPTIONS)
    ensemble[1].fit(X, Y, epochs=6, resume=True, **OPTIONS)
    other.fit(X, Y, epochs=6, n_threads=1, **OPTIONS)
    assert digest(ensemble[1]) == digest(other)
    trained = "members have been trained by themselves since"
    with pytest.raises(ValueError, match=trained):
        ensemble.fit(X, Y, epochs=6, resume=True, **OPTIONS)
    ensemble.fit(X, Y, epochs=3, **OPTIONS)
    ensemble[1].fit(X, Y, epochs=3, **OPTIONS)
    with pytest.raises(ValueError, match=trained):
        ensemble.fit(X, Y, epochs=6, resume=True, **OPTIONS)


class Owned(fastmlp.MLP):
    """A network with attributes of its own."""


@pytest.mark.parametrize("name", ["copy", "deepcopy", "pickle"])
def test_members_that_know_their_ensemble_are_copied_with_it(name):
    ensemble = make(Owned)
    ensemble.title = "three"
    for member in ensemble:
        member.owner = ensemble
    ensemble.fit(X, Y, epochs=3, **OPTIONS)
    again = COPIES[name](ensemble[1], None)
    assert again.owner[1] is again
    assert again.owner.title == "three"
    again.owner.fit(X, Y, epochs=6, resume=True, **OPTIONS)
    ensemble.fit(X, Y, epochs=6, resume=True, **OPTIONS)
    assert [*map(digest, again.owner)] == [*map(digest, ensemble)]
    assert digest(again) == digest(ensemble[1])


@pytest.mark.parametrize("kind", [lambda: fastmlp.MLP([5, 7, 3], rng=0), lambda: make(fastmlp.MLP)])
@pytest.mark.parametrize("given", ["epochs", "callbacks", "validation_data", "averaging"])
def test_a_fit_leaves_no_cycle_of_references(kind, given, no_collections):
    """Otherwise the model and the data would fill memory until a collection."""
    values = {"epochs": 20, "callbacks": [lambda state: None], "validation_data": (X, Y)}
    model = kind()
    model.fit(X, Y, **{"epochs": 2, given: (values | {"averaging": fastmlp.EMA()})[given]})
    there = weakref.ref(model)
    del model
    assert there() is None


@pytest.mark.parametrize("mlp", KINDS)
@pytest.mark.parametrize("n_threads", [1, 2])
def test_passes_are_those_of_each_alone(mlp, n_threads):
    ensemble, alone = make(mlp), make(mlp)
    y = [Y, Y + 1, Y - 1]
    alone[1].partial_fit(X, Y, batch_size=16, optimizer=OPTIONS["optimizer"])  # is ahead
    ensemble[1].partial_fit(X, Y, batch_size=16, optimizer=OPTIONS["optimizer"])
    for _ in range(3):
        loss = ensemble.partial_fit([X] * 3, y, n_threads=n_threads, **OPTIONS)
        each = [
            net.partial_fit(X, t, n_threads=1, **OPTIONS) for net, t in zip(alone, y, strict=True)
        ]
        assert loss == sum(each) / 3
    assert ensemble.history is None
    assert ensemble[0].history is None
    assert state(ensemble) == state(alone)
    ensemble[2].partial_fit(X, Y, **OPTIONS)
    alone[2].partial_fit(X, Y, **OPTIONS)
    assert state(ensemble) == state(alone)


def test_a_pass_that_fails_changes_nothing():
    ensemble = make(fastmlp.MLP)
    ensemble.partial_fit(X, Y)
    then = copy.deepcopy(ensemble)
    with refused(fastmlp.DivergenceError, "member 1", ensemble):
        ensemble.partial_fit([X] * 3, [Y, Y * 1e30, Y], optimizer=fastmlp.SGD(1e20))
    with refused(ValueError, "batch_size", ensemble):
        ensemble.partial_fit(X, Y, batch_size=0)
    assert then.partial_fit(X, Y) > 0


def test_a_file_may_be_without_what_trains(tmp_path):
    ensemble = stored.ensemble()
    ensemble.save(tmp_path / "small", training=False)
    again = fastmlp.load(tmp_path / "small")
    assert again.history is None
    assert np.array_equal(again.predict(stored.X), ensemble.predict(stored.X))
    with pytest.raises(ValueError, match="no fit to resume"):
        again.fit(stored.X, stored.Y, resume=True)


def test_members_of_other_classes_are_in_no_file(tmp_path):
    class Own(fastmlp.MLP):
        pass

    with pytest.raises(TypeError, match="a file cannot hold the class"):
        fastmlp.Ensemble([Own([2, 1])]).save(tmp_path / "nets")


WRONG_FILES = {
    "another number": (lambda: fastmlp.Ensemble(members(fastmlp.MLP, "plain", 2)), "2 x"),
    "another shape": (lambda: fastmlp.Ensemble([fastmlp.MLP([5, 8, 3])]), "1 x"),
    "no ensemble": (lambda: fastmlp.MLP([5, 7, 3]), r"MLP\(\[5, 7, 3\]"),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_a_checkpoint_of_another_model_is_refused(name, tmp_path):
    make_other, match = WRONG_FILES[name]
    make_other().save(tmp_path / "nets")
    ensemble = make(fastmlp.MLP)
    with refused(ValueError, f"resume is .* which has .*{match}", ensemble):
        ensemble.fit(X, Y, resume=tmp_path / "nets")
    with refused(TypeError, "resume is 3 ", ensemble):
        ensemble.fit(X, Y, resume=3)


def test_a_fit_that_goes_on_is_the_same_fit():
    ensemble = make(fastmlp.MLP)
    with pytest.raises(ValueError, match="there is no fit to resume"):
        ensemble.fit(X, Y, resume=True)
    together, _ = inputs("plain", 3)
    ensemble.fit(**together)
    for wrong in (
        {"X": X[:9], "y": Y[:9]},
        {"optimizer": fastmlp.SGD()},
        {"validation_data": None},
        {"epochs": 2},
    ):
        with pytest.raises(ValueError, match="fit to resume"):
            ensemble.fit(**together | wrong, resume=True)


# ---- other threads, while it is trained ----------------------------------------------------------


def facts(model):
    nets = [*model] if isinstance(model, fastmlp.Ensemble) else [model]
    epochs = [len(each.history.loss) if each.history else None for each in (model, *nets)]
    return [digest(net) for net in nets], epochs


def outcome(copied, model, path):
    try:
        return facts(copied(model, path / "model"))
    except RuntimeError as error:
        words = "cannot be copied, pickled or saved: use predictor(), or copy it in a callback"
        return "refused" if words in str(error) else error


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "load_state_dict"])
@pytest.mark.parametrize("kind", ["Ensemble", "MLP", "a member"])
@pytest.mark.parametrize("mlp", KINDS)
def test_a_model_that_is_trained_can_be_copied_by_its_own_thread_alone(
    mlp, kind, method, copied, tmp_path, monkeypatch
):
    """Callbacks copy what a fit has reached; before and after it all threads can copy."""
    trained = make(mlp) if kind != "MLP" else make(mlp)[1]
    model = trained[1] if kind == "a member" else trained
    trained.fit(X, Y, epochs=2, **OPTIONS)
    here, elsewhere = [], []

    def copy_now(*given):
        here.append((outcome(copied, model, tmp_path), facts(model)))
        elsewhere.extend(at_once(lambda: outcome(copied, model, tmp_path)))

    copy_now()
    before = facts(model)
    if method == "fit":
        trained.fit(X, Y, epochs=3, callbacks=[copy_now], **OPTIONS)
    else:
        inside = {"partial_fit": (numpy_engine.Engine, "epoch")}
        owner, name = inside.get(method, (check, "parameters"))
        original = getattr(owner, name)
        watched = lambda *given: (copy_now(), original(*given))[1]  # noqa: E731
        if mlp is reference.MLP or method != "partial_fit":
            monkeypatch.setattr(owner, name, watched)
        given = (trained.state_dict(),) if method == "load_state_dict" else (X, Y)
        getattr(trained, method)(*given)
        monkeypatch.undo()
    copy_now()
    assert before != facts(model) or method == "load_state_dict"
    assert all(copy == original for copy, original in here)
    assert elsewhere == [before, *["refused"] * (len(here) - 2), facts(model)]
    assert len(here) > 2 or (method, mlp) == ("partial_fit", fastmlp.MLP)


def test_a_second_pass_of_an_ensemble_is_refused(monkeypatch):
    ensemble, epoch, refusals = make(reference.MLP), numpy_engine.Engine.epoch, []

    def train(engine, data, plan):
        for model in (ensemble, ensemble[2]):
            with pytest.raises(RuntimeError, match="a fit is running") as caught:
                model.partial_fit(X, Y)
            refusals.append(caught.value)
        return epoch(engine, data, plan)

    monkeypatch.setattr(numpy_engine.Engine, "epoch", train)
    ensemble.partial_fit(X, Y)
    assert len(refusals) == 2 * len(ensemble)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("forks_in", ["another thread", "a callback"])
def test_a_child_forked_during_a_fit_copies_all_models_but_this_one(forks_in, tmp_path):
    trained, idle = make(fastmlp.MLP)[0], make(fastmlp.MLP)
    idle.fit(X, Y, epochs=1)
    copied = COPIES["pickle"]

    def child():
        assert outcome(copied, idle, tmp_path) == facts(idle)
        assert outcome(copied, trained, tmp_path) == "refused"
        assert trained.predictor()(X).shape == Y.shape
        trained.fit(X, Y, epochs=1)  # a fit of its own replaces what the other one has left
        assert outcome(copied, trained, tmp_path) == facts(trained)

    def fork(state):
        forked = functools.partial(trials.forked, child)
        forked() if forks_in == "a callback" else at_once(forked)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork, from 3.12 on
        trained.fit(X, Y, epochs=1, callbacks=[fork])


def test_other_threads_predict_with_members_of_whole_epochs():
    ensemble, seen, ends = make(fastmlp.MLP), [], []

    def note(state):
        ends.append([member.predict(X).tobytes() for member in ensemble])

    def read():
        each = ensemble.member_predictions(X), [p(X) for p in ensemble.predictor().members]
        seen.extend([p.tobytes() for p in predictions] for predictions in each)

    note(None)
    with busy(repeating(read)):
        ensemble.fit(X, Y, epochs=20, callbacks=[note])
    for member, whole in zip(zip(*seen, strict=True), zip(*ends, strict=True), strict=True):
        assert {*member} <= {*whole}
