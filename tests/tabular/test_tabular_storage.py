"""Estimators of tables in files: they come back with the same bits."""

import contextlib
import enum
import sys
import warnings
from collections import ChainMap
from pathlib import Path

import numpy as np
import pandas
import pytest
import stored
from models import saved
from safetensors import numpy as numpy_files
from stored import same

import fastmlp
from fastmlp import TabMLPClassifier, TabMLPRegressor, TabMLPSurvival
from fastmlp._files import inspection, record
from fastmlp._files.fields import Cursor
from fastmlp.sklearn.fitted import fitted_of
from fastmlp.tabular.files import codec_members
from fastmlp.tabular.recipe import blend
from fastmlp.tabular.table.columns import Columns

TABLES = stored.tables()
FITTED = [name for name in TABLES if name != "unfitted table"]


def table_of(model):
    """Return rows like those of the fit, and some with values that were not there."""
    if not hasattr(model, "feature_names_in_"):
        return np.r_[stored.X, np.round(stored.X), stored.X[:3] * np.nan]
    frame = stored.frame()
    other = frame.assign(text="unknown", mixed=None, truth=None, a=1e300)
    return pandas.concat([frame, other.astype({"truth": object})])


def outputs(model, X):
    """Return all that an estimator predicts."""
    if isinstance(model, TabMLPClassifier):
        found = model.predict(X), model.predict_proba(X), model.predict_log_proba(X)
        return tuple(np.asarray(each.tolist()) for each in found)
    if isinstance(model, TabMLPSurvival):
        times = np.linspace(0, model.event_times_[-1], 9)
        curves = model.predict_survival(X, times), model.predict_quantile(X)
        return (model.predict(X), model.predict_hazards(X), *curves)
    mean = model.predict(X)
    density = model.log_density(X, np.nan_to_num(mean))
    levels = [0.001, 0.2, 0.5, 0.999]
    more = model.predict_interval(X), model.predict_quantiles(X, levels), density
    return (mean, *model.predict(X, return_std=True), *more)


@pytest.mark.parametrize("name", ["TabMLPClassifier array", "MLPClassifier callbacks"])
def test_models_to_save_do_not_depend_on_those_made_before(name):
    make = (TABLES | stored.estimators())[name]
    assert same(make().predict_proba(stored.X), make().predict_proba(stored.X))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", FITTED)
def test_all_comes_back_with_the_same_bits(name, training, tmp_path):
    model = TABLES[name]()
    again = saved(model, tmp_path / "model", training=training)
    assert type(again) is type(model)
    assert vars(again).keys() == vars(model).keys() - {"_fitting"}
    X = table_of(model)
    assert same(outputs(again, X), outputs(model, X))
    assert same(again.oof_prediction_, model.oof_prediction_)
    assert again.report() == model.report()
    assert str(again.report()) == str(model.report())
    assert fitted_of(again).columns == fitted_of(model).columns
    assert [type(v) for _, c in fitted_of(again).columns.categories for v in c.values] == [
        type(v) for _, c in fitted_of(model).columns.categories for v in c.values
    ]
    public = ("n_features_in_", "n_outputs_", "best_epoch_", "n_iter_", "temperature_")
    assert [getattr(again, key, 0) for key in public] == [getattr(model, key, 0) for key in public]
    for key in ("classes_", "feature_names_in_"):
        assert hasattr(again, key) == hasattr(model, key)
        assert np.array_equal(getattr(again, key, []), getattr(model, key, []))
    if training:
        assert again.history_ == model.history_
        assert fitted_of(again).facts.curve == fitted_of(model).facts.curve
        assert stored.text_of(again) == stored.text_of(model)
    else:
        assert again.history_.loss == fitted_of(again).facts.curve == []


@pytest.mark.parametrize(
    "name",
    ["TabMLPClassifier words", "TabMLPRegressor two outputs", "TabMLPRegressor loss quantile"],
)
def test_importance_and_another_fit_are_those_of_before(name, tmp_path):
    model, frame = TABLES[name](), stored.frame()
    again = saved(model, tmp_path / "model")
    classes = hasattr(model, "classes_")
    y = np.resize(model.classes_, len(frame)) if classes else stored.Y
    for one, other in zip(again.importance(frame, y), model.importance(frame, y), strict=True):
        assert np.array_equal(one, other)
    with stored.short():
        assert same(again.fit(frame, y).oof_prediction_, model.fit(frame, y).oof_prediction_)


NEEDS_HELD_OUT = {
    "oof_prediction_": lambda model, X, y: model.oof_prediction_,
    "rows_": lambda model, X, y: model.rows_,
    "importance": lambda model, X, y: model.importance(X, y),
    "plot_calibration": lambda model, X, y: model.plot_calibration(y),
    "distill": lambda model, X, y: model.distill(X),
    "page": lambda model, X, y: model.report().save("page.html"),
}


@pytest.mark.parametrize("name", ["TabMLPClassifier words", "TabMLPRegressor one output"])
def test_without_out_of_fold_rows_a_file_is_smaller_and_predicts_the_same(name, tmp_path):
    model, X = TABLES[name](), stored.frame()
    y = np.resize(model.classes_, len(X)) if hasattr(model, "classes_") else stored.Y[:, 0]
    model.save(tmp_path / "whole")
    model.save(tmp_path / "small", out_of_fold=False)
    tensors = numpy_files.load_file(tmp_path / "small")
    of_rows = {name for name in tensors if len(X) in tensors[name].shape}
    residuals = set() if hasattr(model, "classes_") else {"z", "w"}  # docs/saving.md names them
    assert of_rows == {f"fit.calibration.residuals.{part}" for part in residuals}
    sizes = [(tmp_path / file).stat().st_size for file in ("whole", "small")]
    assert sizes[0] - sizes[1] > fitted_of(model).held_out.predictions.nbytes
    assert len(model.oof_prediction_) == model.report().rows  # this model keeps them
    small = fastmlp.load(tmp_path / "small")
    for again in (small, saved(small, tmp_path / "again")):
        assert same(outputs(again, X), outputs(model, X))
        assert again.report() == model.report()
        assert str(again.report()) == str(model.report())
        assert inspection.facts(tmp_path / "small")["facts"]["rows"] == len(X)
        for needs in NEEDS_HELD_OUT.values():
            with pytest.raises(AttributeError, match="was saved with out_of_fold=False"):
                needs(again, X, y)
    with pytest.raises(TypeError, match="out_of_fold is 'no'"):
        model.save(tmp_path / "small", out_of_fold="no")


@pytest.mark.parametrize("dtype", [">U3", ">i4", ">f4", ">M8[D]"])
def test_labels_in_any_byte_order_come_back(dtype, tmp_path):
    labels = (stored.LABELS % 2).astype("M8[D]" if "M" in dtype else int).astype(dtype)
    model = stored.table(TabMLPClassifier, labels)
    again, frame = saved(model, tmp_path / "model"), stored.frame()
    assert np.array_equal(again.predict(frame), model.predict(frame))


def test_one_that_was_not_fitted_comes_back(tmp_path):
    model = TABLES["unfitted table"]()
    again = saved(model, tmp_path / "model")
    assert again.get_params() == model.get_params()
    assert not again.__sklearn_is_fitted__()


def test_inspect_shows_tables(tmp_path):
    TABLES["TabMLPClassifier words"]().save(tmp_path / "model")
    facts = inspection.facts(tmp_path / "model")
    text = inspection.as_text(facts, with_arrays=True)
    assert text.startswith(inspection.as_text(facts))
    assert "fit.columns" not in inspection.as_text(facts)
    for words in ("TabMLPClassifier", "preset=fast", "rows              60", "members           3"):
        assert words in text
    kinds = (
        "7: a (number), \\xfc (number), text (category), truth (category), mixed (category), same"
    )
    assert f"{kinds} (left out), again (left out)\nclasses           3: bee, \\xe4" in text
    for words in ("temperature", "group 0", "CrossEntropy", "fit.columns.sizes", "groups.0.edges"):
        assert words in text


def test_the_loss_is_that_of_the_fit_and_not_of_later_parameters(tmp_path):
    model, frame = stored.table(TabMLPRegressor, np.abs(stored.Y), loss="poisson"), stored.frame()
    model.set_params(loss="squared_error")
    for estimator in (model, saved(model, tmp_path / "model")):
        with pytest.raises(ValueError, match=r"y holds .* loss='poisson' expects targets in"):
            estimator.importance(frame, -1.0 - np.abs(stored.Y))


HALF = "\ud800"


def half_a_character():
    text = np.array([HALF, "b"], object)[stored.LABELS % 2]
    frame = stored.frame().assign(text=pandas.Series(text, dtype=object))
    return stored.table(TabMLPRegressor, stored.Y, frame)


def half_a_name():
    frame = stored.frame()
    names = [HALF if name == "ü" else name for name in frame.columns]
    frame.columns = pandas.Index(names, dtype=object)
    return stored.table(TabMLPRegressor, stored.Y, frame)


def categories(*values):
    """Return a model of a table with one column, of such categories in turn."""
    column = np.empty((60, 1), object)
    column[:, 0] = [values[k % len(values)] for k in range(60)]
    return stored.table(TabMLPRegressor, stored.Y, column)


REFUSED = [
    (lambda: TabMLPRegressor(scoring=len), TypeError, "parameters.scoring is"),
    (lambda: TabMLPRegressor(loss="x"), ValueError, "'loss' parameter"),
    (
        half_a_character,
        ValueError,
        r"the column 'text' has the category '\\ud800', which a file cannot hold: make",
    ),
    (half_a_name, ValueError, r"fit.columns.names has the text '\\ud800' with half"),
    (
        lambda: stored.table(TabMLPClassifier, np.array([HALF, "b"], object)[stored.LABELS % 2]),
        ValueError,
        r"fit.calibration.classes has the text '\\ud800' with half",
    ),
    (
        lambda: categories(enum.StrEnum("Own", "a").a, "b"),
        ValueError,
        "the column 'column 0' has the category 'a', which a file cannot hold",
    ),
    (lambda: type("Own", (TabMLPRegressor,), {})(), TypeError, "class .*Own"),
]


@pytest.mark.parametrize(("make", "error", "words"), REFUSED)
def test_what_a_file_cannot_hold_is_refused(make, error, words, tmp_path):
    # Strings of PyArrow, which pandas uses where it is installed, cannot have half a character.
    python_strings = pandas.option_context("mode.string_storage", "python")
    with python_strings, pytest.raises(error, match=words):
        make().save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


CATEGORIES = {
    "bytes": (b"a", b"", b"\xff\0", "a", ""),
    "large integers": (2**63, -(2**70), 1, "1"),
    "floats": (0.5, 1e300, -0.1, float("inf"), "inf", None),
    "truth values": (True, False, "1", "True"),
    "long texts": ("a", "b" * 5000, "b\0", "\0", "\N{SNOWMAN}" * 3000, " "),
    "numpy": (np.int64(3), np.float32(0.1), np.str_("x"), np.bytes_(b"x"), np.bool_(True)),
    "many": tuple(map(str, range(70_000))),
}


@pytest.mark.parametrize(
    "name", [pytest.param(k, marks=[pytest.mark.slow] * (k == "many")) for k in CATEGORIES]
)
@pytest.mark.parametrize("make", [TabMLPRegressor, TabMLPClassifier])
def test_categories_of_any_kind_come_back(make, name, tmp_path):
    values = CATEGORIES[name]
    X = np.empty((max(len(values), 60), 1), object)
    X[:, 0] = [values[k % len(values)] for k in range(len(X))]
    y = np.resize(stored.LABELS, len(X))
    with warnings.catch_warnings():
        warnings.simplefilter("error", codec_members.UnsavableWarning)
        model = stored.table(make, y, X, epochs=1)
    again = saved(model, tmp_path / "model")
    assert fitted_of(again).columns == fitted_of(model).columns
    assert [*map(type, fitted_of(again).columns.categories[0][1].values)] == [
        type(value.item() if isinstance(value, np.generic) else value)
        for value in fitted_of(model).columns.categories[0][1].values
    ]
    assert same(again.predict(X[:500]), model.predict(X[:500]))
    assert stored.text_of(again) == stored.text_of(model)


@pytest.mark.slow
def test_wide_tables_and_long_names_come_back(tmp_path):
    """As many columns of text as there were arrays in a file, and notes that are long, too."""
    days = [f"2020-{k // 28 + 1:02}-{k % 28 + 1:02}" for k in range(60)]
    frame = pandas.DataFrame({f"{'c' * 3000}{k}": np.roll(days, k) for k in range(40)})
    model = stored.table(TabMLPRegressor, stored.Y, frame, epochs=1)
    assert len(model.report().notes) >= 40
    again = saved(model, tmp_path / "model")
    assert again.report() == model.report()
    assert again.feature_names_in_.tolist() == [*frame.columns]
    values = {f"c{k}": np.resize([*f"{k:015b}"], 60) for k in range(8_300)}
    columns = Columns.of(pandas.DataFrame(values))
    file = record.Tensors()
    codec_members.COLUMNS.write(columns, Cursor(file, ChainMap()))
    assert len(file) < 20


LONG = np.array(["a", "b" * 1025])
UNSAVABLE = {
    "a class": (TabMLPClassifier, LONG[stored.LABELS % 2], {}, "classes has 2 strings of up to"),
    "half a class": (
        TabMLPClassifier,
        np.array([HALF, "b"], object)[stored.LABELS % 2],
        {},
        "classes has the text .* half a character",
    ),
    "layers": (
        TabMLPRegressor,
        stored.Y,
        {"recipes": [{"depth": 900, "width": 1}, {"depth": 500, "width": 1}], "folds": 2},
        "the networks may take 8,488 arrays but a file has room for 8,192: pass fewer",
    ),
}


@pytest.mark.parametrize("name", UNSAVABLE)
def test_a_fit_warns_before_it_of_a_model_that_cannot_be_saved(name, tmp_path, monkeypatch):
    make, y, options, words = UNSAVABLE[name]
    begun = []
    monkeypatch.setattr(blend, "fit", lambda *given: begun.append(given) or 1 / 0)
    with (
        stored.short(),
        pytest.warns(codec_members.UnsavableWarning, match=words) as caught,
        contextlib.suppress(ZeroDivisionError),
    ):
        make(preset="fast", **options).fit(stored.X, y)
    assert begun
    assert caught[0].filename == __file__
    with stored.short(), pytest.raises(codec_members.UnsavableWarning):
        make(preset="fast", **options).fit(stored.X, y)  # pytest makes an error of a warning
    assert len(begun) == 1


def test_infinite_numbers_are_refused(tmp_path):
    model = TABLES["TabMLPRegressor two outputs"]()
    fitted_of(model).held_out.predictions[3, 1] = np.inf
    with pytest.raises(ValueError, match=r"fit.held_out.predictions .* is not finite: scale y"):
        model.save(tmp_path / "model")


def few_inputs():
    """Return a table of fewer inputs than there are bins of numbers."""
    return stored.frame()[["truth"]]


FEW = {"one category": few_inputs, "constant": lambda: np.ones((60, 2))}


@pytest.mark.parametrize("table", FEW)
def test_tables_without_numbers_come_back(table, tmp_path):
    X = FEW[table]()
    model = stored.table(TabMLPClassifier, stored.LABELS, X)
    again = saved(model, tmp_path / "model")
    assert fitted_of(again).blend.groups[0].encoding.bins.size == 0
    wanted = model.predict_proba(X)
    assert same(again.predict_proba(X), wanted)
    one, rows = again.predictor(), X.to_numpy(object) if table == "one category" else X
    assert same(np.array([one(row) for row in rows[:9]]), wanted[:9])
    assert stored.text_of(again) == stored.text_of(model)


def test_a_model_is_loaded_in_few_calls(tmp_path):
    """Each own call of Python takes about as long as reading a small tensor."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(512, 8))
    TabMLPRegressor(preset="fast", epochs=4, random_state=0).fit(X, X[:, 0]).save(tmp_path / "m")
    fastmlp.load(tmp_path / "m")  # imports its modules
    home, calls = str(Path(fastmlp.__file__).parent), []

    def count(frame, event, arg):
        if event == "call" and frame.f_code.co_filename.startswith(home):
            calls.append(frame.f_code.co_qualname)

    sys.setprofile(count)
    try:
        fastmlp.load(tmp_path / "m")
    finally:
        sys.setprofile(None)
    assert 500 < len(calls) <= 2500
