"""Tables of several targets, some of which are missing: training, scores, intervals, every door."""

import numpy as np
import pandas
import pyarrow as pa
import pytest
from models import saved
from sklearn.base import clone

import fastmlp
from fastmlp import TabMLPRegressor
from fastmlp.sklearn.fitted import fitted_of
from fastmlp.tabular.outcome.loss_rows import LOSSES

rng = np.random.default_rng(0)
N = 600


def drawn(n):
    x = rng.uniform(-2, 2, (n, 3))
    noise = rng.normal(size=(n, 2)) * [0.3, 0.1]
    return x, np.maximum(np.column_stack([x[:, 0] + 2, np.exp(x[:, 1])]) + noise, 0.01)


X, Y = drawn(N)
GAPS = Y.copy()
GAPS[rng.random(N) < 0.5, 1] = np.nan
GAPS[:20, 0] = np.nan  # the first of these rows have no target
HAS = ~np.isnan(GAPS)


def fitted(y=GAPS, folds=None, sample_weight=None, **options):
    model = TabMLPRegressor(**{"preset": "fast", "epochs": 8, "random_state": 0, **options})
    return model.fit(X, y, sample_weight, folds=folds)


@pytest.mark.parametrize("loss", sorted(LOSSES.keys() - {"quantiles"}))
def test_losses_leave_gaps_out(loss):
    model, whole = fitted(loss=loss), fitted(Y, loss=loss)
    assert np.isfinite(model.predict(X)).all()
    assert model.score(X, GAPS) > whole.score(X, Y) - 0.1
    assert np.isfinite(model.importance().means).all()


def test_scores_and_intervals_are_those_of_the_targets_that_are_there():
    model = fitted()
    oof, unit = model.oof_prediction_, np.array([GAPS[t, k].std() for k, t in enumerate(HAS.T)])
    squares = ((oof - GAPS) / unit) ** 2
    rmse = np.sqrt(np.mean(squares[HAS]))
    assert f"{rmse:.4g}" in str(model.report())
    new, truth = drawn(2000)
    low, high = np.moveaxis(model.predict_interval(new, coverage=0.9), -1, 0)
    inside = (low <= truth) & (truth <= high)
    assert (inside.mean(axis=0) > 0.87).all()
    narrow = np.mean(high - low, axis=0) < 1.5 * np.diff(fitted(Y).predict_interval(new))[
        :, :, 0
    ].mean(axis=0)
    assert narrow.all()
    expected = [
        1 - np.sum((p[t] - y[t]) ** 2) / np.sum((y[t] - y[t].mean()) ** 2)
        for p, y, t in zip(model.predict(X).T, Y.T, HAS.T, strict=True)
    ]
    assert model.score(X, GAPS) == pytest.approx(np.mean(expected))
    one = np.where([True, False], GAPS, np.nan)
    assert model.score(X, one) == pytest.approx(expected[0])
    with pytest.raises(ValueError, match="y contains NaN alone but some targets are expected"):
        model.score(X, np.nan * GAPS)
    alone = model.log_density(X, one)
    there = HAS.all(axis=1)
    assert (alone[there] != model.log_density(X, GAPS)[there]).all()
    assert np.isfinite(model.log_density(X, GAPS)).all()


def test_rows_without_a_target_are_those_of_weight_0():
    none = ~HAS.any(axis=1)
    assert none.any()
    model, weighted = fitted(), TabMLPRegressor(preset="fast", epochs=8, random_state=0)
    weighted.fit(X, np.where(none[:, np.newaxis], Y, GAPS), sample_weight=1.0 * ~none)
    np.testing.assert_array_equal(model.predict(X), weighted.predict(X))
    np.testing.assert_array_equal(model.predict_interval(X), weighted.predict_interval(X))


def test_files_exports_and_sources(tmp_path):
    model = fitted()
    again = saved(model, tmp_path / "model")
    np.testing.assert_array_equal(again.predict_interval(X), model.predict_interval(X))
    table = pa.table({**{f"x{k}": X[:, k] for k in range(3)}}).append_column(
        "a", pa.array(GAPS[:, 0], from_pandas=True)
    )
    table = table.append_column("b", pa.array(GAPS[:, 1], from_pandas=True))
    source = fastmlp.ArrowBlocks(table, ["a", "b"], rows=100)
    read = TabMLPRegressor(preset="fast", epochs=8, random_state=0).fit(source)
    assert read.n_features_in_ == 3
    np.testing.assert_array_equal(read.oof_prediction_, model.oof_prediction_)
    net = fastmlp.MLP([3, 8, 2], rng=0)
    assert np.isfinite(net.fit(source, epochs=2).loss).all()
    one = fastmlp.ArrowBlocks(table, "b")
    with pytest.raises(ValueError, match="'b': a value is missing"):
        TabMLPRegressor().fit(one)


REFUSED = {
    "alone": (np.full(N, np.nan), {}, "Input y contains NaN alone but some targets are expected"),
    "all of both": (np.full((N, 2), np.nan), {}, "Input y contains NaN alone"),
    "but one": (
        np.append(1.0, np.full(N - 1, np.nan)),
        {},
        "y has 1 values .*: pass more rows with",
    ),
    "column": (np.column_stack([Y[:, 0], Y[:, 1] * np.nan]), {}, r"y\[:, 1\] has 0 values"),
    "infinite": (np.where(HAS, GAPS, np.inf), {}, "infinity"),
    "scoring": (GAPS, {"scoring": "r2"}, "missing targets, which"),
    "negative": (-GAPS, {"loss": "poisson"}, r"y holds -.* targets in \[0, inf\)"),
    "held out": (
        np.where(np.arange(N)[:, np.newaxis] % 2 > [-1, 0], Y, np.nan),
        {"folds": [(np.arange(1, N, 2), np.arange(0, N, 2))]},
        r"y\[:, 1\] has 0 values that are not NaN in",
    ),
}


def test_scores_of_rows_that_folds_hold_out_are_those_of_their_targets():
    held = np.arange(N) < 200
    model = fitted(folds=[(np.flatnonzero(~held), np.flatnonzero(held))])
    unit = [GAPS[t, k].std() for k, t in enumerate(HAS.T)]
    squares = ((model.oof_prediction_ - GAPS) / unit)[held][HAS[held]] ** 2
    assert f"{np.sqrt(squares.mean()):.4g}" in str(model.report())


def test_a_target_that_is_missing_in_all_rows_with_a_weight_is_refused():
    weights = np.arange(N) % 2
    y = Y.copy()
    y[weights > 0, 1] = np.nan
    with pytest.raises(ValueError, match="0 values that are not NaN in rows with a weight above 0"):
        TabMLPRegressor(preset="fast").fit(X, y, sample_weight=weights)


def test_a_model_does_not_refer_to_the_users_targets():
    y = Y.copy()
    model = fitted(y)
    expected = model.importance().means
    y[:] = 0
    np.testing.assert_array_equal(model.importance().means, expected)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    y, options, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        fitted(y, **options)


# ------------------------------------------------------------ one target

ONE = np.where(rng.random(N) < 0.3, np.nan, Y[:, 0])
THERE = ~np.isnan(ONE)
FORMS = {
    "array": ONE,
    "column": ONE[:, np.newaxis],
    "objects": np.where(THERE, ONE, None),
    "pandas": pandas.Series(ONE),
    "nullable": pandas.Series(ONE).astype("Float64"),
}
SAID = f"y is NaN in {N - THERE.sum()} of {N} rows, which have weight 0"


@pytest.mark.parametrize("form", FORMS)
def test_rows_whose_one_target_is_missing_have_weight_0(form):
    expected = fitted(np.where(THERE, Y[:, 0], 5.0), sample_weight=1.0 * THERE)
    with pytest.warns(UserWarning, match=SAID):
        model = fitted(FORMS[form])
    assert SAID in str(model.report())
    assert model.oof_prediction_.shape == (N,)
    np.testing.assert_array_equal(model.oof_prediction_, expected.oof_prediction_)
    np.testing.assert_array_equal(model.predict_interval(X), expected.predict_interval(X))


OF_EACH_KIND = ("squared_error", "gaussian", "quantiles")  # one number, two, and levels


@pytest.mark.parametrize(
    "loss",
    [pytest.param(x, marks=[pytest.mark.slow] * (x not in OF_EACH_KIND)) for x in sorted(LOSSES)],
)
@pytest.mark.filterwarnings("ignore:y is NaN in")
def test_all_that_a_fit_tells_leaves_missing_targets_out(loss, tmp_path):
    some = slice(0, 200)
    level = [0.1, 0.5, 0.9] if loss == "quantiles" else 0.5
    model = TabMLPRegressor(preset="fast", epochs=8, random_state=0, loss=loss, quantile=level)
    whole, kept = clone(model), np.flatnonzero(THERE[some])
    model.fit(X, ONE, X_val=X[some], y_val=ONE[some])
    whole.fit(X, ONE, X_val=X[kept], y_val=ONE[kept])
    texts = [each.report().more["validation"].split(", of")[0] for each in (model, whole)]
    assert texts[0] == texts[1]
    assert "nan" not in str(model.report())
    assert np.isfinite(model.importance().means).all()
    new, truth = drawn(300)
    gaps, rows = np.where(np.arange(300) % 3, truth[:, 0], np.nan), np.arange(300) % 3 > 0
    assert model.score(new, gaps) == pytest.approx(model.score(new[rows], gaps[rows]))
    changes = [model.importance(x, y).means for x, y in ((new, gaps), (new[rows], gaps[rows]))]
    assert np.argmax(changes[0]) == np.argmax(changes[1])
    assert model.plot_calibration(ONE) is not None
    model.report().save(tmp_path / "page.html")
    assert "nan" not in (tmp_path / "page.html").read_text()


@pytest.mark.filterwarnings("ignore:y is NaN in")
def test_missing_targets_stay_in_line_with_groups_times_and_weights():
    groups, weights = np.arange(N) // 3, rng.uniform(0.5, 2, N)
    for given in ({"groups": groups}, {"time": np.arange(N)}):
        model, expected = (
            TabMLPRegressor(preset="fast", epochs=8, random_state=0).fit(X, y, w, **given)
            for y, w in ((ONE, weights), (np.where(THERE, ONE, 0.0), weights * THERE))
        )
        np.testing.assert_array_equal(model.oof_prediction_, expected.oof_prediction_)


def test_partial_fit_counts_the_rows_that_it_leaves_out():
    with pytest.warns(UserWarning, match=SAID):
        model, again = fitted(ONE), fitted(ONE)
    later = np.where(np.arange(N) % 2, Y[:, 0], np.nan)
    with pytest.warns(UserWarning, match=f"y is NaN in {N // 2} of {N} rows"):
        model.partial_fit(X, later)
    again.partial_fit(X[1::2], later[1::2])
    np.testing.assert_array_equal(model.predict(X), again.predict(X))
    with pytest.raises(ValueError, match="Input y contains NaN alone"):
        model.partial_fit(X[:2], [np.nan, np.nan])


def test_files_hold_the_weights_of_rows_as_they_were_given(tmp_path):
    """A row counts less in mean costs if a target is missing, but its weight stays what it was."""
    weights = np.resize([1.0, 2.0, 0.7], N)
    model = fitted(sample_weight=weights)
    expected = np.where(HAS.any(axis=1), weights, 0.0)
    for each in (model, saved(model, tmp_path / "model")):
        stored = fitted_of(each).out_of_fold.weights
        np.testing.assert_allclose(stored, expected / expected[expected > 0].mean(), rtol=1e-12)
        np.testing.assert_array_equal(stored[HAS.all(axis=1)] > 0, True)
