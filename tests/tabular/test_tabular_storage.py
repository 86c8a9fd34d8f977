"""Estimators of tables in files: they come back with the same bits."""

import numpy as np
import pytest
import stored
from stored import same

import fastmlp
from fastmlp import TabMLPClassifier, TabMLPRegressor
from fastmlp._files import inspection
from fastmlp.tabular import codec_members

TABLES = stored.tables()
FITTED = [name for name in TABLES if name != "unfitted table"]


def table_of(model):
    """Return rows like those of the fit, and some with values that were not there."""
    if not hasattr(model, "feature_names_in_"):
        return np.r_[stored.X, np.round(stored.X), stored.X[:3] * np.nan]
    frame = stored.frame()
    other = frame.assign(text="unknown", mixed=None, truth=None, a=1e300)
    return __import__("pandas").concat([frame, other.astype({"truth": object})])


def outputs(model, X):
    """Return all that an estimator predicts."""
    if isinstance(model, TabMLPClassifier):
        found = model.predict(X), model.predict_proba(X), model.predict_log_proba(X)
        return tuple(np.asarray(each.tolist()) for each in found)
    mean = model.predict(X)
    density = model.log_density(X, np.nan_to_num(mean))
    levels = [0.001, 0.2, 0.5, 0.999]
    more = model.predict_interval(X), model.predict_quantiles(X, levels), density
    return (mean, *model.predict(X, return_std=True), *more)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", FITTED)
def test_all_comes_back_with_the_same_bits(name, training, tmp_path):
    model, path = TABLES[name](), tmp_path / "model"
    model.save(path, training=training)
    again = fastmlp.load(path)
    assert type(again) is type(model)
    assert vars(again).keys() == vars(model).keys() - {"_fitting", "_rows"}
    X = table_of(model)
    assert same(outputs(again, X), outputs(model, X))
    assert same(again.oof_prediction_, model.oof_prediction_)
    assert again.report() == model.report()
    assert str(again.report()) == str(model.report())
    assert again._columns == model._columns
    assert [type(v) for _, c in again._columns.categories for v in c.values] == [
        type(v) for _, c in model._columns.categories for v in c.values
    ]
    public = ("n_features_in_", "n_outputs_", "best_epoch_", "n_iter_", "temperature_")
    assert [getattr(again, key, 0) for key in public] == [getattr(model, key, 0) for key in public]
    for key in ("classes_", "feature_names_in_"):
        assert hasattr(again, key) == hasattr(model, key)
        assert np.array_equal(getattr(again, key, []), getattr(model, key, []))
    if training:
        assert again.history_ == model.history_
        assert again._curve == model._curve
        assert stored.text_of(again) == stored.text_of(model)
    else:
        assert again.history_.loss == again._curve == []


@pytest.mark.parametrize("name", ["TabMLPClassifier words", "TabMLPRegressor two outputs"])
def test_importance_and_another_fit_are_those_of_before(name, tmp_path):
    model, frame = TABLES[name](), stored.frame()
    model.save(tmp_path / "model")
    again = fastmlp.load(tmp_path / "model")
    classes = hasattr(model, "classes_")
    y = np.resize(model.classes_, len(frame)) if classes else stored.Y
    for one, other in zip(again.importance(frame, y), model.importance(frame, y), strict=True):
        assert np.array_equal(one, other)
    with stored.short():
        assert same(again.fit(frame, y).oof_prediction_, model.fit(frame, y).oof_prediction_)


def test_one_that_was_not_fitted_comes_back(tmp_path):
    model = TABLES["unfitted table"]()
    model.save(tmp_path / "model")
    again = fastmlp.load(tmp_path / "model")
    assert again.get_params() == model.get_params()
    assert not again.__sklearn_is_fitted__()


def test_inspect_shows_tables(tmp_path):
    TABLES["TabMLPClassifier words"]().save(tmp_path / "model")
    text = inspection.as_text(inspection.facts(tmp_path / "model"))
    for words in ("TabMLPClassifier", "preset=fast", "rows              60", "members           3"):
        assert words in text
    kinds = (
        "7: a (number), \\xfc (number), text (category), truth (category), mixed (category), same"
    )
    assert f"{kinds} (left out), again (left out)\nclasses           3: bee, \\xe4" in text
    for words in ("temperature", "group 0", "CrossEntropy", "fit.columns.names", "groups.0.edges"):
        assert words in text


HALF = "\ud800"


def half_a_character():
    pandas = pytest.importorskip("pandas")
    text = np.array([HALF, "b"], object)[stored.LABELS % 2]
    frame = stored.frame().assign(text=pandas.Series(text, dtype=object))
    return stored.table(TabMLPRegressor, stored.Y, frame)


def half_a_name():
    pandas = pytest.importorskip("pandas")
    frame = stored.frame()
    names = [HALF if name == "ü" else name for name in frame.columns]
    frame.columns = pandas.Index(names, dtype=object)
    return stored.table(TabMLPRegressor, stored.Y, frame)


def categories(*values):
    """Return a model of a table with one column, of such categories in turn."""
    column = np.empty((60, 1), object)
    column[:, 0] = [values[k % len(values)] for k in range(60)]
    return stored.table(TabMLPRegressor, stored.Y, column)


REFUSED = {
    "a function": (lambda: TabMLPRegressor(scoring=len), TypeError, "parameters.scoring is"),
    "a wrong parameter": (lambda: TabMLPRegressor(loss="x"), ValueError, "'loss' parameter"),
    "half a character": (
        half_a_character,
        ValueError,
        r"the column 'text': .* has the text '\\ud800' with half a character .* rename it",
    ),
    "half a character in a name": (
        half_a_name,
        ValueError,
        r"fit.columns.names has the text '\\ud800' with half",
    ),
    "half a character in a class": (
        lambda: stored.table(TabMLPClassifier, np.array([HALF, "b"], object)[stored.LABELS % 2]),
        ValueError,
        r"fit.classes has the text '\\ud800' with half",
    ),
    "bytes": (lambda: categories(b"a", b"b"), TypeError, "column 0 has the category b'a', which"),
    "a large integer": (lambda: categories(2**70, "b"), TypeError, "the category 1180.* 2\\*\\*63"),
    "one large integer": (
        lambda: categories(1, 2**63, "b"),
        TypeError,
        "the category 9223372036854",
    ),
    "a larger one": (lambda: categories(0.5, 1e300, "b"), TypeError, r"category 1\d{39}\.\.\., wh"),
    "long text": (lambda: categories("a", "b" * 2000), ValueError, "the column 'column 0': .* of"),
    "a null": (lambda: categories("a", "b\0"), ValueError, "without a null at the end"),
    "a subclass": (lambda: type("Own", (TabMLPRegressor,), {})(), TypeError, "class .*Own"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_file_cannot_hold_is_refused(name, tmp_path):
    make, error, words = REFUSED[name]
    pandas = __import__("pandas")
    # Strings of PyArrow, which pandas uses where it is installed, cannot have half a character.
    python_strings = pandas.option_context("mode.string_storage", "python")
    with python_strings, pytest.raises(error, match=words):
        make().save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_too_many_categories_and_infinite_numbers_are_refused(tmp_path, monkeypatch):
    model = TABLES["TabMLPRegressor two outputs"]()
    model._out_of_fold[3, 1] = np.inf
    with pytest.raises(ValueError, match=r"fit.out_of_fold .* is not finite: scale y"):
        model.save(tmp_path / "model")
    model._out_of_fold[3, 1] = 0.0
    monkeypatch.setattr(codec_members, "MOST_CATEGORIES", 10)
    with pytest.raises(ValueError, match=r"have 11 categories .* for 10: pickle"):
        model.save(tmp_path / "model")


def few_inputs():
    """Return a table of fewer inputs than there are bins of numbers."""
    return stored.frame()[["truth"]]


FEW = {"one category": few_inputs, "constant": lambda: np.ones((60, 2))}


@pytest.mark.parametrize("table", FEW)
def test_tables_without_numbers_come_back(table, tmp_path):
    X = FEW[table]()
    model = stored.table(TabMLPClassifier, stored.LABELS, X)
    model.save(tmp_path / "model")
    again = fastmlp.load(tmp_path / "model")
    assert again._members.groups[0].encoding.bins == 3
    wanted = model.predict_proba(X)
    assert same(again.predict_proba(X), wanted)
    one, rows = again.predictor(), X.to_numpy(object) if table == "one category" else X
    assert same(np.array([one(row) for row in rows[:9]]), wanted[:9])
    assert stored.text_of(again) == stored.text_of(model)
