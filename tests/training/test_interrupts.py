"""Interrupts before, within and after an epoch: a resumed fit has the same bits."""

import copy
import functools
import inspect
import itertools
import threading

import numpy as np
import pytest
import trials
from interrupting import interrupted_at, interrupted_at_call
from states import digest, refused, state

import fastmlp
from fastmlp._models import fit as fit_module
from fastmlp._models.ensemble.members import EnsembleEvaluator
from fastmlp._models.network import network_of
from fastmlp._training import loop

X = np.linspace(-1, 1, 60).reshape(30, 2)
Y = X.prod(axis=1)
DRAWS = {"Trainer._reorder", "Shuffles.next_seed", "Shuffles.take", "SharedGenerator.draw"}
READS = {
    *(f"PrefetchedBlocks.__{name}__" for name in ("enter", "exit", "iter")),
    *(f"BlockStream.{name}" for name in ("begin", "blocks", "end")),
    *(f"BlockShuffle.{name}" for name in ("begin", "next_seed", "written", "end")),
    *("ShuffleFile.__init__", "ShuffleFile.close"),
    *("Worker.__init__", "Worker.has_ended"),
}


def one(mlp):
    """Return a model and its networks."""
    net = mlp([2, 4, 1], rng=0)
    return net, [net]


def many(mlp):
    """Return an ensemble of which two members draw from one generator."""
    rng = np.random.default_rng(0)
    nets = [mlp([2, 4, 1], rng=source) for source in (rng, 7, rng)]
    return fastmlp.Ensemble(nets), nets


def n_epochs(model):
    """Return how many epochs a model has been trained."""
    return 0 if model.history is None else len(model.history.loss)


def fit_interrupted_at(model, position, epoch, functions, *data, **options):
    """Do the same to a fit, in the epoch after so many."""

    def fit():
        model.fit(*data, epochs=4, batch_size=8, callbacks=[lambda state: None], **options)

    return interrupted_at(position, functions, fit, lambda: n_epochs(model) == epoch)


@pytest.mark.parametrize("made", [one, many])
def test_no_seed_is_lost_wherever_an_interrupt_comes(made):
    whole, nets = made(fastmlp.MLP)
    whole.fit(X, Y, epochs=4, batch_size=8)
    expected = [*map(state, nets)]
    for position in itertools.count():
        model, nets = made(fastmlp.MLP)
        if not fit_interrupted_at(model, position, 2, DRAWS, X, Y):
            break
        assert len(model.history.loss) == 2
        model.fit(X, Y, epochs=4, batch_size=8, resume=True)
        assert [*map(state, nets)] == expected, position
    assert position > 20


# Of a file that was opened at the moment of the interrupt, which the garbage collector closes.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("epoch", "has_file"),
    [
        (1, True),
        pytest.param(0, True, marks=pytest.mark.slow),
        pytest.param(1, False, marks=pytest.mark.slow),
    ],
)
def test_a_reader_is_not_waited_for_wherever_an_interrupt_comes(epoch, has_file, tmp_path):
    source = fastmlp.Blocks(X, Y, rows=11)
    options = {"shuffle_folder": tmp_path, "shuffle_buffer": 8} if has_file else {}
    for position in itertools.count():
        found = []
        net = fastmlp.MLP([2, 4, 1], rng=0)
        work = functools.partial(fit_interrupted_at, net, position, epoch, READS, source, **options)
        thread = threading.Thread(target=lambda w=work, f=found: f.append(w()), daemon=True)
        thread.start()
        thread.join(20)
        assert found, f"waits for ever after an interrupt at {position}"
        if not found[0]:
            break
        assert n_epochs(net) == epoch
        trials.until(lambda: not trials.workers(), 20)
    assert position > 50


def test_a_pass_of_an_ensemble_is_taken_back_by_all_members_or_by_none():
    def passes(ensemble):
        ensemble.partial_fit(X, Y, batch_size=8)

    before, after = many(fastmlp.MLP), many(fastmlp.MLP)
    passes(after[0])
    expected = [*map(state, before[1])], [*map(state, after[1])]
    for position in itertools.count():
        ensemble, nets = many(fastmlp.MLP)
        call = functools.partial(passes, ensemble)
        if not interrupted_at(position, {"_GeneratorContextManager.__exit__"}, call):
            break
        assert [*map(state, nets)] in expected, position
        passes(ensemble)  # everybody's turn is free
    assert position > 10


def cut(monkeypatch, where, name, call):
    """Let one of the calls of a function be an interrupt."""
    calls, function = itertools.count(), getattr(where, name)

    def interrupted(*given, **options):
        if next(calls) == call:
            raise KeyboardInterrupt
        return function(*given, **options)

    is_static = isinstance(inspect.getattr_static(where, name), staticmethod)
    monkeypatch.setattr(where, name, staticmethod(interrupted) if is_static else interrupted)


@pytest.mark.parametrize("watched", [{}, {"validation_data": (X, Y)}])
def test_an_ensemble_goes_on_after_an_interrupt_at_the_start_of_a_call(monkeypatch, mlp, watched):
    whole, nets = many(mlp)
    whole.fit(X, Y, epochs=5, batch_size=8, **watched)
    expected = [*map(state, nets)]
    model, nets = many(mlp)
    cut(monkeypatch, type(network_of(nets[0]).engine), "train_many", 1)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, epochs=5, batch_size=8, **watched)
    monkeypatch.undo()
    assert len(model.history.loss) == 1
    model.fit(X, Y, epochs=5, batch_size=8, resume=True, **watched)
    assert [*map(state, nets)] == expected


def test_members_know_only_epochs_that_were_measured(monkeypatch, mlp):
    ensemble, nets = many(mlp)
    data = {"X": [X, X[:9], X[:17]], "y": [Y, Y[:9], Y[:17]]}  # steps of an epoch differ
    options = {"epochs": 5, "batch_size": 8, "validation_data": (X, Y)}
    cut(monkeypatch, EnsembleEvaluator, "measure", 2)
    with pytest.raises(KeyboardInterrupt):
        ensemble.fit(**data, **options)
    monkeypatch.undo()
    assert [network_of(member).resume_state.epochs for member in nets] == [2, 2, 2]
    for net, x, y in zip(nets, data["X"], data["y"], strict=True):
        with pytest.raises(ValueError, match="ended within an epoch"):
            net.fit(x, y, resume=True, **options)


def test_members_that_go_on_without_shuffling_keep_their_place(mlp):
    ensemble, nets = many(mlp)
    apart = many(mlp)[1][1]  # the one with a generator of its own
    for model in (ensemble, apart):
        for epochs, shuffle in ((2, True), (3, False), (5, True)):
            model.fit(X, Y, epochs=epochs, batch_size=8, shuffle=shuffle, resume=epochs > 2)
    assert state(nets[1]) == state(apart)


# ---- noticed only after the native call: the pass is taken back all the same ---------------------

OPTIMIZERS = [
    *(fastmlp.SGD(momentum=0.9), fastmlp.RMSprop(), fastmlp.Adam(), fastmlp.AdamW()),
    fastmlp.Lion(),
]


@pytest.fixture
def net(mlp):
    return mlp([2, 5, 1], rng=0, dropout=0.2)


@pytest.fixture
def interrupted_late(monkeypatch):
    """Let the next epoch end well, and an interrupt be noticed right after it."""

    def record(*_, **__):
        monkeypatch.undo()
        raise KeyboardInterrupt

    def late():
        monkeypatch.setattr(loop, "record", record)  # fits call this
        monkeypatch.setattr(fit_module, "ResumeState", record)  # partial_fit calls this

    return late


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@pytest.mark.parametrize("passes", [0, 2])
def test_partial_fit_is_taken_back(net, interrupted_late, optimizer, passes):
    for _ in range(passes):
        net.partial_fit(X, Y, batch_size=7, optimizer=optimizer)
    interrupted_late()
    with refused(KeyboardInterrupt, "^$", net):
        net.partial_fit(X, Y, batch_size=7, optimizer=optimizer)
    # The moments have moved on and belong to no weights: the optimizer begins anew.
    anew = copy.deepcopy(net)
    network_of(anew).resume_state = None
    assert net.partial_fit(X, Y, optimizer=optimizer) == anew.partial_fit(X, Y, optimizer=optimizer)
    assert state(net) == state(anew)


def test_a_first_epoch_is_taken_back(net, interrupted_late):
    interrupted_late()
    with refused(KeyboardInterrupt, "^$", net):
        net.fit(X, Y)


RECORDS = {"record", *(f"{name}.record" for name in ("Evaluator", "EnsembleEvaluator"))}
RECORDS |= {f"{name}.record" for name in ("BestWeights", "StopRule")}


def network_fit(made, epochs, **options):
    """Return the fit of a network or an ensemble, and a function that shows what it has learned."""
    model, nets = made(fastmlp.MLP)
    fit = functools.partial(model.fit, epochs=epochs, validation_data=(X, Y), **options)
    return fit, lambda: digest([*(n.weights for n in nets), *(n.history for n in [model, *nets])])


def estimator_fit(epochs, **options):
    """Return the same of an estimator, which keeps the epochs before an interrupt."""
    options |= {"tol": 0.0, "n_iter_no_change": 9, "max_iter": epochs, "random_state": 0}
    model = fastmlp.MLPRegressor(hidden_layer_sizes=(4,), **options)
    names = "coefs_", "history_", "n_iter_", "t_", "loss_", "loss_curve_", "validation_scores_"
    held_out = {} if "early_stopping" in options else {"X_val": X[:9], "y_val": Y[:9]}
    fit = functools.partial(model.fit, **held_out)
    return fit, lambda: digest([getattr(model, name, None) for name in names])


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "made",
    [
        functools.partial(network_fit, one),
        functools.partial(network_fit, many),
        functools.partial(estimator_fit, early_stopping=True),
        functools.partial(estimator_fit, restore_best=True),
    ],
    ids=["MLP", "Ensemble", "early stopping", "validation data"],
)
def test_an_interrupt_while_an_epoch_is_recorded_keeps_all_of_it_or_nothing(made):
    complete = []
    for epochs in (1, 2, 3):
        fit, learned = made(epochs)
        fit(X, Y)
        complete.append(learned())
    for position in itertools.count():
        epochs = []
        fit, learned = made(3, callbacks=[epochs.append])
        interrupted_at_call(position, RECORDS, functools.partial(fit, X, Y), lambda e=epochs: e)
        assert learned() in complete, position
        if len(epochs) == 3:
            break
    assert position >= 2
