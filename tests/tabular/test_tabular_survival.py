"""TabMLPSurvival: curves, what it learns from, what it refuses, files and exports."""

import ctypes
import pickle
import re
import warnings

import exports
import numpy as np
import pandas
import pytest
from matplotlib import pyplot
from sklearn.base import clone
from sklearn.model_selection import KFold, PredefinedSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from tiny_tables import SMALL

import fastmlp
from fastmlp import ArrowBlocks, TabMLPSurvival
from fastmlp.sklearn.fitted import fitted_of
from fastmlp.tabular.outcome import survival_target
from fastmlp.tabular.outcome.checked_survival import structured
from fastmlp.tabular.outcome.survival_target import SurvivalTarget, edges_of
from fastmlp.tabular.plan import presets
from fastmlp.tabular.plan.presets import Preset

RNG = np.random.default_rng(0)
N = 400
X = RNG.normal(size=(N, 3))
TRUE = RNG.exponential(np.exp(-X[:, 0]))
END = RNG.uniform(0, 3, N)
TIME, EVENT = np.minimum(TRUE, END), TRUE <= END
Y = structured(TIME, EVENT)
DAYS = np.array([0.0, 0.2, 0.5, 1.0, 2.0])


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "fast", Preset(3, 2, 24, (SMALL,)))


def survival(**options):
    return TabMLPSurvival(**{"preset": "fast", "random_state": 0, **options})


def expected_failures(estimator):
    name = "check_sample_weight_equivalence_on_dense_data"
    return {name: "a row that is there twice is in other folds than one of weight 2"}


CASES = parametrize_with_checks([survival()], expected_failed_checks=expected_failures)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.parametrize(CASES.args[0], list(CASES.args[1]), **CASES.kwargs)
def test_common_checks(estimator, check, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "fast", Preset(2, 1, 8, (SMALL,)))
    check(estimator)


# ------------------------------------------------------------ the target


def test_labels_are_known_until_the_event_or_the_last_look():
    edges = np.array([1.0, 2.0, 4.0])
    rows = [(0.0, 1), (1.0, 1), (1.01, 1), (9.0, 1), (0.0, 0), (0.4, 0), (1.5, 0), (3.1, 0)]
    nan = np.nan
    wanted = [
        *([1, nan, nan], [1, nan, nan], [0, 1, nan], [0, 0, 0]),
        *([nan, nan, nan], [nan, nan, nan], [0, 0, nan], [0, 0, 0]),
    ]
    target = SurvivalTarget.of_times(np.array(rows, float), edges)
    np.testing.assert_array_equal(target.labels(), np.array(wanted, float))
    np.testing.assert_array_equal(target.labels([1, 6]), np.array(wanted, float)[[1, 6]])
    hazards = np.array([0.1, 0.2, 0.5])
    likelihoods = [0.1, 0.1, 0.9 * 0.2, 0.9 * 0.8 * 0.5, 1, 1, 0.9 * 0.8, 0.9 * 0.8 * 0.5]
    costs = target.costs(np.tile(hazards, (2, 8, 1)))
    np.testing.assert_allclose(costs, -np.log([likelihoods] * 2))


@pytest.mark.parametrize("weights", [None, RNG.integers(1, 4, 30).astype(float)])
def test_the_baseline_is_the_curve_of_the_other_rows(weights):
    times = RNG.integers(1, 6, 30).astype(float)
    events = RNG.random(30) < 0.5
    target = SurvivalTarget.of_times(np.c_[times, events], np.arange(1.0, 6.0))
    w = np.ones(30) if weights is None else weights
    _, found = target.constant(weights)
    for row in range(30):
        for k, day in enumerate(target.classes):
            others = np.arange(30) != row
            died = w @ (others & (times == day) & events)
            at_risk = w @ (others & (times >= day))
            assert found[row, k] == pytest.approx((died + 0.5) / (at_risk + 1))


def test_hazards_of_all_rows_are_the_curve_of_kaplan_and_meier():
    times = RNG.integers(1, 6, 200).astype(float)
    events = RNG.random(200) < 0.5
    at_risk = np.array([np.sum(times >= day) for day in range(1, 6)])
    died = np.array([np.sum((times == day) & events) for day in range(1, 6)])
    steps = survival_target.of_curves.kaplan_meier(times, events)
    curve = survival_target.survival((died / at_risk)[np.newaxis], np.arange(1.0, 6.0), steps[0])
    np.testing.assert_allclose(curve[0], steps[1])


def test_intervals_end_at_quantiles_of_the_events():
    edges = edges_of(TIME, EVENT)
    assert len(edges) == min(survival_target.MOST_INTERVALS, EVENT.sum() // 12)
    assert edges[-1] == TIME.max()
    assert (np.diff(edges) > 0).all()
    last = np.searchsorted(edges, TIME[EVENT])
    assert np.bincount(last).max() <= 2 * EVENT.sum() / len(edges)


# ------------------------------------------------------------ curves


@pytest.fixture(scope="module")
def model():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets.PRESETS, "fast", Preset(3, 2, 24, (SMALL,)))
        return survival().fit(X, Y)


def test_a_curve_begins_with_1_falls_and_ends_where_the_data_end(model):
    last = model.event_times_[-1]
    assert last == TIME.max()
    times = np.linspace(0, last, 301)
    curves = model.predict_survival(X, times)
    assert curves.shape == (N, 301)
    assert (curves[:, 0] == 1).all()
    assert (np.diff(curves, axis=1) <= 0).all()
    assert (curves > 0).all()
    for wrong in ([last * 1.001], [-1e-9], [np.nan], 1.0, [[1.0]], ["a"], [[0], [0, 1]]):
        with pytest.raises(ValueError, match="a sequence of numbers from 0 to .* the last time"):
            model.predict_survival(X, wrong)


def test_curves_hazards_risks_and_quantiles_agree(model):
    hazards, edges = model.predict_hazards(X), model.event_times_
    at_ends = np.cumprod(1 - hazards, axis=1)
    np.testing.assert_allclose(model.predict_survival(X, edges), at_ends, rtol=1e-12)
    np.testing.assert_allclose(model.predict(X), -np.log(at_ends).sum(axis=1))
    for share in (0.1, 0.5, 0.9):
        times = model.predict_quantile(X, share)
        known = np.isfinite(times)
        np.testing.assert_array_equal(known, at_ends[:, -1] <= 1 - share)
        for row in np.flatnonzero(known)[:20]:
            curve = model.predict_survival(X[[row]], [times[row]])
            assert curve[0, 0] == pytest.approx(1 - share)
    with pytest.raises(ValueError, match="share is 1"):
        model.predict_quantile(X, 1.0)


def test_it_learns_who_has_the_event_first(model):
    assert model.score(X, Y) > 0.7
    assert model.score(X, Y, sample_weight=np.where(X[:, 0] > 0, 1, 0)) != model.score(X, Y)
    low, high = X[X[:, 0] < -0.5], X[X[:, 0] > 0.5]
    low, high = (model.predict_survival(rows, DAYS).mean(axis=0) for rows in (low, high))
    assert (low[1:] > high[1:]).all()
    assert not model.report().is_worthless
    true = np.exp(-np.exp(X[:, :1]) * DAYS)
    assert np.abs(model.predict_survival(X, DAYS).mean(axis=0) - true.mean(axis=0)).max() < 0.08


def test_curves_may_cross():
    """Half of the rows have the event soon or never, the others all in the middle."""
    kind = np.arange(N) % 2
    soon = RNG.random(N) < 0.5
    times = np.where(kind == 0, np.where(soon, 0.1, 3.0), 1.0) + RNG.uniform(0, 0.05, N)
    events = (kind == 1) | soon
    found = survival(epochs=96).fit(kind[:, np.newaxis].astype(float), time=times, event=events)
    curves = found.predict_survival([[0.0], [1.0]], [0.5, 2.0])
    assert curves[0, 0] < curves[1, 0]
    assert curves[0, 1] > curves[1, 1]


def test_the_same_bits_for_any_number_of_threads_rows_and_blocks(model):
    one = survival(n_jobs=1).fit(X, Y)
    np.testing.assert_array_equal(one.predict_hazards(X), model.predict_hazards(X))
    parts = [model.predict_survival(X[at : at + 7], DAYS) for at in range(0, N, 7)]
    np.testing.assert_array_equal(np.concatenate(parts), model.predict_survival(X, DAYS))
    out = np.empty(N)
    assert model.predict(X, out=out) is out
    np.testing.assert_array_equal(out, model.predict(X))


def test_members_spread_around_the_curve(model):
    curves = model.member_survival(X[:9], DAYS)
    of_groups = fitted_of(model).blend.weights  # of networks, and of the linear part
    assert curves.shape == (6 * len(of_groups), 9, 5)
    assert (curves[:, :, 0] == 1).all()
    joint = model.predict_survival(X[:9], DAYS)
    mean = np.average(curves, axis=0, weights=np.repeat(of_groups, 6))
    assert np.abs(mean - joint).max() < 0.05
    assert (curves.std(axis=0)[:, 1:] > 0).all()


# ------------------------------------------------------------ what goes in


def test_all_forms_of_a_target_are_the_same(model):
    risk = model.predict(X)
    frame = pandas.DataFrame(X, columns=list("abc")).assign(days=TIME, died=EVENT)
    swapped = np.empty(N, [("t", float), ("e", bool)])
    swapped["t"], swapped["e"] = TIME, EVENT
    for fitted in (
        survival().fit(X, time=TIME, event=EVENT),
        survival().fit(X, time=TIME.tolist(), event=EVENT.astype(int)),
        survival().fit(X, time=pandas.Series(TIME), event=EVENT.astype(object)),
        survival().fit(X, swapped),
        survival().fit(X, np.rec.fromarrays([EVENT.astype(float), TIME], names=["e", "t"])),
    ):
        np.testing.assert_array_equal(fitted.predict(X), risk)
    by_name = survival().fit(frame, time="days", event="died")
    assert list(by_name.feature_names_in_) == ["a", "b", "c"]
    np.testing.assert_array_equal(by_name.predict(frame[["a", "b", "c"]]), risk)
    concordance = model.score(X, Y)
    assert model.score(X, time=TIME, event=EVENT) == concordance
    assert by_name.score(frame, time="days", event="died") == concordance
    every = survival().fit(X, TRUE)  # numbers alone are times of events
    same = survival().fit(X, time=TRUE, event=np.full(N, True))
    np.testing.assert_array_equal(every.predict(X), same.predict(X))


def test_records_that_are_not_masked_may_be_strided():
    records = np.ma.masked_array(np.repeat(structured(TIME, EVENT), 2), mask=False)[::2]
    assert not records.flags.contiguous
    model = survival(epochs=2).fit(X, records)
    same = survival(epochs=2).fit(X, structured(TIME, EVENT))
    np.testing.assert_array_equal(model.predict(X), same.predict(X))


# By name: arguments of fit, the exception, and what it says.
NO, ONE = np.full(N, False), np.arange(N) == 7
WRONG = {
    "all censored": (
        {"time": TIME, "event": NO},
        ValueError,
        "0 events, none after time 0, .* pass rows that had the event, too",
    ),
    "events at 0": (
        {"time": TIME * (~ONE), "event": ONE},
        ValueError,
        "1 events, none after time 0, .* from an earlier begin",
    ),
    "5e-324": (
        {"time": EVENT * 5e-324, "event": EVENT},
        ValueError,
        "holds 5e-324 .* smaller unit",
    ),
    "negative": ({"time": TIME - 1, "event": EVENT}, ValueError, "time holds -.* from 0 to 1e"),
    "NaN": ({"time": np.where(ONE, np.nan, TIME), "event": EVENT}, ValueError, "time holds nan"),
    "infinite": ({"time": np.where(ONE, np.inf, TIME), "event": EVENT}, ValueError, "holds inf"),
    "1e200": ({"time": TIME * 1e200, "event": EVENT}, ValueError, "time holds .* 1e.100"),
    "text times": ({"time": TIME.astype(str).tolist(), "event": EVENT}, None, None),
    "words": (
        {"time": ["soon"] * N, "event": EVENT},
        ValueError,
        "time holds 'soon' .str. but numbers",
    ),
    "durations": (
        {"time": (TIME * 1e9).astype("m8[ns]"), "event": EVENT},
        ValueError,
        r"time holds .* pass days, such as \(end - start\)",
    ),
    "dates": (
        {"time": (TIME * 1e9).astype("M8[ns]"), "event": EVENT},
        ValueError,
        "time holds dates .* pass days",
    ),
    "swapped fields": (
        {"y": np.array([*zip(TIME, EVENT, strict=True)], [("days", float), ("died", int)])},
        ValueError,
        r"fields days, died, of which the second holds events, .* pass y\[\['died', 'days'\]\]",
    ),
    "swapped numbers": (
        {"time": EVENT.astype(int), "event": TIME},
        ValueError,
        "event holds .* pass whether rows had the event, and its time as time",
    ),
    "swapped": ({"time": EVENT, "event": TIME}, ValueError, "time holds truth values .* as event"),
    "complex": ({"time": TIME + 1j, "event": EVENT}, ValueError, "time holds complex numbers"),
    "masked times": (
        {"time": np.ma.masked_array(TIME, ONE), "event": EVENT},
        ValueError,
        "time has masked entries",
    ),
    "masked events": (
        {"time": TIME, "event": np.ma.masked_array(EVENT, ONE)},
        ValueError,
        "event has masked entries",
    ),
    "masked records": (
        {"y": np.ma.masked_array(structured(TIME, EVENT), ONE)},
        ValueError,
        "y has masked entries",
    ),
    "text events": (
        {"time": TIME, "event": np.where(EVENT, "died", "lives")},
        ValueError,
        "event holds '(died|lives)' .* pass for example event == 'died'",
    ),
    "several events": (
        {"time": TIME, "event": EVENT * 2},
        ValueError,
        "event holds 2 .* competing events are not modelled, so pass event == 1",
    ),
    "NaN event": (
        {"time": TIME, "event": np.where(ONE, np.nan, EVENT)},
        ValueError,
        "event holds nan .* drop the rows of which it is not known",
    ),
    "lengths": ({"time": TIME, "event": EVENT[1:]}, ValueError, r"time has shape \(400,\) and ev"),
    "rows": ({"time": TIME[1:], "event": EVENT[1:]}, ValueError, "inconsistent numbers of samples"),
    "columns": ({"y": np.c_[TIME, EVENT]}, ValueError, r"y has shape \(400, 2\) .* fit\(X, time="),
    "axes": ({"time": np.c_[TIME, TIME], "event": EVENT}, ValueError, "time has 2 dimensions"),
    "entry": (
        {"y": np.rec.fromarrays([TIME, TIME, EVENT], names=["start", "stop", "event"])},
        ValueError,
        r"start, stop, event but .* \(left truncation\) .* are not modelled",
    ),
    "time alone": ({"time": TIME}, TypeError, "y, or both time and event"),
    "both": ({"y": Y, "time": TIME, "event": EVENT}, TypeError, "y, or both time and event"),
    "nothing": ({}, ValueError, "requires y to be passed"),
    "no column": ({"time": "days", "event": "died"}, TypeError, "time is 'days' but"),
    "missing event": (
        {"time": TIME, "event": np.array([None, *EVENT[1:]])},
        ValueError,
        r"event holds None \(NoneType\) but truth values .* drop the rows of which it is not known",
    ),
    "events as objects": ({"time": TIME, "event": EVENT.astype(object)}, None, None),
    "events of NumPy": ({"time": TIME, "event": np.array([*EVENT], object)}, None, None),
    "numbers as objects": ({"time": TIME, "event": EVENT.astype(int).astype(object)}, None, None),
    "events of pandas": ({"time": TIME, "event": pandas.array(EVENT, "boolean")}, None, None),
}


@pytest.mark.parametrize("name", WRONG)
def test_hostile_targets(name):
    options, error, words = WRONG[name]
    if error is None:
        survival().fit(X, **options)
        return
    with pytest.raises(error, match=words):
        survival().fit(X, **options)


ODD = {
    "one event": (TIME, ONE),
    "an event and ties": (np.ones(N), ONE),
    "all at one time": (np.ones(N), EVENT),
    "two times": (np.where(EVENT, 1.0, 2.0), EVENT),
    "whole days": (np.ceil(4 * TIME), EVENT),
    "time 0": (np.where(np.arange(N) % 3, TIME, 0.0), EVENT),
    "nanoseconds": ((TIME * 1e9).astype(np.int64) + 10**15, EVENT),
    "tiny": (TIME * 1e-90, EVENT),
    "huge": (TIME * 1e90, EVENT),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_targets_give_curves(name):
    time, event = ODD[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = survival().fit(X, time=time, event=event)
        last = found.event_times_[-1]
        curves = found.predict_survival(X, np.linspace(0, last, 50))
        assert str(found.report())
    assert np.isfinite(curves).all()
    assert (curves[:, 0] == 1).all()
    assert (np.diff(curves, axis=1) <= 0).all()
    assert last == time.max()
    assert np.isfinite(found.predict(X)).all()
    assert not np.isnan(found.predict_quantile(X)).any()


def test_the_unit_of_time_does_not_matter(model):
    other = survival().fit(X, time=TIME * 2.0**40, event=EVENT)
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    np.testing.assert_allclose(other.predict_quantile(X), model.predict_quantile(X) * 2.0**40)


def test_weights_groups_folds_and_validation():
    heavy = survival().fit(X, Y, sample_weight=np.where(EVENT, 5.0, 1.0))
    plain = survival().fit(X, Y)
    assert heavy.predict(X).mean() > plain.predict(X).mean()
    left_out = survival().fit(X, Y, sample_weight=np.where(X[:, 0] > 0, 1.0, 0.0))
    assert np.isfinite(left_out.predict(X)).all()
    groups = np.arange(N) // 4
    assert survival().fit(X, Y, groups=groups).score(X, Y) > 0.6
    folds = survival(folds=KFold(4)).fit(X, Y)
    assert folds.oof_prediction_.shape == (N, len(folds.event_times_))
    held = survival().fit(X[:300], Y[:300], X_val=X[300:], y_val=Y[300:])
    assert "validation" in str(held.report())
    chosen = survival(validation="choose").fit(X[:300], Y[:300], X_val=X[300:], y_val=Y[300:])
    assert chosen.score(X, Y) > 0.6


def test_monotone_columns_never_lower_the_risk():
    model = survival(monotone={0: 1, 1: -1}).fit(X, Y)
    for column, sign in ((0, 1), (1, -1)):
        rows = np.tile(X[:20], (30, 1, 1))
        rows[:, :, column] = np.linspace(-4, 4, 30)[:, np.newaxis]
        flat = rows.reshape(-1, 3)
        risk = model.predict(flat).reshape(30, 20)
        curves = model.predict_survival(flat, DAYS).reshape(30, 20, 5)
        assert (np.diff(sign * risk, axis=0) >= -1e-12).all()
        assert (np.diff(sign * curves, axis=0) <= 1e-12).all()


def test_what_is_not_built_is_refused_in_words(model):
    assert not hasattr(model, "partial_fit")
    with pytest.raises(AttributeError, match="events of new rows are not known yet: fit again"):
        model.partial_fit
    with pytest.raises(ValueError, match="scoring is 'r2' but a survival curve is judged by its"):
        survival(scoring="r2").fit(X, Y)
    table = pytest.importorskip("pyarrow").table({"a": X[:, 0], "t": TIME})
    with pytest.raises(TypeError, match="X is a source but TabMLPSurvival reads tables in memory"):
        survival().fit(ArrowBlocks(table, target="t"))
    with pytest.raises(TypeError, match="X is a generator, a source of blocks, but"):
        survival().fit((block for block in [(X, TIME)]), time=TIME, event=EVENT)
    for write in (model.to_c, model.to_onnx):
        with pytest.raises(ValueError, match="a TabMLPSurvival predicts no quantiles of levels"):
            write("net", levels=[0.5])


def test_frames_of_dask_are_refused():
    frame = pytest.importorskip("dask.dataframe").from_pandas(
        pandas.DataFrame(X, columns=[*"abc"]).assign(time=TIME, event=EVENT), npartitions=2
    )
    with pytest.raises(TypeError, match=r"but a frame of rows is expected: pass X.compute\(\)"):
        survival().fit(frame, time="time", event="event")
    with pytest.raises(TypeError, match=r"but a frame of rows is expected: pass X.compute\(\)"):
        fastmlp.TabMLPRegressor(preset="fast").fit(frame, "time")


def test_folds_that_learn_nothing_are_refused():
    words = "a fold learns from 1 rows alone that were last seen before 0.5, without an event"
    with pytest.raises(ValueError, match=words):
        survival().fit(X[:2], time=[2.0, 0.0], event=[True, False])
    early = np.where(np.arange(N) < 200, 1e-9, TIME)
    event = EVENT & (np.arange(N) >= 200)
    with pytest.raises(ValueError, match="a fold learns from 200 rows alone"):
        survival().fit(X, time=early, event=event, folds=np.arange(N) // 200)


@pytest.mark.parametrize(
    ("rows", "weights", "words"),
    [
        (20, None, "inconsistent numbers of samples"),
        (N, np.ones(3), "inconsistent numbers of samples"),
        (N, np.full(N, -1.0), "Negative values"),
    ],
)
def test_scores_of_wrong_rows_are_refused(model, rows, weights, words):
    with pytest.raises(ValueError, match=words):
        model.score(X[:rows], Y, weights)


def test_scores_need_both_times_and_events_or_records(model):
    with pytest.raises(TypeError, match="y, or both time and event, are expected"):
        model.score(X, Y, time=TIME, event=EVENT)
    with pytest.raises(TypeError, match="y, or both time and event, are expected"):
        model.score(X, time=TIME)
    with pytest.raises(ValueError, match="requires y to be passed"):
        model.score(X)


# ------------------------------------------------------------ tools of scikit-learn, files, exports


def test_tools_of_scikit_learn_take_it(model):
    scores = cross_val_score(survival(), X, Y, cv=KFold(3))
    assert scores.min() > 0.65
    piped = make_pipeline(StandardScaler(), survival()).fit(X, Y)
    assert piped.score(X, Y) > 0.7
    assert clone(model).get_params() == model.get_params()
    assert model.feature_importances_.argmax() == 0
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_survival(X, DAYS), model.predict_survival(X, DAYS))


def test_files_and_their_predictors(model, tmp_path):
    for training in (True, False):
        model.save(tmp_path / "model", training=training)
        loaded = fastmlp.load(tmp_path / "model")
        np.testing.assert_array_equal(loaded.event_times_, model.event_times_)
        for method in ("predict", "predict_hazards", "predict_quantile"):
            np.testing.assert_array_equal(getattr(loaded, method)(X), getattr(model, method)(X))
        assert str(loaded.report()) == str(model.report())
        importance = loaded.importance(X, Y)
        assert importance.names[0] == "column 0"
    predictor = fastmlp.load_predictor(tmp_path / "model")
    np.testing.assert_array_equal([predictor(row) for row in X[:5]], model.predict_hazards(X[:5]))


def test_a_smaller_network_has_nearly_the_same_curves(model):
    small = model.distill(X)
    assert len(fitted_of(small).blend) == 1
    away = small.predict_survival(X, DAYS) - model.predict_survival(X, DAYS)
    assert np.sqrt(np.mean(away**2)) < 0.05


def test_onnx_has_hazards_and_curves(model):
    pytest.importorskip("onnxruntime")
    found = exports.run_onnx(model.to_onnx(), {"X": X})
    assert list(found) == ["hazards", "survival"]
    np.testing.assert_allclose(found["hazards"], model.predict_hazards(X), atol=1e-6)
    curves = model.predict_survival(X, model.event_times_)
    np.testing.assert_allclose(found["survival"], curves, atol=1e-6)


def test_c_has_hazards_and_curves(model, tmp_path):
    files = model.to_c(tmp_path / "net.c", X=X)
    assert files.largest_error < 1e-5
    assert files.labels_changed is None
    library, k = exports.compiled(tmp_path, "-O1"), len(model.event_times_)
    for name, wanted in {
        "predict": model.predict_hazards(X[:9]),
        "survival": model.predict_survival(X[:9], model.event_times_),
    }.items():
        found = np.zeros((9, k))
        for row, out in zip(X[:9], found, strict=True):
            arguments = (each.ctypes.data_as(ctypes.c_void_p) for each in (row.copy(), out))
            numbers, out_at = arguments
            getattr(library, f"net_{name}")(numbers, None, out_at)
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    times = (ctypes.c_double * k).in_dll(library, "net_labels")
    np.testing.assert_array_equal(times, model.event_times_)


def test_report_pictures_and_page(model, tmp_path):
    report = model.report()
    text = str(report)
    for name in ("concordance", "Brier score", "survival", "risk", "temperature", "d2 score"):
        assert f"\n{name:<12} " in text
    concordance = float(dict(report.lines())["concordance"])
    oof = -np.log1p(-model.oof_prediction_)
    risk = np.cumsum(oof, axis=1).sum(axis=1)
    assert concordance == pytest.approx(
        survival_target.of_curves.concordance(TIME, EVENT, risk), abs=1e-4
    )
    brier, whole = (
        float(words.split()[-1].rstrip(",")) if k else float(words.split(",")[0])
        for k, words in enumerate(dict(report.lines())["Brier score"].split(";"))
    )
    assert brier < whole
    for kind in ("predicted", "observed"):
        of_groups = re.findall(rf"(\S+) {kind}", dict(report.lines())["risk"])
        assert len(of_groups) == 3
        assert of_groups == sorted(of_groups, reverse=True)
        assert len({*of_groups}) == 3
    report.save(tmp_path / "page.html")
    assert "negative log-likelihood" in (tmp_path / "page.html").read_text()
    assert "<svg" in report._repr_html_()
    axes = model.plot_calibration(Y, ax=pyplot.figure().add_subplot())
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        f"{name} risk" for name in survival_target.GROUPS
    ]
    ends = [line.get_ydata()[-1] for line in axes.lines[::2]]
    assert ends == sorted(ends, reverse=True)
    pyplot.close("all")
    explanation = fastmlp.explain(model, X[:20], X[:3])
    assert np.isfinite(explanation.values).all()


def test_time_limit_and_presets():
    limited = survival(time_limit=1).fit(X, Y)
    assert np.isfinite(limited.predict(X)).all()


def test_explanations_add_up_to_the_risk():
    model = survival().fit(X, Y)
    found = model.explain(X[:20], X[20:30])
    assert found.values.shape == X[:20].shape
    np.testing.assert_allclose(found.predictions, model.predict(X[:20]), rtol=1e-12)
    np.testing.assert_allclose(found.base, model.predict(X[20:30]).mean(), rtol=1e-12)
    assert found.unit == "prediction"


def test_events_of_weight_0_alone_are_refused():
    with pytest.raises(ValueError, match="sample_weight is 0 for all rows with an event"):
        survival().fit(X, Y, sample_weight=np.where(EVENT, 0.0, 1.0))


def test_rows_out_of_fold_need_no_event():
    event = EVENT & (np.arange(N) >= 50)
    folds = PredefinedSplit(np.where(np.arange(N) < 50, 0, -1))
    model = survival(folds=folds).fit(X, time=TIME, event=event)
    report = model.report()
    assert "Brier score" in str(report)
    assert "nan" in str(report)  # no pair of these rows is comparable
