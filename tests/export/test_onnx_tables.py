"""Estimators of tables as ONNX: names, types and refusals. Predictions: test_tables."""

from dataclasses import replace
from functools import partial

import numpy as np
import onnx.reference
import pandas
import pytest
from exports import session_of
from models import saved
from sklearn.exceptions import NotFittedError
from test_tables import TABLES, array, assert_same, exported, feed, fitted, frame, rows

from fastmlp import TabMLPClassifier, TabMLPRegressor
from fastmlp.sklearn.fitted import fitted_of
from fastmlp.sklearn.parameters import copy_with_state
from fastmlp.tabular.table.columns import Columns

ReferenceEvaluator = onnx.reference.ReferenceEvaluator


@pytest.mark.parametrize("target", ["gaussian", "names"])
def test_another_runtime_predicts_the_same(target):
    """ONNX's own, in which no key of a table is NaN."""
    model, X = fitted("frame", target), rows("frame")[:90]
    proto = exported(model)
    with np.errstate(all="ignore"):
        found = ReferenceEvaluator(proto).run(None, feed(session_of(proto).get_inputs(), X))
    labels = found.pop(0) if target == "names" else None
    assert_same(np.concatenate([each.reshape(90, -1) for each in found], axis=1), labels, model, X)


def test_names_types_and_shapes():
    proto = fitted("frame", "names").to_onnx()
    session = session_of(proto)
    inputs = {each.name: (each.type, each.shape) for each in session.get_inputs()}
    numbers = ["x", "0", "time", "table.wide.0", "missing", "gaps", "halves"]
    assert inputs == {
        **{name: ("tensor(double)", ["rows", 1]) for name in numbers},
        **{name: ("tensor(string)", ["rows", 1]) for name in ("text", "none")},
        **{name: ("tensor(int64)", ["rows", 1]) for name in ("code", "many")},
        "truth": ("tensor(bool)", ["rows", 1]),
    }
    assert list(inputs) == [name for name in frame(1) if name != "same"]
    assert [(each.name, each.type, each.shape) for each in session.get_outputs()] == [
        ("label", "tensor(string)", ["rows"]),
        ("probabilities", "tensor(double)", ["rows", 3]),
    ]
    assert {each.domain: each.version for each in proto.opset_import} == {"": 17, "ai.onnx.ml": 4}
    older = fitted("text", "names", "others").to_onnx()
    assert {each.domain: each.version for each in older.opset_import} == {"": 17, "ai.onnx.ml": 3}
    session = session_of(fitted("array", "squared_error", "others").to_onnx())
    assert [(each.name, each.shape) for each in session.get_inputs()] == [("X", ["rows", 5])]
    assert [each.name for each in session.get_outputs()] == ["predictions", "deviations"]
    session = session_of(fitted("objects", "names", "others").to_onnx())
    assert [each.name for each in session.get_inputs()] == ["column 0", "column 1", "column 2"]


def test_infinity_counts_as_a_very_large_number():
    """Which `predict` refuses, and a graph cannot."""
    model, X = fitted("array", "names", "others"), array(4)
    X[:, 0] = [np.inf, -np.inf, 1e300, -1e300]
    X[:, 1:] = X[0, 1:]
    (p,) = session_of(model.to_onnx()).run(["probabilities"], {"X": X})
    np.testing.assert_array_equal(p[:2], p[2:])


def test_a_file_is_that_of_one_fit(tmp_path):
    model, path = fitted("text", "names", "others"), tmp_path / "table.onnx"
    path.write_bytes(b"old")
    proto = model.to_onnx(path)
    assert path.read_bytes() == proto.SerializeToString()
    assert saved(model, tmp_path / "table.safetensors").to_onnx() == proto
    with pytest.raises(NotFittedError):
        TabMLPRegressor().to_onnx()


REFUSED = {
    "bytes": ([b"x", b"y", b"z"], TypeError, "categories such as b'x', b'y', b'z' but"),
    "text and numbers": (["x", 1, "y"], TypeError, "convert the column to text"),
    "large integers": ([2**63, 2**60 + 1, None], TypeError, "all numbers that float64 holds"),
    "half a character": (["\ud800", "x", "y"], TypeError, "all valid text"),
    "two kinds of nothing": (["", None, "x"], ValueError, "an empty one stands for them"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_categories_that_are_refused(case):
    model, (values, error, words) = fitted("text", "names", "others"), REFUSED[case]
    changed = copy_with_state(model, vars(model))
    (place, column), other = fitted_of(model).columns.categories
    first = place, replace(column, values=tuple(values), frequent=len(values))
    columns = replace(fitted_of(model).columns, categories=(first, other))
    changed._fitted = replace(fitted_of(model), columns=columns)
    with pytest.raises(error, match=f"text (has|had) .*{words}"):
        changed.to_onnx()


@pytest.mark.parametrize("name", ["label", "", "\udfff"])
def test_names_of_columns_that_are_refused(name):
    model, X = fitted("text", "names", "others"), TABLES["text"][0](20)
    changed = copy_with_state(model, vars(model))
    names = [name if each == "text" else each for each in X.columns]
    X.columns = pandas.Index(names, dtype=object)  # pandas with pyarrow refuses half a character
    changed._fitted = replace(fitted_of(changed), columns=Columns.of(X))
    with pytest.raises(ValueError, match="rename it, and fit again"):
        changed.to_onnx()


@pytest.mark.filterwarnings("ignore:no file can hold the model")
def test_labels_of_half_a_character_are_refused(tmp_path):
    y = np.array(["\ud800", "b"], object)[np.arange(60) % 2]
    with pytest.warns(UserWarning, match="no file can hold the model"):
        model = TabMLPClassifier(preset="fast", random_state=0).fit(np.arange(60.0)[:, None], y)
    for write in (model.to_onnx, lambda: model.to_c(tmp_path / "model.c")):
        with pytest.raises(ValueError, match=r"the classes have '\\ud800', half a character"):
            write()
    assert not list(tmp_path.iterdir())


def test_an_array_with_text_has_an_input_for_each_column_that_is_used(tmp_path):
    """Also where the text does not vary: an array of numbers has no room for it."""
    X = np.array([[float(k), "same"] for k in range(60)], object)
    model = TabMLPRegressor(preset="fast", random_state=0).fit(X, np.arange(60.0))
    for each in (model, saved(model, tmp_path / "model")):
        session = session_of(each.to_onnx())
        assert [(i.name, i.type) for i in session.get_inputs()] == [("column 0", "tensor(double)")]
        found = session.run(["predictions"], {"column 0": X[:9, :1].astype(float)})[0]
        np.testing.assert_allclose(found[:, 0], model.predict(X[:9]), rtol=1e-4)


def test_a_model_of_no_column_is_refused():
    model = TabMLPRegressor(preset="fast", random_state=0).fit(np.ones((9, 2)), np.arange(9.0))
    with pytest.raises(ValueError, match="all were constant at fit"):
        model.to_onnx()


@pytest.mark.parametrize(
    ("target", "levels"),
    [*(("squared_error", each) for each in (0.5, [0.1, 1.0], ["0.5"])), ("names", [0.5])],
)
def test_levels_that_are_refused(target, levels, tmp_path):
    model = fitted("array", target, "others")
    for export in (model.to_onnx, partial(model.to_c, tmp_path / "net.c")):
        with pytest.raises((TypeError, ValueError), match="levels is"):
            export(levels=levels)
    assert not list(tmp_path.iterdir())
