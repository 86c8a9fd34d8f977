"""Monotone columns: no pair of rows breaks the rule, through any door."""

import functools
import pickle

import cases
import numpy as np
import pandas
import pyarrow
import pytest
from models import saved
from sklearn.base import clone
from tiny_tables import classifier, regressor

import fastmlp
from fastmlp._models.network import Network
from fastmlp.tabular.plan import presets
from fastmlp.tabular.plan.presets import Preset, Recipe
from fastmlp.tabular.recipe import monotone

PAIRS = 10_000
N = 400
RULE = {"up": 1, "down": -1, "gaps": 1, "free": 0}
SIGNS = {name: sign for name, sign in RULE.items() if sign}
RECIPES = (
    Recipe(bins=5, width=16, depth=2, embedding=16),
    Recipe(bins=0, width=8, activation="tanh"),
)
ULP = 1.2e-7  # the rounding of a number in float32


def frame(n, seed):
    """Return columns whose rules hold in the target, and others."""
    rng = np.random.default_rng(seed)
    columns = {
        "up": rng.normal(size=n),
        "free": rng.normal(size=n),
        "down": np.exp(2 * rng.normal(size=n)),
        "gaps": np.where(rng.random(n) < 0.2, np.nan, rng.integers(0, 5, n)),
        "text": np.array(["a", "b", "c"], object)[rng.integers(0, 3, n)],
    }
    return pandas.DataFrame(columns)


def truth(table):
    """Return targets that often break the rules by noise, so that an honest fit would."""
    noise = np.random.default_rng(1).normal(size=len(table))
    wave = np.sin(3 * table["up"]) - np.cos(2 * np.log(table["down"]))
    return (wave + table["gaps"].fillna(2) * table["free"] + noise).to_numpy()


@functools.cache
def fitted(kind):
    table = frame(N, 0)
    y = truth(table)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets.PRESETS, "fast", Preset(3, 1, 20, RECIPES))
        patch.setattr(
            "fastmlp.tabular.recipe.blend.greedy", lambda predictions, cost: np.full(2, 0.5)
        )
        if kind == "numbers":
            return regressor(monotone=RULE).fit(table, y)
        if kind == "outputs":
            return regressor(monotone=RULE).fit(table, np.column_stack([y, y**2]))
        options = {"class_weight": "balanced", "prior": "true"} if kind == "divided" else {}
        return classifier(monotone=RULE, **options).fit(table, y > 1)


def pairs(seed=5):
    """Return rows, and the same with one column moved in the direction of its rule."""
    rng = np.random.default_rng(seed)
    before = frame(PAIRS, seed)
    before["gaps"] = rng.uniform(-1, 6, PAIRS)
    after, moved = before.copy(), rng.integers(0, len(SIGNS), PAIRS)
    steps = np.exp(rng.uniform(-35, 5, PAIRS))  # the shortest are near one ulp of a number
    for k, (name, sign) in enumerate(SIGNS.items()):
        values = np.where(moved == k, before[name] + sign * steps, before[name])
        after[name] = values
    return before, after


def assert_rising(predict, ulps=0):
    """Fail unless every prediction of the second rows of pairs is at least that of the first."""
    before, after = (np.asarray(predict(table)).reshape(PAIRS, -1) for table in pairs())
    assert np.ptp(before) > 0
    assert np.mean(before < after) > 0.1
    room = ulps * ULP * np.abs(before)
    assert np.all(before <= after + room), np.max((before - after) / np.abs(before))


@pytest.mark.parametrize("kind", ["numbers", "outputs", "classes", "divided"])
def test_predictions_follow_the_rule(kind):
    model = fitted(kind)
    if kind in ("numbers", "outputs"):
        assert_rising(model.predict)
    else:
        assert_rising(lambda table: model.predict_proba(table)[:, 1], ulps=1)


def test_a_fit_without_the_rule_breaks_it():
    with pytest.raises(AssertionError):
        assert_rising(clone(fitted("numbers")).set_params(monotone=None).fit(*free()).predict)


def free():
    table = frame(N, 0)
    return table, truth(table)


def test_intervals_follow_the_rule():
    model = fitted("numbers")
    assert_rising(lambda table: model.predict_interval(table, coverage=0.9), ulps=1)
    assert_rising(lambda table: model.predict_interval(table, coverage=0.99), ulps=1)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("kind", cases.KINDS)
@pytest.mark.parametrize("activation", sorted(monotone.RISING))
@pytest.mark.parametrize("depth", [1, 3])
def test_networks_follow_the_rule_on_every_level(kind, dtype, activation, depth):
    rng, sizes = np.random.default_rng(depth), [4, *[24] * depth, 1]
    spec = cases.build(sizes, activation, dtype=dtype, scale=True, parametric=True)
    engine = cases.engine(kind, spec)
    engine.set_parameters(*cases.parameters(spec, rng))
    signs = np.array([1.0, 0.0, -1.0, 0.0])
    monotone.constrain(Network(spec, rng, lambda _: engine), signs, np.ones(1))
    cases.train(engine, cases.data(spec, 500, rng), 32, fastmlp.Adam())
    before = rng.normal(size=(PAIRS, 4)).astype(dtype)
    after = before + (signs * np.exp(rng.uniform(-30, 2, (PAIRS, 1)))).astype(dtype)
    first, then = engine.predict(before), engine.predict(after)
    assert np.all(first <= then)
    assert np.mean(first < then) > 0.3


def from_file(model, folder):
    again = saved(model, folder / "model.safetensors")
    assert again.get_params() == model.get_params()
    assert again.monotone == RULE
    return again


def by_rows(model, folder):
    predict = model.predictor()
    return lambda table: [predict(row) for row in table.itertuples(index=False)]


def from_source(model, folder):
    table, y = free()
    rows = table.assign(y=y if "loss" in model.get_params() else y > 1)
    source = fastmlp.ArrowBlocks(pyarrow.Table.from_pandas(rows), "y")
    return clone(model).set_params(epochs=8).fit(source)


def in_time(model, folder):
    table, y = free()
    options = {"epochs": 8, "width": 16, "members": 2}
    y = y if "loss" in model.get_params() else y > 1
    return clone(model).set_params(**options).fit(table, y, time=np.arange(N))


# Models or functions that a model makes.
DOORS = {
    "file": from_file,
    "pickle": lambda model, folder: pickle.loads(pickle.dumps(model)),
    "distilled": lambda model, folder: model.distill(free()[0]),
    "rows": by_rows,
    "source": from_source,
    "time": in_time,
}


@pytest.mark.parametrize("kind", ["numbers", "classes"])
@pytest.mark.parametrize("door", DOORS)
def test_the_rule_goes_through_every_door(door, kind, tmp_path):
    made = DOORS[door](fitted(kind), tmp_path)
    predict = made if door == "rows" else made.predict if kind == "numbers" else made.predict_proba
    assert_rising(lambda table: np.reshape(predict(table), (PAIRS, -1))[:, -1], ulps=1)


def test_places_are_names():
    table, y = free()
    numbers = table[["up", "free", "down"]]
    rules = {"up": 1, "down": -1}, {0: 1, 2: -1}
    fits = [regressor(monotone=rule, epochs=3).fit(numbers, y).predict(numbers) for rule in rules]
    assert np.array_equal(*fits)
    array = regressor(monotone=rules[1], epochs=3).fit(numbers.to_numpy(), y)
    assert np.array_equal(array.predict(numbers.to_numpy()), fits[0])
