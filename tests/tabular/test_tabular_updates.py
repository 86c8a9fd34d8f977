"""`partial_fit` of tables: drift, calibration by the latest rows, streams, files, errors."""

import copy
import re

import numpy as np
import pandas as pd
import pytest
from models import saved
from sklearn.exceptions import NotFittedError
from tiny_tables import LABELS, X, Y, classifier, regressor

import fastmlp
from fastmlp.sklearn.fitted import fitted_of

N = 600
NEW = np.random.default_rng(1).normal(size=(N, 3))
FRAME = pd.DataFrame(X, columns=list("abc")).assign(d=np.resize(["x", "y"], len(X)))
LATER = pd.DataFrame(NEW, columns=list("abc")).assign(d=np.resize(["x", "y", "z"], N))
RULE = 1 - 2 * NEW[:, 0]  # the later rows have this one; the fit's is about 1 * X[:, 0]
GAPS = np.column_stack([RULE, np.where(np.arange(N) % 3, -RULE, np.nan)])

KINDS = {
    "numbers": (regressor, Y, RULE),
    "classes": (classifier, LABELS, np.where(RULE > 0, "high", "low")),
    "two outputs": (regressor, np.column_stack([Y, -Y]), GAPS),
    "labels": (classifier, *(np.column_stack([y > 0, y < 1]) * 1 for y in (Y, RULE))),
    "variances": (lambda: regressor(loss="gaussian"), Y, RULE),
    "rates": (lambda: regressor(loss="poisson"), np.abs(Y), 9 + np.abs(RULE)),
    "distilled": (regressor, Y, RULE),
    "distilled classes": (classifier, LABELS, np.where(RULE > 0, "high", "low")),
    "true prior": (
        lambda: classifier(class_weight={"high": 3.0}, prior="true"),
        *(LABELS, np.where(RULE > 0, "high", "low")),
    ),
}


def fitted(kind="numbers"):
    """Return a fitted estimator, and the targets of later rows."""
    make, y, later = KINDS[kind]
    model = make().fit(FRAME, y, sample_weight=np.linspace(1, 1.1, len(y)))
    return (model.distill(FRAME) if kind.startswith("distilled") else model), later


def same(model, other):
    """Whether all results for the later rows have the same bits."""
    names = ("predict", "predict_interval", "predict_proba")
    pairs = [
        [getattr(m, name)(LATER) for m in (model, other)] for name in names if hasattr(model, name)
    ]
    return all(np.array_equal(*pair) for pair in pairs)


def error(model, y):
    """Return the mean error of later rows."""
    p = model.predict(LATER)
    return np.mean(p != y) if hasattr(model, "classes_") else np.nanmean(np.abs(p - y))


OF_OTHERS = {"classes", "two outputs", "variances", "distilled", "true prior"}  # as the rest


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind in OF_OTHERS)) for kind in KINDS]
)
def test_networks_follow_a_new_rule_and_go_on_from_files_to_the_bit(kind, tiny, tmp_path):
    model, later = fitted(kind)
    old, whole = copy.deepcopy(model), copy.deepcopy(model)
    for first in range(0, N, 150):
        rows = slice(first, first + 150)
        for m in (model, whole):
            m.partial_fit(LATER[rows], later[rows], rate=16.0)
        model = saved(model, tmp_path / "model")
        assert same(model, whole)
    assert error(whole, later) < 0.85 * error(old, later)
    assert str(model.report()) == str(whole.report())
    assert whole.report().more["partial_fit"].startswith("600 rows since the fit")
    assert len(model.oof_prediction_) == N
    assert sorted(whole.importance().names) == list("abcd")
    whole.report().save(tmp_path / "page.html")
    words = (
        r"and 600 later ones by partial_fit\. Each of the latest \d+ was predicted before it was"
    )
    page = (tmp_path / "page.html").read_text()
    assert re.search(words, page)
    assert "at the fit, of which are the networks and the baseline below" in page
    if "Largest errors" in page:
        assert "the first of the latest 600 rows is 0." in page
        assert "These are the 600 rows that this page measures. There were others." in page
    model.save(tmp_path / "model", training=False)
    alone = fastmlp.load(tmp_path / "model")
    assert same(alone, whole)
    assert str(alone.report()) == str(whole.report())
    alone.report().save(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "are on the page that is written right after the fit." in page
    assert "<th>missing" not in page
    alone.partial_fit(LATER, later)
    assert alone.report().more["partial_fit"].startswith("1,200 rows since the fit")
    once = fitted(kind)[0].partial_fit(LATER[:1], later[:1])
    assert once.report().more["partial_fit"].startswith("1 row since the fit")


def in_calls(model, y, w):
    for rows in (slice(200), slice(200, N)):
        model.partial_fit(LATER[rows], y[rows], w[rows])


def as_stream(model, y, w):
    blocks = ((LATER[rows], y[rows], w[rows]) for rows in (slice(200), slice(200, N)))
    model.partial_fit(blocks)


def from_a_callable(model, y, w):
    model.partial_fit(lambda: [(LATER[:200], y[:200], w[:200]), (LATER[200:], y[200:], w[200:])])


def from_a_source(model, y, w):
    table = LATER.assign(later=y, w=w)[["w", "later", *"dcba"]]
    model.partial_fit(fastmlp.ArrowBlocks(table[:200], "later", weight="w"))
    model.partial_fit(fastmlp.ArrowBlocks(table[200:], "later", weight="w"))


def without_rows_of_weight_0(model, y, w):
    for rows in (np.arange(200), np.arange(200, N)):
        used = rows[w[rows] > 0]
        model.partial_fit(LATER.iloc[used], y[used], 1e-60 * w[used])


@pytest.mark.parametrize("kind", ["numbers", "classes"])
@pytest.mark.parametrize("door", [as_stream, from_a_callable, from_a_source])
def test_all_doors_learn_the_same(kind, door, tiny):
    model, later = fitted(kind)
    other, w = copy.deepcopy(model), np.arange(N) % 4 / 2
    in_calls(model, later, w)
    door(other, later, w)
    assert same(model, other)
    third, _ = fitted(kind)
    without_rows_of_weight_0(third, later, w)
    np.testing.assert_allclose(error(third, later), error(model, later), rtol=1e-2)


def test_the_latest_rows_calibrate_once_there_are_a_hundred(tiny):
    model, later = fitted()
    width = np.diff(model.predict_interval(LATER)).mean()
    model.partial_fit(LATER[:60], later[:60])
    assert model.oof_prediction_.shape == (60,)
    np.testing.assert_allclose(np.diff(model.predict_interval(LATER)).mean(), width, rtol=0.5)
    old = fitted_of(model).calibration
    model.partial_fit(LATER[60:99], later[60:99])
    assert fitted_of(model).calibration is old
    model.partial_fit(LATER[99:100], later[99:100])
    new = np.diff(model.predict_interval(LATER)).mean()
    assert new > 1.5 * width  # the rule is new
    for _ in range(6):
        model.partial_fit(LATER, later, rate=1.0)
    assert model.oof_prediction_.shape == (2000,)
    low, high = model.predict_interval(LATER).T
    assert 0.8 < np.mean((low <= later) & (later <= high)) <= 1
    assert np.diff(model.predict_interval(LATER)).mean() < 0.5 * new


@pytest.mark.parametrize("kind", ["numbers", "two outputs", "rates"])
def test_intervals_after_a_jump_contain_predictions_and_targets(kind, tiny):
    model, later = fitted(kind)
    jumped = 50 + later
    for rate in (0.2, 16.0):
        model.partial_fit(LATER, jumped, rate=rate)
        low, high = np.moveaxis(model.predict_interval(LATER), -1, 0)
        assert np.all((low <= model.predict(LATER)) & (model.predict(LATER) <= high))
        inside = ((low <= jumped) & (jumped <= high)) | np.isnan(jumped)
        assert inside.mean() > 0.9


@pytest.mark.parametrize("n", [1, 64, 200])
def test_few_rows_of_the_same_rule_do_no_harm(n):
    x = np.random.default_rng(0).normal(size=(1000 + n, 2))
    model = regressor(epochs=None).fit(x[:1000], x[:1000, 0])
    old = np.std(model.predict(x) - x[:, 0])
    model.partial_fit(x[1000:], x[1000:, 0])
    assert np.std(model.predict(x) - x[:, 0]) < 1.1 * old


def test_blocks_without_weights_are_skipped(tiny):
    model, later = fitted()
    other, w = copy.deepcopy(model), 1.0 * (np.arange(N) >= 200)
    model.partial_fit(LATER[200:], later[200:])
    other.partial_fit((LATER[at], later[at], w[at]) for at in (slice(200), slice(200, N)))
    assert same(model, other)


def test_a_rule_holds_after_later_rows(tiny):
    model = regressor(monotone={"a": 1}).fit(FRAME, Y).partial_fit(LATER, RULE, rate=1.0)
    assert np.all(model.predict(LATER.assign(a=NEW[:, 0] + 1)) >= model.predict(LATER))


def broken():
    yield LATER[:300], RULE[:300]
    yield LATER[300:], np.full(300, np.nan)


NO_HIGH = {"class_weight": {"high": 0.0}, "prior": "weighted"}
WRONG = [
    (regressor, {}, (LATER[["a", "b"]], RULE), "The feature names should match"),
    (regressor, {}, (LATER, RULE[:9]), "inconsistent numbers of samples"),
    (regressor, {}, (LATER, np.ma.masked_array(RULE, RULE > 0)), "y has masked entries"),
    (regressor, {}, (LATER, None), "y is None and X is a DataFrame"),
    (regressor, {}, (LATER, RULE, -RULE), "Negative values in data"),
    (regressor, {}, (LATER, RULE, 0 * RULE), "at least one non-zero"),
    (regressor, {}, (iter([]),), "the stream has no rows"),
    (regressor, {}, (iter([(LATER, RULE)]), None, RULE), "y or sample_weight is passed beside"),
    (regressor, {}, (broken(),), "Input y contains NaN alone but"),
    (regressor, {}, (iter([LATER]),), "a block is a DataFrame but"),
    (regressor, {}, (fastmlp.ArrowBlocks(LATER, "a"), RULE), "y or sample_weight is passed beside"),
    (regressor, {}, (fastmlp.ArrowBlocks(LATER, "a"),), "target 'a' is a feature of the fit"),
    (regressor, {}, (fastmlp.ArrowBlocks(LATER),), "the source has no target"),
    (
        regressor,
        {"loss": "quantiles", "quantile": [0.1, 0.9]},
        (LATER, RULE),
        "loss is 'quantiles'",
    ),
    (classifier, NO_HIGH, (LATER, ["high"] * N), "no row has a weight"),
    (classifier, {}, (LATER, np.resize(["low", "new"], N)), "holds 'new' but the model knows"),
    (
        classifier,
        {"class_weight": "balanced", "prior": "true"},
        (LATER, LABELS),
        "'balanced' but p",
    ),
]


@pytest.mark.parametrize(("make", "options", "data", "message"), WRONG)
def test_wrong_rows_change_nothing(make, options, data, message, tiny):
    model = make(**options).fit(FRAME, Y if make is regressor else LABELS)
    before = fitted_of(model)
    with pytest.raises((TypeError, ValueError), match=message):
        model.partial_fit(*data)
    assert fitted_of(model) is before
    with pytest.raises(ValueError, match="rate is 0"):
        model.partial_fit(LATER, RULE, rate=0)


# The options of an estimator, and a share that its predictions keep: of rows below the quantile, or
# of the probability of the class "high", which is rare and heavy.
KEPT = {
    "quantile": (regressor, {"loss": "quantile", "quantile": 0.9}, 0.9),
    "median": (regressor, {"loss": "absolute_error"}, 0.5),
    "true prior": (classifier, {"class_weight": {"high": 20.0}, "prior": "true"}, 0.2),
}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind != "median")) for kind in KEPT]
)
def test_a_distilled_network_goes_on_to_learn_what_it_predicts(kind, tiny, tmp_path):
    make, options, share = KEPT[kind]
    z = NEW[:, 0] + NEW[:, 1] ** 2
    y = np.where(z > np.quantile(z, 0.8), "high", "low") if make is classifier else z
    teacher = make(**options, epochs=20).fit(NEW, y)
    for model in (teacher.distill(NEW), saved(teacher, tmp_path / "model").distill(NEW)):
        learner = saved(model, tmp_path / "model")
        for _ in range(4):
            learner.partial_fit(NEW, y)
        for stage in (model, learner):
            predicted = (
                stage.predict_proba(NEW)[:, 0] if make is classifier else y < stage.predict(NEW)
            )
            assert abs(predicted.mean() - share) < 0.1
        assert teacher.report().metric in learner.report().more["partial_fit"]


@pytest.mark.parametrize("kind", ["arrays", "a column", "weights", "a source", "classes"])
def test_the_first_partial_fit_of_an_estimator_fits_it(kind, tiny):
    first, later = LATER[:300], LATER[300:]
    calls = {
        "arrays": (regressor, [(first, RULE[:300]), (later, RULE[300:])]),
        "a column": (regressor, [(first.assign(y=RULE[:300]), "y"), (later, RULE[300:])]),
        "weights": (regressor, [(first, RULE[:300], np.arange(300.0)), (later, RULE[300:])]),
        "a source": (
            regressor,
            [(fastmlp.ArrowBlocks(first.assign(y=RULE[:300]), "y"),), (later, RULE[300:])],
        ),
        "classes": (classifier, [(first, RULE[:300] > 0), (later, RULE[300:] > 0)]),
    }
    make, (of_fit, of_update) = calls[kind]
    model = make()
    for call in (of_fit, of_update):
        assert model.partial_fit(*call) is model
    expected = make().fit(*of_fit).partial_fit(*of_update)
    np.testing.assert_array_equal(model.predict(later), expected.predict(later))
    assert "partial_fit" in model.report().more


def test_a_stream_needs_a_fit(tiny):
    with pytest.raises(NotFittedError):
        regressor().partial_fit(iter([(LATER, RULE)]))
    with pytest.raises(ValueError, match="rate is 0 but"):
        regressor().partial_fit(LATER, RULE, rate=0)


@pytest.mark.parametrize("kind", ["rates", "distilled"])
@pytest.mark.parametrize("n", [50, 200])
def test_intervals_are_whole_numbers_only_while_all_targets_are(kind, n, tiny, tmp_path):
    counts = np.round(10 * np.abs(Y))
    model = regressor(loss="poisson").fit(FRAME, counts)
    if kind == "distilled":
        model = model.distill(FRAME)
    for targets, are_whole in (
        (counts[0] + np.arange(n) % 3, True),
        (1.5 + np.arange(n) % 3, False),
    ):
        model.partial_fit(LATER[:n], targets)
        if kind == "rates" or not are_whole:
            low, high = model.predict_interval(FRAME).T
            assert np.array_equal(low, np.floor(low)) == are_whole
            assert np.array_equal(high, np.floor(high)) == are_whole


def test_a_file_without_training_keeps_the_latest_rows(tiny, tmp_path):
    model = regressor().fit(FRAME, Y).partial_fit(LATER[:150], RULE[:150])
    model.save(tmp_path / "model", training=False)
    again = fastmlp.load(tmp_path / "model")
    again.partial_fit(LATER[150:300], RULE[150:300])
    assert " of the latest 300, " in again.report().more["partial_fit"]
