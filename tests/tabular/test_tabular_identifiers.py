"""Whole numbers that name things, such as shops, are read as ordered categories."""

from __future__ import annotations

import time
import warnings
from decimal import Decimal

import numpy as np
import pandas
import pytest

import fastmlp
from fastmlp import TabMLPClassifier, TabMLPRegressor
from fastmlp.tabular.recipe import linear
from fastmlp.tabular.selection import identifiers

N = 900
RNG = np.random.default_rng(4)
A, B = RNG.normal(size=(2, N))
SHOP = RNG.integers(100, 130, N)
LEVEL = RNG.normal(size=30)[SHOP - 100]
NOISE = 0.3 * RNG.normal(size=N)
Y = A + LEVEL + NOISE
FRAME = pandas.DataFrame({"a": A, "shop": SHOP, "b": B})
SMALL = {"preset": "fast", "epochs": 8, "folds": 2, "members": 2, "n_jobs": 1, "random_state": 0}


def regressor(**options):
    return TabMLPRegressor(**SMALL | options)


def names_of(model):
    return [note for note in model.report().notes if "are read as names" in note]


@pytest.fixture(scope="module")
def model():
    return regressor().fit(FRAME, Y)


def test_shops_are_categories_and_predictions_gain(model):
    assert model.report().kinds == {"numbers": 2, "dates": 0, "categories": 1}
    (note,) = names_of(model)
    assert note.startswith("the whole numbers of shop are read as names")
    as_numbers = regressor(select=False).fit(FRAME, Y)
    errors = [np.nanmean((each.oof_prediction_ - Y) ** 2) for each in (model, as_numbers)]
    assert errors[0] < 0.7 * errors[1]


def test_they_are_those_that_a_user_would_declare(model):
    declared = FRAME.assign(shop=pandas.Categorical(SHOP, ordered=True))
    same = regressor().fit(declared, Y)
    np.testing.assert_array_equal(same.predict(declared), model.predict(FRAME))


# By name: values of a column of whole numbers, and the target, beside the column a.
QUANTITIES = {
    "a line": (SHOP, A + 0.1 * SHOP),
    "a wave": (SHOP, A + np.sin(SHOP / 4) + NOISE),
    "steps": (SHOP, A + 2.0 * (SHOP > 110) + NOISE),
    "noise": (SHOP, A + NOISE),
    "few values": (SHOP % 7, A + np.array([0, 3, 1, 4, 0, 5, 2.0])[SHOP % 7] + NOISE),
    "a value of each row": (np.argsort(A), A + NOISE),
    "fractions": (SHOP + 0.5, Y),
    "beyond whole numbers": (SHOP * 1e300, Y),
}


@pytest.mark.parametrize("name", QUANTITIES)
def test_quantities_stay_numbers(name):
    values, y = QUANTITIES[name]
    model = regressor().fit(np.c_[A, values.astype(float)], y)
    assert model.report().kinds["categories"] == 0
    same = regressor(select=False).fit(np.c_[A, values.astype(float)], y)
    np.testing.assert_array_equal(model.predict(np.c_[A, values]), same.predict(np.c_[A, values]))


@pytest.mark.parametrize(
    "options",
    [
        {"select": False},
        {"categorical_features": None},
        {"categorical_features": ["b"]},
        {"monotone": {"shop": 1}},
    ],
    ids=lambda options: next(iter(options)),
)
def test_users_decide_otherwise(options):
    frame = FRAME.assign(b=np.sign(B))
    assert names_of(regressor(**options).fit(frame, Y)) == []


def test_names_of_new_groups_and_new_times_say_nothing():
    grouped = regressor().fit(FRAME, Y, groups=SHOP)
    assert names_of(grouped) == []
    year = np.sort(SHOP)
    drift = A + RNG.normal(size=30)[year - 100] + NOISE
    timed = regressor().fit(FRAME.assign(shop=year), drift, time=year)
    assert names_of(timed) == []


def test_shops_that_come_again_later_are_names():
    assert names_of(regressor().fit(FRAME, Y, time=np.arange(N)))


@pytest.mark.parametrize("classes", [2, 4, 12])
def test_classes_have_names_too(classes):
    edges = np.quantile(Y, np.linspace(0, 1, classes + 1)[1:-1])
    labels = np.array([f"class {k}" for k in np.digitize(Y, edges)])
    assert names_of(TabMLPClassifier(**SMALL).fit(FRAME, labels))


def test_missing_and_new_numbers(model):
    shop = SHOP.astype(float)
    shop[::9] = np.nan
    gaps = regressor().fit(FRAME.assign(shop=shop), Y)
    assert names_of(gaps)
    rows = FRAME.iloc[:3].assign(shop=[101.0, np.nan, 9_999.0])
    assert np.isfinite(gaps.predict(rows)).all()
    assert np.isfinite(model.predict(rows)).all()


def test_weights_count():
    """Rows of weight 0 do not show that shops are names."""
    frame, y = pandas.concat([FRAME, FRAME]), np.r_[A + NOISE, Y + 50]
    weights = np.repeat([1.0, 0.0], N)
    assert names_of(regressor().fit(frame, y, weights)) == []


def test_few_rows_and_gaps_have_none():
    assert names_of(regressor().fit(FRAME[:60], Y[:60])) == []
    assert names_of(regressor().fit(FRAME, np.c_[Y, np.where(B > 0, np.nan, Y)])) == []


def test_many_rows_are_sampled(monkeypatch):
    """All that is done for each row is done for the rows that are drawn alone."""
    monkeypatch.setattr(identifiers, "MOST_ROWS", 120)
    looked_at = []
    ranked = identifiers.ranked_responses

    def responses(target):
        looked_at.append(len(target.y))
        return ranked(target)

    monkeypatch.setattr(identifiers, "ranked_responses", responses)
    assert names_of(regressor().fit(FRAME, Y))
    assert 240 <= looked_at[0] < 700  # of three folds, 120 learned and 120 held-out rows each


def test_one_fraction_in_many_rows_is_seen(monkeypatch):
    monkeypatch.setattr(identifiers, "MOST_ROWS", 120)
    monkeypatch.setattr(identifiers, "FIRST_ROWS", 10)
    shop = SHOP.astype(float)
    shop[-1] += 0.5
    assert names_of(regressor().fit(FRAME.assign(shop=shop), Y)) == []


def test_other_outlets_agree(model, tmp_path):
    wanted = model.predict(FRAME)
    model.save(tmp_path / "shops.fastmlp")
    loaded = fastmlp.load(tmp_path / "shops.fastmlp")
    np.testing.assert_array_equal(loaded.predict(FRAME), wanted)
    predict = model.predictor()
    rows = [predict([a, int(shop), b]) for a, shop, b in FRAME[:20].to_numpy().tolist()]
    np.testing.assert_allclose(np.ravel(rows), wanted[:20], rtol=1e-6)
    explained = model.explain(FRAME[:5], FRAME[:40])
    np.testing.assert_allclose(explained.values.sum(axis=1) + explained.base, wanted[:5], rtol=1e-5)
    assert explained.values.shape == (5, 3)
    files = model.to_c(tmp_path / "shops.c")
    assert files.source.exists()


def test_later_rows_are_read_like_those_of_the_fit():
    model = regressor().fit(FRAME[:600], Y[:600])
    before = model.predict(FRAME[600:])
    model.partial_fit(FRAME[600:], Y[600:])
    assert model.report().kinds["categories"] == 1
    assert not np.array_equal(model.predict(FRAME[600:]), before)


def test_a_short_time_limit_leaves_numbers():
    model = regressor(time_limit=0.01).fit(FRAME, Y)
    assert names_of(model) == []
    assert identifiers.LATE in model.report().notes


@pytest.mark.parametrize("limit", [None, 1000.0])
@pytest.mark.parametrize(("step", "calls"), [("ridge", 1), ("_costs", 3)])
def test_the_search_keeps_to_its_share_of_a_time_limit(step, calls, limit, monkeypatch):
    """Equations of many inputs, and many columns, took longer than a short limit."""
    late, taken, now = [0.0], [], time.monotonic
    of = linear if step == "ridge" else identifiers
    solve = getattr(of, step)

    def slow(*given):
        taken.append(None)
        late[0] += identifiers.TIME_SHARE * 1000.0
        return solve(*given)

    monkeypatch.setattr(time, "monotonic", lambda: now() + late[0])
    numbers = FRAME.assign(other=SHOP % 17)
    with monkeypatch.context() as patch:
        patch.setattr(of, step, slow)
        patch.setattr(linear, "suits", lambda data, preset: False)
        model = regressor(time_limit=limit).fit(numbers, Y)
    assert (identifiers.LATE in model.report().notes) == (limit is not None)
    assert len(taken) == (calls if limit else 3 if step == "ridge" else 6)
    assert bool(names_of(model)) == (limit is None)


def test_blocks_of_arrow_are_read_like_a_frame(model):
    pyarrow = pytest.importorskip("pyarrow")
    source = fastmlp.ArrowBlocks(pyarrow.Table.from_pandas(FRAME.assign(y=Y)), target="y")
    of_blocks = regressor().fit(source)
    assert names_of(of_blocks)
    np.testing.assert_array_equal(of_blocks.predict(FRAME), model.predict(FRAME))


def test_targets_that_are_equal_have_no_names_and_no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        assert names_of(regressor().fit(FRAME, np.ones(N))) == []


def test_numbers_are_read_from_decimals_as_if_they_were_none():
    decimals = FRAME.assign(shop=[Decimal(shop).scaleb(2).scaleb(-2) for shop in SHOP.tolist()])
    model = regressor().fit(decimals, Y)
    assert names_of(model)
    wanted = model.predict(FRAME)
    np.testing.assert_array_equal(model.predict(decimals), wanted)
    predict = model.predictor()
    assert predict([A[0], Decimal(int(SHOP[0])), B[0]]) == wanted[0]
    unknown = [predict([A[0], shop, B[0]]) for shop in (Decimal("100.5"), 9_999)]
    missing = predict([A[0], Decimal("nan"), B[0]])
    assert unknown == [missing, missing]


def test_declared_categories_may_be_decimals():
    prices = pandas.DataFrame({"price": [Decimal(k) / 4 for k in range(5)] * 40, "a": A[:200]})
    model = regressor(categorical_features=["price"]).fit(prices, Y[:200])
    assert model.report().kinds["categories"] == 1
    floats = prices.assign(price=prices.price.astype(float))
    np.testing.assert_array_equal(model.predict(prices), model.predict(floats))


@pytest.mark.parametrize("shop", [np.inf, -np.inf, np.float32(np.inf), Decimal("inf")], ids=repr)
def test_infinite_numbers_are_refused(model, shop):
    with pytest.raises(ValueError, match="contains infinity .*: shop has such values; use NaN"):
        model.predict(FRAME.assign(shop=shop))
    with pytest.raises(ValueError, match="contains infinity"):
        model.predictor()([A[0], shop, B[0]])


@pytest.mark.parametrize("step", [1, -1])
def test_numbers_that_float64_rounds_are_no_names(step):
    """2**53 + 1 would have the category of 2**53."""
    shop = step * (2**53 + 1 - (SHOP - 100))
    assert names_of(regressor().fit(FRAME.assign(shop=shop), Y)) == []
    assert names_of(regressor().fit(FRAME.assign(shop=shop - 2 * step), Y))
