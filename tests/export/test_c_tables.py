"""Estimators of tables as C: codes, missing values, self-check, refusals. See test_tables."""

import ctypes
import json
import re

import compilers
import exports
import numpy as np
import pandas
import pytest
import stored
from models import saved
from sklearn.exceptions import NotFittedError
from test_tables import (
    LEVELS,
    RELATIVE,
    TABLES,
    Library,
    N,
    assert_same,
    fitted,
    rows,
    written_as,
)

import fastmlp
from fastmlp._network.exported import Layer
from fastmlp.sklearn.fitted import fitted_of
from fastmlp.tabular.export import c_source

pytestmark = exports.needs_gcc
UNKNOWN = -2
HARD = ("hard columns", "squared_error", "others")


@pytest.mark.parametrize(
    ("case", "weights", "relative"),
    [(HARD, "float64", RELATIVE), (("frame", "names"), "int8", 0.02)],
)
def test_other_weights(case, weights, relative, tmp_path):
    model, X = fitted(*case), rows(case[0])
    library = Library(model, tmp_path, weights=weights, X=X)
    given = library.read(X)
    labels = library.labels(model, *given) if case[1] == "names" else None
    found = library.predict(*given)
    if weights == "int8":  # labels may differ where two classes are nearly as probable
        np.testing.assert_allclose(found, model.predict_proba(X), rtol=0, atol=relative)
        assert np.mean(labels != model.predict(X)) == library.files.labels_changed < 0.02
    else:
        assert_same(found, labels, model, X, relative)


@pytest.mark.parametrize(("weights", "relative"), [(None, RELATIVE), ("bfloat16", 0.05)])
def test_bins_of_numbers_that_repeat(weights, relative, tmp_path):
    """Bins are as narrow as the numbers are alike, and a row may be at an edge, or have a gap."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(0, 3, 400), rng.normal(size=400).round(1), rng.random(400)])
    X[rng.random(X.shape) < 0.1] = np.nan
    y = np.nan_to_num(X).sum(axis=1)
    model = fastmlp.TabMLPRegressor(preset="fast", random_state=0, epochs=2, members=2).fit(X, y)
    assert any(group.encoding.bins.any() for group in fitted_of(model).blend.groups)
    library = Library(model, tmp_path, weights=weights, X=X)
    rows = np.concatenate([X, np.full((1, 3), np.nan), np.full((1, 3), 1e300)])
    found = library.predict(*library.read(rows))[:, 0]
    np.testing.assert_allclose(found, model.predict(rows), rtol=0, atol=relative * y.std())


@pytest.mark.parametrize("width", [1, 3, 40])
def test_sums_of_weights_take_the_steps_of_bins(width):
    rng = np.random.default_rng(0)
    weights, biases = rng.normal(size=(10, width)), rng.normal(size=width)
    places = [[1, 1, 0.25, -1], [-1, -1, -1, -1], [1, 1, 1, 1], [0, 0, 0, 0]]
    x = np.column_stack(
        [rng.normal(size=(4, 2)), places, rng.normal(size=(4, 1)), np.eye(4)[:, :3]]
    )
    columns = [slice(2, 6), slice(6, 6), slice(7, 10)]
    x[:, 7:] = [[1, 0.5, -1], [-1, -1, -1], [0, 0, 0], [1, 1, -0.5]]
    layer = Layer("affine", arrays={"weights": weights, "biases": biases})
    (first,) = c_source.summed([layer], columns)
    found = c_source.steps(x, columns)
    np.testing.assert_allclose(
        found @ first.arrays["weights"] + first.arrays["biases"], x @ weights + biases, atol=1e-14
    )
    assert np.count_nonzero(found[:, 2:6], axis=1).tolist() == [2, 0, 1, 1]


def test_infinities_are_as_the_largest_number(tmp_path):
    model = fitted(*HARD)
    library = Library(model, tmp_path, weights="float64")
    X = np.column_stack([np.zeros(2), *[[1e300, -1e300]] * 4])
    numbers, codes = library.read(X)
    found = library.predict(np.copysign(np.inf, numbers), codes)
    assert_same(found, None, model, X)
    largest = np.copysign(np.finfo(float).max, numbers)
    assert np.array_equal(found, library.predict(largest, codes))


def test_the_description_has_columns_with_units_values_and_levels(tmp_path):
    rng = np.random.default_rng(0)
    X = pandas.DataFrame(
        {
            "built": pandas.date_range("2000-01-01", periods=60),
            "weight": [f"{value:.1f} kg" for value in rng.normal(5, 1, 60)],
            "balcony": rng.random(60) < 0.5,
        }
    )
    model = fastmlp.TabMLPRegressor(preset="fast", random_state=0, epochs=2, members=2)
    model.fit(X, rng.normal(size=60))
    files = model.to_c(tmp_path / "flat.c", X=X, levels=[0.05, 0.95])
    described = json.loads(files.description.read_text())
    assert described.pop("numbers") == [
        {"name": "built", "unit": "seconds since 1970-01-01 00:00"},
        {"name": "weight", "unit": "kg"},
    ]
    assert described.pop("categories") == [{"name": "balcony", "values": ["False", "True"]}]
    assert described.pop("levels") == [0.05, 0.95]
    assert described.pop("functions")[:2] == [
        "void flat_predict(const double *numbers, const int *codes, double *y);",
        "void flat_distribution(const double *numbers, const int *codes, double *y, "
        "double *deviations, double *quantiles);",
    ]
    assert described == {"name": "flat", "real": "double", "outputs": 1, "labels": None}


@pytest.mark.parametrize("case", [("frame", "two"), HARD, ("mixed categories", "names", "others")])
def test_codes_and_texts_are_those_of_the_columns(case, tmp_path):
    model = fitted(*case)
    library = Library(model, tmp_path)
    code, text = library.function("code", ctypes.c_int), library.function("text", ctypes.c_char_p)
    for at, (_, column) in enumerate(fitted_of(model).columns.categories):
        for k, value in enumerate(column.values):
            written = written_as(value)
            assert text(at, k) == written
            assert code(at, written) == (-1 if written is None else k)
        for other in (b"\xff", b"zzz", b"be", b"beee", b"-"):
            assert code(at, other) == UNKNOWN
        assert [text(at, k) for k in (-2, -1, len(column.values))] == [None] * 3
    outside = len(fitted_of(model).columns.categories)
    assert [code(k, b"x") for k in (-1, outside)] == [UNKNOWN] * 2
    assert [text(k, 0) for k in (-1, outside)] == [None] * 2


def test_missing_is_a_category_of_its_own_where_it_was_at_fit(tmp_path):
    model = fitted("mixed categories", "names", "others")
    library = Library(model, tmp_path)
    frame = pandas.DataFrame({"text": ["b c"] * 2, "mixed": [None, "never seen"]})
    wanted = model.predict_proba(frame)
    assert not np.allclose(*wanted, atol=1e-4)
    places = range(len(fitted_of(model).columns.categories[1][1].values))
    codes = np.array([[0, -1], [0, UNKNOWN], [0, -7], [0, len(places)], [0, 2**31 - 1]], np.int32)
    codes[:, 0] = library.read(frame)[1][0, 0]
    found = library.predict(np.zeros((5, 0)), codes)
    np.testing.assert_allclose(found, wanted[[0, 1, 1, 1, 1]], atol=1e-5)


# Between them they have every piece of C.
CHECKED = {
    ("frame", "names"): "int8",
    ("frame", "each"): "float32",
    ("frame", "gaussian"): "float32",
    HARD: "float64",
    ("times", "squared_error", "others"): "float32",
}


@compilers.COMPILERS
def test_no_warnings_and_the_self_check_passes(command, tmp_path):
    for case, weights in list(CHECKED.items())[:: 1 if "-std=c99" in command[1:] else 2]:
        model, X = fitted(*case), rows(case[0]) if weights == "int8" else None
        options = {"levels": LEVELS} if hasattr(model, "predict_quantiles") else {}
        model.to_c(tmp_path / "net.c", weights=weights, X=X, **options)
        compilers.check_passes(tmp_path / "net.c", tmp_path, command)


@compilers.COMPILERS
def test_a_table_whose_blend_is_one_line_has_no_function_that_nobody_calls(command, tmp_path):
    """clang warns of unused functions, and gcc does not: so the text is compared, too."""
    frame = pandas.DataFrame({"a": np.linspace(-1, 1, 25), "b": list("uvwxy") * 5})
    model = fastmlp.TabMLPRegressor(preset="fast", random_state=0).fit(frame, 2 * frame["a"])
    path = tmp_path / "line.c"
    model.to_c(path)
    text = path.read_text()
    defined = re.findall(r"^static inline \w+ (\w+)\(", text, re.M)
    assert "entries" in defined
    assert [name for name in defined if len(re.findall(rf"\b{name}\(", text)) < 2] == []
    compilers.check_passes(path, tmp_path, command)


@compilers.COMPILERS
@pytest.mark.parametrize("levels", [(0.1, 0.9), (0.05, 0.25, 0.5, 0.75, 0.95)], ids=len)
def test_quantiles_of_one_network_are_as_many_outputs(levels, command, tmp_path):
    """With optimisation gcc finds reads beyond them: outputs have no variances here."""
    rng, frame = np.random.default_rng(0), TABLES["frame"][0](N)[["x", "text"]]
    options = {"quantile": levels, "preset": "fast", "random_state": 0}
    y = frame["x"] + rng.normal(size=N)
    model = fastmlp.TabMLPRegressor(loss="quantiles", **options).fit(frame, y)
    library = Library(model, tmp_path, levels=[])
    library.outputs = len(levels)
    found = library.predict(*library.read(frame))
    np.testing.assert_allclose(found[:, : len(levels)], model.predict(frame), atol=1e-5)
    compilers.check_passes(tmp_path / "net.c", tmp_path, command)


CONSTANTS = ["weights_0_1", "number_centre_0_0", r"target_low_\d_0", "offsets"]


@pytest.mark.parametrize("constant", CONSTANTS)
def test_the_self_check_finds_a_wrong_number(constant, tmp_path):
    source = fitted(*HARD).to_c(tmp_path / "net.c", levels=LEVELS).source
    text = source.read_text()
    found = re.search(rf" {constant}\[.*?{{", text, re.DOTALL)
    assert found
    at = found.end()
    wrong = re.sub(r"\d\.\d", "7.7", text[at : at + 300])
    source.write_text(text[:at] + wrong + text[at + 300 :])
    assert compilers.check(source, tmp_path).returncode == 1


def test_members_are_data_and_files_are_of_what_was_saved(tmp_path):
    model = fitted("frame", "gaussian")
    text = model.to_c(tmp_path / "net.c", levels=LEVELS).source.read_text()
    assert (
        text.count("static void member_")
        == len(fitted_of(model).blend.groups)
        < len(fitted_of(model).blend)
    )
    again = saved(model, tmp_path / "model").to_c(tmp_path / "net.c", levels=LEVELS)
    assert again.source.read_text() == text


def test_without_levels_there_are_no_quantiles(tmp_path):
    model, X = fitted("frame", "absolute_error"), rows("frame")
    library = Library(model, tmp_path, levels=[])
    assert "quantile" not in library.files.header.read_text()
    assert_same(library.predict(*library.read(X)), None, model, X, 5 * RELATIVE, levels=[])


PLACE = np.arange(60)
WRONG = [
    ({"c": np.array([1, "1"], object)[PLACE % 2]}, {}, "tell apart"),
    ({"c": np.array(["a\0b", "b"], object)[PLACE % 2]}, {}, "none of them 0"),
    ({"c": np.array(["a", "\ud800"], object)[PLACE % 2]}, {}, "UTF-8"),
    ({"c": np.array(["a", "b" * 5000], object)[PLACE % 2]}, {}, "4,095 bytes"),
    ({}, {"weights": "int8"}, "needs X"),
    ({}, {"weights": "int4"}, "choose from float32, float64, int8, bfloat16"),
    ({}, {"levels": [2.0]}, r"finite number in \(0, 1\)"),
    ({}, {"X": pandas.DataFrame({"b": [0.0]})}, "feature names"),
    ({}, {"path": "net.h"}, "for example 'net.c'"),
]


@pytest.mark.parametrize(("columns", "options", "words"), WRONG)
def test_what_c_cannot_have_is_refused(columns, options, words, tmp_path):
    texts = {name: pandas.Series(values, dtype=object) for name, values in columns.items()}
    X = pandas.DataFrame({"a": stored.X[:, 0], **texts})
    model = stored.table(fastmlp.TabMLPRegressor, stored.Y[:, 0], X)
    path = options.pop("path", "net.c") if "path" in options else "net.c"
    with pytest.raises(ValueError, match=words):
        model.to_c(tmp_path / path, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("make", [fastmlp.TabMLPClassifier, fastmlp.TabMLPRegressor])
def test_what_is_not_fitted_says_so(make, tmp_path):
    with pytest.raises(NotFittedError):
        make().to_c(tmp_path / "net.c")
