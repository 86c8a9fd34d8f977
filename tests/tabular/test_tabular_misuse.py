"""Estimators of tables as strangers use them: what is no use is refused, and says what would be."""

import numpy as np
import pandas
import polars
import pyarrow
import pytest
from scipy import sparse
from tiny_tables import LABELS, N, X, Y, classifier, regressor

from fastmlp import ArrowBlocks, MLPClassifier, MLPRegressor
from fastmlp.sklearn.fitted import fitted_of

RNG = np.random.default_rng(1)


pytestmark = pytest.mark.usefixtures("tiny")


# ------------------------------------------------------------ parameters


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_no_threads_are_refused_by_other_estimators_too(solver):
    with pytest.raises(ValueError, match="n_jobs is 0 but a number of threads"):
        MLPRegressor(solver=solver, n_jobs=0).fit(X, Y)
    model = MLPRegressor(solver=solver, max_iter=2000, tol=0.1).fit(X, Y).set_params(n_jobs=True)
    with pytest.raises(ValueError, match="n_jobs is True"):
        model.predict(X)


@pytest.mark.parametrize(
    "make", [lambda **k: classifier(prior="weighted", **k), lambda **k: MLPClassifier(tol=0.1, **k)]
)
def test_weights_of_unknown_classes_are_named_and_count_for_nothing(make):
    given = {"high": 2, "low": 1}
    right = make(class_weight=given, random_state=0).fit(X, LABELS).predict_proba(X)
    with pytest.warns(UserWarning, match="class_weight has 'hihg' but y has the classes 'high', "):
        model = make(class_weight={**given, "hihg": 3}, random_state=0).fit(X, LABELS)
    np.testing.assert_array_equal(model.predict_proba(X), right)


def test_classes_that_a_batch_lacks_are_known():
    model = MLPClassifier(class_weight={"high": 2, "low": 1, "middle": 3})
    model.partial_fit(X, LABELS, classes=["high", "low", "middle"])


def test_scorers_are_given_weights_or_say_that_they_take_none():
    given = []

    def score(estimator, X, y, sample_weight=None):
        given.append(sample_weight)
        return 0.0

    weights = np.arange(1.0, N + 1)
    regressor(scoring=score).fit(X, Y, sample_weight=weights)
    np.testing.assert_allclose(given[0], weights / weights.mean())
    for scoring in ("neg_max_error", lambda estimator, X, y: 0.0):
        regressor(scoring=scoring).fit(X, Y)
        with pytest.raises(TypeError, match="takes no sample_weight but the rows have different"):
            regressor(scoring=scoring).fit(X, Y, sample_weight=weights)


# ------------------------------------------------------------ numbers

NARROW = {  # columns that cannot be scaled
    "denormal": 5e-324 * np.arange(N),
    "small": 1e-310 * X[:, 0],
    "below one over the largest": 1e-303 * X[:, 0],
}


@pytest.mark.parametrize("case", NARROW)
def test_columns_that_cannot_be_scaled_are_left_out_by_name(case):
    model = regressor().fit(np.c_[NARROW[case], X], Y)
    said = {"column 0": "its range is below 1e-300: rescale it"}
    assert model.report().left_out == said
    right = regressor().fit(X, Y)
    np.testing.assert_array_equal(model.predict(np.c_[NARROW[case], X]), right.predict(X))


WIDE = {  # the same columns but for what can be scaled away
    "1e-290": X[:, 0] * 2.0**-960,
    "1e300": X[:, 0] * 2.0**1000,
    "next to 1": 1 + 2.0**-52 * np.argsort(np.argsort(X[:, 0])),
    "few differ": np.where(X[:, 0] > 2, 1.0, 1e-310 * X[:, 0]),
}


@pytest.mark.parametrize("case", WIDE)
def test_columns_of_strange_scales_are_scaled(case):
    model = regressor().fit(np.c_[WIDE[case], X[:, 1]], Y)
    encoding = fitted_of(model).blend.groups[0].encoding
    table = fitted_of(model).columns.read(np.c_[WIDE[case], X[:, 1]])
    inputs = np.asarray(encoding.rows(table))[:, 0]
    assert np.isfinite(inputs).all()
    assert inputs.min() < inputs.max()
    if case != "few differ":
        assert len(np.unique(inputs)) == N
        assert np.corrcoef(inputs, X[:, 0])[0, 1] > 0.9


def test_numbers_whose_sum_overflows_are_no_cause_for_warnings():
    column = np.where(np.arange(N) % 2, 1e308, -1e308)
    for table in (np.c_[column, X], np.c_[column, column[::-1], X[:, 0]]):
        assert np.isfinite(regressor().fit(table, Y).predict(table)).all()


@pytest.mark.filterwarnings("ignore:coverage is 0.9 but")
@pytest.mark.parametrize("n", [3, 5, 10])
def test_few_rows_teach_no_sizes_of_residuals(n):
    """Of so few rows intervals by predicted variances are no wider than twice those without."""
    widths = {
        loss: np.mean(np.diff(regressor(loss=loss).fit(X[:n], Y[:n]).predict_interval(X)))
        for loss in ("squared_error", "gaussian")
    }
    assert widths["gaussian"] < 2 * widths["squared_error"]


# ------------------------------------------------------------ tables and targets


def test_sparse_matrices_are_refused_with_a_remedy():
    model = regressor().fit(X, Y)
    for kind in (sparse.csr_matrix, sparse.csc_array, sparse.coo_array):
        for call in (lambda x: regressor().fit(x, Y), model.predict):
            with pytest.raises(TypeError, match=r"X is a sparse .* as it was before enc.*toa"):
                call(kind(X))


def test_paths_and_names_of_columns_are_refused_with_a_remedy(tmp_path):
    model = regressor().fit(X, Y)
    for path in ("rents.csv", tmp_path / "rents.csv"):
        for call in (lambda x: regressor().fit(x, Y), model.predict):
            with pytest.raises(TypeError, match=r"rents.csv' but a table is .*pandas.read_csv"):
                call(path)
    with pytest.raises(TypeError, match=r"y is 'rent' but .* name of a column of a frame"):
        regressor().fit(X, "rent")


@pytest.mark.parametrize("frames", [pandas, polars])
def test_the_target_may_be_the_name_of_a_column(frames):
    table = frames.DataFrame({"a": X[:, 0], "rent": Y, "b": X[:, 1]})
    model = regressor().fit(table, "rent")
    right = regressor().fit(table[["a", "b"]], table["rent"])
    assert list(model.feature_names_in_) == ["a", "b"]
    np.testing.assert_array_equal(
        model.predict(table[["a", "b"]]), right.predict(table[["a", "b"]])
    )


def test_columns_and_records_in_dictionaries_are_frames():
    frame = pandas.DataFrame({"a": X[:, 0], "b": X[:, 1]})
    right = regressor().fit(frame, Y).predict(frame)
    whole = frame.assign(rent=Y)
    for table in (whole.to_dict("list"), whole.to_dict("records"), whole.to_dict()):
        np.testing.assert_array_equal(regressor().fit(table, "rent").predict(frame), right)
    for table in (frame.to_dict("list"), frame.to_dict("records")):
        model = regressor().fit(table, Y)
        assert list(model.feature_names_in_) == ["a", "b"]
        np.testing.assert_array_equal(model.predict(table), right)


@pytest.mark.parametrize(("make", "y"), [(regressor, Y), (classifier, LABELS)])
def test_targets_are_named_in_every_call(make, y):
    frame = pandas.DataFrame({"a": X[:, 0], "b": X[:, 1]})
    whole, rows = frame.assign(rent=y), slice(150)
    model = make().fit(whole, "rent", X_val=whole[rows], y_val="rent")
    right = make().fit(frame, y, X_val=frame[rows], y_val=y[rows])
    assert model.report().more == right.report().more
    assert model.score(whole, "rent") == right.score(frame, y)
    assert str(model.importance(whole, "rent")) == str(right.importance(frame, y))
    model.partial_fit(whole, "rent")
    right.partial_fit(frame, y).partial_fit(iter([(whole, "rent")]))
    model.partial_fit(iter([(frame, y)]))
    np.testing.assert_array_equal(model.predict(frame), right.predict(frame))
    for call in (make().fit, model.score, model.partial_fit, model.importance):
        with pytest.raises(TypeError, match=r"y is 'price' but .* name of a column of a frame"):
            call(whole, "price")


@pytest.mark.parametrize(
    ("y", "other", "words"),
    [
        (LABELS, Y, "Unknown label type: continuous, .* use TabMLPRegressor"),
        (LABELS, np.eye(N, 2, dtype=int), r"y has shape \(60, 2\) but \(60,\) is .* one class per"),
        (np.c_[Y > 0, Y > 1].astype(int), LABELS, r"\(60, 2\) is expected: pass 0 or 1 for each"),
    ],
)
def test_scores_refuse_other_targets_and_count_other_classes_as_wrong(y, other, words):
    model = classifier().fit(X, y)
    with pytest.raises(ValueError, match=words):
        model.score(X, other)
    assert model.score(X, model.predict(X)) == 1
    if y is LABELS:
        assert model.score(X, ["other"] * N) == 0


def test_masked_values_are_missing():
    mask = X > 1
    right = regressor().fit(np.where(mask, np.nan, X), Y)
    masked = np.ma.masked_array(X, mask)
    model = regressor().fit(masked, Y)
    np.testing.assert_array_equal(model.predict(masked), right.predict(np.where(mask, np.nan, X)))
    row = np.flatnonzero(mask.any(axis=1))[0]
    assert model.predictor()(masked[row]) == model.predict(masked)[row]
    words = np.ma.masked_array(np.array([["a", "b"]] * (N // 2) + [["b", "a"]] * (N // 2)))
    words[0, 0] = np.ma.masked
    model = regressor().fit(words, Y)
    as_lists = [[None, "b"], *words[1:].tolist()]
    np.testing.assert_array_equal(model.predict(words), model.predict(as_lists))


def test_a_name_of_no_column_is_answered_by_the_nearest_one():
    frame = pandas.DataFrame({"Total Amount": Y, "x": X[:, 0]})
    with pytest.raises(TypeError, match=r"is expected: did you mean 'Total Amount'\?$"):
        regressor().fit(frame, "total amount")
    with pytest.raises(TypeError, match="or one of the names Total Amount, x$"):
        regressor().fit(frame, "price")
    with pytest.raises(ValueError, match=r"time is 'total amount' but .* mean 'Total Amount'\?$"):
        regressor().fit(frame, Y, time="total amount")
    with pytest.raises(TypeError, match=r"y is '1' .* is expected: did you mean 1\?$"):
        regressor().fit(pandas.DataFrame(X), "1")


@pytest.mark.parametrize("y", [["9.50 EUR"] * N, ["2026-12-31"] * N])
def test_text_that_astype_cannot_convert_gets_no_advice_to_do_so(y):
    with pytest.raises(ValueError, match=r"where the text is a number alone"):
        regressor().fit(X, y)


def test_text_is_no_number_to_predict():
    numbers = Y.astype(str)  # NumPy would read them
    for y in (LABELS, list(LABELS), LABELS.astype(object), numbers, numbers.astype(object)):
        with pytest.raises(ValueError, match=r"y holds text .*TabMLPClassifier"):
            regressor().fit(X, y)
        for call in (MLPRegressor().fit, MLPRegressor().partial_fit):
            with pytest.raises(ValueError, match=r"y holds text .* with MLPClassifier"):
                call(X, y)
        with pytest.raises(ValueError, match="y holds text"):
            MLPRegressor().fit(X, Y, X_val=X, y_val=y)
    model = regressor().fit(X, Y)
    with pytest.raises(ValueError, match="y holds text"):
        model.log_density(X, LABELS)
    with pytest.raises(ValueError, match=f"y has 1 targets of 2 rows but 1 of {N} are expected"):
        model.log_density(X, Y[:2])


def test_a_column_without_any_value_of_the_fit_is_named():
    frame = pandas.DataFrame({"city": LABELS, "x": X[:, 0]})
    model = regressor().fit(frame, Y)
    with pytest.warns(
        UserWarning, match=r"city holds 'HIGH' .* and no value of the fit in 10 rows"
    ):
        model.predict(frame.assign(city="HIGH")[:10])
    mixed = ["HIGH", *frame["city"][1:]]
    for other in (mixed, None, pandas.Categorical(mixed)):
        model.predict(frame.assign(city=other))  # a warning would be an error here
    model.predict(frame.assign(city="HIGH")[:9])
    model.predict(ArrowBlocks(pyarrow.Table.from_pandas(frame.assign(city="HIGH"))))
    assert model.predictor()(["HIGH", 0.5]).shape == ()


def test_an_index_in_another_order_is_named():
    frame, y = pandas.DataFrame(X, columns=list("abc")), pandas.Series(Y)
    turned = frame[::-1]
    right = regressor().fit(turned, y.to_numpy())
    with pytest.warns(UserWarning, match=r"y has the index of X in another order .* y.loc\[X.ind"):
        model = regressor().fit(turned, y)
    np.testing.assert_array_equal(model.predict(frame), right.predict(frame))
    for name in ("sample_weight", "groups"):
        with pytest.warns(UserWarning, match=f"{name} has the index of X in another order"):
            regressor().fit(frame, y, **{name: pandas.Series(range(1, N + 1), index=turned.index)})
    for call in (right.partial_fit, right.importance, right.score):
        with pytest.warns(UserWarning, match="y has the index of X in another order"):
            call(turned, y)
    with pytest.warns(UserWarning, match="sample_weight has the index of X in another order"):
        right.partial_fit(turned, y.to_numpy(), y**2)
    for other in (y.loc[turned.index], y.set_axis(range(100, 100 + N)), y.to_list(), y.to_numpy()):
        regressor().fit(turned, other)  # a warning would be an error here


def test_many_rows_are_calibrated_by_some(monkeypatch):
    """Of ten times as many rows the same temperature and tails, but for digits that are noise."""
    from fastmlp.tabular.outcome import conformal, targets, temperature

    rng = np.random.default_rng(0)
    n = 30_000
    p = rng.dirichlet(np.ones(3), n)
    y = (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    target = targets.ClassTarget.of(y, np.arange(3))
    sharp = temperature.applied(p, 0.5)
    whole = temperature.fitted(sharp, target.y, None)
    half = np.repeat([1.0, 0.0], n // 2)  # the other half would be right as it is
    mixed = np.where(half[:, np.newaxis], sharp, p)
    assert temperature.fitted(mixed, target.y, half) == pytest.approx(2, rel=0.05)
    residuals = rng.standard_t(4, n)
    tails = conformal.residuals_of(residuals, np.zeros(n), deviation=np.ones(n))
    looked = []
    margins = temperature._margins
    monkeypatch.setattr(
        temperature, "_margins", lambda q, y: looked.append(len(q)) or margins(q, y)
    )
    monkeypatch.setattr(temperature, "MAX_CALIBRATION_ROWS", 3_000)
    monkeypatch.setattr(conformal, "MAX_TAIL_ROWS", 3_000)
    some = temperature.fitted(sharp, target.y, np.ones(n))
    assert max(looked) == 3_000
    assert some == pytest.approx(whole, rel=0.1)
    assert whole == pytest.approx(2, rel=0.05)
    fewer = conformal.residuals_of(residuals, np.zeros(n), deviation=np.ones(n))
    assert fewer.spread == pytest.approx(tails.spread, rel=0.05)
    assert fewer.freedom == tails.freedom


def test_many_classes_are_not_all_named():
    model = classifier(class_weight=dict.fromkeys(range(99), 1.0), prior="weighted")
    with pytest.warns(UserWarning, match=r"class_weight has 2, 3, 4, 5, 6, \.\.\. but") as caught:
        model.fit(X, (Y > 0).astype(int))
    assert len(str(caught[0].message)) < 120


def test_identifiers_are_named_by_the_fit_alone():
    ids = [f"n{k}" for k in range(2 * N)]
    frame = pandas.DataFrame({"id": ids[:N], "x": X[:, 0]})
    with pytest.warns(UserWarning, match="id is a category with another value in nearly every row"):
        model = regressor().fit(frame, Y)
    model.predict(frame.assign(id=ids[N:]))  # a warning would be an error
    with pytest.warns(UserWarning, match="id holds 'other' .* no value of the fit"):
        model.predict(frame.assign(id="other"))
