"""The linear part of times and hazards: solutions, trends beyond the rows, files and choices."""

import time

import numpy as np
import pandas
import pytest
from models import saved
from sklearn.linear_model import LogisticRegression, Ridge
from tiny_tables import COLOURS, LABELS, N, X, Y, classifier, regressor

import fastmlp
from fastmlp import TabMLPClassifier, TabMLPRegressor, TabMLPSurvival
from fastmlp.sklearn.fitted import fitted_of
from fastmlp.tabular.outcome.checked_survival import structured
from fastmlp.tabular.recipe import blend, linear

RNG = np.random.default_rng(0)
TIMES = np.arange(81.0)
LINE = 0.25 * TIMES  # up to 20


def parts_of(model):
    """Return the linear groups of an estimator."""
    return [group for group in fitted_of(model).blend.groups if len(group.spec.layer_sizes) == 2]


@pytest.fixture(scope="module")
def line():
    return regressor(epochs=8).fit(TIMES[:, np.newaxis], LINE, time=TIMES)


def test_a_line_is_followed_beyond_the_rows(line, tmp_path):
    far = np.array([[160.0], [-80.0]])
    right = line.predict(far)
    np.testing.assert_allclose(right, [40, -20], rtol=1e-3)
    low, high = line.predict_interval(far, 0.7).T
    assert np.all((low <= right) & (right <= high))
    again = saved(line, tmp_path / "model")
    assert again.predict(far).tobytes() == right.tobytes()
    predictors = line.predictor(), again.predictor(), fastmlp.load_predictor(tmp_path / "model")
    for p in predictors:
        assert np.array([p(row) for row in far.tolist()]).tobytes() == right.tobytes()
        np.testing.assert_allclose(p.jacobian([200.0])[0], 0.25, rtol=1e-3)
    assert line.report().members == ["100%: linear, decay 1e-06 (8 networks of 1 inputs)"]
    assert line.best_epoch_ == line.n_iter_ == 0
    (group,) = parts_of(line)
    assert group.encoding.unclipped.tolist() == [0]


def test_dates_carry_a_trend():
    days = pandas.Series(np.datetime64("2026-01-01") + np.arange(200))
    model = regressor(epochs=8).fit(days.to_frame("day"), np.arange(200) / 10, time=days)
    later = pandas.DataFrame({"day": days + pandas.Timedelta(days=200)})
    np.testing.assert_allclose(model.predict(later), np.arange(200, 400) / 10, rtol=0.05)


NOISY = X[:, 0] + RNG.normal(size=len(X))  # half of it is linear


def test_numbers_without_times_have_a_part_that_is_clipped_as_networks_are(tmp_path):
    """On few noisy rows a line is better than networks alone; rows far away are no nearer to it."""
    model = TabMLPRegressor(preset="fast", random_state=0).fit(X, NOISY)
    (part,) = parts_of(model)
    assert part.encoding.unclipped.size == 0
    assert np.isfinite(part.scale.high).all()
    (members,) = [line for line in model.report().members if "linear, decay" in line]
    assert float(members.partition("%")[0]) > 30
    far = 1e6 * X
    assert np.ptp(model.predict(far)) <= 2 * np.ptp(NOISY)
    again = saved(model, tmp_path / "model")
    assert again.predict(far).tobytes() == model.predict(far).tobytes()
    p = fastmlp.load_predictor(tmp_path / "model")
    assert np.array([p(row) for row in X[:9].tolist()]).tobytes() == model.predict(X[:9]).tobytes()


def test_a_linear_part_helps_where_rows_are_few_and_noisy(monkeypatch):
    with_part = TabMLPRegressor(preset="fast", random_state=0).fit(X, NOISY)
    monkeypatch.setattr(linear, "suits", lambda data, preset: False)
    without = TabMLPRegressor(preset="fast", random_state=0).fit(X, NOISY)
    assert not parts_of(without)
    new = RNG.normal(size=(1000, X.shape[1]))
    assert with_part.score(new, new[:, 0]) > without.score(new, new[:, 0])


def test_a_linear_part_follows_later_rows_as_networks_do():
    """Steps for networks moved its few weights a third of the way, or less."""
    rows = RNG.normal(size=(80, 4))
    y = rows @ [1.0, 2, 3, 0] + 3 * RNG.normal(size=80)
    model = TabMLPRegressor(preset="fast", random_state=0).fit(rows, y)
    (line,) = [line for line in model.report().members if "linear, decay" in line]
    assert float(line.partition("%")[0]) > 50
    for _ in range(30):
        model.partial_fit(rows, y + 3)
    assert np.mean(model.predict(rows) - y) > 2.3
    model = TabMLPRegressor(preset="fast", random_state=0).fit(rows, y)
    for _ in range(30):
        model.partial_fit(rows, -y)
    assert model.score(rows, -y) > 0.3


def test_targets_of_the_same_rows_share_their_equations(monkeypatch):
    """They cost a decomposition each, a hundred of them more than a time limit."""
    sizes, eigh = [], np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda a: (sizes.append(len(a)), eigh(a))[1])
    several = X @ RNG.normal(size=(3, 20)) + RNG.normal(size=(N, 20))
    model = TabMLPRegressor(preset="fast", random_state=0).fit(X, several)
    assert sizes == [3] * 8  # one a fold
    alone = next(linear.ridge(X[:, :2], several[:, 4:5], np.ones(N), [0.1], 1))
    together = next(linear.ridge(X[:, :2], several, np.ones(N), [0.1], 20))
    np.testing.assert_allclose(together[0][:, 4:5], alone[0], rtol=1e-12)
    assert parts_of(model)
    del sizes[:]
    several[:5, 3] = several[5:9, 7] = np.nan
    TabMLPRegressor(preset="fast", random_state=0).fit(X, several)
    assert sizes == [3] * 24


def test_an_interrupt_while_the_part_is_blended_keeps_the_networks(monkeypatch):
    solved = linear.train

    def with_interrupt(*given):
        monkeypatch.setattr(blend, "_blended", interrupted)
        return solved(*given)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(linear, "train", with_interrupt)
    with pytest.warns(UserWarning, match="ended early"):
        model = TabMLPRegressor(preset="fast", random_state=0).fit(X, NOISY)
    assert not parts_of(model)


def test_a_blend_that_is_linear_alone_says_that_it_has_no_epochs(line):
    pytest.importorskip("matplotlib")
    assert "without epochs" in line.plot_history().get_title()


@pytest.mark.parametrize("options", [{"recipes": [{"width": 8}]}, {"epochs": 4}])
def test_networks_that_the_user_has_chosen_are_alone(options):
    assert not parts_of(TabMLPRegressor(preset="fast", **options).fit(X, NOISY))


def test_many_rows_without_times_have_no_linear_part(monkeypatch):
    monkeypatch.setattr(linear, "MOST_ROWS", len(X) - 1)
    assert not parts_of(TabMLPRegressor(preset="fast").fit(X, NOISY))


def test_classes_without_times_have_no_linear_part():
    assert not parts_of(TabMLPClassifier(preset="fast").fit(X, NOISY > 0))


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "absolute_error"},
        {"loss": "gaussian"},
        {"loss": "quantiles", "quantile": [0.1, 0.9]},
        {"monotone": {"0": 1}},
    ],
)
def test_other_losses_and_rules_have_no_linear_part(options):
    X = pandas.DataFrame({"0": TIMES})
    model = regressor(epochs=2, **options).fit(X, LINE + 1.0, time=TIMES)
    assert not parts_of(model)


def test_what_has_too_many_weights_has_no_linear_part(monkeypatch):
    monkeypatch.setattr(linear, "MOST_WEIGHTS", 0)
    assert not parts_of(regressor(epochs=2).fit(TIMES[:, np.newaxis], LINE, time=TIMES))


def test_a_part_that_is_no_better_has_no_weight():
    y = np.sin(X[:, 0] * 3) * np.sign(X[:, 1])
    wave = np.tile(y, 8) + 0.01 * RNG.normal(size=8 * N)
    rows = np.tile(X, (8, 1)) + 0.01 * RNG.normal(size=(8 * N, 3))
    model = regressor().fit(rows, wave, time=np.arange(8 * N))
    shares = fitted_of(model).blend.weights
    groups = fitted_of(model).blend.groups
    assert sum(s for s, g in zip(shares, groups, strict=True) if g in parts_of(model)) < 0.1


@pytest.mark.parametrize("weights", [np.ones(N), RNG.random(N)])
def test_the_solution_is_that_of_a_ridge_regression(weights):
    y = np.column_stack([Y, np.where(np.arange(N) % 3, 2 - Y**2, np.nan)])
    x = np.column_stack([X, np.ones(N)]).astype(np.float32)
    decays = (0.5, 1e-3)
    for decay, (slopes, biases) in zip(decays, linear.ridge(x, y, weights, decays, 2), strict=True):
        for k in range(2):
            there = ~np.isnan(y[:, k])
            w = weights[there] / weights[there].sum()
            mean = w @ X[there]
            spread = np.sqrt(w @ (X[there] - mean) ** 2)
            right = Ridge(alpha=decay).fit((X[there] - mean) / spread, y[there, k], w)
            np.testing.assert_allclose(slopes[:3, k], right.coef_ / spread, rtol=1e-4)
            assert slopes[3, k] == 0
            bias = right.intercept_ - right.coef_ / spread @ mean
            assert biases[k] == pytest.approx(bias, rel=1e-4)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_solution_is_that_of_a_logistic_regression(classes):
    labels = np.digitize(Y, [-0.5, 0.5]) if classes == 3 else (Y > 0).astype(int)
    weights, decays = RNG.random(N), (1.0, 1e-2)
    found = linear._logistic(X.astype(np.float32), labels, weights, decays, classes)
    w = weights / weights.sum()
    mean = w @ X
    spread = np.sqrt(w @ (X - mean) ** 2)
    z = (X - mean) / spread
    for decay, (slopes, biases) in zip(decays, found, strict=True):
        # Two symmetric classes with half of the difference each have half of its penalty.
        strength = decay if classes > 2 else decay / 2
        right = LogisticRegression(C=1 / strength, tol=1e-10, max_iter=10_000)
        right.fit(z, labels, sample_weight=w)
        scores = X @ slopes + biases
        if classes == 2:
            np.testing.assert_allclose(
                scores[:, 1] - scores[:, 0], right.decision_function(z), atol=1e-4
            )
        else:
            away = right.decision_function(z) - scores
            np.testing.assert_allclose(
                away, away.mean(axis=1, keepdims=True) * np.ones(3), atol=1e-4
            )


@pytest.mark.parametrize("make", [regressor, classifier])
def test_a_blend_with_a_linear_part_goes_on(make, monkeypatch, tmp_path):
    """It is explained, updated, distilled and saved like any other."""
    monkeypatch.setattr(blend, "greedy", lambda said, cost: np.ones(len(said)) / len(said))
    frame = pandas.DataFrame(X, columns=list("abc")).assign(d=COLOURS)
    y = Y if make is regressor else LABELS
    model = make(epochs=4).fit(frame, y, time=np.arange(N))
    assert len(parts_of(model)) == 1
    predict = model.predict if make is regressor else model.predict_proba
    right = predict(frame)
    again = saved(model, tmp_path / "model")
    found = again.predict(frame) if make is regressor else again.predict_proba(frame)
    assert found.tobytes() == right.tobytes()
    assert np.isfinite(model.explain(frame).values).all()
    assert len(parts_of(make(epochs=4).fit(frame, y, time=np.arange(N)).partial_fit(frame, y))) == 1
    student = model.distill(frame)
    assert len(fitted_of(student).blend) == 1


# ------------------------------------------------------------ hazards


def survival(**options):
    return TabMLPSurvival(**{"preset": "fast", "random_state": 0, "epochs": 8, **options})


def lasting(n=400, seed=0):
    """Return columns and targets whose hazards are proportional."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    times, end = rng.exponential(np.exp(-x[:, 0] + 0.5 * x[:, 1])), rng.uniform(0, 3, n)
    return x, structured(np.minimum(times, end), times <= end)


def test_hazards_of_all_intervals_rise_alike_with_an_input(monkeypatch):
    """A logistic regression of all rows and intervals, with free biases, has the same solution."""
    x, y = lasting()
    monkeypatch.setattr(linear, "DECAYS", (decay := 1e-2,))
    model = survival(width=4).fit(x, y)
    (part,) = parts_of(model)
    target = fitted_of(model).rows[1]
    learn = np.setdiff1d(np.arange(len(x)), fitted_of(model).held_out.rows[0])
    encoded = part.encoding.rows(fitted_of(model).rows[0], 0)
    inputs = np.asarray(encoded[learn][np.arange(len(learn))], np.float64)
    labels = target.labels(learn)
    mean, deviation = inputs.mean(axis=0), inputs.std(axis=0)
    row, interval = np.nonzero(~np.isnan(labels))
    free = 1e4 * np.eye(labels.shape[1])[interval]
    stacked = np.column_stack([((inputs - mean) / deviation)[row], free])
    reference = LogisticRegression(C=1 / (decay * len(learn)), fit_intercept=False, max_iter=5000)
    reference.fit(stacked, labels[row, interval])
    (weights,) = part.networks[0].parameters()["weights"]
    slopes = reference.coef_[0, :3] / deviation
    np.testing.assert_allclose(weights, np.tile(slopes[:, None], labels.shape[1]), atol=1e-3)


def test_a_linear_part_takes_hazards_that_are_proportional(monkeypatch, tmp_path):
    (x, y), (new, truth) = lasting(200), lasting(1000, seed=1)
    model = survival().fit(x, y)
    assert fitted_of(model).blend.weights[0] > 0.4
    assert "linear, decay" in model.report().members[0]
    again = saved(model, tmp_path / "model")
    np.testing.assert_array_equal(again.predict(new), model.predict(new))
    monkeypatch.setattr(linear, "suits", lambda data, preset: False)
    assert model.score(new, truth) > survival().fit(x, y).score(new, truth)


def test_an_interrupt_of_the_linear_part_keeps_the_networks(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(linear, "_newton", interrupted)
    with pytest.warns(UserWarning, match="ended early"):
        model = survival().fit(*lasting(100))
    assert not parts_of(model)
    assert any("there is no linear part, because" in note for note in model.report().notes)


def test_monotone_hazards_have_no_linear_part():
    assert not parts_of(survival(monotone={0: 1}).fit(*lasting(100)))


@pytest.mark.parametrize("limit", [None, 1000.0])
def test_a_linear_part_keeps_to_a_time_limit(limit, monkeypatch):
    """It is left out, with a note, where a solution takes too long."""
    late, began, newton, now = [0.0], [], linear._newton, time.monotonic

    def slow(terms, start):
        began.append(None)
        late[0] += 1000.0
        return newton(terms, start)

    monkeypatch.setattr(linear, "_newton", slow)
    monkeypatch.setattr(time, "monotonic", lambda: now() + late[0])
    model = survival(time_limit=limit).fit(*lasting(100))
    left_out = "there is no linear part, because time_limit was reached"
    if limit is None:
        assert len(began) == len(linear.DECAYS) * len(parts_of(model)[0].networks)
    else:
        assert len(began) == 1
        assert not parts_of(model)
    assert (left_out in model.report().notes) == (limit is not None)


# ------------------------------------------------------------ what has no solution

ONES, SIGNS = np.ones((N, 1)), np.where(X > 0, 1.0, -1.0)
DEGENERATE = {  # columns, targets, weights
    "a constant column": (np.hstack([X, ONES]), NOISY, None),
    "a column that is constant in most folds": (np.c_[X, np.arange(N) == 1], NOISY, None),
    "constant columns alone": (np.ones((N, 3)), NOISY, None),
    "duplicated columns": (np.hstack([X, X, X + 1e-9]), NOISY, None),
    "columns of 1e300": (X * 1e300, NOISY, None),
    "the largest numbers": (SIGNS * 1.7e308, NOISY, None),
    "one row far away": (np.where(np.arange(N)[:, None] == 5, 1e300 * SIGNS, X), NOISY, None),
    "columns of 1e-300": (X * 1e-300, NOISY, None),
    "denormal columns": (X * 1e-310, NOISY, None),
    "two rows": (X[:2], NOISY[:2], None),
    "three rows": (X[:3], NOISY[:3], None),
    "one target": (X, np.ones(N), None),
    "weights of 1e-300": (X, NOISY, np.full(N, 1e-300)),
    "weights of 1e300": (X, NOISY, np.full(N, 1e300)),
    "one weight": (X, NOISY, np.where(np.arange(N) == 3, 1.0, 1e-15)),
    "weights that nearly vanish": (X, NOISY, np.where(np.arange(N) % 2, 1.0, 1e-14)),
}


@pytest.mark.crossed
@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    ("case", "kind"),
    [
        (case, kind)
        for case in DEGENERATE
        for kind in ("numbers", "numbers in time", "classes in time", "hazards")
        if kind != "classes in time" or case not in {"two rows", "three rows"}  # of one class
    ],
)
def test_degenerate_rows_have_a_finite_fit(case, kind):
    x, y, weights = DEGENERATE[case]
    given = {"time": np.arange(len(x))} if "time" in kind else {}
    make = TabMLPRegressor
    if kind == "hazards":
        make, y = TabMLPSurvival, structured(np.exp(y), y > -9)
    elif "classes" in kind:
        make, y = TabMLPClassifier, np.arange(N) % 3 == 0
    model = make(preset="fast", random_state=0).fit(x, y, weights, **given)
    assert np.isfinite(model.predict(x)).all()


@pytest.mark.parametrize("size", [1e-300, 1e300, 1e307])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_targets_whose_squares_have_no_sum_are_refused(size):
    with pytest.raises(ValueError, match="rescale y"):
        TabMLPRegressor(preset="fast").fit(X, NOISY * size)


def fails(error):
    """Return a function that raises an error."""

    def solve(*_):
        raise error

    return solve


MADE = {  # the estimator, what is given to its fit, and a part of the solver
    "numbers": (TabMLPRegressor, (X, NOISY), {}, "ridge"),
    "numbers in time": (TabMLPRegressor, (X, NOISY), {"time": np.arange(N)}, "ridge"),
    "classes in time": (TabMLPClassifier, (X, LABELS), {"time": np.arange(N)}, "_newton"),
    "hazards": (TabMLPSurvival, lasting(100), {}, "_newton"),
}


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize(
    ("injected", "why"),
    [
        (fails(np.linalg.LinAlgError("singular")), "equations of a line have no finite solution"),
        (fails(MemoryError()), "too little memory for the equations of a line"),
        (None, "equations of a line have no finite solution"),
    ],
)
def test_networks_remain_where_the_part_fails(kind, injected, why, monkeypatch):
    make, rows, given, name = MADE[kind]
    solve = getattr(linear, name)

    def without_numbers(*given):
        solved = solve(*given)
        return (
            (tuple(np.nan * a for a in each) for each in solved)
            if name == "ridge"
            else (np.nan * solved)
        )

    monkeypatch.setattr(linear, "suits", lambda data, preset: False)
    alone = make(preset="fast", random_state=0).fit(*rows, **given)
    monkeypatch.undo()
    monkeypatch.setattr(linear, name, injected or without_numbers)
    model = make(preset="fast", random_state=0).fit(*rows, **given)
    assert not parts_of(model)
    (note,) = [note for note in model.report().notes if "there is no linear part" in note]
    assert note.endswith(why)
    np.testing.assert_array_equal(model.predict(rows[0]), alone.predict(rows[0]))


@pytest.mark.parametrize("weights", [np.inf, 1e300])
def test_a_penalty_without_finite_weights_is_left_out(weights, monkeypatch):
    """Predictions are limited, so that weights without an end had a cost that was a number."""
    ridge = linear.ridge

    def partly(*given):
        for k, (slopes, biases) in enumerate(ridge(*given)):
            yield slopes if k != 1 else slopes * weights, biases

    monkeypatch.setattr(linear, "ridge", partly)
    model = TabMLPRegressor(preset="fast", random_state=0).fit(X, NOISY)
    (part,) = parts_of(model)
    assert np.isfinite([network.parameters()["weights"] for network in part.networks]).all()


@pytest.mark.parametrize("injected", [fails(np.linalg.LinAlgError("singular")), "not a number"])
def test_folds_remain_where_the_part_of_all_rows_fails(injected, monkeypatch):
    solve, calls = linear.ridge, []

    def later(x, *given):
        calls.append(len(x))
        if len(x) < N:
            return solve(x, *given)
        return [(np.nan, np.nan)] if isinstance(injected, str) else injected()

    monkeypatch.setattr(linear, "ridge", later)
    model = TabMLPRegressor(preset="fast", random_state=0).fit(X, NOISY, time=np.arange(N))
    assert calls[-1] == N
    assert len(parts_of(model)) == 1
    assert np.isfinite(model.predict(X)).all()
    (note,) = [note for note in model.report().notes if "have not learned from all rows" in note]
    assert note.endswith("equations of a line have no finite solution")
