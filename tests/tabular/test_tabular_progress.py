"""Fits of tables that people watch and end: progress, interrupts, callbacks, validation rows."""

import io
import logging
import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from models import saved
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss, mean_squared_error
from tiny_tables import LABELS, SMALL, TINY, X, Y, classifier, regressor

import fastmlp
from fastmlp._engine.thread_count import default_threads
from fastmlp.sklearn.fitted import fitted_of
from fastmlp.tabular.plan import presets
from fastmlp.tabular.plan.progress import Bar, Line, Progress, line_or_bar
from fastmlp.tabular.recipe import epoch_selection, members

TWO = replace(TINY, epochs=16, recipes=(SMALL, replace(SMALL, width=6)))


@pytest.fixture(autouse=True)
def two_recipes(monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "fast", TWO)


class Ends:
    """A callback that ends a fit in an epoch of a recipe, both counted from 0."""

    def __init__(self, recipe, epoch, interrupts):
        self.recipe, self.epoch, self.interrupts = recipe, epoch, interrupts
        self.seen, self.scores = -1, []

    def __call__(self, state):
        self.seen += state.epoch == 0
        self.scores.append(state.val_loss)
        if (self.seen, state.epoch) != (self.recipe, self.epoch):
            return False
        if self.interrupts:
            raise KeyboardInterrupt
        return True


@pytest.mark.parametrize(("make", "y"), [(regressor, Y), (classifier, LABELS)])
@pytest.mark.parametrize("interrupts", [False, True])
@pytest.mark.parametrize(("recipe", "epoch"), [(0, 0), (0, 5), (1, 0), (1, 9)])
def test_a_fit_that_is_ended_is_fitted_with_what_there_is(make, y, interrupts, recipe, epoch):
    end = Ends(recipe, epoch, interrupts)
    model = make(callbacks=[end])
    with pytest.warns(ConvergenceWarning, match="ended early because") as caught:
        model.fit(X, y)
    assert caught[0].filename == __file__
    assert np.isfinite(end.scores).all()
    why = "the user interrupted it" if interrupts else "Ends returned True"
    notes = model.report().notes
    assert any(why in note and f"after {epoch + 1} of 92 epochs" in note for note in notes)
    assert any("1 of 2 recipes; " in note for note in notes) == (recipe == 0)
    # Weights, out-of-fold predictions and best epoch are those of the same look.
    said = np.zeros((2, *fitted_of(model).held_out.predictions.shape))
    for k, rows in enumerate(fitted_of(model).held_out.rows):
        said[k // 3, rows] = fitted_of(model).blend.of_division(
            k, fitted_of(model).columns.read(X).take(rows)
        )
    np.testing.assert_allclose(fitted_of(model).held_out.predictions, said.mean(axis=0), rtol=1e-5)
    assert model.history_.stop_reason in ("", why)
    assert np.isfinite(model.predict(X) if make is regressor else model.predict_proba(X)).all()


@pytest.mark.parametrize("place", ["before", "restoring"])
def test_an_interrupt_that_leaves_no_whole_model_changes_nothing(monkeypatch, place):
    """Before the first look there is nothing; while the best weights come back there is half."""
    model = regressor().fit(X, Y)
    before = dict(vars(model))

    def interrupted(*_):
        raise KeyboardInterrupt

    method = {"before": "_evaluate", "restoring": "finish"}[place]
    monkeypatch.setattr(epoch_selection.BestEpochSelector, method, interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, -Y)
    assert vars(model) == before


def test_an_interrupt_between_recipes_keeps_the_first(monkeypatch):
    train, calls = members.train, []

    def second_fails(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(*args)

    monkeypatch.setattr(members, "train", second_fails)
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        model = regressor().fit(X, Y)
    assert len(fitted_of(model).blend) == 6
    assert model.report().notes == ["ended early because the user interrupted it: 1 of 2 recipes"]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(("make", "y"), [(regressor, Y), (classifier, LABELS)])
def test_an_interrupt_of_the_calibration(make, y, times, monkeypatch):
    """One leaves the calibrated model without its scores, two leave the estimator as it was."""
    whole, model = make().fit(X, y), make()
    calibrated, left = model.target_class.calibration, [KeyboardInterrupt] * times

    def interrupted(*args):
        result = calibrated(*args)
        if left:
            raise left.pop()
        return result

    monkeypatch.setattr(model.target_class, "calibration", interrupted)
    if times == 2:
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, y)
        assert not hasattr(model, "_fitted")
        return
    with pytest.warns(ConvergenceWarning, match="the user interrupted it"):
        model.fit(X, y)
    np.testing.assert_array_equal(model.predict(X), whole.predict(X))
    np.testing.assert_array_equal(model.oof_prediction_, whole.oof_prediction_)
    assert "the user interrupted it: there are no other scores" in str(model.report())


def test_callbacks_are_checked_and_files_keep_those_of_fastmlp(tmp_path):
    with pytest.raises(TypeError, match=r"callbacks\[0\] is 3"):
        regressor(callbacks=[3]).fit(X, Y)
    stop, seen = fastmlp.EarlyStopping("loss", patience=90), []
    model = regressor(verbose=1, callbacks=[stop, seen.append]).fit(X, Y)
    loaded = saved(model, tmp_path / "model")
    assert [type(each) for each in loaded.callbacks] == [fastmlp.EarlyStopping]
    assert loaded.verbose == 1
    plain = regressor().fit(X, Y)
    np.testing.assert_array_equal(plain.predict(X), loaded.predict(X))


@pytest.mark.parametrize("options", [{"verbose": 1}, {"verbose": True}, {"verbose": 0}])
def test_verbose_shows_recipe_share_time_and_score(capsys, options):
    model = regressor(**options).fit(X, Y)
    lines = capsys.readouterr().err.splitlines()
    if not options["verbose"]:
        assert not lines
        return
    *lines, last = lines
    assert len(lines) == 22
    for line in lines:
        assert line.startswith("recipe ")
        for words in (" of 2, ", "% done, ", " left, root mean squared error ", " out of fold"):
            assert words in line
    assert "recipe 2 of 2, 100% done, 0 s left" in lines[-1]
    score = np.sqrt(mean_squared_error(Y, model.oof_prediction_))
    assert last == f"done: root mean squared error {score:.4g} out of fold"


def test_the_last_score_of_a_classifier_is_that_of_its_calibrated_probabilities(capsys):
    model = classifier(verbose=1).fit(X, LABELS)
    last = capsys.readouterr().err.splitlines()[-1]
    score = log_loss(LABELS, model.oof_prediction_)
    assert last == f"done: log loss {score:.4g} out of fold"


def shown(times, terminal=False, **options):
    """Return what a fit of two recipes of four epochs writes, epochs ending at these times."""
    file, now = io.StringIO(), iter([0.0, *times])
    file.isatty = lambda: terminal
    given = {"deadline": None, "n_threads": None, "shows": True, **options}
    progress = Progress([3.0, 1.0], "error", line=Line(file), now=lambda: next(now), **given)
    for recipe in range(2):
        progress.begin(recipe)
        for epoch in range(4):
            progress(SimpleNamespace(epoch=epoch, epochs=4, val_loss=0.25 if epoch else np.nan))
    progress.close()
    return file.getvalue()


def test_progress_is_a_bar_where_tqdm_can_draw_one(monkeypatch):
    pytest.importorskip("tqdm", reason="needs tqdm")
    terminal, file = io.StringIO(), io.StringIO()
    terminal.isatty = lambda: True
    assert type(line_or_bar(file)) is Line
    bar = line_or_bar(terminal)
    for share in (0.25, 1.0):
        bar.write([f"{share:.0%} done", "error 0.3"], share)
    bar.end()
    first, *_, last = re.findall(r"\|(.{20})\| (?=25|100)", terminal.getvalue())
    assert (len(first.strip()), len(last.strip())) == (5, 20)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    assert type(line_or_bar(terminal)) is Line
    assert isinstance(bar, Bar)


def test_share_and_time_left_follow_the_work_of_the_recipes():
    hint, *lines = shown([30, 60, 90, 120, 130, 140, 150, 160]).splitlines()
    assert hint.startswith("this fit takes about 3 min")
    assert lines[0] == "recipe 1 of 2, 19% done, 2 min left"
    assert lines[3] == "recipe 1 of 2, 75% done, 40 s left, error 0.25 out of fold"
    assert lines[7] == "recipe 2 of 2, 100% done, 0 s left, error 0.25 out of fold"
    limited = shown([30, 60, 90, 95, 96, 97, 98, 100], deadline=100).splitlines()
    assert limited[0].startswith("recipe 1 of 2, 30% done, 70 s left")
    assert limited[6].startswith("recipe 2 of 2, 98% done, 2 s left")


@pytest.mark.parametrize("columns", [5, 20, 40, 60, 200])
def test_a_line_fits_the_terminal(columns, monkeypatch):
    monkeypatch.setattr("fastmlp.tabular.plan.progress._columns", lambda _: columns)
    lines = shown(range(1, 9), terminal=True).removesuffix("\n").split("\r")
    assert max(len(line.rstrip()) for line in lines) < columns
    assert lines[-1].rstrip().endswith("error 0.25 out of fold"[: columns - 1])


def test_a_terminal_has_one_line():
    text = shown([1, 1.01, 1.02, 2, 3, 4, 5, 6], terminal=True)
    assert text.count("\n") == 1
    assert text.endswith("\n")
    shares = [part.split(",")[1] for part in text.split("\r")[1:]]
    assert shares == [" 19% done", " 75% done", " 81% done", " 88% done", " 94% done", " 100% done"]


@pytest.mark.parametrize(
    ("seconds", "options", "hint"),
    [
        (1, {}, False),
        (30, {}, True),
        (30, {"shows": False, "n_threads": default_threads()}, True),
        (30, {"deadline": 90}, False),
    ],
)
def test_a_long_fit_logs_one_hint(caplog, seconds, options, hint):
    with caplog.at_level(logging.INFO, "fastmlp"):
        text = shown(np.arange(1, 9) * seconds, **options)
    assert [record.levelname for record in caplog.records] == ["INFO"] * hint
    assert "n_jobs" not in caplog.text
    assert ("this fit takes" in text) == (hint and options.get("shows", True))
    if hint:
        assert "takes about 3 min: preset='fast' is quicker" in caplog.text


def test_a_fit_of_hours_warns():
    with pytest.warns(UserWarning, match="this fit takes about 107 min: preset='fast' is quicker"):
        text = shown([1200, 2400, 3000, 3600, 4200, 4800, 5400, 6000])
    assert "this fit" not in text


def test_a_slow_first_epoch_makes_no_hint(monkeypatch, caplog):
    monkeypatch.setattr("fastmlp.tabular.plan.progress.LONG_FIT", 15)
    with caplog.at_level(logging.INFO, "fastmlp"):
        shown([4, 4.5, 5, 5.5, 6, 6.5, 7, 7.5])  # the first alone would say 21 s
    assert not caplog.records


def test_a_hint_names_threads_that_rest(monkeypatch, caplog):
    monkeypatch.setattr("fastmlp.tabular.plan.progress.default_threads", lambda: 8)
    with caplog.at_level(logging.INFO, "fastmlp"):
        shown(np.arange(1, 9) * 30, n_threads=2)
    assert "n_jobs=2 uses less than the 8 threads" in caplog.text


@pytest.mark.parametrize("scoring", [None, "accuracy"])
def test_validation_rows_of_classes_are_scored(scoring):
    x, y = X[40:], LABELS[40:]
    model = classifier(scoring=scoring).fit(X[:40], LABELS[:40], X_val=x, y_val=y)
    text = model.report().more["validation"]
    assert f"log loss {log_loss(y, model.predict_proba(x)):.4g}" in text
    assert "of 20 rows" in text
    assert (f"accuracy {np.mean(model.predict(x) == y):.4g}" in text) == (scoring is not None)
    plain = classifier(scoring=scoring).fit(X[:40], LABELS[:40])
    np.testing.assert_array_equal(plain.predict_proba(x), model.predict_proba(x))


def test_validation_rows_of_numbers_are_scored():
    x, y = X[40:], Y[40:]
    model = regressor(scoring="r2").fit(X[:40], Y[:40], X_val=x, y_val=y)
    text = model.report().more["validation"]
    assert f"error {np.sqrt(mean_squared_error(y, model.predict(x))):.4g}, r2 " in text
    assert f"r2 {model.score(x, y):.4g}, of 20 rows" in text
    for loss in ("gaussian", "poisson"):
        several = np.exp(np.c_[Y, Y])
        model = regressor(loss=loss).fit(X, several, X_val=X, y_val=several)
        assert "of 60 rows" in model.report().more["validation"]
