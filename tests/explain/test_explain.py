"""Explanations of networks: against the formula, by enumeration in NumPy, and by their axioms."""

import itertools
import math

import children
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._explain import shapley

RNG = np.random.default_rng(0)
LOSSES = {
    "squared_error": (3, "prediction"),
    "gaussian_nll": (3, "prediction"),
    "quantiles": (9, "prediction"),
    "poisson_nll": (3, "prediction"),
    "cross_entropy": (3, "probability"),
    "binary_cross_entropy": (3, "probability"),
}


def shapley_values(predict, X, background):
    """The formula of Shapley, coalition by coalition: (rows, columns, outputs)."""
    n, found = X.shape[1], []
    for row in X:
        value = {}
        for coalition in itertools.product([False, True], repeat=n):
            value[coalition] = predict(np.where(coalition, row, background)).mean(axis=0)
        of_row = []
        for j in range(n):
            total = 0.0
            for without in (c for c in value if not c[j]):
                s = sum(without)
                share = math.factorial(s) * math.factorial(n - s - 1) / math.factorial(n)
                joined = (*without[:j], True, *without[j + 1 :])
                total = total + share * (value[joined] - value[without])
            of_row.append(total)
        found.append(of_row)
    return np.array(found)


def network(sizes, seed=0, dtype="float64", **options):
    return fastmlp.MLP(sizes, rng=seed, dtype=dtype, **options)


def rows(n, columns, seed=0):
    return np.random.default_rng(seed).normal(size=(n, columns))


@pytest.mark.parametrize("seed", range(50))
def test_up_to_ten_columns_the_values_are_those_of_enumeration(seed):
    columns, outputs = 1 + seed % 6, 1 + seed % 3
    net = network([columns, 8, outputs], seed, activation="tanh")
    X, background = rows(3, columns, seed), rows(4, columns, seed + 100)
    found = net.explain(X, background)
    expected = shapley_values(net.predict, X, background)
    values = found.values.reshape(expected.shape)
    np.testing.assert_allclose(values, expected, atol=1e-10)
    np.testing.assert_allclose(found.base, np.squeeze(net.predict(background).mean(axis=0)))
    assert not found.standard_errors.any()


def test_ten_columns_are_exact_and_eleven_are_sampled_within_their_errors():
    X, background = rows(2, 10), rows(3, 10, 1)
    net = network([10, 8, 1])
    found = net.explain(X, background)
    np.testing.assert_allclose(
        found.values, shapley_values(net.predict, X, background)[..., 0], atol=1e-12
    )
    assert repr(found).partition("\n")[0].endswith("the mean of 3 background rows; exact")
    net = network([11, 8, 1], 1)
    X, background = rows(4, 11), rows(30, 11, 1)
    found = net.explain(X, background)
    expected = shapley_values(net.predict, X, background)[..., 0]
    away = np.abs(found.values - expected)
    assert away.max() > 0
    assert np.mean(away <= 3 * found.standard_errors) > 0.97
    assert found.standard_errors.max() <= 0.02 * net.predict([*X, *background]).std()
    assert "standard errors up to" in repr(found)


def test_errors_fall_with_the_tolerance_and_are_those_of_repeated_samples():
    net, X, background = network([12, 16, 1], activation="tanh"), rows(3, 12), rows(30, 12, 1)
    coarse, fine = (net.explain(X, background, tolerance=t) for t in (0.05, 0.002))
    assert fine.standard_errors.max() < coarse.standard_errors.max()
    again = [net.explain(X, background, tolerance=1.0, random_state=k) for k in range(40)]
    deviation = np.std([each.values for each in again], axis=0)
    claimed = np.sqrt(np.mean([each.standard_errors**2 for each in again], axis=0))
    assert 0.7 < np.median(claimed / deviation) < 1.4


def test_errors_of_probabilities_are_measured_by_the_class_that_varies_most():
    """A rare class needs no samples of its own: its probability hardly changes."""
    net, X, background = network([12, 16, 3], loss="cross_entropy"), rows(3, 12), rows(30, 12, 1)
    net.biases = [*net.biases[:-1], np.array([0.0, 0.0, -9.0])]
    errors = net.explain(X, background, tolerance=0.02).standard_errors
    deviation = net.predict(np.concatenate([X, background])).std(axis=0)
    assert errors.max() <= 0.02 * deviation.max()
    assert errors[..., 2].max() > 0.02 * deviation[2]


@pytest.mark.parametrize("columns", [20, 50])
def test_values_are_within_three_of_their_errors(columns):
    """Those of 99 %, beside means of 12 explanations with other orders."""
    away, background = [], rows(100, columns, 1)
    for seed in range(2):
        net, X = network([columns, 16, 1], seed, activation="tanh"), rows(8, columns, 2 + seed)
        values, errors = zip(
            *(
                (found.values, found.standard_errors)
                for found in (
                    net.explain(X, background, tolerance=1.0, random_state=order)
                    for order in range(12)
                )
            ),
            strict=True,
        )
        away.append(np.abs(values - np.mean(values, axis=0)) / errors)
    assert np.mean(np.array(away) <= 3 * np.sqrt(11 / 12)) > 0.99


def test_few_rows_of_a_background_have_many_orders_at_once(monkeypatch):
    calls, plain = [], shapley.contributions

    def counted(game, b, orders):
        calls.append(len(b))
        return plain(game, b, orders)

    monkeypatch.setattr(shapley, "contributions", counted)
    net, X, background = network([12, 8, 1], activation="tanh"), rows(2, 12), rows(1, 12, 1)
    found = net.explain(X, background, tolerance=0.001)
    assert calls[0] == 26
    assert len(calls) < 60 < sum(calls)
    assert found.standard_errors.max() <= 0.001 * net.predict(np.concatenate([X, background])).std()


@pytest.mark.parametrize("columns", [1, 4, 11, 20])
@pytest.mark.parametrize("loss", LOSSES)
def test_values_and_base_add_up_to_the_prediction(loss, columns):
    outputs, unit = LOSSES[loss]
    for dtype, largest in (("float64", 1e-12), ("float32", 1e-5)):
        net = network([columns, 8, 3], loss=loss, dtype=dtype)
        X = rows(40, columns)
        found = net.explain(X, tolerance=0.5)
        predictions = net.predict(X)
        predictions = predictions[0] if isinstance(predictions, tuple) else predictions
        if loss == "quantiles":
            predictions = np.swapaxes(predictions, 1, 2)
        predictions = predictions.reshape(40, -1)
        assert (found.values.shape, found.unit) == ((40, columns, outputs), unit)
        scale = max(predictions.std(), 1.0)
        np.testing.assert_allclose(found.predictions, predictions, atol=largest * scale)


@pytest.mark.parametrize("columns", [6, 15])
def test_a_linear_model_has_its_weights_times_distances_from_the_mean(columns):
    net = network([columns, 1])
    X, background = rows(50, columns), rows(20, columns, 1)
    found = net.explain(X, background)
    expected = net.weights[0][:, 0] * (X - background.mean(axis=0))
    np.testing.assert_allclose(found.values, expected, atol=1e-12)
    assert found.standard_errors.max() < 1e-12


@pytest.mark.parametrize("columns", [6, 14])
def test_an_unused_column_has_0_and_equal_columns_of_a_symmetric_function_are_equal(columns):
    net = network([columns, 16, 1], activation="tanh")
    first = np.array(net.weights[0])
    first[2], first[1] = 0.0, first[0]
    net.weights = [first, *net.weights[1:]]
    X, background = rows(5, columns), rows(30, columns, 1)
    X[:, 1], background[:, 1] = X[:, 0], background[:, 0]
    found = net.explain(X, background, tolerance=0.005)
    assert not found.values[:, 2].any()
    assert not found.standard_errors[:, 2].any()
    away = np.abs(found.values[:, 0] - found.values[:, 1])
    assert (away <= 1e-12 + 5 * found.standard_errors[:, :2].sum(axis=1)).all()


@pytest.mark.parametrize("columns", [8, 13])
def test_a_row_has_the_same_bits_alone_and_for_any_number_of_threads(columns, monkeypatch):
    net, background = network([columns, 64, 64, 2]), rows(40, columns, 1)
    X = rows(9, columns)
    found = net.explain(X, background, tolerance=1.0)
    alone = net.explain(X[3:4], background, tolerance=1.0)
    np.testing.assert_array_equal(alone.values[0], found.values[3])
    monkeypatch.setattr(shapley, "CELLS", 5_000)  # blocks of rows, of chains and of predictions
    in_blocks = net.explain(X, background, tolerance=1.0)
    np.testing.assert_allclose(in_blocks.values, found.values, atol=1e-14)
    program = (
        "import fastmlp, numpy as np\n"
        f"net = fastmlp.MLP([{columns}, 64, 64, 2], rng=0, dtype='float64')\n"
        f"X = np.random.default_rng(0).normal(size=(9, {columns}))\n"
        f"b = np.random.default_rng(1).normal(size=(40, {columns}))\n"
        "print(net.explain(X, b, tolerance=1.0).values.tobytes().hex())"
    )
    for threads in ("1", "3"):
        child = children.python("-c", program, FASTMLP_NUM_THREADS=threads)
        assert children.printed(child).strip() == found.values.tobytes().hex()


def test_an_ensemble_is_explained_as_a_whole():
    ensemble = fastmlp.Ensemble(network([4, 8, 2], k) for k in range(3))
    X = rows(40, 4)
    found = ensemble.explain(X)
    np.testing.assert_allclose(found.predictions, ensemble.predict(X), atol=1e-12)
    each = [member.explain(X).values for member in ensemble.members]
    np.testing.assert_allclose(found.values, np.mean(each, axis=0), atol=1e-12)


def test_the_engine_in_numpy_has_the_same_values():
    X = rows(35, 5)
    native, other = network([5, 8, 1]), fastmlp.reference.MLP([5, 8, 1], rng=0, dtype="float64")
    other.load_state_dict(native.state_dict())
    np.testing.assert_allclose(native.explain(X).values, other.explain(X).values, atol=1e-12)


def test_estimators_explain_what_they_predict():
    frame = pytest.importorskip("pandas").DataFrame(rows(80, 3), columns=list("abc"))
    model = MLPRegressor(solver="lbfgs", tol=0.1, standardize=True, random_state=0)
    model.fit(frame, frame.a * frame.b)
    found = fastmlp.explain(model, frame)
    np.testing.assert_allclose(found.predictions, model.predict(frame), atol=1e-12)
    assert found.names == ("a", "b", "c")
    assert list(found.to_frame().columns) == list("abc")
    with pytest.raises(ValueError, match="feature names"):
        model.explain(frame[["b", "a", "c"]])
    labels = np.where(frame.a > 0, "up", "down")
    model = MLPClassifier(solver="lbfgs", tol=0.1, random_state=0).fit(frame, labels)
    found = model.explain(frame)
    np.testing.assert_allclose(found.predictions, model.predict_proba(frame), atol=1e-12)
    assert (found.outputs, found.unit) == (("down", "up"), "probability")
    score = model.explain(frame, output="score")
    p = model.predict_proba(frame)[:, 1]
    np.testing.assert_allclose(score.predictions[:, 1], np.log(p / (1 - p)), atol=1e-9)
    np.testing.assert_allclose(score.values.sum(axis=2), 0, atol=1e-9)
    assert score.unit == "log-odds"
    assert score.to_frame().columns[0] == ("down", "a")


def test_predictors_have_the_explanations_of_their_models(mlp):
    X = rows(40, 3)
    nets = [mlp([3, 8, 2], rng=k, dtype="float64") for k in range(2)]
    for model in (nets[0], fastmlp.Ensemble(nets)):
        found = model.predictor().explain(X)
        np.testing.assert_array_equal(found.values, model.explain(X).values)
        again = fastmlp.explain(model.predictor(), X)
        np.testing.assert_array_equal(again.values, found.values)


def test_later_fits_do_not_change_an_explanation_that_runs():
    net, X = network([2, 4, 1]), rows(30, 2)
    explained = net._explained()
    expected = explained.predict(X)
    net.partial_fit(X, X[:, :1])
    np.testing.assert_array_equal(explained.predict(X), expected)


@pytest.mark.parametrize("columns", [3, 13])
def test_missing_values_and_equal_cells_change_nothing(columns):
    net, background = network([columns, 8, 1]), rows(30, columns)
    found = net.explain(background[:1], background[:1])
    assert not found.values.any()
    X = background[:2].copy()
    X[0, 1] = 5.0
    alone = net.explain(X[:1], background[:1])
    assert np.flatnonzero(alone.values[0]).tolist() == [1]
    differs = shapley.differing(np.array([np.nan, np.nan, 1.0]), np.array([np.nan, 1.0, 1.0]))
    assert differs.tolist() == [False, True, False]


def test_no_rows_and_one_background_row():
    net = network([12, 4, 1])
    found = net.explain(rows(0, 12), rows(3, 12))
    assert found.values.shape == (0, 12)
    assert len(found) == 0
    assert "0 predictions" in repr(found)
    found = net.explain(rows(2, 12), rows(1, 12, 1), tolerance=0.1)
    np.testing.assert_allclose(found.predictions, net.predict(rows(2, 12))[:, 0], atol=1e-12)


def test_the_background_is_drawn_from_many_rows_and_asked_for_beside_few():
    net = network([2, 4, 1])
    assert net.explain(rows(300, 2)).background == 100
    assert net.explain(rows(30, 2)).background == 30
    with pytest.raises(
        ValueError, match="X has 29 rows but at least 30 .* of a table background='typical'"
    ):
        net.explain(rows(29, 2))


WRONG = {
    "tolerance is 0": {"tolerance": 0},
    "tolerance is 2": {"tolerance": 2},
    "time_limit is -1": {"time_limit": -1},
    "random_state": {"random_state": -1},
    "output is 'score' .str. but None is expected, as the model": {"output": "score"},
    "background is 'typical' but rows like those of X are expected, as a network holds no": {
        "background": "typical"
    },
    "background has 0 rows": {"background": np.zeros((0, 2))},
    "background: X has 5 features": {"background": np.zeros((3, 5))},
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_arguments_have_clear_errors(message):
    with pytest.raises((TypeError, ValueError), match=message):
        network([2, 4, 1]).explain(rows(40, 2), **WRONG[message])


def test_wrong_rows_and_models_have_clear_errors():
    net = network([2, 4, 1])
    with pytest.raises(ValueError, match=r"X\[0, 0\] is nan"):
        net.explain(np.full((40, 2), np.nan))
    with pytest.raises(ValueError, match="3 features"):
        net.explain(rows(40, 3))
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match=r"sparse rows, but an array is expected"):
        net.explain(sparse.csr_array(rows(40, 2)))
    with pytest.raises(TypeError, match="a fitted model of fastmlp is expected"):
        fastmlp.explain(LinearRegression(), rows(40, 2))
    with pytest.raises(ValueError, match='None or "score" is expected'):
        network([2, 4, 2], loss="cross_entropy").explain(rows(40, 2), output="logits")


def test_a_time_limit_shortens_the_background_of_many_columns():
    net = network([2_000, 4, 1], dtype="float32")
    X, background = rows(1, 2_000), rows(200, 2_000, 1)
    with pytest.warns(UserWarning, match="time_limit allows 1 of the 200 rows of the background"):
        found = net.explain(X, background, time_limit=1e-3)
    assert found.background == 1
    np.testing.assert_allclose(found.predictions, net.predict(X)[:, 0], atol=1e-5)


def test_a_time_limit_ends_the_checks_of_the_errors(monkeypatch):
    orders, plain = [], shapley.contributions

    def counted(game, b, order):
        orders.append(len(b))
        return plain(game, b, order)

    monkeypatch.setattr(shapley, "contributions", counted)
    net = network([12, 8, 1], activation="tanh")
    with pytest.warns(UserWarning, match="time_limit allows 1 of"):
        found = net.explain(rows(2, 12), rows(60, 12, 1), time_limit=1e-6)
    assert sum(orders) == 2  # one of the row of the background, and one for the errors
    assert found.standard_errors.any()


def test_a_time_limit_may_replace_all_coalitions():
    net = network([10, 32, 1], activation="tanh")
    with pytest.warns(UserWarning, match="time_limit allows 1 of"):
        found = net.explain(rows(4, 10), rows(100, 10, 1), time_limit=1e-6)
    assert found.standard_errors.any()


def test_many_classes_need_little_memory(monkeypatch):
    largest = []
    net = network([30, 4, 1_000], loss="cross_entropy", dtype="float32")
    plain = shapley.contributions

    def measured(game, b, orders):
        found = plain(game, b, orders)
        largest.append(found.size)
        return found

    monkeypatch.setattr(shapley, "contributions", measured)
    found = net.explain(rows(2, 30), rows(40, 30, 1), tolerance=1.0)
    assert found.values.shape == (2, 30, 1_000)
    assert found.outputs[0] == "output 0"
    assert max(largest) <= shapley.CELLS
    np.testing.assert_allclose(found.predictions, net.predict(rows(2, 30)), atol=1e-6)


def test_the_value_is_frozen():
    found = network([2, 4, 1]).explain(rows(30, 2))
    with pytest.raises(AttributeError):
        found.base = 0.0


def test_a_background_that_time_shortens_is_drawn_not_cut():
    net = fastmlp.MLP([12, 1], rng=0, dtype="float64")
    net.weights, net.biases = [np.ones((12, 1))], [np.zeros(1)]
    background = np.repeat(np.arange(50.0)[:, np.newaxis], 12, axis=1)
    bases = set()
    for seed in range(3):
        with pytest.warns(UserWarning, match="allows 1 of the 50 rows"):
            found = net.explain(np.zeros((1, 12)), background, time_limit=1e-9, random_state=seed)
        bases.add(float(found.base))
    assert len(bases) == 3


@pytest.mark.parametrize("columns", [3, 12])
def test_infinite_predictions_are_said_so(columns):
    net = fastmlp.MLP([columns, 1], loss="poisson_nll", rng=0)
    net.weights = [np.full((columns, 1), 60.0)]
    rows = np.zeros((3, columns))
    rows[1] = 20.0
    with pytest.warns(UserWarning, match="contributions of 1 rows are infinite or NaN"):
        found = net.explain(rows, np.zeros((25, columns)))
    assert np.isfinite(found.values[[0, 2]]).all()


def test_contributions_that_cancel_are_said_so():
    """Rows between two others may have predictions of e^120."""
    net = fastmlp.MLP([3, 1], loss="poisson_nll", rng=0, dtype="float64")
    net.weights = [np.array([[60.0], [-60.0], [1.0]])]
    rows = np.array([[2.0, 2.0, 1.0], [0.0, 0.0, 1.0]])
    with pytest.warns(UserWarning, match="of 1 rows do not add up to their predictions but to"):
        found = net.explain(rows, np.zeros((5, 3)))
    np.testing.assert_allclose(found.predictions[1], np.e)
