"""What the estimators have beyond scikit-learn's: each option does what it says, off by default."""

from functools import partial

import numpy as np
import pytest
import small_estimators
from matplotlib import pyplot
from models import saved
from sklearn.datasets import load_digits
from sklearn.metrics import (
    make_scorer,
    mean_absolute_error,
    mean_poisson_deviance,
    mean_tweedie_deviance,
    r2_score,
)
from sklearn.model_selection import train_test_split

import fastmlp
from fastmlp._engine import native_engine
from fastmlp.sklearn import estimator, training
from fastmlp.sklearn.fitted import fitted_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def line(n=400, outputs=1):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (n, 3))
    y = np.stack([x @ rng.normal(size=3) + np.abs(x[:, 0]) for _ in range(outputs)], axis=1)
    return x, y[:, 0] if outputs == 1 else y


def digits(n=300):
    x, y = load_digits(return_X_y=True)
    return x[:n] / 16, y[:n]


regressor = partial(small_estimators.regressor, hidden_layer_sizes=(16,), max_iter=40)
classifier = partial(small_estimators.classifier, hidden_layer_sizes=(16,), max_iter=20)


def forward(net, x):
    """The network in NumPy, from the attributes alone."""
    names = net.activation if isinstance(net.activation, list) else None
    n = len(net.coefs_)
    for layer, (w, b) in enumerate(zip(net.coefs_, net.intercepts_, strict=True)):
        x = x @ w + b
        if layer < n - 1:
            name = names[layer] if names else net.activation
            x = fastmlp._network.activations.ACTIVATIONS[name].value(x)
    return x


LOSSES = {
    "squared_error": fastmlp.SquaredError(),
    "absolute_error": fastmlp.AbsoluteError(),
    "huber": fastmlp.Huber(delta=0.5),
    "quantile": fastmlp.Quantile(quantile=0.8),
    "poisson": fastmlp.PoissonNLL(),
    "gaussian": fastmlp.GaussianNLL(),
    "gamma": fastmlp.GammaNLL(),
    "tweedie": fastmlp.Tweedie(power=1.3),
}

# ---- networks and losses ------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["gelu", "silu", "mish", "elu", ["tanh", "leaky_relu"]])
def test_more_activations(activation):
    x, y = line()
    net = regressor(activation=activation, hidden_layer_sizes=(12, 8)).fit(x, y)
    np.testing.assert_allclose(net.predict(x), forward(net, x)[:, 0], rtol=1e-10)
    assert net.score(x, y) > 0.9
    with pytest.raises(ValueError, match="1 entries but this MLP has 2 hidden layers"):
        net.set_params(activation=["tanh"]).fit(x, y)


def test_losses_have_their_parameters():
    x, y = line(50)
    options = {"huber_delta": 0.5, "quantile": 0.8, "power": 1.3, "max_iter": 1}
    found = {name: regressor(loss=name, **options).fit(x, y**2).to_mlp().loss for name in LOSSES}
    assert found == LOSSES


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("outputs", [1, 2])
def test_gaussian_predicts_its_error(outputs, standardize):
    x, y = line(3000, outputs)
    rng = np.random.default_rng(1)
    spread = 0.1 + 0.4 * (x[:, :1] > 0)
    noise = spread * rng.normal(size=(3000, outputs))
    unit = 10.0 if standardize else 1.0
    y = unit * (y + noise[:, 0] if outputs == 1 else y + noise)
    net = regressor(
        loss="gaussian", standardize=standardize, max_iter=200, n_iter_no_change=np.inf
    ).fit(x, y)
    mean, std = net.predict(x, return_std=True)
    assert np.array_equal(mean, net.predict(x))
    assert mean.shape == std.shape == y.shape
    for side, expected in ((x[:, 0] > 0, 0.5 * unit), (x[:, 0] < 0, 0.1 * unit)):
        assert abs(np.median(std[side]) / expected - 1) < 0.25
    assert net.coefs_[-1].shape == (16, 2 * outputs)
    assert net.n_outputs_ == outputs
    with pytest.raises(ValueError, match="fit with loss='gaussian'"):
        regressor(max_iter=1).fit(x, y).predict(x, return_std=True)


def test_dropout_and_clipping_change_the_training_only():
    x, y = digits()
    plain = classifier().fit(x, y)
    for options in ({"dropout": 0.3}, {"dropout": [0.3]}, {"clip_norm": 0.1}):
        net = classifier(**options).fit(x, y)
        again = classifier(**options).fit(x, y)
        assert not np.array_equal(net.coefs_[0], plain.coefs_[0])
        assert np.array_equal(net.coefs_[0], again.coefs_[0])
        assert np.array_equal(net.predict_proba(x), net.predict_proba(x))
        with pytest.raises(ValueError, match="solver 'lbfgs' does not support it"):
            net.set_params(solver="lbfgs").fit(x, y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bfloat16_is_that_of_the_network(dtype, tmp_path):
    x, y = digits()
    options = {"hidden_layer_sizes": (64, 32), "max_iter": 3}
    plain = classifier(**options).fit(x.astype("float32"), y)
    x = x.astype(dtype)
    net = classifier(compute="bfloat16", **options).fit(x, y)
    assert net.to_mlp().compute == "bfloat16"
    assert net.coefs_[0].dtype == np.float32
    assert net.predict_proba(x).dtype == dtype
    has_unit = not native_engine.bfloat16_unit().startswith("none")
    assert np.array_equal(net.coefs_[0], plain.coefs_[0]) == (not has_unit)
    for each in (net, saved(net, tmp_path / "net.safetensors")):
        each.partial_fit(x, y)
        assert each.compute == "bfloat16"
    np.testing.assert_array_equal(each.coefs_[0], net.coefs_[0])
    with pytest.raises(ValueError, match="compute is 'bfloat16' but solver 'lbfgs' does not"):
        net.set_params(solver="lbfgs").fit(x, y)


def test_class_weight():
    x, y = digits()
    y = y == 3
    weights = np.where(y, 5.0, 1.0)
    by_class = classifier(class_weight={True: 5.0}).fit(x, y)
    by_sample = classifier().fit(x, y, weights)
    assert np.array_equal(by_class.coefs_[0], by_sample.coefs_[0])
    both = classifier(class_weight={True: 5.0}).fit(x, y, weights)
    assert np.array_equal(both.coefs_[0], classifier().fit(x, y, weights**2).coefs_[0])
    balanced = classifier(class_weight="balanced", max_iter=3).fit(x, y)
    assert balanced.predict_proba(x)[:, 1].mean() > 1.2 * np.mean(y)
    with pytest.raises(ValueError, match="not supported for partial_fit"):
        balanced.partial_fit(x, y)


@pytest.mark.parametrize("classes", [2, 10, "labels"])
def test_label_smoothing_keeps_probabilities_from_the_ends(classes):
    x, y = digits()
    y = np.c_[y > 4, y % 2 == 0].astype(int) if classes == "labels" else y % classes
    sharp = classifier(max_iter=300, tol=0).fit(x, y)
    soft = classifier(max_iter=300, tol=0, label_smoothing=0.2).fit(x, y)
    assert soft.score(x, y) > 0.97
    assert sharp.predict_proba(x).max() > 0.995
    expected = 1 - 0.2 + 0.2 / (10 if classes == 10 else 2)
    assert abs(np.median(soft.predict_proba(x).max(axis=1)) - expected) < 0.03


# ---- validation ---------------------------------------------------------------------------------


def test_validation_data_in_fit():
    x, y = digits(600)
    x, x_val, y, y_val = train_test_split(x, y, random_state=0)
    watched = classifier().fit(x, y, X_val=x_val, y_val=y_val)
    plain = classifier().fit(x, y)
    assert np.array_equal(watched.coefs_[0], plain.coefs_[0])  # looking changes nothing
    assert plain.validation_loss_curve_ is None
    assert len(watched.validation_loss_curve_) == len(watched.loss_curve_) == 20
    log = watched.predict_log_proba(x_val)
    nll = -log[np.arange(len(y_val)), y_val]
    assert np.isclose(watched.validation_loss_curve_[-1], nll.mean())
    weights = np.linspace(0, 2, len(y_val))
    weighted = classifier().fit(x, y, X_val=x_val, y_val=y_val, sample_weight_val=weights)
    assert np.isclose(weighted.validation_loss_curve_[-1], np.average(nll, weights=weights))
    # With early stopping they take the place of the held-out part.
    stopped = classifier(early_stopping=True, max_iter=200, n_iter_no_change=5, tol=0)
    stopped.fit(x, y, X_val=x_val, y_val=y_val)
    assert stopped.t_ == stopped.n_iter_ * len(x)
    assert stopped.score(x_val, y_val) == stopped.best_validation_score_
    with pytest.raises(ValueError, match="belong together"):
        classifier().fit(x, y, X_val=x_val)
    with pytest.raises(ValueError, match="classes not in"):
        classifier().fit(x, y, X_val=x_val, y_val=y_val + 1)
    with pytest.raises(ValueError, match="features"):
        classifier().fit(x, y, X_val=x_val[:, :2], y_val=y_val)


@pytest.mark.parametrize("continues", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("columns", "other"), [(1, 2), (2, 1), (2, 3)])
def test_validation_targets_have_the_columns_of_training(columns, other, dtype, continues):
    x, y = line(60, 3)
    x, labels = x.astype(dtype), (y > 0).astype(int)
    nets = [(regressor(max_iter=1), y.squeeze())]
    nets += [(classifier(max_iter=1), labels)] * (min(columns, other) > 1)
    for net, targets in nets:
        right, wrong = (targets[:, 0] if n == 1 else targets[:, :n] for n in (columns, other))
        if continues:
            net.fit(x, right).set_params(warm_start=True)
        with pytest.raises(
            ValueError, match=r"columns but . are expected|classes not in|y has shape"
        ):
            net.fit(x, right, X_val=x, y_val=wrong)
        assert hasattr(net, "n_outputs_") == continues
        assert net.fit(x, right, X_val=x, y_val=right).n_outputs_ == columns


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_fit_that_continues_with_another_loss_measures_that_loss(solver):
    x, y = line(60)
    y = np.round(np.abs(y) * 3)
    net = regressor(max_iter=2, warm_start=True, solver=solver).fit(x, y)
    net.set_params(loss="poisson").fit(x, y, X_val=x[:20], y_val=y[:20])
    expected = mean_poisson_deviance(y[:20], net.predict(x[:20])) / 2
    assert np.isclose(net.validation_loss_curve_[-1], expected)


def test_scoring_chooses_what_stops():
    x, y = line()
    x_val, y_val = line(100)
    options = {"early_stopping": True, "n_iter_no_change": 3, "max_iter": 30, "tol": 0.0}
    held_out = {"X_val": x_val, "y_val": y_val}
    loss = regressor(scoring="loss", **options).fit(x, y, **held_out)
    np.testing.assert_allclose(loss.validation_scores_, -np.array(loss.validation_loss_curve_))
    name = regressor(scoring="neg_mean_absolute_error", **options).fit(x, y, **held_out)
    error = -mean_absolute_error(y_val, name.predict(x_val))
    assert np.isclose(name.best_validation_score_, error)
    scorer = regressor(scoring=make_scorer(r2_score), **options).fit(x, y, **held_out)
    default = regressor(**options).fit(x, y, **held_out)
    np.testing.assert_allclose(scorer.validation_scores_, default.validation_scores_)
    weights = np.linspace(0.5, 1, 100)
    weighted = regressor(**options).fit(x, y, sample_weight_val=weights, **held_out)
    assert np.isclose(
        weighted.best_validation_score_,
        r2_score(y_val, weighted.predict(x_val), sample_weight=weights),
    )
    with pytest.raises(ValueError, match="scoring"):
        regressor(scoring="ghost", **options).fit(x, y)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_restore_best(solver):
    x, y = line(60)
    x_val, y_val = line(200)
    y_val = y_val + 0.3 * np.random.default_rng(0).normal(size=200)
    noisy = y + 0.5 * np.random.default_rng(1).normal(size=60)
    net = regressor(solver=solver, restore_best=True, max_iter=300, tol=0)
    net.fit(x, noisy, X_val=x_val, y_val=y_val)
    curve = net.validation_loss_curve_
    assert np.argmin(curve) < len(curve) - 1
    assert np.isclose(0.5 * np.mean((net.predict(x_val) - y_val) ** 2), min(curve))


# ---- schedules, callbacks, threads --------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_schedules(solver):
    x, y = line(100)
    options = {"solver": solver, "batch_size": 25, "max_iter": 10, "n_iter_no_change": np.inf}
    cosine = regressor(learning_rate="cosine", **options).fit(x, y)
    np.testing.assert_allclose(
        cosine.history_.learning_rate, fastmlp.Cosine(0.01, 40)(4 * np.arange(10) + 3)
    )
    cycle = regressor(learning_rate="one_cycle", **options).fit(x, y)
    assert max(cycle.history_.learning_rate) <= 0.01
    assert np.argmax(cycle.history_.learning_rate) == 2
    own = regressor(learning_rate=lambda step: 0.1 / (1 + step), **options).fit(x, y)
    np.testing.assert_allclose(own.history_.learning_rate, 0.1 / (4 + 4 * np.arange(10)))
    given = regressor(learning_rate=fastmlp.Cosine(0.01, 40), **options).fit(x, y)
    assert np.array_equal(given.coefs_[0], cosine.coefs_[0])
    # partial_fit goes on in the schedule.
    part = regressor(learning_rate=fastmlp.Cosine(0.01, 40), **options)
    for _ in range(3):
        part.partial_fit(x, y)
    assert part.history_.learning_rate == cosine.history_.learning_rate[:3]


def test_callbacks():
    x, y = line()
    seen = []

    class Hooks:
        def start(self, state):
            seen.append("start")

        def __call__(self, state):
            seen.append((state.epoch, state.loss, state.val_loss))
            assert state.model.predict(x).shape == y.shape
            return state.epoch == 3

        def finish(self, state):
            seen.append(state.completed)

    net = regressor(callbacks=[Hooks()]).fit(x, y, X_val=x, y_val=y)
    assert net.n_iter_ == 4
    assert net.history_.stop_reason == "Hooks returned True"
    rows = zip(range(4), net.loss_curve_, net.validation_loss_curve_, strict=True)
    assert seen == ["start", *rows, True]
    stop = fastmlp.EarlyStopping(patience=3)
    net = regressor(callbacks=[stop], learning_rate_init=0.1, tol=0, max_iter=200)
    net.fit(x, y, X_val=x, y_val=y)
    assert np.isclose(0.5 * np.mean((net.predict(x) - y) ** 2), min(net.validation_loss_curve_))
    with pytest.raises(TypeError, match="callable"):
        regressor(callbacks=[3]).fit(x, y)


def test_a_callback_may_write_the_weights():
    def zero(state):
        state.model.coefs_[0][:] = 0
        state.model.intercepts_[-1] = np.array([7.0])

    x, y = line()
    net = regressor(callbacks=[zero], max_iter=1).fit(x, y)
    assert np.ptp(net.predict(x)) == 0


def test_threads_do_not_change_a_bit():
    x, y = digits(600)
    nets = [classifier(hidden_layer_sizes=(64, 32), max_iter=3, n_jobs=n) for n in (None, 1, 2, -1)]
    found = [net.fit(x, y).predict_proba(np.tile(x, (20, 1))) for net in nets]
    assert all(np.array_equal(each, found[0]) for each in found)


# ---- standardize --------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("outputs", [1, 2])
def test_standardize_is_folded_into_the_weights(outputs, solver):
    x, y = line(outputs=outputs)
    x = np.c_[30 + x * [1e-3, 1.0, 1e3], np.full(len(x), 4.0)]
    y = 100 + 1e4 * y
    net = regressor(standardize=True, solver=solver, max_iter=150).fit(x, y)
    assert net.score(x, y) > 0.75
    expected = forward(net, x)
    np.testing.assert_allclose(net.predict(x), expected[:, 0] if outputs == 1 else expected)
    scaled = (x - x.mean(axis=0)) / np.where(x.std(axis=0) > 0, x.std(axis=0), 1)
    target = (y - y.mean(axis=0)) / y.std(axis=0)
    by_hand = regressor(solver=solver, max_iter=150).fit(scaled, target)
    undone = by_hand.predict(scaled) * y.std(axis=0) + y.mean(axis=0)
    np.testing.assert_allclose(net.predict(x), undone, rtol=1e-3, atol=1e-3 * y.std())
    assert regressor(max_iter=5).fit(x, y).score(x, y) < 0  # the fit is hopeless without it
    scaling, shown = fitted_of(net).network.scaling, (net.coefs_, net.intercepts_)
    for arrays, again in zip(shown, scaling.fold(*scaling.unfold(*shown)), strict=True):
        for a, b in zip(arrays, again, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


def test_standardize_with_weights_validation_and_further_training():
    x, y = digits()
    x = 1000 + 50 * x
    weights = np.r_[np.ones(200), np.zeros(100)]
    net = classifier(standardize=True, shuffle=False, batch_size=200, max_iter=5)
    part = classifier(standardize=True, shuffle=False, batch_size=200, max_iter=5)
    net.fit(x, y, weights, X_val=x, y_val=y)
    part.fit(x[:200], y[:200])
    for name in ("x_mean", "x_scale"):  # samples of weight 0 have no say in the scaling
        a, b = (getattr(fitted_of(each).network.scaling, name) for each in (net, part))
        np.testing.assert_allclose(a, b, rtol=1e-12)
    log = net.predict_log_proba(x)[np.arange(300), y]
    assert np.isclose(net.validation_loss_curve_[-1], -log.mean())
    before = net.loss_curve_[-1]
    for _ in range(20):
        net.partial_fit(x, y)
    assert net.loss_curve_[-1] < before
    early = classifier(standardize=True, early_stopping=True, max_iter=100).fit(x, y)
    assert early.score(x, y) > 0.85


@pytest.mark.parametrize("make", [regressor, classifier])
def test_plain_arrays_skip_only_checks_that_leave_them_as_they_are(make, monkeypatch):
    x, y = line(60)
    y = y if make is regressor else (y > 0).astype(int)
    first = {} if make is regressor else {"classes": [0, 1]}
    net, other = (make(random_state=0).partial_fit(x, y, **first) for _ in range(2))
    narrow = x.astype(np.float32)
    with monkeypatch.context() as patch:
        for module in (training, estimator):
            patch.setattr(module, "validate_data", None)
        net.partial_fit(x, y).partial_fit(x[:7], y[:7])
        outputs = [net.predict(x[:1])[0], *net.predict(x[1:])]
        with pytest.raises(TypeError, match="not callable"):  # of another dtype than the network
            net.partial_fit(narrow, y)
    other.partial_fit(x.tolist(), y.tolist()).partial_fit(x[:7].tolist(), y[:7].tolist())
    np.testing.assert_array_equal(outputs, other.predict(x.tolist()))
    gaps, wide = np.where(np.arange(3) == 1, np.nan, x), np.c_[x, x]
    for bad_x, bad_y in [
        *[(gaps, y), (wide, y), (x[:0], y[:0])],
        *[(x, y[:9]), (x, gaps[:, 1]), (x, y[:, np.newaxis][:, :0]), (x, np.stack([[y]] * 60))],
        *[(x, y * 1j), (x, y.astype("U")), (x, gaps)],
    ]:
        complaints = []  # samples of another dtype meet scikit-learn's checks
        for samples in (bad_x, bad_x.astype(np.float32)):
            with pytest.raises(ValueError, match=r"\w") as caught:
                net.partial_fit(samples, bad_y)
            complaints.append(str(caught.value))
        assert complaints[0] == complaints[1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_first_partial_fit_needs_rows_that_vary(dtype):
    x, y = line()
    x, net = (300 + 0.1 * x).astype(dtype), regressor(standardize=True)
    for few in (x[:1], np.repeat(x[:1], 9, axis=0)):
        with pytest.raises(ValueError, match="all columns of X are constant in the first call"):
            net.partial_fit(few, y[: len(few)])
    assert not hasattr(net, "coefs_")
    same = x.copy()
    same[:, [0, 2]] = 5
    with pytest.warns(UserWarning, match=r"columns \[0, 2\] of X are constant"):
        regressor(standardize=True).partial_fit(same, y)
    net.partial_fit(x, y)
    for _ in range(30):
        for k in range(0, 400, 10):
            net.partial_fit(x[k : k + 10], y[k : k + 10])
    net.partial_fit(x[:1], y[:1])  # the scale is known
    assert net.score(x, y) > 0.75
    regressor(standardize=True).fit(x[:1], y[:1])  # all the rows that there are


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("name", ["gamma", "tweedie"])
def test_losses_of_amounts_are_half_their_deviance(name, solver):
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (400, 2))
    y = 2000 * np.exp(2 * x[:, 0]) * rng.gamma(2, 0.5, 400)
    if name == "tweedie":
        y *= rng.random(400) < 0.5
    net = regressor(loss=name, power=1.5, standardize=True, solver=solver, max_iter=300)
    net.fit(x[:300], y[:300], X_val=x, y_val=y)
    power = {"gamma": 2, "tweedie": 1.5}[name]
    unit = y[:300].mean()  # losses have this unit, since the targets are scaled
    expected = mean_tweedie_deviance(y / unit, net.predict(x) / unit, power=power) / 2
    assert net.validation_loss_curve_[-1] == pytest.approx(expected)
    mean = mean_tweedie_deviance(y / unit, np.full(400, y.mean() / unit), power=power) / 2
    assert net.validation_loss_curve_[-1] < 0.97 * mean
    assert net.out_activation_ == "exp"
    held_out = net.set_params(early_stopping=True, solver="adam").fit(x, y)
    assert held_out.best_validation_score_ < 1  # R squared, as of other losses


@pytest.mark.parametrize(("name", "wrong"), [("gamma", 0.0), ("tweedie", -1.0), ("poisson", -1.0)])
def test_targets_that_a_loss_cannot_have_are_refused(name, wrong):
    x, y = line(30)
    net = regressor(loss=name, max_iter=2)
    with pytest.raises(ValueError, match=rf"y holds {wrong} but loss='{name}' expects targets in"):
        net.fit(x, np.where(np.arange(30) == 3, wrong, np.exp(y)))
    assert not hasattr(net, "coefs_")


def test_a_fit_that_continues_with_logarithms_unscales_the_targets():
    x, y = line()
    net = regressor(standardize=True, warm_start=True, max_iter=30).fit(x, np.exp(y))
    for name in ("poisson", "gamma", "tweedie"):
        net.set_params(loss=name).fit(x, np.exp(y))
        assert net.score(x, np.exp(y)) > 0.5


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e6])
def test_targets_with_logarithms_are_scaled_by_their_mean(unit):
    rng = np.random.default_rng(0)
    x = 1e3 * rng.uniform(0, 1, (500, 2))
    y = unit * rng.poisson(np.exp(x[:, 0] / 1e3), (500,))
    net = regressor(loss="poisson", standardize=True, max_iter=100).fit(x, y)
    assert abs(net.predict(x).mean() / y.mean() - 1) < 0.1
    assert net.score(x, y) > 0.1


# ---- history ------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_history_and_its_plot(solver):
    x, y = line()
    net = regressor(solver=solver, max_iter=6, tol=1e-9).fit(x, y, X_val=x, y_val=y)
    history = net.history_
    assert len(history.loss) == len(history.val_loss) == len(history.seconds) == net.n_iter_
    figure, axes = pyplot.subplots()
    assert net.plot_history(ax=axes) is axes
    assert list(axes.lines[0].get_ydata()) == history.loss
    pyplot.close(figure)
