"""Estimators of tables as ONNX and as C: raw columns in, what fastmlp predicts out."""

import contextlib
import ctypes
import functools
import shutil
from dataclasses import replace

import exports
import numpy as np
import pandas
import pytest
import stored

from fastmlp import TabMLPClassifier, TabMLPRegressor
from fastmlp.sklearn.fitted import fitted_of
from fastmlp.tabular.outcome.loss_rows import LOSSES
from fastmlp.tabular.plan import presets
from fastmlp.tabular.plan.presets import Preset, Recipe

# Of two recipes; every activation that a preset has is in one of the lists.
PIECEWISE = Recipe(bins=3, width=9, depth=2)
RECIPES = {
    "piecewise": (PIECEWISE, Recipe(bins=0, width=8, depth=1, parametric=False)),
    "others": (replace(PIECEWISE, activation="silu"), Recipe(bins=0, width=8, activation="tanh")),
}
N, ROWS = 150, 1000
# Networks are float32, and two runtimes add up their sums in different orders; all else is float64.
# So this is of a probability, of a deviation, and of a prediction in the units of the networks.
RELATIVE = exports.RELATIVE["float32"]
ONNX_TYPES = {
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(bool)": bool,
    "tensor(string)": object,
}


# ---- tables ---------------------------------------------------------------------------------


def frame(n, seed=0, last="b c"):
    """Return columns of all kinds; names that a graph's own tensors could have."""
    rng = np.random.default_rng(seed)
    words = np.array(["", "ä", "None", "\U0001f600", last], object)
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


def hard(n, seed=0):
    """Return columns that are hard: 130 categories, times, tiny, large and whole numbers."""
    tiny, large, times = np.random.default_rng(seed).normal(size=(3, n))
    codes = 179 - np.arange(n) % 130
    return np.column_stack([codes, 1.7e9 + np.abs(times), 1e-20 * tiny, 1e20 * large, np.arange(n)])


def mixed(n, seed=0):
    """Return a column of values of several types, which ONNX has no type for, and one of text."""
    values = np.array([1, 2.5, "x", None, False], object)
    place = np.random.default_rng(seed).integers(0, 60, n)
    return pandas.DataFrame({"text": frame(n, seed)["text"], "mixed": values[place % 5]})


def times(n, seed=0):
    """Return dates, differences of dates, and categories in order, some of them missing."""
    x, rng = frame(n, seed)["x"], np.random.default_rng(seed)
    hours = pandas.Series(rng.integers(-9_000, 20_000, n)).where(rng.random(n) < 0.9)
    start = pandas.Timestamp(0) + pandas.to_timedelta(hours, unit="h")
    wait = pandas.to_timedelta(pandas.Series(rng.integers(0, 10**6, n)), unit="ms")
    sizes = [("small", "large", "huge", None)[k] for k in rng.integers(seed > 0, 4, n)]
    return pandas.DataFrame(
        {
            "x": x,
            "start": start.dt.tz_localize("Europe/Berlin", ambiguous=True),
            "end": (start + wait).dt.tz_localize("UTC"),
            "day": start.dt.floor("D"),
            "wait": wait,
            "size": pandas.Categorical(sizes, ["small", "large", "huge"], ordered=True),
        }
    )


def in_seconds(table):
    """Return a table with dates and differences as a program passes them."""
    if not hasattr(table, "dtypes"):
        return table
    seconds = {}
    for name, dtype in table.dtypes.items():
        if dtype.kind == "M":
            instants = pandas.to_datetime(table[name], utc=True)
            seconds[name] = (instants - pandas.Timestamp(0, tz="UTC")).dt.total_seconds()
        elif dtype.kind == "m":
            seconds[name] = table[name].dt.total_seconds()
    return table.assign(**seconds)


# How to make a table, and what is said of it.
TABLES = {
    "frame": (frame, {}),
    "text": (lambda n, seed=0: frame(n, seed, "b\0c")[["text", "none"]], {}),
    "numbers": (lambda *args: frame(*args)[["x", "0", "time"]], {}),
    "array": (array, {}),
    "array with categories": (array, {"categorical_features": [1, 4]}),
    # Text beside numbers, in one array.
    "objects": (lambda *args: frame(*args)[["x", "text", "truth"]].to_numpy(dtype=object), {}),
    "times": (times, {}),
    "ranks": (lambda *args: times(*args)[["size"]], {}),
    "hard columns": (hard, {"categorical_features": [0]}),
    "mixed categories": (mixed, {}),
    "no columns": (lambda n, seed=0: np.ones((n, 2)), {}),
}
# The formats in which a table cannot be: C has no text with a null in it.
ONLY = {"text": "onnx", "mixed categories": "c", "no columns": "c"}
# Made of a table's first column that is a number, and of noise.
TARGETS = {
    "squared_error": lambda z: 1e6 + 3 * z,
    "absolute_error": lambda z: np.column_stack([z, 1e-3 * z**2]),
    "quantile": lambda z: z,
    "poisson": lambda z: np.floor(np.exp(z)),
    "gaussian": lambda z: np.column_stack([1e4 * z, 1e9 + z]),
    "gamma": lambda z: np.column_stack([1e3 * np.exp(z), np.exp(-z)]),
    "tweedie": lambda z: np.exp(3 * z) * (z > 0),
    "huber": lambda z: z,
    "trends": lambda z: np.column_stack([z, 1e6 * z]),  # such trends have no clips and limits
    "later": lambda z: np.column_stack([z, 1e6 * z]),  # this one has a linear part
    "later classes": lambda z: np.digitize(z, [-0.5, 0.5]),
    "distilled": lambda z: z,  # the columns of this network have different numbers of bins
    "two": lambda z: z > 0,
    "names": lambda z: np.array(["red", "ünïcode", "blue"])[np.digitize(z, [-0.5, 0.5])],
    "numbers": lambda z: 3 * np.digitize(z, [-0.5, 0.5]) - 5,
    "divided": lambda z: np.digitize(z, [-0.5, 1.5]),
    "each": lambda z: np.column_stack([z > 0, z > 0.5, z < 1]).astype(int),
}
LEVELS = [0.001, 0.05, 0.5, 0.5000001, 0.999]
# Every table and every target, and both lists of recipes.
CASES = [
    *(("frame", target, "piecewise") for target in TARGETS),
    *((table, "squared_error", "others") for table in TABLES),
    *((table, "names", "others") for table in ("text", "numbers", "array", "mixed categories")),
]


@functools.cache
def fitted(table, target, recipes="piecewise"):
    """Return an estimator all of whose groups count: two, and with times a linear one."""
    make, options = TABLES[table]
    X, rng = make(N), np.random.default_rng(1)
    y = TARGETS[target](frame(N)["x"] + rng.normal(size=N) * 0.3)
    options = {"preset": "fast", "random_state": 0, **options}
    loss = target if target in LOSSES else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets.PRESETS, "fast", Preset(3, 1, 12, RECIPES[recipes]))
        shares = {2: np.array([0.3, 0.7]), 3: np.array([0.1, 0.3, 0.6])}
        patch.setattr("fastmlp.tabular.recipe.blend.greedy", lambda said, cost: shares[len(said)])
        if target == "divided":
            options |= {"class_weight": "balanced", "prior": "true"}
        in_time = {"time": np.arange(N)} if target.startswith("later") else {}
        if target in ("two", "names", "numbers", "divided", "each", "later classes"):
            return TabMLPClassifier(**options).fit(X, y, **in_time)
        regressor = TabMLPRegressor(loss=loss or "squared_error", quantile=0.8, **options)
        trends = stored.trends(unclipped=[0, 2, 4], raw=[4])
        with trends if target == "trends" else contextlib.nullcontext():
            model = regressor.fit(X, y, **in_time)
        return model.distill(X) if target == "distilled" else model


def rows(table):
    X = TABLES[table][0](ROWS, 5)
    if table == "frame":
        return odd(X)
    if table.startswith("array"):
        X[:6, 0] = [1e300, -1e300, np.nan, 5e-324, 1e18, -0.0]
        X[:3, 1] = [99, 0.5, np.nan]
    if table == "hard columns":
        X[:7, 0] = X[:7, 3] = [0.0, -0.0, 1e-300, 1e300, -1e300, 5e-324, np.nan]
    return X


# ---- formats --------------------------------------------------------------------------------


def exported(model):
    return model.to_onnx() if hasattr(model, "classes_") else model.to_onnx(levels=LEVELS)


def feed(inputs, X):
    """Return the inputs of a session: as docs/guides/onnx.md says."""
    if not hasattr(X, "columns"):
        if [each.name for each in inputs] == ["X"]:
            return {"X": X}
        X = pandas.DataFrame(X, columns=[f"column {k}" for k in range(X.shape[1])])
    found, X = {}, in_seconds(X)
    for each in inputs:
        column = X[[each.name]].astype(object)
        if each.type == "tensor(string)":
            column = column.fillna("")
        found[each.name] = column.to_numpy().astype(ONNX_TYPES[each.type])
    return found


def by_onnx(model, X):
    """Return what ONNX Runtime predicts, (n, columns), and the labels or None."""
    session = exports.session_of(exported(model))
    names = [output.name for output in session.get_outputs()]
    for few in (X[:1], X[:0]):
        found = session.run(names, feed(session.get_inputs(), few))
        assert {len(each) for each in found} == {len(few)}
    found = dict(zip(names, session.run(names, feed(session.get_inputs(), X)), strict=True))
    labels = found.pop("label", None)
    return np.concatenate([each.reshape(len(X), -1) for each in found.values()], axis=1), labels


def written_as(value):
    """Return a category as a program reads it in a file; None where there is nothing."""
    if value is None or value != value:
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value)).encode()
    return str(value).encode()


class Library:
    """The functions of a C file of an estimator, compiled."""

    def __init__(self, model, folder, levels=LEVELS, **options):
        self.columns, self.outputs = fitted_of(model).columns, model.n_outputs_
        self.is_regressor, self.levels = isinstance(model, TabMLPRegressor), levels
        more = {"levels": levels} if self.is_regressor else {}
        self.files = model.to_c(folder / "net.c", **more, **options)
        self.library = exports.compiled(folder, "-O0")

    def function(self, name, restype=None):
        found = getattr(self.library, f"net_{name}")
        found.restype = restype
        return found

    def read(self, X):
        """Return numbers and codes, as a program has them."""
        X = in_seconds(X)
        table = X.to_numpy(object) if hasattr(X, "iloc") else np.asarray(X)
        numbers = [table[:, k].astype(float) for k, _ in self.columns.numbers]
        code = self.function("code", ctypes.c_int) if self.columns.categories else None
        codes = [
            [code(at, written_as(value)) for value in table[:, k].tolist()]
            for at, (k, _) in enumerate(self.columns.categories)
        ]
        shape = -1, len(table)
        numbers, codes = np.array(numbers, float), np.array(codes, np.int32)
        return numbers.reshape(shape).T.copy(), codes.reshape(shape).T.copy()

    def call(self, name, given, *results, restype=None):
        """Call a function for each row, and return what it returns."""
        function, found = self.function(name, restype), []
        for row in zip(*given, *results, strict=True):
            addresses = [
                each.ctypes.data_as(ctypes.c_void_p) if each.size else None for each in row
            ]
            found.append(function(*addresses))
        return found

    def predict(self, numbers, codes):
        """Return all that the file says of rows, (n, columns)."""
        m, n = self.outputs, len(numbers)
        y = np.zeros((n, m * (2 + len(self.levels)) if self.is_regressor else m))
        ends = [m, 2 * m][: 1 + bool(self.levels)] if self.is_regressor else []
        name = "distribution" if self.is_regressor else "predict"
        self.call(name, (numbers, codes), *np.split(y, ends, axis=1))
        return y

    def labels(self, model, numbers, codes):
        """Return the labels of rows, of the dtype of the model's classes."""
        if fitted_of(model).calibration.has_labels:
            flags = np.zeros((len(numbers), self.outputs), np.int32)
            self.call("classes", (numbers, codes), flags)
            return flags
        index = self.call("class", (numbers, codes), restype=ctypes.c_int)
        header = self.files.header.read_text()
        if "net_labels" not in header:
            return model.classes_[index]
        classes = exports.classes_of(self.library, "net", header)
        return classes.astype(model.classes_.dtype)[index]


def said(model, X, levels=LEVELS):
    """Return the same of an estimator, by its public methods."""
    if isinstance(model, TabMLPClassifier):
        return model.predict_proba(X)
    parts = [*model.predict(X, return_std=True)]
    parts += [model.predict_quantiles(X, levels)] if len(levels) else []
    return np.concatenate([part.reshape(len(X), -1) for part in parts], axis=1)


def assert_same(found, labels, model, X, relative=RELATIVE, levels=LEVELS):
    """Fail unless what was predicted elsewhere is what the model predicts."""
    wanted, m = said(model, X, levels), model.n_outputs_
    assert found.dtype == np.float64
    assert len(X) < 9 or not fitted_of(model).columns.used or np.ptp(wanted[:, 0]) > 0
    if isinstance(model, TabMLPClassifier):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=relative)
        exports.assert_same_labels(labels, model.predict(X), wanted, 1e-5)
        return
    mean, deviation, quantiles = np.split(wanted, [m, 2 * m], axis=1)
    learned = model.oof_prediction_.reshape(-1, m)
    unit = np.abs(mean - np.nanmean(learned, axis=0)) + np.nanstd(learned, axis=0) + deviation
    away = np.abs(quantiles - np.repeat(mean, len(levels), axis=1))
    units = [unit, deviation, np.repeat(unit, len(levels), axis=1) + away]
    assert np.all(np.abs(found - wanted) <= relative * np.concatenate(units, axis=1))


IS_HERE = {"c": shutil.which("gcc"), "onnx": True}
RUNS = [(*case, kind) for case in CASES for kind in IS_HERE if ONLY.get(case[0], kind) == kind]


@pytest.mark.crossed
@pytest.mark.parametrize(("table", "target", "recipes", "kind"), RUNS)
def test_rows_are_predicted_as_by_the_estimator(table, target, recipes, kind, tmp_path):
    model, X = fitted(table, target, recipes), rows(table)
    groups = {"distilled": 1, "later": 3, "later classes": 3}.get(target, 2)
    assert len(fitted_of(model).blend.groups) == groups
    if not IS_HERE[kind]:
        pytest.skip("needs gcc")
    if kind == "onnx":
        assert_same(*by_onnx(model, X), model, X)
        return
    library = Library(model, tmp_path)
    given = library.read(X)
    is_regressor = isinstance(model, TabMLPRegressor)
    labels = None if is_regressor else library.labels(model, *given)
    found = library.predict(*given)
    assert_same(found, labels, model, X, 5 * RELATIVE)
    assert library.files.largest_error < 5 * RELATIVE
    assert library.files.labels_changed == (None if is_regressor else 0)
    if is_regressor:
        y = np.zeros((len(X), library.outputs))
        library.call("predict", given, y)
        assert np.array_equal(y, found[:, : library.outputs])


@pytest.mark.parametrize("kind", IS_HERE)
@pytest.mark.parametrize("target", ["squared_error", "two"])
def test_exports_follow_a_rule(target, kind, tmp_path):
    if not IS_HERE[kind]:
        pytest.skip("needs gcc")
    table, rng = frame(N), np.random.default_rng(0)
    y = TARGETS[target](table["x"] + rng.normal(size=N))
    make = TabMLPClassifier if target == "two" else TabMLPRegressor
    rule = {"monotone": {"x": 1, "missing": -1}}
    model = make(preset="fast", epochs=8, width=16, random_state=0, **rule).fit(table, y)
    before = frame(5 * ROWS, 1)
    after, steps = before.copy(), np.exp(rng.uniform(-30, 3, 5 * ROWS))
    after["x"] += steps
    after["missing"] -= steps
    if kind == "onnx":
        first, then = (by_onnx(model, rows)[0] for rows in (before, after))
    else:
        library = Library(model, tmp_path)
        first, then = (library.predict(*library.read(rows)) for rows in (before, after))
    at = 1 if target == "two" else 0  # the probability of the second class, or the mean
    assert np.all(first[:, at] <= then[:, at] + 1.2e-7 * np.abs(first[:, at]))
    assert np.mean(first[:, at] < then[:, at]) > 0.3
