"""What tables are trained with: rates, bins, smoothed labels, and when a fit is given up."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from models import saved
from sklearn.base import clone
from tiny_tables import classifier, regressor

from fastmlp.sklearn.fitted import fitted_of
from fastmlp.tabular.outcome import loss_rows
from fastmlp.tabular.plan import presets
from fastmlp.tabular.plan.folds import FitRows, Splits
from fastmlp.tabular.plan.presets import Preset, Recipe
from fastmlp.tabular.recipe import embedding, members
from fastmlp.tabular.table.columns import Columns
from fastmlp.tabular.table.encoding import Encoding, edges_of

RNG = np.random.default_rng(0)
LONG = Recipe(bins=4, width=16, depth=1)


def test_rates_have_four_cycles_and_end_at_zero():
    """Zero where 1 + 15 t is a power of two; the highest half-way between, in its logarithm."""
    rates = presets.Cycles(0.3, n_steps=15 * 1000)
    peaks = (2.0 ** np.array([0.5, 1.5, 2.5, 3.5]) - 1) * 1000
    assert np.allclose(rates(peaks.round().astype(int)), 0.3, rtol=1e-4)
    assert np.allclose(rates(np.array([0, 1000, 3000, 7000, 15000, 20000])), 0, atol=1e-12)
    longer = presets.Cycles(0.3, n_steps=63 * 1000, cycles=6)  # goes on where the four end
    np.testing.assert_allclose(longer(np.arange(15_000)), rates(np.arange(15_000)), atol=1e-12)
    assert np.allclose(longer(np.array([31_000, 63_000])), 0, atol=1e-12)
    single = presets.Cycles(0.3, n_steps=63 * 1000, cycles=6, first=6)
    assert np.allclose(single(np.array([0, 63_000])), 0, atol=1e-12)
    assert np.all(single(np.arange(1000, 62_000)) > 0)
    assert single(7_000) == pytest.approx(0.3)  # half-way, in the logarithm
    flat = presets.FlatCosine(0.3, n_steps=1000)
    assert np.allclose(flat(np.array([0, 499, 750, 1000])), [0.3, 0.3, 0.15, 0], atol=1e-3)


@pytest.mark.parametrize(
    ("preset", "n", "folds"),
    [
        *[("fast", 50_000, 4), ("fast", 50_001, 2), ("default", 50_000, 8), ("default", 50_001, 4)],
        *[("best", 5_000, 16), ("best", 5_001, 8), ("best", 50_001, 4)],
    ],
)
def test_members_of_many_rows_are_fewer(preset, n, folds):
    preset = presets.PRESETS[preset]
    target = SimpleNamespace(strata=None, check_learned=lambda learn: None)
    rows = FitRows(None, range(n), target)
    division = Splits.of(rows, preset, np.random.default_rng(0))
    assert len(division.learn) == len(division.out) == 2 * folds
    held_out = np.bincount(np.concatenate(division.out), minlength=n)
    assert (held_out == 2).all()
    said = [f"{folds} folds instead of {preset.folds}, for there are {n:,} rows"]
    assert division.notes == said * (folds < preset.folds)


@pytest.mark.parametrize(
    ("values", "bins", "edges"),
    [
        ([3.0], 4, [3, 3, 3, 3, 3]),
        ([1.0, 0.0, 1.0], 3, [0, 1, 1, 1]),
        ([0.0, 1.0, 2.0, 3.0] * 9, 3, [0, 1, 2, 3]),
        (range(9), 4, [0, 2, 4, 6, 8]),  # quantiles
        ([5.0] * 50 + list(range(50)), 3, [0, 5, 5, 49]),  # half of the rows are 5
        ([0.0] * 40 + [7.0] * 40 + list(np.linspace(1, 6, 20)), 6, [0, 0, 1, 3.5, 6, 7, 7]),
        ([0.0] * 40 + [7.0] * 40 + list(np.linspace(1, 6, 20)), 3, [0, 0, 1, 7]),  # one step alone
        ([0.0, 1.0] * 2 + list(range(2, 30)), 2, [0, 14, 29]),  # neither is as often as a bin
    ],
)
def test_edges_of_bins(values, bins, edges):
    (found,) = edges_of(np.array([list(values)], float), bins)
    assert len(found) == bins + 1
    np.testing.assert_allclose(found, edges, atol=0.6 if len(edges) == 3 else 1e-12)


@pytest.mark.parametrize(("numbers", "bins"), [(1, 4), (10, 4), (13, 3), (40, 1), (41, 0)])
def test_of_many_columns_each_has_fewer_bins(monkeypatch, numbers, bins):
    monkeypatch.setattr(presets, "MOST_PIECES", 40)
    monkeypatch.setitem(presets.PRESETS, "fast", Preset(2, 1, 16, (LONG,)))
    X = RNG.normal(size=(20, numbers))
    model = regressor(time_limit=60).fit(X, X[:, 0])
    assert (fitted_of(model).blend.groups[0].encoding.bins == bins).all()
    assert np.isfinite(model.predict(X)).all()


def test_a_value_that_occurs_often_is_told_from_its_neighbours():
    x = np.where(RNG.random(400) < 0.5, 0.0, RNG.exponential(size=400))[:, np.newaxis]
    x[:3, 0] = -1e-3, 0.0, 1e-3
    columns = Columns.of(x, None)
    table = columns.read(x)
    encoding = Encoding.of(table, columns, [np.arange(400)], bins=6)
    inputs = np.asarray(encoding.rows(table))[:3, 1:]
    steps = np.flatnonzero(np.diff(encoding.numbers.edges[0]) == 0)
    assert len(steps) == 1
    np.testing.assert_array_equal(inputs[:, steps[0]], [-1, 0, 1])
    assert np.abs(inputs).max() <= 1


TASKS = {"classes": lambda X: (X > 0).sum(axis=1), "labels": lambda X: (X > 0).astype(int)}


@pytest.mark.parametrize(
    ("task", "scoring", "smoothing"),
    [
        ("classes", None, 0.0),
        ("classes", "neg_log_loss", 0.0),
        ("classes", "roc_auc_ovr", 0.0),
        ("classes", lambda model, X, y: 0.0, 0.0),
        ("classes", "accuracy", loss_rows.LABEL_SMOOTHING),
        ("classes", "f1_macro", loss_rows.LABEL_SMOOTHING),
        ("labels", None, 0.0),
        ("labels", "average_precision", 0.0),
        ("labels", "accuracy", loss_rows.LABEL_SMOOTHING),
    ],
)
def test_labels_are_smoothed_where_labels_are_judged(monkeypatch, task, scoring, smoothing):
    monkeypatch.setitem(presets.PRESETS, "fast", Preset(2, 1, 16, (LONG,)))
    X = RNG.normal(size=(60, 2))
    y = TASKS[task](X)
    model = classifier(scoring=scoring).fit(X, y)
    target = fitted_of(model).target.read(y)
    if task == "classes":
        assert target.loss.label_smoothing == smoothing
    else:
        learned = np.unique(target.encode(None, 0))
        np.testing.assert_allclose(learned, [smoothing / 2, 1 - smoothing / 2])


def trained(monkeypatch, recipe, y, X, **parameters):
    """Fit one recipe; return what the fit leaves behind."""
    kept = []

    def keeping(*args):
        kept.append(members_train(*args))
        return kept[-1]

    members_train = members.train
    monkeypatch.setattr(members, "train", keeping)
    monkeypatch.setitem(presets.PRESETS, "fast", Preset(3, 2, 64, (recipe,)))
    model = regressor(**parameters).fit(X, y)
    monkeypatch.setattr(members, "train", members_train)
    return model, kept[0]


def test_a_fit_that_learns_noise_is_given_up(monkeypatch):
    X = RNG.normal(size=(1500, 8))
    noise, smooth = RNG.normal(size=1500), np.sin(X[:, 0]) + X[:, 1]
    wide = replace(LONG, width=64, depth=2)
    model, found = trained(monkeypatch, wide, noise, X)
    ends = [round(presets.cycle_end(cycle, 4) * found.planned) for cycle in (2, 3)]
    assert found.run in ends
    assert 2 * found.epoch <= found.run
    assert found.curve[-1][2] > loss_rows.HOPELESS * min(cost for _, _, cost, _ in found.curve)
    assert [note for note in model.report().notes if "held-out rows only got worse" in note]
    for recipe, y, parameters in (
        (wide, smooth, {}),  # that is still learning
        (replace(wide, share=0.999), noise, {}),  # short ones run to their end
        (wide, noise, {"scoring": "r2"}),  # the loss is not what is judged
        (wide, noise, {"loss": "gaussian"}),  # costs below 0: their ratios mean nothing
    ):
        model, found = trained(monkeypatch, recipe, y, X, **parameters)
        assert found.run == found.planned
        assert found.why == ""
        assert not model.report().notes


@pytest.mark.parametrize("task", ["squared_error", "gaussian", "poisson", "classes", "labels"])
def test_rows_are_predicted_by_the_members_that_have_not_learned_from_them(monkeypatch, task):
    """By one of each division; for two heads the variance is that of the mixture."""
    monkeypatch.setitem(presets.PRESETS, "fast", Preset(4, 3, 16, (LONG,)))
    X = RNG.normal(size=(53, 2))
    X[::5, 1] = np.nan
    model = regressor(loss=task)
    y = np.exp(X[:, 0]) if task not in TASKS else TASKS[task](np.nan_to_num(X))
    if task in TASKS:
        model = classifier()
    model.fit(X, y)
    (group,) = fitted_of(model).blend.groups
    table = fitted_of(model).columns.read(X)
    said = np.zeros((3, *fitted_of(model).held_out.predictions.shape))
    for k, rows in enumerate(fitted_of(model).held_out.rows):
        said[k // 4, rows] = group.predict_one(k, table.take(rows))
    together = (said[0] + said[1] + said[2]) / 3
    if task == "gaussian":
        together[:, 1] += said[:, :, 0].var(axis=0)
        np.testing.assert_allclose(fitted_of(model).held_out.predictions, together, rtol=1e-12)
    else:
        np.testing.assert_array_equal(fitted_of(model).held_out.predictions, together)


@pytest.mark.parametrize(
    ("kind", "numbers", "categories", "bins", "dropouts", "embeddings"),
    [
        ("numbers", 0, 3, {0}, {0}, {0}),
        ("numbers", 3, 3, {16, 8, 0}, {0}, {0, 64}),
        ("classes", 0, 3, {0}, {0, 0.15}, {0}),
        ("classes", 1, 31, {16, 0}, {0, 0.15}, {0, 64}),
        ("classes", 1, 32, {16, 0}, {0, 0.15}, {0}),
        ("classes", 10_000, 0, {0}, {0, 0.15}, {0}),
    ],
)
def test_recipes_suit_the_columns(kind, numbers, categories, bins, dropouts, embeddings):
    """Without numbers there are no bins; an embedding has two units for each column."""
    columns = SimpleNamespace(n_numbers=numbers, categories=range(categories))
    recipes = presets.PRESETS["default"].recipes_for(kind, columns)
    assert {r.embedding for r in recipes} == embeddings
    assert {r.bins for r in recipes} == bins
    assert {r.dropout for r in recipes} == dropouts
    is_shallow = kind == "classes" and numbers > 0  # the recipe that noisy tables begin with
    assert recipes[0].depth == (1 if is_shallow else 3)
    notes = presets.PRESETS["default"].left_out(kind, columns)
    assert len(notes) == (numbers > 0 and embeddings == {0})


@pytest.mark.parametrize("n", [20, 652, 2_000, 8_000, 10**6])
def test_epochs_follow_rows_and_share(n):
    preset = presets.PRESETS["default"]
    long, short = (presets.epochs_of(preset, Recipe(share=share), n) for share in (1, 1 / 8))
    assert presets.FEWEST_EPOCHS <= short <= long <= presets.MOST_EPOCHS
    if n == presets.FEW_ROWS:
        assert (long, short) == (256, 32)


@pytest.mark.parametrize("n", [1, 2, 255, 256, 257, 1_035, 8_192, 8_193, 32_769, 10**6])
def test_batches_are_even(n):
    batch = presets.batch_of(n)
    most = next(size for rows, size in presets.BATCHES if n <= rows)
    steps = -(-n // batch)
    assert batch <= most
    assert steps == -(-n // most)  # there are no more than needed
    assert n - batch * (steps - 1) > batch - steps  # the last one, too


# ------------------------------------------------------------ what the user chooses


CHOSEN = {
    "folds": ({"folds": 5}, 10),
    "members": ({"members": 9}, 9),
    "members rounded up": ({"members": 4, "folds": 3}, 6),
    "one repeat": ({"members": 3}, 3),
    "width": ({"width": 9}, 6),
    "recipe": ({"recipes": [{"bins": 0, "depth": 1, "activation": "tanh"}]}, 6),
    "recipe, width": ({"recipes": [{"bins": 0}], "width": 7}, 6),
}
TABLE = np.random.default_rng(1).normal(size=(90, 3))
TABLE[:, 2] = 1  # a constant column, which is left out


@pytest.mark.parametrize("case", CHOSEN)
def test_parts_of_a_preset_are_replaced(monkeypatch, tmp_path, case):
    chosen, count = CHOSEN[case]
    small = Preset(3, 2, 16, (Recipe(bins=8, width=16, depth=2),))
    monkeypatch.setitem(presets.PRESETS, "fast", small)
    model = regressor(epochs=5, **chosen)
    model.fit(TABLE, TABLE[:, 0])
    assert len(fitted_of(model).blend) == count
    assert model.n_iter_ == 5
    assert np.isfinite(model.predict_interval(TABLE)).all()
    first = fitted_of(model).blend.groups[0]
    recipe = {"width": 16, **(chosen.get("recipes") or [{"depth": 2}])[0], **chosen}
    if "recipes" in chosen and "width" not in chosen:
        recipe["width"] = 128
    hidden = first.spec.layer_sizes[1:-1]
    assert list(hidden) == [recipe["width"]] * recipe.get("depth", 3)
    assert model.report().notes == []
    again = saved(model, tmp_path / "model")
    assert again.get_params() == model.get_params()
    np.testing.assert_array_equal(
        clone(model).fit(TABLE, TABLE[:, 0]).predict(TABLE), again.predict(TABLE)
    )


def test_epochs_of_the_user_do_not_depend_on_rows_and_share_counts():
    own = [{"share": 0.5, "width": 8}, {"width": 8}]
    model = regressor(epochs=9, recipes=own)
    model.fit(TABLE[:30], TABLE[:30, 0])
    preset = presets.adapted(presets.PRESETS["fast"], model.get_params(), are_hazards=False)
    assert [presets.epochs_of(preset, recipe, 10**6) for recipe in preset.recipes] == [4, 9]
    assert model.n_iter_ in (4, 9)


def embedded_table():
    """Return numbers, some missing, and categories of few and of many values, and classes."""
    rng = np.random.default_rng(1)
    table = rng.normal(size=(120, 4))
    table[::5, 0] = np.nan
    table[:, 2], table[:, 3] = rng.integers(0, 3, 120), rng.integers(0, 20, 120)
    return table, table[:, 1] + (table[:, 3] > 9) > 0.5


def test_every_input_belongs_to_one_column():
    X, _ = embedded_table()
    columns = Columns.of(X, [2, 3])
    table = columns.read(X)
    encoding = Encoding.of(table, columns, [np.arange(120)], 3)
    before, changed = np.asarray(encoding.rows(table)), []
    for of_kind in (table.numbers, table.codes):
        for column in of_kind.T:
            as_it_was = column.copy()
            column[:] = np.roll(column, 1)
            changed.append(np.any(np.asarray(encoding.rows(table)) != before, axis=0))
            column[:] = as_it_was
    assert np.array_equal(changed, np.arange(4)[:, np.newaxis] == encoding.columns)


def test_the_report_tells_why_there_is_no_embedding():
    X, y = embedded_table()
    model = classifier(recipes=[{"embedding": 4, "width": 8}], epochs=1).fit(X, y)
    assert "note         no embedding of columns in 4 units: 8 are needed" in str(model.report())


def test_one_column_needs_no_bounds(monkeypatch):
    monkeypatch.setattr(embedding, "bind", None)  # bounds make training slower
    X, y = embedded_table()
    model = classifier(recipes=[{"embedding": 2, "width": 8}], epochs=1).fit(X[:, :1], y)
    model.partial_fit(X[:, :1], y)
    assert "2 units by column" in str(model.report())


@pytest.mark.parametrize("units", [8, 11])
def test_units_of_an_embedding_see_one_column_before_and_after_an_update(units, tmp_path):
    X, y = embedded_table()
    recipe = {"bins": 3, "width": 8, "depth": 1, "embedding": units, "decay": 0.02}
    model = classifier(recipes=[recipe], epochs=3, categorical_features=[2, 3]).fit(X, y)
    assert f"3 bins, {units} units by column, 8, decay" in str(model.report())
    loaded = saved(model, tmp_path / "model.safetensors")
    assert np.array_equal(loaded.predict_proba(X), model.predict_proba(X))
    for fitted in (model, loaded.partial_fit(X, y)):
        (group,) = fitted_of(fitted).blend.groups
        of_units = np.arange(units) * 4 // units
        is_apart = group.encoding.columns[:, np.newaxis] != of_units
        for network in group.networks:
            first = network.parameters()["weights"][0]
            assert network.spec.layer_sizes[1:] == (units, 8, 2)
            assert not first[is_apart].any()
            assert np.count_nonzero(first[~is_apart]) > 0.9 * (~is_apart).sum()
