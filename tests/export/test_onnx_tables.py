"""Estimators of tables as ONNX: a runtime that gets raw columns predicts what fastmlp predicts."""

import functools
from dataclasses import replace

import exports
import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn")

from sklearn.exceptions import NotFittedError

import fastmlp
from fastmlp import TabMLPClassifier, TabMLPRegressor
from fastmlp.tabular import presets
from fastmlp.tabular.columns import Columns
from fastmlp.tabular.fitted import like
from fastmlp.tabular.presets import Preset, Recipe

ReferenceEvaluator = pytest.importorskip("onnx.reference", reason="needs onnx").ReferenceEvaluator
runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
pandas = pytest.importorskip("pandas", reason="needs pandas")

# Of two recipes; every activation that a preset has is in one of the lists.
PIECEWISE = Recipe(bins=3, width=9, depth=2)
RECIPES = {
    "piecewise": (PIECEWISE, Recipe(bins=0, width=8, depth=1, parametric=False)),
    "others": (replace(PIECEWISE, activation="silu"), Recipe(bins=0, width=8, activation="tanh")),
}
N, ROWS = 150, 3000
# Networks are float32, and two runtimes add up their sums in different orders; all else is float64.
# So this is of a probability, of a deviation, and of a prediction in the units of the networks.
RELATIVE = exports.RELATIVE["float32"]
TYPES = {
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(bool)": bool,
    "tensor(string)": object,
}


def frame(n, seed=0):
    """Return columns of all kinds; names that a graph's own tensors could have."""
    rng = np.random.default_rng(seed)
    words = np.array(["", "ä", "None", "\U0001f600", "b\0c"], object)
    columns = {
        "x": rng.normal(size=n),
        "0": np.exp(3 * rng.normal(size=n)),
        "time": 1.7e9 + rng.integers(0, 9, n),  # float32 would make one number of all
        "table.wide.0": rng.integers(0, 3, n),
        "missing": np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n)),
        "same": np.ones(n),
        "text": words[rng.integers(0, 5, n)],
        "none": np.where(rng.random(n) < 0.2, None, words[1 + rng.integers(0, 4, n)]),
        "truth": rng.random(n) < 0.4,
        "code": pandas.Categorical(rng.integers(-5, 6, n)),
        "many": pandas.Categorical(rng.permuted(89 - np.arange(n) % 90) * 10**9),
        "gaps": pandas.Categorical(np.where(rng.random(n) < 0.2, np.nan, rng.integers(0, 4, n))),
        "halves": pandas.Categorical(rng.integers(0, 5, n) / 2),
    }
    return pandas.DataFrame(columns)


def odd(table):
    """Return a table of other rows, some with what was not there at fit."""
    table = table.copy()
    table.loc[:9, "x"] = [1e300, -1e300, 5e-324, -0.0, np.nan, 1e18, 1e-9, 0, 1e38, -1e39]
    table.loc[:1, "time"] = [np.nan, 0]
    table["text"] = table["text"].where(table.index % 7 > 0, "unseen")
    table["none"] = table["none"].where(table.index % 11 > 0, "unseen")
    table["code"] = pandas.Categorical([77, 78, *table["code"][2:]])
    table["halves"] = pandas.Categorical([0.25, -0.0, *table["halves"][2:]])
    return table


def array(n, seed=0):
    """Return numbers of all scales, with missing ones; the second column has few values."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5)) * [1, 2, 1e-5, 1e5, 0] + [0, 0, 1, 1e9, 4]
    x[:, 1] = np.round(x[:, 1])
    x[rng.random(n) < 0.2, 2] = np.nan
    return x


def objects(n, seed=0):
    """Return text beside numbers, in one array."""
    table = frame(n, seed)
    return table[["x", "text", "truth"]].to_numpy(dtype=object)


# How to make a table, and what is said of it.
TABLES = {
    "frame": (frame, {}),
    "text": (lambda *args: frame(*args)[["text", "none"]], {}),
    "numbers": (lambda *args: frame(*args)[["x", "0", "time"]], {}),
    "array": (array, {}),
    "array with categories": (array, {"categorical_features": [1, 4]}),
    "objects": (objects, {}),
}
# Made of a table's first column that is a number, and of noise.
TARGETS = {
    "squared_error": lambda z: 1e6 + 3 * z,
    "absolute_error": lambda z: np.column_stack([z, 1e-3 * z**2]),
    "quantile": lambda z: z,
    "poisson": lambda z: np.floor(np.exp(z)),
    "gaussian": lambda z: np.column_stack([1e4 * z, 1e9 + z]),
    "two": lambda z: z > 0,
    "names": lambda z: np.array(["red", "ünïcode", "blue"])[np.digitize(z, [-0.5, 0.5])],
    "numbers": lambda z: 3 * np.digitize(z, [-0.5, 0.5]) - 5,
    "each": lambda z: np.column_stack([z > 0, z > 0.5, z < 1]).astype(int),
}
LEVELS = [0.05, 0.5, 0.999]
# Every table and every target, and both lists of recipes.
CASES = [
    *(("frame", target, "piecewise") for target in TARGETS),
    *((table, "squared_error", "others") for table in TABLES),
    *((table, "names", "others") for table in TABLES if table != "frame"),
]


@functools.cache
def fitted(table, target, recipes="piecewise"):
    """Return an estimator whose two groups both count."""
    make, options = TABLES[table]
    X, rng = make(N), np.random.default_rng(1)
    y = TARGETS[target](frame(N)["x"] + rng.normal(size=N) * 0.3)
    options = {"preset": "fast", "random_state": 0, **options}
    loss = target if target in ("absolute_error", "quantile", "poisson", "gaussian") else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets.PRESETS, "fast", Preset(3, 1, 12, RECIPES[recipes]))
        patch.setattr("fastmlp.tabular.blend.greedy", lambda said, cost: np.array([0.3, 0.7]))
        if target in ("two", "names", "numbers", "each"):
            return TabMLPClassifier(**options).fit(X, y)
        return TabMLPRegressor(loss=loss or "squared_error", quantile=0.8, **options).fit(X, y)


def feed(session, X):
    """Return the inputs of a session: as docs/deploying.md says."""
    if not hasattr(X, "columns"):
        if [each.name for each in session.get_inputs()] == ["X"]:
            return {"X": X}
        X = pandas.DataFrame(X, columns=[f"column {k}" for k in range(X.shape[1])])
    found = {}
    for each in session.get_inputs():
        column = X[[each.name]].astype(object)
        if each.type == "tensor(string)":
            column = column.fillna("")
        found[each.name] = column.to_numpy().astype(TYPES[each.type])
    return found


def session_of(proto):
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return runtime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run(session, X):
    """Return what ONNX Runtime predicts, by name."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed(session, X)), strict=True))


def rows(table):
    X = TABLES[table][0](ROWS, 5)
    if table == "frame":
        return odd(X)
    if table.startswith("array"):
        X[:6, 0] = [1e300, -1e300, np.nan, 5e-324, 1e18, -0.0]
        X[:3, 1] = [99, 0.5, np.nan]
    return X


def assert_same(found, model, X):
    """Fail unless a runtime has predicted what the model predicts."""
    if isinstance(model, TabMLPClassifier):
        p, y = model.predict_proba(X), model.predict(X)
        assert found["probabilities"].dtype == np.float64
        np.testing.assert_allclose(found["probabilities"], p, rtol=0, atol=RELATIVE)
        top = np.sort(p, axis=1)[:, -2:]
        sure = np.abs(p - 0.5).min(axis=1) if y.ndim == 2 else top[:, 1] - top[:, 0]
        exports.assert_same_labels(found["label"], y, sure > 1e-5)
        return
    mean, deviation = (each.reshape(-1, model.n_outputs_) for each in model.predict(X, True))
    learned = model.oof_prediction_.reshape(-1, model.n_outputs_)
    unit = np.abs(mean - learned.mean(axis=0)) + learned.std(axis=0) + deviation
    assert np.all(np.abs(found["predictions"] - mean) <= RELATIVE * unit)
    np.testing.assert_allclose(found["deviations"], deviation, rtol=RELATIVE)
    quantiles = model.predict_quantiles(X, LEVELS)
    assert found["quantiles"].shape == quantiles.shape
    error = np.abs(found["quantiles"] - quantiles).reshape(*mean.shape, -1)
    away = np.abs(quantiles.reshape(error.shape) - mean[..., np.newaxis])
    assert np.all(error <= RELATIVE * (unit[..., np.newaxis] + away))


def exported(model):
    return model.to_onnx() if hasattr(model, "classes_") else model.to_onnx(levels=LEVELS)


@pytest.mark.parametrize(("table", "target", "recipes"), CASES)
def test_runtimes_predict_the_same(table, target, recipes):
    model, X = fitted(table, target, recipes), rows(table)
    assert len(model._members.groups) == 2
    session = session_of(exported(model))
    assert_same(run(session, X), model, X)
    assert_same(run(session, X[:1]), model, X[:1])
    assert {len(each) for each in run(session, X[:0]).values()} == {0}


@pytest.mark.parametrize("target", ["gaussian", "names"])
def test_another_runtime_predicts_the_same(target):
    """ONNX's own, in which no key of a table is NaN."""
    model, X = fitted("frame", target), rows("frame")[:90]
    proto = exported(model)
    with np.errstate(all="ignore"):
        values = ReferenceEvaluator(proto).run(None, feed(session_of(proto), X))
    names = [each.name for each in proto.graph.output]
    assert_same(dict(zip(names, values, strict=True)), model, X)


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
    p = run(session_of(model.to_onnx()), X)["probabilities"]
    np.testing.assert_array_equal(p[:2], p[2:])


def test_a_file_is_that_of_one_fit(tmp_path):
    model, path = fitted("text", "names", "others"), tmp_path / "table.onnx"
    path.write_bytes(b"old")
    proto = model.to_onnx(path)
    assert path.read_bytes() == proto.SerializeToString()
    model.save(tmp_path / "table.safetensors")
    assert fastmlp.load(tmp_path / "table.safetensors").to_onnx() == proto
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
    changed, ((place, column), other) = like(model, vars(model)), model._columns.categories
    first = place, replace(column, values=tuple(values))
    changed._columns = replace(model._columns, categories=(first, other))
    with pytest.raises(error, match=f"text (has|had) .*{words}"):
        changed.to_onnx()


@pytest.mark.parametrize("name", ["label", "", "\udfff"])
def test_names_of_columns_that_are_refused(name):
    model, X = fitted("text", "names", "others"), TABLES["text"][0](N)
    changed = like(model, vars(model))
    names = [name if each == "text" else each for each in X.columns]
    X.columns = pandas.Index(names, dtype=object)  # with pyarrow, pandas refuses half a character
    changed._columns = Columns.of(X)
    with pytest.raises(ValueError, match="rename it, and fit again"):
        changed.to_onnx()


def test_labels_of_half_a_character_are_refused(tmp_path):
    y = np.array(["\ud800", "b"], object)[np.arange(60) % 2]
    model = TabMLPClassifier(preset="fast", random_state=0).fit(np.arange(60.0)[:, None], y)
    for write in (model.to_onnx, lambda: model.to_c(tmp_path / "model.c")):
        with pytest.raises(ValueError, match=r"the classes have '\\ud800', half a character"):
            write()
    assert not list(tmp_path.iterdir())


def test_an_array_with_text_has_an_input_for_each_column_that_is_used(tmp_path):
    """Also where the text does not vary: an array of numbers has no room for it."""
    X = np.array([[float(k), "same"] for k in range(60)], object)
    model = TabMLPRegressor(preset="fast", random_state=0).fit(X, np.arange(60.0))
    model.save(tmp_path / "model")
    for each in (model, fastmlp.load(tmp_path / "model")):
        session = session_of(each.to_onnx())
        assert [(i.name, i.type) for i in session.get_inputs()] == [("column 0", "tensor(double)")]
        found = session.run(["predictions"], {"column 0": X[:9, :1].astype(float)})[0]
        np.testing.assert_allclose(found[:, 0], model.predict(X[:9]), rtol=1e-4)


def test_a_model_of_no_column_is_refused():
    model = TabMLPRegressor(preset="fast", random_state=0).fit(np.ones((9, 2)), np.arange(9.0))
    with pytest.raises(ValueError, match="all were constant at fit"):
        model.to_onnx()


@pytest.mark.parametrize("levels", [0.5, [0.1, 1.0], ["0.5"]])
def test_levels_that_are_refused(levels):
    with pytest.raises(ValueError, match="levels"):
        fitted("array", "squared_error", "others").to_onnx(levels=levels)
