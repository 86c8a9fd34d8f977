"""What the estimators of tables refuse before they train: columns, targets, weights, options."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas
import polars
import pytest
from sklearn.model_selection import KFold
from tiny_tables import LABELS, N, X, Y, classifier, regressor

import fastmlp
from fastmlp.tabular import parts
from fastmlp.tabular.fit.reading import TableChunk
from fastmlp.tabular.outcome.loss_rows import LOSSES
from fastmlp.tabular.recipe import members

pytestmark = pytest.mark.usefixtures("tiny")

FRAME = pandas.DataFrame(X, columns=list("abc"))
OTHER = polars.DataFrame(dict(zip("abc", X.T, strict=True)))
NAT = np.array(["NaT"], "M8[D]")
PERIODS = pandas.period_range("2026", periods=N)
REGRESSOR, CLASSIFIER = {"X": X, "y": Y}, {"X": X, "y": LABELS}


def column(values):
    """Return a table one of whose columns holds such objects."""
    return {"X": FRAME.assign(a=pandas.Series(values, dtype=object))}


def recipe(**fields):
    return {"recipes": [fields]}


# The error, its words, and what a fit of a regressor is given besides.
DATA = [
    (TypeError, r"a holds a list, which is neither: .* astype\(float\), or", column([[1, 2]] * N)),
    (TypeError, r"holds a Fraction, .* astype\(float\), or to", column([Fraction(1, 3)] * N)),
    (TypeError, "a holds a dict, which is neither", column([{}] * N)),
    (TypeError, "a holds dates", column([np.datetime64("2020-01-01"), *[1.0] * (N - 1)])),
    (TypeError, r"a holds a Period, .* to dates by dt.to_timestamp\(\), or", column(PERIODS)),
    (ValueError, "X is {'a': 1} .dict., a dict of single values.* pass .X. for", {"X": {"a": 1}}),
    (ValueError, r"Found array with 0 sample\(s\) and 0 feature\(s\)", {"X": {}}),
    (TypeError, "a holds a list, which is neither", {"X": {"a": [[1], [1, 2]] * 30}}),
    (TypeError, "b holds a list, which is neither", {"X": {"b": {k: [k] for k in range(N)}}}),
    (ValueError, "too large for dtype.*: a has such", column([10**400] * N)),
    (ValueError, "infinity", {"X": FRAME.assign(a=np.inf)}),
    (ValueError, "several columns with the name", {"X": FRAME.set_axis(["a", "a", "b"], axis=1)}),
    (ValueError, "several columns with the name", {"X": FRAME.set_axis([1, 1, 2], axis=1)}),
    (TypeError, "X is a LazyFrame but .* pass X.collect", {"X": OTHER.lazy()}),
    *(
        (TypeError, "string or a number: d holds", {"X": OTHER.with_columns(d=polars.Series(d))})
        for d in ([{"k": 1}, {"k": 2}] * (N // 2), [[1, 2]] * N)
    ),
    (ValueError, "rescale y", {"y": Y * 1e160}),
    (ValueError, "rescale y", {"y": Y * 1e-160}),
    (ValueError, "rescale y", {"y": np.c_[Y, Y * 1e-160]}),
    (ValueError, "too large for float64", {"y": [10**400 + k for k in range(N)]}),
    (ValueError, "y holds dates", {"y": np.arange(N).astype("M8[D]")}),
    (ValueError, "y has masked entries", {"y": np.ma.masked_array(Y, Y > 1)}),
    (ValueError, "in sum inf", {"sample_weight": np.full(N, 1e308)}),
    *(
        (ValueError, "1 rows have a weight above 0, and above 2e-16 times", {"sample_weight": w})
        for w in (np.r_[1e300, np.ones(N - 1)], np.r_[1e20, np.ones(N - 1)])
    ),
    (ValueError, "two groups", {"groups": np.zeros(N)}),
    (ValueError, "groups has missing ones .* a group of its own", {"groups": [None, 1] * (N // 2)}),
    (ValueError, "groups has missing ones", {"groups": np.where(np.arange(N) < 3, np.nan, 1.0)}),
    (ValueError, "groups has missing ones", {"groups": np.where(Y > 1, NAT, NAT + 1)}),
    (ValueError, "groups has masked entries", {"groups": np.ma.masked_array(Y, Y > 1)}),
    (ValueError, "time has masked entries", {"time": np.ma.masked_array(Y, Y > 1)}),
    (ValueError, "sample_weight has masked", {"sample_weight": np.ma.masked_array(Y**2, Y > 1)}),
    (ValueError, "do not compare", {"groups": np.array(["a", 1] * (N // 2), object)}),
    (
        ValueError,
        r"groups has shape \(60, 2\) .* pass a single",
        {"groups": np.zeros((N, 2))},
    ),
    (ValueError, "groups has one group .* pass rows of more groups", {"groups": np.zeros(N)}),
    (ValueError, "n_samples=1 but at least 2 .* pass more rows", {"X": X[:1], "y": Y[:1]}),
    (ValueError, "time is the same .* pass rows of later times", {"time": np.zeros(N)}),
    (ValueError, r"folds has shape \(3,\) .* -1 for none; or pairs", {"folds": [0, 1, 2]}),
    (ValueError, "folds has shape .* float64", {"folds": np.arange(N) / 2}),
    (ValueError, "folds has shape .* -1 for none", {"folds": np.full(N, -1)}),
    (ValueError, "folds has shape .* -1 for none", {"folds": "KFold"}),
    (ValueError, "folds is 3 but .* pass a number of folds to the estimator", {"folds": 3}),
    (ValueError, "folds has shape .* -1 for none", {"folds": []}),
    (ValueError, r"folds\[1\] has 3 parts", {"folds": [([0], [1]), ([0], [1], [2])]}),
    (ValueError, r"folds\[0\] holds out no rows", {"folds": [([0], [])]}),
    (ValueError, r"folds\[0\] learns from no rows", {"folds": [([], [1])]}),
    (ValueError, r"folds\[0\] holds out \[60\] but places", {"folds": [([0], [N])]}),
    (ValueError, r"folds\[0\] learns from \[-1\] but", {"folds": [([-1], [1])]}),
    (ValueError, r"folds\[0\] learns from \[0.5\] but", {"folds": [([0.5], [1])]}),
    (ValueError, "learns from row 1 and holds it out", {"folds": [([0, 1], [1, 2])]}),
    (
        *(ValueError, "folds holds out no row of the fit with a weight"),
        {"folds": [([0, 1], [2])], "sample_weight": np.arange(N) != 2},
    ),
    (ValueError, r"time cannot be read \(it has shape \(3,\)", {"time": [0, 1, 2]}),
    (ValueError, r"cannot be read \(it holds categories\): pass a", {"time": Y > 0}),
    (ValueError, "cannot be read .* pass a number, a datetime", {"time": ["1/2/2026", "x"] * 30}),
    (ValueError, "time cannot be read", {"time": [(1, 2)] + [1] * (N - 1)}),
    (ValueError, r"time holds periods .* time.dt.to_timestamp\(\), or", {"time": PERIODS}),
    (
        ValueError,
        "time is infinite in row 2: drop",
        {"time": np.where(np.arange(N) == 2, np.inf, Y)},
    ),
    (ValueError, "time is missing in row 2", {"time": np.where(np.arange(N) == 2, np.nan, Y)}),
    (ValueError, "time is missing in row 3", {"time": [*FRAME["a"][:3], None, *FRAME["a"][4:]]}),
    (ValueError, "time is missing in row 0", {"time": np.r_[NAT, np.arange(1, N).astype("M8[D]")]}),
    (ValueError, "time is missing in row 0: drop", {"time": [None] * N}),
    (ValueError, "time is missing in row 0: drop", {"time": np.full(N, np.nan)}),
    (ValueError, "time is missing in row 0: drop", {"time": np.repeat(NAT, N)}),
    (ValueError, "time is missing in row 0: drop", {"time": pandas.Series([pandas.NA] * N)}),
    (ValueError, "time is missing in row 0: drop", {"time": polars.Series([None] * N)}),
    (ValueError, "time is missing in row 1: drop", {"time": [5, None] * (N // 2)}),
    (ValueError, "time is the same in all rows", {"time": np.full(N, 5)}),
    (ValueError, "time is the same in all rows", {"time": np.full(N, 5), "groups": np.arange(N)}),
    (ValueError, "time is 'd' but X has no column of that name", {"X": FRAME, "time": "d"}),
    (ValueError, "time is 'a' but X has no column", {"time": "a"}),
    (ValueError, "time and folds are passed but", {"time": Y, "folds": np.arange(N) % 2}),
    (TypeError, "sample_weight is 'c' but an array .* pass the column", {"sample_weight": "c"}),
    (ValueError, "groups is 'd' but X has no column of that name", {"X": FRAME, "groups": "d"}),
    (ValueError, "groups is 'c' but X has no column of that name", {"groups": "c"}),
    (ValueError, r"folds\[0\] learns from \[True.* or a boolean", {"folds": [([True], [1])]}),
    (TypeError, r"y is \['a', 'b'\] .* names of columns, but", {"X": FRAME, "y": ["a", "b"]}),
    (ValueError, "X_val and y_val belong together", {"X_val": X}),
    (ValueError, "X_val and y_val belong together", {"y_val": Y}),
    (ValueError, "y has masked", {"X_val": X, "y_val": np.ma.masked_array(Y, Y > 1)}),
    (ValueError, "inconsistent numbers", {"X_val": X, "y_val": Y[1:]}),
    (ValueError, "2 features", {"X_val": X[:, 1:], "y_val": Y}),
    (ValueError, "y has 2 outputs but 1", {"X_val": X, "y_val": np.c_[Y, Y]}),
    (
        *(ValueError, "Input y contains NaN alone but some"),
        {"y": np.c_[Y, Y], "X_val": X, "y_val": np.full((N, 2), np.nan)},
    ),
]
# The same of a classifier.
CLASSES = [
    ("one class, 0, .* add rows of another class", np.zeros(N, int)),
    ("y contains NaN, None or NA", ["a", None, "b"] * (N // 3)),
    ("y contains NaN, None or NA", np.array(["a", np.nan] * (N // 2), object)),
    ("y contains NaN but labels are expected: drop", np.where(Y > 1, np.nan, 0)),
    ("Unknown label type: continuous.* use TabMLPRegressor", Y),
    ("y holds text and 1 but", np.array(["a", 1] * (N // 2), object)),
    ("Unknown label type: y holds Decimal.* astype.int", [Decimal(k % 2) for k in range(N)]),
    ("y contains NaT but", np.where(Y > 0, np.datetime64("NaT"), np.datetime64("2026-01-01"))),
    ("y has masked entries", np.ma.masked_array(LABELS, Y > 1)),
    ("but 0 and 1 are expected", np.c_[1 + (Y > 0), 1 + (Y > 1)]),
    ("but 0 and 1 are expected", np.sign(np.c_[Y, -Y]).astype(int)),
]
OPTIONS = [
    ("n_jobs is 0 but a number of threads", {"n_jobs": 0}),
    ("n_jobs is True but a number of threads", {"n_jobs": True}),
    ("time_limit is True but a number", {"time_limit": True}),
    ("max_memory is True but a number .* max_memory='4GB', or", {"max_memory": True}),
    ("time_limit is 1000", {"time_limit": 10**400}),
    ("booleans of shape", {"categorical_features": [True, False]}),
    ("categorical_features has 'colour'", {"categorical_features": ["colour"]}),
    ("monotone has 2 for 'a' but 1 for predictions that", {"monotone": {"a": 2}}),
    ("monotone has True for 'a' but 1", {"monotone": {"a": True}}),
    ("monotone has 'up' for 'a' but 1", {"monotone": {"a": "up"}}),
    ("'monotone' parameter .* must be an instance of 'dict' or None", {"monotone": ["a"]}),
    ("monotone has 'd' but names of columns, or .* are a, b, c", {"monotone": {"d": 1}}),
    ("monotone has 3 but names of columns", {"monotone": {3: 1}}),
    ("monotone has the column a twice", {"monotone": {"a": 1, 0: 1}}),
    *(
        (f"but loss is '{loss}': use loss='squared_error'", {"monotone": {"a": 1}, "loss": loss})
        for loss in sorted({*LOSSES} - {"squared_error", "quantiles"})
    ),
    ("folds", {"folds": 1}),
    ("folds", {"folds": True}),
    ("folds has shape .* -1 for none", {"folds": "KFold"}),
    ("greater than the number of samples", {"folds": KFold(N + 1)}),
    ("validation='choose' and folds are passed", {"folds": KFold(3), "validation": "choose"}),
    ("'choose' but there are no rows for it: pass X_val", {"validation": "choose"}),
    ("validation.* must be a str among", {"validation": "stop"}),
    ("members", {"members": 0}),
    ("epochs", {"epochs": 0}),
    ("width", {"width": 2.5}),
    ("recipes is empty", {"recipes": []}),
    (r"recipes\[0\] is 8 but a dict is expected", {"recipes": [8]}),
    (r"recipes\[1\] is .* any of bins, ", {"recipes": [{"bins": 8}, {"layers": 3}]}),
    (r"recipes\[0\]: bins is -1 but must be an integer", recipe(bins=-1)),
    ("activation is 'swish' but no .*: use 'silu'", recipe(activation="swish")),
    ("dropout is 1.0 but must be", recipe(dropout=1.0)),
    ("share is 0 but must be", recipe(share=0)),
    *(
        (f"scoring is '{name}' but no scorer .* has that name: use '{scorer}'$", {"scoring": name})
        for name, scorer in (
            *(("rmse", "neg_root_mean_squared_error"), ("MSE", "neg_mean_squared_error")),
            *(("mae", "neg_mean_absolute_error"), ("auc", "roc_auc"), ("r2_score", "r2")),
        )
    ),
    (r"scoring is 'x' but no .*: sklearn.metrics.get_scorer_names\(\) returns", {"scoring": "x"}),
    ("callbacks has a Checkpoint", {"callbacks": [fastmlp.Checkpoint("x")]}),
    ("EarlyStopping of val_loss .* epochs=", {"callbacks": [fastmlp.EarlyStopping()]}),
    ("ReduceOnPlateau of val_loss", {"callbacks": [fastmlp.ReduceOnPlateau()]}),
]
DAYS = np.array(["2026-01-01", "2026-01-02"], "M8[D]")
RULED = [  # classes of which no rule can be about the second
    ("monotone is set but y has 3 classes: it needs two", np.digitize(Y, [-1, 1])),
    ("monotone is set but y has 2 labels: it needs two", np.c_[Y > 0, Y > 1].astype(int)),
]
DATES = FRAME.assign(b=DAYS[0] + np.arange(N))
NOT_NUMBERS = [  # columns that no rule can be about
    ("monotone has 'b', a column of categories, but columns of num", FRAME.assign(b=LABELS)),
    ("monotone has 'b', a column of dates without a time zone, but", DATES),
]
WEIGHTS = [{"high": weight, "low": 1} for weight in (-1, np.nan, np.inf, "2")]
CASES = [
    *((error, words, regressor, {}, REGRESSOR | given) for error, words, given in DATA),
    *((ValueError, words, classifier, {}, {"X": X, "y": y}) for words, y in CLASSES),
    *((ValueError, words, regressor, options, {"X": FRAME, "y": Y}) for words, options in OPTIONS),
    *(
        (ValueError, words, classifier, {"monotone": {0: 1}}, {"X": X, "y": y})
        for words, y in RULED
    ),
    *(
        (ValueError, words, regressor, {"monotone": {"b": 1}}, {"X": table, "y": Y})
        for words, table in NOT_NUMBERS
    ),
    *(
        (
            ValueError,
            "class_weight has .* for the class .high. but a finite number",
            classifier,
            {"class_weight": w},
            CLASSIFIER,
        )
        for w in WEIGHTS
    ),
    (
        *(ValueError, "class_weight is .* but the classes are dates: pass", classifier),
        *({"class_weight": {DAYS[0]: 2}}, {"X": X, "y": DAYS[(Y > 1).astype(int)]}),
    ),
]


@pytest.mark.parametrize(("error", "words", "make", "options", "data"), CASES)
def test_it_is_refused_before_anything_is_trained(error, words, make, options, data, monkeypatch):
    monkeypatch.setattr(members, "train", None)
    with pytest.raises(error, match=words):
        make(**options).fit(**data)


@pytest.mark.parametrize("given", [column([[1, 2]] * N), {"y": Y * 1e160}])
def test_a_fit_that_is_refused_changes_nothing(given):
    model = regressor().fit(FRAME, Y)
    before = dict(vars(model))
    with pytest.raises((TypeError, ValueError)):
        model.fit(**{"X": FRAME, "y": Y} | given)
    assert vars(model) == before


@pytest.mark.parametrize("unit", ["D", "s", "ns"])
def test_dates_of_any_unit_are_the_same_labels(unit):
    y = DAYS[(Y > 1).astype(int)].astype(f"M8[{unit}]")
    model = classifier(members=2, folds=2, epochs=1).fit(X, y, X_val=X, y_val=y.astype("M8[ms]"))
    np.testing.assert_array_equal(
        model.importance(X, y.astype("M8[us]")).means, model.importance(X, y).means
    )
    rare = np.append(np.full(N - 1, y[0]), y[0] + 1)
    summary = parts.summary(model, TableChunk(X, rare), 0, 3)
    assert {key for key in summary.having if key[0] == "class"} == {
        ("class", label) for label in np.unique(rare)
    }
