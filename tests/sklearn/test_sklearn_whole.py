"""Fitted state changes as a whole: when a fit has succeeded, or not at all; and early ends."""

import copy
import signal
import time

import numpy as np
import pytest
from sklearn import set_config
from small_estimators import OTHER, WIDE, X, Y, classifier, state

from fastmlp.sklearn import hints

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# ---- a fit that fails ----------------------------------------------------------------------------


class CalledError(Exception):
    pass


def fail(*args, **kwargs):
    raise CalledError


def no_memory(*args, **kwargs):
    raise MemoryError


NAN = np.where(np.arange(5) == 2, np.nan, X)
FIT = {
    "NaN in X": (ValueError, {}, (NAN, OTHER), {}),
    "NaN in X_val": (ValueError, {}, (WIDE, OTHER), {"X_val": NAN, "y_val": OTHER}),
    "validation of another width": (ValueError, {}, (WIDE, OTHER), {"X_val": X, "y_val": OTHER}),
    "unknown class": (ValueError, {}, (X, Y), {"X_val": X, "y_val": Y + 1}),
    "targets": (ValueError, {}, (WIDE, X[:, 0]), {}),
    "weights": (ValueError, {}, (WIDE, OTHER), {"sample_weight": -np.ones(80)}),
    "callback": (CalledError, {"callbacks": [fail]}, (WIDE, OTHER), {}),
    "callbacks": (TypeError, {"callbacks": [3]}, (WIDE, OTHER), {}),
    "scorer": (CalledError, {"early_stopping": True, "scoring": fail}, (WIDE, OTHER), {}),
    "schedule": (CalledError, {"learning_rate": fail}, (WIDE, OTHER), {}),
    "activation": (ValueError, {"activation": ["relu"] * 3}, (WIDE, OTHER), {}),
    "lbfgs with dropout": (ValueError, {"solver": "lbfgs", "dropout": 0.5}, (WIDE, OTHER), {}),
    "lbfgs overflow": (ValueError, {"solver": "lbfgs"}, (WIDE * 1e300, OTHER), {}),
    "lbfgs callback": (CalledError, {"solver": "lbfgs", "callbacks": [fail]}, (WIDE, OTHER), {}),
}


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("name", FIT)
def test_a_fit_that_fails_changes_nothing(name, standardize):
    error, options, data, more = FIT[name]
    if standardize and name == "lbfgs overflow":
        pytest.skip("these data can be fitted, or are refused")
    net = classifier(standardize=standardize).fit(X, Y)
    before = state(net)
    with pytest.raises(error):
        net.set_params(**options).fit(*data, **more)
    assert state(net) == before
    first = classifier(standardize=standardize, **options)
    with pytest.raises(error):
        first.fit(*data, **more)
    assert vars(first).keys() - {"_fitting"} == first.get_params().keys()


GOING_ON = {
    "NaN in X": (ValueError, {}, (NAN, Y)),
    "unknown class": (ValueError, {}, (X, Y + 1)),
    "another width": (ValueError, {}, (WIDE, Y)),
    "weights": (ValueError, {}, (X, Y, np.zeros(80))),
    "other layers": (ValueError, {"hidden_layer_sizes": (3,)}, (X, Y)),
    "callback": (CalledError, {"callbacks": [fail]}, (X, Y)),
    "memory": (MemoryError, {"callbacks": [no_memory]}, (X, Y)),
}


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("name", GOING_ON)
def test_going_on_that_fails_changes_nothing(name, method, standardize):
    error, options, data = GOING_ON[name]
    net = classifier(standardize=standardize, warm_start=True).fit(X, Y).partial_fit(X, Y)
    before, options_before = state(net), net.get_params()
    for _ in range(2):
        with pytest.raises(error):
            getattr(net.set_params(**options), method)(*data)
        assert state(net) == before
    # And it can go on: with the optimizer as it was if training had not begun.
    net.set_params(**{key: options_before[key] for key in options})
    net.partial_fit(X, Y)
    assert len(net.loss_curve_) == 6
    if error is ValueError:
        expected = classifier(standardize=standardize, warm_start=True).fit(X, Y)
        expected.partial_fit(X, Y).partial_fit(X, Y)
        assert state(net) == state(expected)


def test_a_failed_first_partial_fit_leaves_no_classes():
    net = classifier()
    with pytest.raises(ValueError, match="NaN"):
        net.partial_fit(NAN, Y, classes=[0, 1, 2])
    assert not hasattr(net, "classes_")
    net.partial_fit(X, OTHER, classes=["high", "low"])
    assert list(net.classes_) == ["high", "low"]


def test_attributes_are_those_of_the_last_fit_whatever_was_assigned():
    net = classifier().fit(X, Y)
    net.n_iter_, net.classes_ = 77, None
    assert net.n_iter_ == 77
    names = {"classes_", "n_iter_", "loss_curve_", "history_", "coefs_", "n_features_in_"}
    assert names <= {*dir(net)}
    assert "feature_names_in_" not in dir(net)
    net.fit(WIDE, OTHER)
    assert net.n_iter_ == 4
    assert list(net.classes_) == ["high", "low"]
    with pytest.raises(AttributeError, match="'MLPClassifier' object has no attribute 'n_iter'"):
        net.n_iter


# ---- a fit that ends early -----------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"restore_best": True}, {"standardize": True}], ids=str)
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("fitted", [False, True])
def test_an_interrupt_keeps_the_epochs_so_far(fitted, solver, options):
    seen = []

    def interrupt(state):
        seen.append(copy.deepcopy(state.model).predict_proba(WIDE))
        if state.epoch == 2:
            raise KeyboardInterrupt

    net = classifier(max_iter=50, solver=solver, **options)
    if fitted:
        net.fit(X, Y)
    net.set_params(callbacks=[interrupt])
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        net.fit(WIDE, OTHER, X_val=WIDE, y_val=OTHER)
    assert net.n_iter_ == len(net.history_.loss) == len(net.history_.seconds) == 3
    assert len(net.validation_loss_curve_) == 3
    best = int(np.argmin(net.validation_loss_curve_)) if options.get("restore_best") else 2
    assert np.array_equal(net.predict_proba(WIDE), seen[best])
    assert list(net.classes_) == ["high", "low"]
    assert net.loss_ == net.history_.loss[-1]


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_divergence_keeps_the_last_good_epoch(solver):
    seen = []
    net = classifier(
        solver=solver,
        learning_rate=lambda step: 1e-3 if step < 3 else 1e308,
        max_iter=50,
        alpha=1.0,
        n_iter_no_change=np.inf,
        callbacks=[lambda state: seen.append([w.copy() for w in state.model.coefs_])],
    )
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        net.fit(WIDE, OTHER)
    assert net.n_iter_ == len(net.loss_curve_) == len(seen)
    assert all(np.array_equal(a, b) for a, b in zip(net.coefs_, seen[-1], strict=True))
    assert list(net.classes_) == ["high", "low"]
    net.set_params(learning_rate="constant", alpha=0.0).fit(WIDE, OTHER)
    assert net.score(WIDE, OTHER) > 0.6


INTERRUPTED = {
    "fresh": ("fit", {}),
    "standardised": ("fit", {"standardize": True}),
    "early": ("fit", {"early_stopping": True}),
    "early, by a scorer": ("fit", {"early_stopping": True, "scoring": "balanced_accuracy"}),
    "warm": ("fit", {"warm_start": True}),
    "lbfgs": ("fit", {"solver": "lbfgs"}),
    "partial": ("partial_fit", {"standardize": True}),
}


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")
@pytest.mark.filterwarnings("ignore:Training interrupted")
@pytest.mark.parametrize("name", INTERRUPTED)
def test_interrupts_at_any_time(name, no_collections, no_records):
    """Afterwards it is the old estimator, or a new one of whole epochs, and can be fitted."""
    method, options = INTERRUPTED[name]
    rng = np.random.default_rng(0)
    # The same data where the fit goes on, else others.
    data = (X, Y) if name in ("warm", "partial") else (WIDE, OTHER)
    fitted = classifier(n_iter_no_change=np.inf).set_params(**options, max_iter=2).fit(X, Y)
    began = time.perf_counter()
    getattr(copy.deepcopy(fitted).set_params(max_iter=20), method)(*data)
    longest = time.perf_counter() - began
    caught, handler = 0, signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for _ in range(20):
            net = copy.deepcopy(fitted).set_params(max_iter=20)
            before, epochs = state(net), net.history_.loss.copy()
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, longest))
                getattr(net, method)(*data)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                caught += 1
            after, history = state(net), net.history_
            if after != before:
                assert net.n_features_in_ == data[0].shape[1]
                assert set(net.predict(data[0])) <= set(net.classes_) == set(np.unique(data[1]))
                earlier = len(epochs) if name in ("warm", "partial") else 0
                assert net.n_iter_ == len(history.loss) - earlier
                assert len(history.seconds) == len(history.learning_rate) == len(history.loss)
                if name != "lbfgs":
                    assert net.loss_curve_ == history.loss
                if name.startswith("early"):
                    scores, losses = net.validation_scores_, net.validation_loss_curve_
                    assert len(scores) == len(losses) == len(history.val_loss) == len(history.loss)
                    assert net.best_validation_score_ == max([*scores, -np.inf])
            net.set_params(early_stopping=False)
            getattr(net, method)(*((X, Y) if net.n_features_in_ == 5 else data))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        # An interrupt in scikit-learn's own config_context leaves its setting behind.
        set_config(skip_parameter_validation=False)
    assert caught


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("name", [name for name in INTERRUPTED if name != "partial"])
def test_what_comes_after_the_last_epoch_takes_nothing_back(name, error, monkeypatch):
    method, options = INTERRUPTED[name]
    data = (X, Y) if name in ("warm", "partial") else (WIDE, OTHER)
    fitted = classifier(n_iter_no_change=np.inf).set_params(**options).fit(X, Y)
    whole, net = (copy.deepcopy(fitted) for _ in range(2))
    getattr(whole, method)(*data)

    def late(*args):
        raise error

    monkeypatch.setattr(hints, "all_of", late)
    monkeypatch.setattr(hints, "tell", late)
    with pytest.raises(error):
        getattr(net, method)(*data)
    assert state(net) == state(whole)
    assert net.history_.loss == whole.history_.loss
