"""Ensembles live on: in parts, in files, after cuts, as predictors, in the terms of others."""

import copy
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import stored
from models import COPIES, digest
from states import refused, state
from test_ensemble import X, inputs, members
from test_joint import KINDS

import fastmlp
from fastmlp import reference
from fastmlp._engine.numpy import numpy_engine
from fastmlp._training import loop

OPTIONS = {"batch_size": 16, "optimizer": fastmlp.AdamW(fastmlp.Cosine(0.05, 32), weight_decay=0.1)}
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
    ensemble[1].fit(X, Y, epochs=3, **OPTIONS)  # as many epochs
    with pytest.raises(ValueError, match=trained):
        ensemble.fit(X, Y, epochs=6, resume=True, **OPTIONS)


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


@pytest.mark.parametrize("passes", [0, 1])
@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("mlp", KINDS)
def test_a_file_is_loaded_by_either_engine(mlp, engine, passes, tmp_path):
    ensemble = stored.ensemble(mlp, passes)
    ensemble.save(tmp_path / "nets")
    again = fastmlp.load(tmp_path / "nets", engine=engine)
    assert type(again) is fastmlp.Ensemble
    assert type(again[0]) is (fastmlp.MLP if engine == "native" else reference.MLP)
    assert state(again) == state(ensemble)
    assert again.history == ensemble.history
    assert again[1]._rng is again[2]._rng
    assert again[0]._rng is not again[1]._rng
    again.partial_fit(stored.X, stored.Y)


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


# ---- read by others while it changes -------------------------------------------------------------


def networks(model):
    return [*model] if isinstance(model, fastmlp.Ensemble) else [model]


def facts(model):
    nets = networks(model)
    epochs = [len(each.history.loss) if each.history else None for each in (model, *nets)]
    return [digest(net) for net in nets], epochs


READS = {
    **{
        name: lambda ensemble, path, twin=twin: facts(twin(ensemble, path))
        for name, twin in COPIES.items()
    },
    "state_dict": lambda e, _: {name: a.tobytes() for name, a in e.state_dict().items()},
    "predictor": lambda e, _: e.predictor()(X).tobytes(),
    "to_c": lambda e, path: (e.to_c(path / "nets.c"), (path / "nets.c").read_text())[1],
}


@pytest.fixture(params=READS)
def look(request, tmp_path):
    """What reads an ensemble in another thread, and keeps that in its list."""

    class Look:
        copies = request.param in COPIES

        def __init__(self, ensemble):
            self.ensemble, self.seen = ensemble, []

        def now(self):
            path = tmp_path / "nets" if request.param == "file" else tmp_path
            return READS[request.param](self.ensemble, path)

        def beside(self):
            with ThreadPoolExecutor(1) as pool:
                self.seen.append(pool.submit(self.now).result())

    return Look


def looking(monkeypatch, cls, name, look):
    """Have others look whenever a method or function is called."""
    method = getattr(cls, name)

    def watched(*given, **options):
        look.beside()
        return method(*given, **options)

    monkeypatch.setattr(cls, name, watched)


@pytest.mark.parametrize(
    "moment", [(fastmlp.EMA, "share"), (loop, "record")], ids=["share", "record"]
)
@pytest.mark.parametrize("kind", ["Ensemble", "MLP"])
@pytest.mark.parametrize("mlp", KINDS)
def test_others_see_all_members_at_the_end_of_one_epoch(mlp, kind, moment, look, monkeypatch):
    """Also where a member is to get its mean, or where weights are there but not their losses."""
    model = make(mlp) if kind == "Ensemble" else make(mlp)[1]
    model.fit(X, Y, epochs=2, **OPTIONS)
    look, ends = look(model), []
    before = look.now()
    looking(monkeypatch, *moment, look)
    options = {**OPTIONS, "averaging": fastmlp.EMA(0.5)}
    model.fit(X, Y, epochs=4, callbacks=[lambda state: ends.append(look.now())], **options)
    monkeypatch.undo()
    expected = [before, *ends[:3]]
    if moment[1] == "share":
        expected = [end for end in ends[:3] for _ in networks(model)]
    elif kind == "MLP" and not look.copies:  # these read weights alone, of the epoch just trained
        expected = ends
    assert look.seen == expected
    assert len(set(map(str, ends))) == 4
    look.beside()
    assert look.seen[-1] == look.now() == ends[-1]
    assert getattr(model._moment, "parameters", None) is None


@pytest.mark.parametrize("kind", ["fit", "partial_fit"])
def test_others_see_all_members_before_the_first_epoch(kind, look, monkeypatch):
    ensemble = make(reference.MLP)
    ensemble.fit(X, Y, epochs=1, **OPTIONS)
    look = look(ensemble)
    before = look.now()
    looking(monkeypatch, numpy_engine.Engine, "epoch", look)
    getattr(ensemble, kind)(X, Y, **({"epochs": 1} if kind == "fit" else {}))
    monkeypatch.undo()
    assert look.seen == [before] * 3
    assert look.now() != before
    with pytest.raises(fastmlp.DivergenceError):
        ensemble.fit(X, Y * 1e30, epochs=2, optimizer=fastmlp.SGD(1e20))
    assert ensemble._moment is None
    assert ensemble._whole()[0] is ensemble.members


@pytest.mark.parametrize("mlp", KINDS)
def test_others_see_all_members_before_or_after_an_assignment(mlp, look, monkeypatch):
    ensemble, other = make(mlp), make(mlp)
    other.fit(X, Y, epochs=1)
    look = look(ensemble)
    before = look.now()
    looking(monkeypatch, mlp, "load_state_dict", look)
    ensemble.load_state_dict(other.state_dict())
    monkeypatch.undo()
    assert look.seen == [before] * 3
    assert look.now() != before
    assert digest(ensemble[2]) == digest(other[2])
