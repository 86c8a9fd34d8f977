"""Estimators of tables as C: raw columns in, what the estimator says out."""

import ctypes
import re
import shutil
import subprocess

import exports
import numpy as np
import pytest
import stored
from test_c_export import COMPILERS, HERE, RUN, STRICT, compiled

pytest.importorskip("sklearn", reason="needs scikit-learn")
from sklearn.exceptions import NotFittedError
from test_c_estimators import labels_of

import fastmlp

pandas = pytest.importorskip("pandas", reason="needs pandas")

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")

LEVELS = [0.001, 0.05, 0.5, 0.95, 0.999]
ROWS = 1000
ODD = [0.0, -0.0, 1e-300, 1e300, -1e300, 5e-324, np.nan]
UNKNOWN = -2
RNG = np.random.default_rng(1)


def many_values():
    """Return rows whose columns are hard: 180 categories, times, tiny, large and whole numbers."""
    n = 300
    tiny, large = RNG.normal(size=(2, n))
    times = 1.7e9 + RNG.random(n)
    codes = 179 - np.arange(n) % 180
    return np.column_stack([codes, times, 1e-20 * tiny, 1e20 * large, np.arange(n)])


HARD = many_values()
HARD_Y = 1e6 + np.sin(HARD[:, 1]) + HARD[:, 0] % 3
CASES = {
    **{name: make for name, make in stored.tables().items() if name != "unfitted table"},
    "hard columns": lambda: stored.table(
        fastmlp.TabMLPRegressor, HARD_Y, HARD, categorical_features=[0]
    ),
    "no columns": lambda: stored.table(fastmlp.TabMLPRegressor, stored.Y[:, 0], np.ones((60, 2))),
    "categories only": lambda: stored.table(
        fastmlp.TabMLPClassifier, stored.LABELS, stored.frame()[["text", "mixed"]]
    ),
}
KINDS = {"float32": CASES, "float64": ["hard columns"], "int8": ["TabMLPClassifier words"]}
RUNS = [(name, kind) for kind, names in KINDS.items() for name in names]


def rows_of(model, n=ROWS):
    """Return rows of known and odd values, each column shuffled by itself."""
    if not hasattr(model, "feature_names_in_"):
        given = {5: HARD, 3: np.round(stored.X), 2: np.ones((60, 2))}[model.n_features_in_]
        columns = [RNG.choice([*column, *ODD], n) for column in given.T]
        if len(columns) == 5:
            columns[0] = RNG.choice([*range(190), np.nan, 1e9], n)
        return np.column_stack(columns)
    frame = stored.frame()
    odd = dict.fromkeys(("a", "ü", "same", "again"), ODD)
    odd |= {"text": ["no", None, "", "bee", "be"], "truth": [True], "mixed": [3, "y", None, 1.0]}
    names = model.feature_names_in_
    drawn = {}
    for name in names:
        pool = [*frame[name].tolist(), *odd[name] * 3]
        chosen = [pool[k] for k in RNG.integers(len(pool), size=n)]
        kind = object if name in ("text", "mixed") else frame[name].dtype
        drawn[name] = np.array([*chosen, None], object)[:-1].astype(kind)
    return pandas.DataFrame(drawn)[list(names)]


def written_as(value):
    """Return a category as a program reads it in a file; None where there is nothing."""
    if value is None or value != value:
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value)).encode()
    return str(value).encode()


class Library:
    """The functions of a file that is compiled."""

    def __init__(self, library, name, model, levels):
        self.library, self.name, self.levels = library, name, levels
        self.columns, self.outputs = model._columns, model.n_outputs_
        self.is_regressor = isinstance(model, fastmlp.TabMLPRegressor)

    def function(self, name, restype=None):
        found = getattr(self.library, f"{self.name}_{name}")
        found.restype = restype
        return found

    def read(self, X):
        """Return numbers and codes, as a program has them."""
        array = X.to_numpy(object) if hasattr(X, "iloc") else np.asarray(X)
        numbers = [array[:, k].astype(float) for k, _ in self.columns.numbers]
        code = self.function("code", ctypes.c_int) if self.columns.categories else None
        codes = [
            [code(at, written_as(value)) for value in array[:, k].tolist()]
            for at, (k, _) in enumerate(self.columns.categories)
        ]
        n = len(array)
        return (
            np.array(numbers, float).reshape(-1, n).T.copy(),
            np.array(codes, np.int32).reshape(-1, n).T.copy(),
        )

    def predict(self, numbers, codes):
        """Return all that a file says of rows, (n, columns)."""
        m = self.outputs
        y = np.zeros((len(numbers), m * (2 + self.levels) if self.is_regressor else m))
        function = self.function("distribution" if self.is_regressor else "predict")
        offsets = (0, m, 2 * m)[: 3 if self.levels else 2] if self.is_regressor else (0,)
        for x, c, row in zip(numbers, codes, y, strict=True):
            places = [row[offset:].ctypes.data_as(ctypes.c_void_p) for offset in offsets]
            given = [a.ctypes.data_as(ctypes.c_void_p) if a.size else None for a in (x, c)]
            function(*given, *places)
        return y


def said(model, X, levels):
    """Return the same of an estimator, by its public methods."""
    if not isinstance(model, fastmlp.TabMLPRegressor):
        return model.predict_proba(X)
    n = len(X)
    parts = [*model.predict(X, return_std=True)]
    parts += [model.predict_quantiles(X, levels)] if levels else []
    return np.concatenate([part.reshape(n, -1) for part in parts], axis=1)


def deviation(model):
    """Return the unit of a network's output."""
    scales = [scale for group in model._members.groups for scale in group.scales]
    return max((float(scale.factor.max()) for scale in scales if scale is not None), default=1.0)


def unit_of(model, wanted):
    """Return in which unit predictions may differ: that, or their range if it is wider."""
    return max(deviation(model), float(np.ptp(wanted, axis=0).max()))


def name_of(run):
    return f"net{RUNS.index(run)}"


def pronounced(model):
    """Return a model, hardly trained, that says more of its inputs: last weights are larger."""
    for group in model._members.groups:
        for net in group.ensemble:
            net.weights = [*net.weights[:-1], 30 * net.weights[-1]]
    return model


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a folder, models and `Library` objects of all runs, and what `to_c` returned."""
    folder = tmp_path_factory.mktemp("tables")
    models = {name: pronounced(make()) for name, make in CASES.items()}
    files = {}
    for name, kind in RUNS:
        model = models[name]
        options = {"levels": LEVELS} if hasattr(model, "predict_quantiles") else {}
        X = rows_of(model, 200) if kind == "int8" else None
        path = folder / f"{name_of((name, kind))}.c"
        files[name, kind] = model.to_c(path, weights=kind, X=X, **options)
    library = compiled(folder, "-O0")
    libraries = {
        (name, kind): Library(
            library,
            name_of((name, kind)),
            models[name],
            len(LEVELS) if hasattr(models[name], "predict_quantiles") else 0,
        )
        for name, kind in RUNS
    }
    return folder, models, libraries, files


@pytest.mark.parametrize("run", RUNS, ids=" ".join)
def test_rows_are_predicted_as_by_the_estimator(run, made):
    _, models, libraries, files = made
    model, library = models[run[0]], libraries[run]
    X = rows_of(model)
    found, wanted = library.predict(*library.read(X)), said(model, X, LEVELS)
    allowed = {"int8": 0.01}.get(run[1], 5 * exports.RELATIVE["float32"])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=allowed * unit_of(model, wanted))
    assert files[run].largest_error * deviation(model) < allowed * unit_of(model, wanted)
    varies = np.ptp(wanted, axis=0).max() / unit_of(model, wanted)
    assert varies > 0.03 or not model._columns.names or run[0] == "no columns", varies
    if library.is_regressor:
        predict, y = library.function("predict"), np.zeros(library.outputs)
        numbers, codes = library.read(X[:1])
        predict(*(a.ctypes.data_as(ctypes.c_void_p) for a in (numbers, codes, y)))
        assert np.array_equal(y, found[0, : library.outputs])


CLASSIFIERS = [name for name in CASES if "Classifier" in name or name == "categories only"]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_labels_are_those_of_predict(name, made):
    _, models, libraries, files = made
    model, library = models[name], libraries[name, "float32"]
    X = rows_of(model, 200)
    numbers, codes = library.read(X)
    p, n = model.predict_proba(X), len(X)
    assert files[name, "float32"].labels_changed == 0
    void = ctypes.c_void_p
    if model._has_labels:
        found, function = np.zeros((n, library.outputs), np.int32), library.function("classes")
        for each in zip(numbers, codes, found, strict=True):
            function(*(a.ctypes.data_as(void) for a in each))
        sure = (np.abs(p - 0.5) > 1e-4).all(axis=1)
        exports.assert_same_labels(found, model.predict(X), sure)
        return
    function = library.function("class", ctypes.c_int)
    pairs = zip(numbers, codes, strict=True)
    index = [function(*(a.ctypes.data_as(void) for a in pair)) for pair in pairs]
    top = np.sort(p, axis=1)
    classes = labels_of(library.library, model.classes_, f"{library.name}_labels")
    found = classes.astype(model.classes_.dtype)[index]
    exports.assert_same_labels(found, model.predict(X), top[:, -1] - top[:, -2] > 1e-4)


def test_infinities_are_as_the_largest_number(made):
    _, models, libraries, _ = made
    model, library = models["hard columns"], libraries["hard columns", "float64"]
    X = np.column_stack([np.zeros(2), *[[1e300, -1e300]] * 4])
    numbers, codes = library.read(X)
    found = library.predict(np.copysign(np.inf, numbers), codes)
    wanted = said(model, X, LEVELS)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * unit_of(model, wanted))
    largest = np.copysign(np.finfo(float).max, numbers)
    assert np.array_equal(found, library.predict(largest, codes))


def test_codes_and_texts_are_those_of_the_columns(made):
    _, models, libraries, _ = made
    for name in ("TabMLPClassifier words", "hard columns", "TabMLPClassifier categories"):
        library = libraries[name, "float32"]
        code, text = library.function("code", ctypes.c_int), library.function("text")
        text.restype = ctypes.c_char_p
        for at, (_, column) in enumerate(models[name]._columns.categories):
            for k, value in enumerate(column.values):
                written = written_as(value)
                assert text(at, k) == written
                assert code(at, written) == (-1 if written is None else k)
            for other in (b"\xff", b"zzz", b"be", b"beee", b"-"):
                assert code(at, other) == UNKNOWN
            assert [text(at, k) for k in (-2, -1, len(column.values))] == [None] * 3
        outside = len(models[name]._columns.categories)
        assert [code(k, b"x") for k in (-1, outside)] == [UNKNOWN] * 2
        assert [text(k, 0) for k in (-1, outside)] == [None] * 2


def test_missing_is_a_category_of_its_own_where_it_was_at_fit(made):
    _, models, libraries, _ = made
    model, library = models["categories only"], libraries["categories only", "float32"]
    frame = pandas.DataFrame({"text": ["bee"] * 2, "mixed": [None, "never seen"]})
    wanted = model.predict_proba(frame)
    assert not np.allclose(*wanted, atol=1e-4)
    places = range(len(model._columns.categories[1][1].values))
    codes = np.array([[0, -1], [0, UNKNOWN], [0, -7], [0, len(places)], [0, 2**31 - 1]], np.int32)
    codes[:, 0] = library.read(frame)[1][0, 0]
    found = library.predict(np.zeros((5, 0)), codes)
    np.testing.assert_allclose(found, wanted[[0, 1, 1, 1, 1]], atol=1e-5)


# Between them they have every piece of C.
CHECKED = [
    ("TabMLPClassifier words", "int8"),
    ("TabMLPClassifier labels", "float32"),
    ("TabMLPRegressor loss gaussian", "float32"),
    ("hard columns", "float64"),
]


@pytest.mark.parametrize("command", COMPILERS)
def test_no_warnings_and_the_self_check_passes(command, made, tmp_path):
    is_here, linked, started = RUN.get(command[0], HERE)
    if not is_here():
        pytest.skip("needs an emulator")
    more = linked(tmp_path)
    for run in CHECKED[:: 1 if "-std=c99" in command and is_here is HERE[0] else 2]:
        source, program = made[0] / f"{name_of(run)}.c", tmp_path / name_of(run)
        options = [*command, *STRICT, "-DFASTMLP_MAIN", source, "-o", program, *more, "-lm"]
        subprocess.run(options, check=True)
        ran = subprocess.run(started(program), capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout
        assert ran.stdout.startswith("0 of ")


CONSTANTS = ["weights_0_1", "number_centre_0_0", r"target_low_\d_0", "offsets"]


@pytest.mark.parametrize("constant", CONSTANTS)
def test_the_self_check_finds_a_wrong_number(constant, made, tmp_path):
    name = name_of(("hard columns", "float32"))
    text = (made[0] / f"{name}.c").read_text()
    found = re.search(rf" {constant}\[.*?{{", text, re.DOTALL)
    assert found
    at = found.end()
    wrong = re.sub(r"\d\.\d", "7.7", text[at : at + 300])
    (tmp_path / f"{name}.c").write_text(text[:at] + wrong + text[at + 300 :])
    shutil.copy(made[0] / f"{name}.h", tmp_path)
    program = tmp_path / "program"
    command = ["gcc", "-DFASTMLP_MAIN", tmp_path / f"{name}.c", "-o", program, "-lm"]
    subprocess.run(command, check=True)
    assert subprocess.run([program], capture_output=True, check=False).returncode == 1


def test_members_are_data_and_files_are_of_what_was_saved(made, tmp_path):
    folder, models, _, _ = made
    run = ("TabMLPRegressor loss gaussian", "float32")
    model, name = models[run[0]], name_of(run)
    text = (folder / f"{name}.c").read_text()
    assert text.count("static void member_") == len(model._members.groups) < len(model._members)
    model.save(tmp_path / "model")
    fastmlp.load(tmp_path / "model").to_c(tmp_path / f"{name}.c", levels=LEVELS)
    assert (tmp_path / f"{name}.c").read_text() == text


def test_without_levels_there_are_no_quantiles(made, tmp_path):
    model = made[1]["TabMLPRegressor two outputs"]
    model.to_c(tmp_path / "net.c")
    assert "quantile" not in (tmp_path / "net.h").read_text()
    library = Library(compiled(tmp_path), "net", model, 0)
    X = rows_of(model, 50)
    found, wanted = library.predict(*library.read(X)), said(model, X, [])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=5e-6 * unit_of(model, wanted))


PLACE = np.arange(60)
WRONG = [
    ({"c": np.array([1, "1"], object)[PLACE % 2]}, {}, "tell apart"),
    ({"c": np.array(["a\0b", "b"], object)[PLACE % 2]}, {}, "none of them 0"),
    ({"c": np.array(["a", "\ud800"], object)[PLACE % 2]}, {}, "UTF-8"),
    ({"c": np.array(["a", "b" * 5000], object)[PLACE % 2]}, {}, "4,095 bytes"),
    ({}, {"weights": "int8"}, "needs X"),
    ({}, {"weights": "int4"}, "one of float32, float64, int8, bfloat16"),
    ({}, {"levels": [2.0]}, "between 0 and 1"),
    ({}, {"X": pandas.DataFrame({"b": [0.0]})}, "feature names"),
    ({}, {"path": "net.h"}, "for example 'model.c'"),
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
