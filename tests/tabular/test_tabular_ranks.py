"""Estimators of tables whose networks are divided over ranks: the model of one process, or none."""

import numpy as np
import pandas as pd
import pytest
import ranks

import fastmlp

RNG = np.random.default_rng(0)
N = 120
X = pd.DataFrame(RNG.normal(size=(N, 2)), columns=["a", "b"]).assign(c=RNG.choice(["u", "v"], N))
TARGETS = {
    fastmlp.TabMLPRegressor: np.sin(X["a"]) * X["b"],
    fastmlp.TabMLPClassifier: np.where(X["a"] > RNG.normal(size=N), "yes", "no"),
}
SHORT = {"folds": 2, "members": 2, "epochs": 16, "width": 8}
STAGES = {"folds": 2, "members": 2, "width": 8}


def model(kind=fastmlp.TabMLPRegressor, **options):
    return kind(**{"random_state": 0, **SHORT, **options})


def fitted(kind, options, communicator=None):
    return kind(random_state=0, **options).fit(X, TARGETS[kind], communicator=communicator)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("options", [SHORT, STAGES], ids=["one stage", "two stages"])
@pytest.mark.parametrize("kind", TARGETS)
def test_every_rank_gets_the_model_of_one_process(kind, options, size):
    alone = fitted(kind, options)
    for own in ranks.good(ranks.run(size, lambda c: fitted(kind, options, c))):
        np.testing.assert_array_equal(own.oof_prediction_, alone.oof_prediction_)
        np.testing.assert_array_equal(own.predict(X), alone.predict(X))
        assert (own.best_epoch_, own.n_iter_) == (alone.best_epoch_, alone.n_iter_)
        assert own.history_.loss == alone.history_.loss


Y = TARGETS[fastmlp.TabMLPRegressor]
LABELS = TARGETS[fastmlp.TabMLPClassifier]
# The name that the error has: what rank 1 has instead, of the estimator, of X and of y.
DIFFERENT = {
    "epochs": ({"epochs": 8}, X, Y),
    "random_state": ({"random_state": 1}, X, Y),
    "columns": ({}, X.rename(columns={"a": "A"}), Y),
    "numbers of X": ({}, X.assign(a=X["a"].where(X.index != 7, 0.5)), Y),
    "categories of X": ({}, X.assign(c=X["c"].where(X.index != 7, "v")), Y),
    "y": ({}, X, Y + 1),
    "classes of y": ({}, X, np.where(LABELS == "yes", "yes", "never")),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_differs_is_named_on_every_rank(name):
    options, rows, targets = DIFFERENT[name]
    kind = fastmlp.TabMLPClassifier if name == "classes of y" else fastmlp.TabMLPRegressor

    def work(communicator):
        other = communicator.rank == 1
        given = (rows, targets) if other else (X, TARGETS[kind])
        model(kind, **(options if other else {})).fit(*given, communicator=communicator)

    errors = ranks.raised(ranks.run(3, work))
    assert {type(error) for error in errors} == {ValueError}
    assert len({str(error) for error in errors}) == 1
    assert f"{name} of rank 1 is " in str(errors[0])


def interrupt(state):
    if state.epoch == 12:  # after the first scores
        raise KeyboardInterrupt


# What rank 1 does: the type of its error, and the estimator that raises it.
FAILURES = {
    "a parameter": (ValueError, lambda: model(epochs=0)),
    "memory": (MemoryError, lambda: model(max_memory=1000.0)),
    "an interrupt": (KeyboardInterrupt, lambda: model(callbacks=[interrupt])),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_rank_that_fails_ends_the_fit_of_all_and_leaves_them_unchanged(name):
    kind, broken = FAILURES[name]
    models = [model(), broken(), model()]
    before = [set(vars(own)) - {"_fitting"} for own in models]
    work = ranks.run(3, lambda c: models[c.rank].fit(X, Y, communicator=c))
    first, own, third = ranks.raised(work)
    assert isinstance(own, kind)
    for error in (first, third):
        assert isinstance(error, fastmlp.RankError)
        assert error.rank == 1
    assert [set(vars(own)) - {"_fitting"} for own in models] == before


def test_an_interrupt_during_the_calibration_of_one_rank_ends_the_fit_of_all(monkeypatch):
    finish = fastmlp.TabMLPRegressor._finish
    models = [model(), model(n_jobs=1)]

    def finished(draft, *given):
        if draft.n_jobs == 1:
            draft.n_jobs = 2  # the calibration is repeated
            raise KeyboardInterrupt
        return finish(draft, *given)

    monkeypatch.setattr(fastmlp.TabMLPRegressor, "_finish", finished)
    work = ranks.run(2, lambda c: models[c.rank].fit(X, Y, communicator=c))
    other, own = ranks.raised(work)
    assert isinstance(own, KeyboardInterrupt)
    assert isinstance(other, fastmlp.RankError)
    assert not any(hasattr(each, "history_") for each in models)


def test_a_callback_of_one_rank_ends_the_fit_of_all_with_one_model():
    def fit(communicator):
        callbacks = [lambda state: state.epoch == 12] if communicator.rank == 1 else []
        return model(callbacks=callbacks).fit(X, Y, communicator=communicator)

    with pytest.warns(match="ended early"):
        first, second = ranks.good(ranks.run(2, fit))
    assert first.n_iter_ == second.n_iter_ == 13
    np.testing.assert_array_equal(first.predict(X), second.predict(X))


def test_progress_is_shown_on_rank_0_only(capsys):
    ranks.good(ranks.run(2, lambda c: model(verbose=True).fit(X, Y, communicator=c)))
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert len(lines) == len(set(lines))
