"""Estimators of tables at their limits: odd columns, targets, weights; nothing leaks."""

import importlib
from dataclasses import replace

import numpy as np
import pandas
import pytest
from tiny_tables import COLOURS, LABELS, SMALL, TINY, N, X, Y, classifier, frame_of, regressor

from fastmlp import TabMLPClassifier
from fastmlp.sklearn.fitted import fitted_of
from fastmlp.tabular.outcome.loss_rows import LOSSES
from fastmlp.tabular.plan import presets
from fastmlp.tabular.recipe.blend import Blend

RNG = np.random.default_rng(1)


pytestmark = pytest.mark.usefixtures("tiny")


# ------------------------------------------------------------ leaks


def last_epoch():
    """Return a scorer that finds each epoch better than the one before, whatever is predicted."""
    looks = iter(range(10**6))
    return lambda estimator, X, y, sample_weight=None: next(looks)


def bits(net):
    """Return all parameters of a network."""
    return np.concatenate([a.ravel() for kind in net.engine.parameters() for a in kind])


def changed(kind, frame, y, weights, rows):
    """Return the data with other values in some rows."""
    frame, y, weights = frame.copy(), y.copy(), weights.copy()
    if kind == "numbers":
        frame.loc[rows, "a"] = frame.loc[rows, "a"] * -7 + 1e6
        frame.loc[rows[0], "b"] = np.nan
    elif kind == "categories":
        frame.loc[rows, "colour"] = "red"
    else:
        y[rows] = np.roll(y[rows], 1) if y.dtype.kind == "U" else y[rows] * 100
    return frame, y, weights


@pytest.mark.parametrize("kind", ["numbers", "categories", "targets"])
@pytest.mark.parametrize(("make", "y"), [(regressor, Y), (classifier, LABELS)])
def test_held_out_rows_do_not_change_a_bit_of_the_members_they_judge(make, y, kind, monkeypatch):
    recipes = (SMALL, replace(SMALL, bins=0, dropout=0.1, decay=0.01))
    monkeypatch.setitem(presets.PRESETS, "fast", replace(TINY, recipes=recipes))
    frame, weights = frame_of(colour=COLOURS), RNG.uniform(1, 2, N)
    frame.loc[5, "b"] = np.nan
    groups = np.arange(N) // 2  # the same folds whatever the classes are

    def fit(data):
        rows, targets, w = data
        model = make(scoring=last_epoch()).fit(rows, targets, sample_weight=w, groups=groups)
        return model, {g.encoding.bins.sum(): g for g in fitted_of(model).blend.groups}

    first, before = fit((frame, y, weights))
    rows = fitted_of(first).held_out.rows[0]
    second, after = fit(changed(kind, frame, y, weights, rows))
    np.testing.assert_array_equal(fitted_of(second).held_out.rows[0], rows)
    both = sorted(set(before) & set(after))
    assert both
    for bins in both:
        one, two = before[bins].networks, after[bins].networks
        np.testing.assert_array_equal(bits(one[0]), bits(two[0]))
        assert not np.array_equal(bits(one[1]), bits(two[1]))  # this one has learned from them


# ------------------------------------------------------------ columns


def test_lists_of_numbers_beside_text_are_numbers_and_text():
    rows = [[float(a), str(c)] for a, c in zip(X[:, 0], COLOURS, strict=True)]
    model = regressor().fit(rows, Y)
    assert model.report().kinds == {"numbers": 1, "dates": 0, "categories": 1}
    np.testing.assert_array_equal(model.predict(rows), model.predict(np.array(rows, object)))


# A column at fit, the same later, and what is said of it.
REFUSED_LATER = [
    (COLOURS, X[:, 0], ValueError, r"a holds .* but text was there at fit"),
    (X[:, 0], COLOURS, ValueError, "was numbers at fit"),
    (X[:, 0], [[1, 2]] * N, ValueError, "was numbers at fit"),
    (X[:, 0], [[1]] * N, ValueError, "was numbers at fit"),
    (COLOURS, [[1]] * N, TypeError, "a holds a list, which is neither"),
    (X[:, 0], np.arange(N).astype("M8[ns]"), TypeError, "a holds dates"),
    ("category", np.arange(N).astype("M8[ns]"), TypeError, "holds dates"),
    (X[:, 0], X[:, 0] + 1j, ValueError, "a holds complex numbers"),
    ("category", COLOURS, ValueError, r"holds 'red' \(str\) but a"),
]


@pytest.mark.parametrize(("values", "later", "error", "words"), REFUSED_LATER)
def test_columns_that_are_refused_later(values, later, error, words):
    if isinstance(values, str):
        values = pandas.Categorical(np.arange(N) % 4)
    model = regressor().fit(frame_of(a=values), Y)
    with pytest.raises(error, match=words):
        model.predict(frame_of(a=later))
    strange = frame_of(a=np.full(N, np.nan))
    assert np.isfinite(model.predict(strange)).all()  # missing is never of another kind


@pytest.mark.filterwarnings("ignore:b is a category with another value in nearly every row")
def test_category_dtypes_are_categories_whatever_their_values_are():
    frame = frame_of(a=pandas.Categorical(np.arange(N) % 4))
    for wanted, count in (("from_dtype", 1), (["b"], 2)):
        model = regressor(categorical_features=wanted).fit(frame, Y)
        assert model.report().kinds["categories"] == count


def test_names_that_are_no_text_count_too():
    frame = pandas.DataFrame(X)
    model = regressor().fit(frame, Y)
    with pytest.raises(ValueError, match="X has the columns 0, 1, 3 but 0, 1, 2 are expected"):
        model.predict(frame.rename(columns={2: 3}))
    named = regressor().fit(frame.assign(y=Y).rename(columns={"y": 3}), 3)
    for other in (frame, X, frame[[1, 0, 2]], frame.assign(other=0), frame.rename(columns=str)):
        np.testing.assert_array_equal(model.predict(other), model.predict(X))
        np.testing.assert_array_equal(named.predict(other), model.predict(X))


# ------------------------------------------------------------ targets


@pytest.mark.parametrize("loss", sorted({*LOSSES} - {"quantile", "quantiles"}))
def test_the_scale_of_y_does_not_matter(loss):
    """A power of 2 far away: the same prediction but for the rounding of what is measured."""
    y = np.exp(Y) if LOSSES[loss].lowest == 0 else Y
    right = regressor(loss=loss).fit(X, y)
    for scale in (2.0**-100, 2.0**100):
        model = regressor(loss=loss).fit(X, y * scale)
        assert model.best_epoch_ == right.best_epoch_
        np.testing.assert_allclose(model.predict(X) / scale, right.predict(X), rtol=1e-5)
        interval = model.predict_interval(X) / scale
        np.testing.assert_allclose(interval, right.predict_interval(X), rtol=1e-5, atol=1e-6)
    constant = regressor(loss=loss).fit(X, np.full(N, 3.7))
    np.testing.assert_allclose(constant.predict(X), 3.7, rtol=1e-14)


@pytest.mark.parametrize("scoring", ["accuracy", "roc_auc", "f1_macro", "average_precision"])
def test_scorers_of_matrices_of_labels(scoring):
    from sklearn.metrics import get_scorer

    y = np.c_[Y > 0, Y > 0.5].astype(int)
    model = classifier(scoring=scoring).fit(X, y)
    best = -min(cost for *_, cost in fitted_of(model).facts.curve)
    # Before the temperature, which changes no rank and no label.
    raw = fitted_of(model).held_out.predictions

    class Said(TabMLPClassifier):
        classes_ = np.eye(2, dtype=int)

        def predict(self, X):
            return (raw > 0.5).astype(int)

        def predict_proba(self, X):
            return raw

        def __sklearn_is_fitted__(self):
            return True

    assert get_scorer(scoring)(Said(), X, y) == pytest.approx(best)


def test_epochs_without_a_score_are_never_chosen():
    def score(estimator, X, y):
        said = estimator.predict(X)
        looks.append(said)
        return np.nan if len(looks) != 3 else 0.0

    looks: list[np.ndarray] = []
    model = regressor(scoring=score).fit(X, Y)
    assert model.best_epoch_ == fitted_of(model).facts.curve[2][0]
    np.testing.assert_array_equal(model.oof_prediction_, looks[2])
    with pytest.raises(ValueError, match="no epoch has a score"):
        regressor(scoring=lambda *_: np.nan).fit(X, Y)


# ------------------------------------------------------------ after the fit


def test_a_parameter_that_is_set_during_a_fit_is_kept_for_the_next_one():
    model = regressor()
    model.set_params(callbacks=[lambda state: model.set_params(loss="poisson")]).fit(X, Y)
    assert model.loss == "poisson"
    np.testing.assert_array_equal(model.predict(X), regressor().fit(X, Y).predict(X))


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_single_level_has_no_axis(outputs):
    model = regressor().fit(X, np.tile(Y, (outputs, 1)).T)
    for level in (0.3, np.float32(0.5)):
        single = model.predict_quantiles(X, level)
        np.testing.assert_array_equal(single, model.predict_quantiles(X, [level])[..., 0])
    with pytest.raises(ValueError, match=r"levels is \[\] but at least one is expected: pass for"):
        model.predict_quantiles(X, [])
    for wrong in (1.5, None, "0.5"):
        with pytest.raises((TypeError, ValueError), match=r"levels is .* number in \(0, 1\): pass"):
            model.predict_quantiles(X, wrong)


def test_importance_wants_the_targets_of_the_fit():
    model, other = regressor().fit(X, Y), classifier().fit(X, LABELS)
    several = classifier().fit(X, X > 0)
    with pytest.raises(ValueError, match="inconsistent numbers"):
        model.importance(X, Y[1:])
    with pytest.raises(ValueError, match="most is 0 but must be"):
        model.plot_importance(X, Y, most=0)
    for found, y, words in (
        (model, np.c_[Y, Y], "y has 2 outputs but 1"),
        (other, np.arange(N) % 3, "the target holds 0 but the model knows"),
        (other, LABELS == "low", "the target holds (True|False) but the model knows"),
        (other, X > 0, r"y has shape \(60, 3\) but \(60,\) is expected: pass one class per row"),
        (several, X[:, 1:] > 0, r"y has shape \(60, 2\) but \(60, 3\) .* for each label"),
        (several, LABELS, r"y has shape \(60,\) but \(60, 3\) is expected"),
    ):
        with pytest.raises(ValueError, match=words):
            found.importance(X, y)


READ = {
    "predict": (regressor, Y, lambda model: np.stack(model.predict(X, return_std=True))),
    "predict_interval": (regressor, Y, lambda model: model.predict_interval(X)),
    "log_density": (regressor, Y, lambda model: model.log_density(X, Y)),
    "labels": (classifier, LABELS, lambda model: model.predict(X)),
    "predict_proba": (classifier, LABELS, lambda model: model.predict_proba(X)),
}


@pytest.mark.parametrize("method", READ)
def test_what_is_read_during_a_fit_is_of_one_fit(method, monkeypatch):
    """Another fit ends amid a prediction: that is still of the fit it began with."""
    make, y, read = READ[method]
    model = make().fit(X, y)
    right, predict, fits = read(model), Blend.predict, []

    def slow(self, table):
        if not fits:
            fits.append(model)
            other = Y * 100 if make is regressor else np.arange(N) % 3
            model.fit(np.c_[COLOURS, COLOURS[::-1], COLOURS], other)
        return predict(self, table)

    monkeypatch.setattr(Blend, "predict", slow)
    np.testing.assert_array_equal(read(model), right)
    assert fits


PHASES = {
    "reading": ("fastmlp.tabular.fit.reading", "used_rows"),
    "encoding": ("fastmlp.tabular.table.encoding", "_measured"),
    "training": ("fastmlp.tabular.recipe.blend", "fit"),
    "blending": ("fastmlp.tabular.recipe.blend", "greedy"),
    "report": ("fastmlp.tabular.fit.training", "reported"),
}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(("make", "y"), [(regressor, Y), (classifier, LABELS)])
def test_a_fit_that_fails_in_any_phase_leaves_the_last_value(make, y, phase, monkeypatch):
    model = make().fit(X, y)
    before, predictions = dict(vars(model)), model.predict(X)
    module, name = PHASES[phase]
    function = getattr(importlib.import_module(module), name)

    def failing(*args, **options):
        function(*args, **options)
        raise ArithmeticError(phase)

    monkeypatch.setattr(f"{module}.{name}", failing)
    with pytest.raises(ArithmeticError, match=phase):
        model.fit(X[::-1], y)
    assert vars(model) == before
    np.testing.assert_array_equal(model.predict(X), predictions)
