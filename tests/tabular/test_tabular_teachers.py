"""Distillation of other models: what is learned, what is refused, and that nothing leaks."""

import re
import time
import types

import numpy as np
import pytest
import stored
from models import saved
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import ShuffleSplit
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import fastmlp
from fastmlp import TabMLPClassifier, TabMLPRegressor
from fastmlp.sklearn.fitted import fitted_of
from fastmlp.tabular import teachers
from fastmlp.tabular.fitted import distilled

SHORT = {"preset": "fast", "random_state": 0, "epochs": 4, "members": 4}
RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (300, 3))
STEPS = np.where(X[:, 0] > 0.2, 2.0, np.where(X[:, 1] > 0, 1.0, 0.0))
NOISY = STEPS + 0.3 * RNG.normal(size=300)


def distill(teacher, y=NOISY, rows=X, **options):
    """Distil with short lessons."""
    kind = TabMLPClassifier if hasattr(teacher, "predict_proba") else TabMLPRegressor
    options = {"student": kind(**SHORT), "mixtures": 1000} | options
    return fastmlp.distill(teacher, rows, y, **options)


@pytest.fixture(scope="module", autouse=True)
def short_lessons():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distilled, "EPOCHS", 15)
        yield


@pytest.fixture(scope="module")
def model():
    """A distilled tree, whose truth has steps."""
    return distill(DecisionTreeRegressor(min_samples_leaf=10), mixtures=5000)


def test_a_network_learns_what_a_tree_knows_and_intervals_hold(model):
    new = np.random.default_rng(1).uniform(-1, 1, (4000, 3))
    steps = np.where(new[:, 0] > 0.2, 2.0, np.where(new[:, 1] > 0, 1.0, 0.0))
    own = TabMLPRegressor(**SHORT).fit(X, NOISY)
    assert np.std(model.predict(new) - steps) < 0.6 * np.std(own.predict(new) - steps)
    y = steps + 0.3 * np.random.default_rng(2).normal(size=4000)
    low, high = model.predict_interval(new, 0.9).T
    assert 0.85 < np.mean((low <= y) & (y <= high)) < 0.96
    assert np.std(model.oof_prediction_ - NOISY) > 0.9 * np.std(model.predict(new) - y)
    assert len(fitted_of(model).blend) == 1
    assert "of each label is by DecisionTreeRegressor" in str(model.report())


def test_the_model_has_every_door_of_a_table(model, tmp_path):
    loaded, p = saved(model, tmp_path / "model"), model.predictor()
    assert np.array_equal(loaded.predict_interval(X), model.predict_interval(X))
    assert p(X[0].tolist()) == fastmlp.load_predictor(tmp_path / "model")(X[0].tolist())
    assert p(X[0].tolist()) == model.predict(X[:1])[0]
    assert model.to_c(tmp_path / "model.c", X=X).largest_error < 1e-4
    assert model.to_onnx(levels=[0.1]).graph.output[2].name == "quantiles"
    assert model.importance(X, NOISY, rounds=1).names[:2] == ["column 0", "column 1"]


@pytest.mark.parametrize("labels", ["text", "numbers"])
def test_a_frame_teaches_classes_in_the_form_that_it_has(labels):
    frame = stored.frame()
    y = (
        np.where(frame.iloc[:, 0].to_numpy() > 0, "yes", "no")
        if labels == "text"
        else stored.LABELS
    )
    seen = []

    class Teacher(BaseEstimator):
        def fit(self, X, y):
            self.classes_, counts = np.unique(y, return_counts=True)
            self.shares, self.rows = counts / len(y), len(X)
            return self

        def predict_proba(self, X):
            seen.append((X.dtypes.tolist(), len(X)))
            return np.tile(self.shares, (len(X), 1))

    # The teacher does not get the target, whose column the name tells.
    data = ("y", frame.assign(y=y)) if labels == "text" else (y, frame)
    model = distill(Teacher(), *data)
    assert {str(dtypes) for dtypes, _ in seen} == {str(frame.dtypes.tolist())}
    assert model.classes_.tolist() == sorted({*np.asarray(y).tolist()})
    assert model.temperature_ > 0
    np.testing.assert_allclose(model.predict_proba(frame).sum(axis=1), 1)


def test_teachers_never_see_the_rows_that_they_label_out_of_fold():
    """A teacher that repeats the targets that it has seen would seem perfect."""
    noise = np.random.default_rng(3).normal(size=300)
    model = distill(KNeighborsRegressor(1), noise)
    assert np.std(model.oof_prediction_ - noise) > 0.95
    assert "distilled: 0% of each label" in str(model.report())
    groups = np.arange(300) // 10
    twins = np.repeat(X[::10], 10, axis=0)
    model = distill(KNeighborsRegressor(1), np.repeat(noise[::10], 10), twins, groups=groups)
    assert np.std(model.oof_prediction_ - np.repeat(noise[::10], 10)) > 0.8


def test_a_teacher_is_unchanged_and_fitted_ones_are_fitted_anew():
    teacher = DecisionTreeRegressor(min_samples_leaf=10, random_state=0)
    models = [distill(teacher), distill(teacher.fit(X, -NOISY)), distill(teacher, random_state=1)]
    assert teacher.predict(X[STEPS == 2]).mean() < -1.5
    assert np.array_equal(models[0].predict(X), models[1].predict(X))
    assert not np.array_equal(models[0].predict(X), models[2].predict(X))


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_weights_reach_the_teacher_and_the_rows_without_weight_teach_nothing(steps):
    teacher = DecisionTreeRegressor()
    for _ in range(steps):
        teacher = make_pipeline(StandardScaler(), teacher)
    weight = (X[:, 2] > 0).astype(float)
    y = np.where(weight > 0, STEPS, -50.0)
    model = distill(teacher, y, sample_weight=weight)
    assert model.predict(X[weight > 0]).min() > -1


def test_what_is_used_as_it_is_warns_unless_it_is_a_function():
    def steps(rows):
        return np.where(rows[:, 0] > 0.2, 2.0, np.where(rows[:, 1] > 0, 1.0, 0.0))

    model = distill(steps, mixtures=5000)
    assert np.std(model.predict(X) - STEPS) < 0.2
    fitted = LinearRegression().fit(X, NOISY)
    for teacher in (FrozenEstimator(fitted), fitted.predict):
        with pytest.warns(UserWarning, match="is used as it is: if it has learned from these rows"):
            distill(teacher)


@pytest.mark.parametrize(("mixtures", "count"), [(None, 3577), (50, 50)])
def test_few_rows_have_short_lessons(mixtures, count, monkeypatch):
    monkeypatch.setattr("fastmlp.tabular.fitted.distilled.EPOCHS", 1)
    labelled = []

    def teacher(rows):
        labelled.append(len(rows))
        return rows[:, 0]

    distill(teacher, NOISY[:20], X[:20], mixtures=mixtures)
    assert labelled.count(count) == len(labelled) - labelled.index(count) > 1


@pytest.mark.parametrize("mixtures", [None, pytest.param(4000, marks=pytest.mark.slow)])
def test_work_grows_with_the_rows_unless_mixtures_are_asked_for(mixtures, monkeypatch):
    monkeypatch.setattr(distilled, "EPOCHS", 60)
    monkeypatch.setattr(teachers, "WORK_OF_ROW", 50_000)
    taught, work, steps = teachers.taught, [], []

    def recorded(*arguments):
        members, history = taught(*arguments)
        rows, inputs = len(arguments[4].table), members.spec.layer_sizes[0]
        work.append(rows * inputs * len(history.loss))
        steps.append(-(-rows // distilled.BATCH) * len(history.loss))
        return members, history

    monkeypatch.setattr(teachers, "taught", recorded)
    distill(DecisionTreeRegressor(max_depth=4), mixtures=mixtures)
    assert len(work) == 5  # a network for each of four folds, and one of all rows
    if mixtures is None:  # the last epoch is begun before the limit
        assert max(work) < 1.1 * teachers.WORK_OF_ROW * len(X)
        assert min(steps) >= distilled.FEWEST_STEPS
    else:
        assert min(steps) == 60 * -(-mixtures // distilled.BATCH)


@pytest.mark.parametrize("limit", [30.0, 300.0, pytest.param(3000.0, marks=pytest.mark.slow)])
def test_a_time_limit_is_shared_by_the_labels_and_the_networks(limit, monkeypatch):
    """By a clock of the test: a fit of the teacher takes 2 s, the labels of 100 rows 1 s."""
    clock, model_of, read = types.SimpleNamespace(now=1000.0), distilled.model_of, []
    monkeypatch.setattr(teachers, "time", types.SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(teachers, "ROWS_AT_A_TIME", 100)
    monkeypatch.setattr(distilled, "FEWEST_STEPS", 1)
    monkeypatch.setattr(distilled, "EPOCHS", 60)
    step = 0.1  # seconds
    monkeypatch.setattr(
        distilled, "seconds_of_epoch", lambda *facts: step * facts[3] / distilled.BATCH
    )

    class Slow(DecisionTreeRegressor):
        def fit(self, X, y):
            clock.now += 2.0
            return super().fit(X, y)

        def predict(self, X):
            clock.now += len(X) / 100
            return super().predict(X)

    def timed(network):
        def fit(x, y, **options):
            clock.now += step * options["epochs"] * len(x) / distilled.BATCH
            read.append(options["epochs"] * len(x))
            return model_of(network).fit(x, y, **options)

        return types.SimpleNamespace(fit=fit)

    monkeypatch.setattr(distilled, "model_of", timed)
    model = distill(Slow(max_depth=4), mixtures=None, time_limit=limit)
    used = clock.now - 1000.0
    if limit == 3000.0:
        assert read == [60 * 13856] * 4 + [60 * 14156]  # all that it would ever take
    else:
        assert 0.9 * limit < used < limit + 6.0  # a part and an epoch are begun before the end
        assert max(read) < 1.5 * min(read)
    assert model.get_params()["time_limit"] is None


def test_a_distillation_that_takes_longer_than_its_limit_says_so():
    def slow(rows):
        time.sleep(0.3)
        return rows[:, 0]

    report = str(distill(slow, time_limit=0.2).report())
    assert re.search(r"the fit took .* s longer than time_limit: .* s for the distillation", report)


def test_a_column_has_as_many_bins_as_values_need_and_tied_ones_stay_together(monkeypatch):
    """Of a number, its logarithm, its negative and a copy, the first alone has bins."""
    monkeypatch.setattr(distilled, "EPOCHS", 1)
    x = np.random.default_rng(2).lognormal(size=300)
    words, few = np.array(["a", "b"])[RNG.integers(0, 2, (2, 300))], np.round(2 * X[:, 1])
    gaps = np.where(X[:, 2] < 0, np.nan, np.round(3 * X[:, 2]))
    rows = np.column_stack([few, x, gaps, words[0], np.log(x), -x, x, words[1], words[0]])
    rows = rows.astype(object)
    rows[:, [0, 1, 2, 4, 5, 6]] = rows[:, [0, 1, 2, 4, 5, 6]].astype(float)

    def teacher(mixed):
        x = mixed[:, 1].astype(float)
        assert np.array_equal(mixed[:, 4].astype(float), np.log(x))
        assert np.array_equal(mixed[:, 5:7].astype(float), np.column_stack([-x, x]))
        assert np.array_equal(mixed[:, 3], mixed[:, 8])
        return x

    model = distill(teacher, x, rows)
    encoding = fitted_of(model).blend.groups[0].encoding
    assert encoding.bins.tolist() == [4, 300 // 8, 3, 0, 0]  # a bin has at least eight rows
    assert fitted_of(model.distill(rows)).blend.groups[0].encoding.bins.tolist() == [4, 8, 3, 0, 0]


def test_several_targets_and_probabilities_of_a_function():
    several = np.column_stack([NOISY, -NOISY])
    model = distill(RandomForestRegressor(10, random_state=0), several)
    assert model.predict(X).shape == (300, 2)
    assert np.corrcoef(model.predict(X).T)[0, 1] < -0.9

    def p(rows):
        return np.column_stack([rows[:, 0] <= 0.2, rows[:, 0] > 0.2]) * 0.8 + 0.1

    labels = np.where(X[:, 0] > 0.2, "b", "a")
    model = distill(p, labels, student=TabMLPClassifier(**SHORT))
    assert model.score(X, labels) > 0.95


class Wrong(BaseEstimator):
    """A teacher whose labels, or classes, are changed by a function."""

    def __init__(self, labels=None, classes=None):
        self.labels, self.classes = labels, classes

    def fit(self, X, y):
        if self.classes is not None:
            self.classes_ = self.classes
        return self

    def predict(self, X):
        return self.labels(np.zeros(len(X)))


class WrongClasses(Wrong):
    def predict_proba(self, X):
        return self.labels(np.full((len(X), 2), 0.5))


WORDS = np.where(NOISY > 1, "a", "b")
REFUSED = [
    (Wrong(lambda p: p * np.nan), NOISY, "NaN or infinite but finite numbers are expected"),
    (Wrong(lambda p: p[1:]), NOISY, r"shape \(74, 1\) but \(75, 1\) is expected"),
    (Wrong(lambda p: p.astype(str)), NOISY, "text, NaN or infinite"),
    (Wrong(lambda p: p), np.column_stack([NOISY] * 2), r"shape \(75, 1\) but \(75, 2\)"),
    (WrongClasses(lambda p: p, ["a", "c"]), WORDS, "has the class 'c' but those of y are expected"),
    (WrongClasses(lambda p: p[:, :1]), WORDS, r"shape \(75, 1\) but \(75, 2\) is expected"),
    (WrongClasses(lambda p: 2 * p), WORDS, "probabilities are expected, whose sum is 1"),
    (WrongClasses(lambda p: p * [3, -1]), WORDS, "from -0.5 to 1.5 but probabilities"),
    (WrongClasses(lambda p: p), NOISY, "Unknown label type: continuous"),
]


@pytest.mark.parametrize(("teacher", "y", "words"), REFUSED)
def test_wrong_labels_are_refused_in_words(teacher, y, words):
    with pytest.raises(ValueError, match=words):
        distill(teacher, y)


def test_wrong_arguments_are_refused_in_words():
    tree = DecisionTreeRegressor()
    with pytest.raises(TypeError, match="student is a DecisionTreeRegressor but a TabMLPRegressor"):
        distill(tree, student=tree)
    with pytest.raises(ValueError, match=r"student\.loss is 'quantile' but a teacher's labels"):
        distill(tree, student=TabMLPRegressor(loss="quantile"))
    with pytest.raises(TypeError, match="has no predict_proba but its labels are expected"):
        distill(Wrong(), WORDS, student=TabMLPClassifier(**SHORT))
    with pytest.raises(ValueError, match="The 'members' parameter of TabMLPRegressor must be"):
        distill(tree, student=TabMLPRegressor(members=-1))
    with pytest.raises(TypeError, match=r"class DecisionTreeRegressor but an object .*Regressor()"):
        distill(DecisionTreeRegressor)
    with pytest.raises(ValueError, match=r"y holds text .* with student=TabMLPClassifier\(\)"):
        distill(lambda X: X, WORDS, student=None)
    with pytest.raises(ValueError, match="mixtures is 0"):
        distill(tree, mixtures=0)
    with pytest.raises(ValueError, match="time_limit is 0"):
        distill(tree, time_limit=0)
    for teacher in (KNeighborsRegressor(), make_pipeline(KNeighborsRegressor())):
        with pytest.raises(ValueError, match=r"a (KN\w+|Pipeline), has a fit without it"):
            distill(teacher, sample_weight=np.ones(300))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        distill(tree, NOISY[1:])
    with pytest.raises(TypeError, match=r"ArrowBlocks|a source"):
        distill(tree, rows=fastmlp.ArrowBlocks(stored.frame()))


def test_a_fold_without_a_class_and_a_teacher_that_cannot_be_cloned():
    class Own(DecisionTreeClassifier):
        """Its constructor changes a parameter, as CatBoost's does."""

        def __init__(self, names=()):
            self.names = list(names)
            super().__init__(min_samples_leaf=5)

        def get_params(self, deep=True):
            return {"names": self.names}

    words = WORDS.copy()
    words[:1] = "rare"
    model = distill(Own(["x"]), words)
    assert model.predict_proba(X).shape == (300, 3)
    assert distill(RandomForestClassifier(5, random_state=0), words).score(X, words) > 0.6


def test_folds_of_the_student_are_those_of_the_teacher():
    """Rows that no fold holds out have no score; each fold learns from its rows alone."""
    from sklearn.model_selection import TimeSeriesSplit

    sizes = []

    class Mean(Wrong):
        def fit(self, X, y):
            sizes.append(len(X))
            return self

    student = TabMLPRegressor(**SHORT | {"folds": TimeSeriesSplit(3), "members": None})
    model = distill(Mean(lambda p: p), student=student)
    assert sizes == [75, 150, 225, 300]
    assert np.isnan(model.oof_prediction_).sum() == 75


def test_rows_that_several_folds_hold_out_are_labelled_once():
    splitter = ShuffleSplit(3, test_size=0.4, random_state=0)
    held, counts = np.unique([out for _, out in splitter.split(X)], return_counts=True)
    assert len(held) < 300
    assert counts.max() > 1
    student = TabMLPRegressor(**SHORT | {"folds": splitter, "members": None})
    model = distill(DecisionTreeRegressor(min_samples_leaf=10), student=student)
    np.testing.assert_array_equal(np.flatnonzero(~np.isnan(model.oof_prediction_)), held)


def test_a_monotone_student_stays_monotone():
    student = TabMLPRegressor(**SHORT | {"monotone": {0: -1}})
    model = distill(DecisionTreeRegressor(min_samples_leaf=10), student=student)
    rows = np.repeat(X[:20], 50, axis=0)
    rows[:, 0] = np.tile(np.linspace(-1, 1, 50), 20)
    assert np.diff(model.predict(rows).reshape(20, 50)).max() <= 1e-6
