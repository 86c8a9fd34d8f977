"""Fitted state changes as a whole: when a fit has succeeded or not at all, whoever looks.

Threads, failures and interrupts of the estimators; what each does to a single array or number is
looked at in other files.
"""

from __future__ import annotations

import contextlib
import copy
import os
import pickle
import sys
import threading
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from fastmlp import MLPClassifier, MLPRegressor, _backend, threads
from fastmlp.sklearn import fitting

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 5))
Y = np.where(X[:, 0] > 0.5, 2, (X[:, 1] > 0).astype(int))  # three classes
WIDE = np.c_[X, X[:, :2]]
OTHER = np.where(X[:, 0] > 0, "high", "low")
BUSY = "a fit is running on this model: wait for its end, or use copy.deepcopy"


def classifier(**options):
    options = {"max_iter": 4, "random_state": 0, "learning_rate_init": 0.01, **options}
    return MLPClassifier((8,), **options)


def regressor(**options):
    options = {
        "hidden_layer_sizes": (8,),
        "max_iter": 4,
        "random_state": 0,
        "learning_rate_init": 0.01,
        **options,
    }
    return MLPRegressor(**options)


def state(net):
    """Everything that a fit may change, as bytes; copied, so that nothing is shared."""
    fitted = {name: value for name, value in vars(net).items() if name not in net.get_params()}
    fitted.pop("_fitting", None)
    fitted["history_"] = {**vars(net.history_), "seconds": len(net.history_.seconds)}
    fitted["coefs"] = [array.tobytes() for array in (*net.coefs_, *net.intercepts_)]
    fitted["predictions"] = net.predict(np.zeros((3, net.n_features_in_))).tolist()
    network = fitted.pop("_network")
    fitted["network"] = network.spec, [a.tobytes() for a in network.engine.parameters()[0]]
    return {name: pickle.dumps(value) for name, value in fitted.items()}


@contextlib.contextmanager
def blocked(net, method="fit", X=X, y=Y, **arguments):
    """A fit in another thread that waits, after its second epoch (the only one of partial_fit)."""
    reached, go_on, outcome = threading.Event(), threading.Event(), []

    def wait(state):
        if state.epoch == 1 or method == "partial_fit":
            reached.set()
            assert go_on.wait(60)

    def work():
        try:
            outcome.append(getattr(net, method)(X, y, **arguments))
        except BaseException as error:
            outcome.append(error)
            reached.set()

    net.set_params(callbacks=[wait])
    thread = threading.Thread(target=work)
    thread.start()
    assert reached.wait(60)
    net.set_params(callbacks=None)
    try:
        yield
    finally:
        go_on.set()
        thread.join(60)
    assert outcome == [net]


# ---- one at a time -------------------------------------------------------------------------------

CHANGES = {
    "fit": lambda net: net.fit(X, Y),
    "partial_fit": lambda net: net.partial_fit(X, Y),
    "coefs_": lambda net: setattr(net, "coefs_", [2 * w for w in net.coefs_]),
    "intercepts_": lambda net: setattr(net, "intercepts_", net.intercepts_),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("running", ["fit", "partial_fit", "warm"])
def test_who_comes_second_is_refused(running, change):
    net, alone = (classifier().fit(X, Y).set_params(warm_start=running == "warm") for _ in range(2))
    method = "partial_fit" if running == "partial_fit" else "fit"
    with blocked(net, method), pytest.raises(RuntimeError, match=BUSY):
        CHANGES[change](net)
    getattr(alone, method)(X, Y)
    assert all(np.array_equal(a, b) for a, b in zip(net.coefs_, alone.coefs_, strict=True))
    CHANGES[change](net)


def test_a_fit_within_a_fit_is_refused():
    net = classifier()
    net.set_params(callbacks=[lambda state: state.model.fit(X, Y)])
    with pytest.raises(RuntimeError, match=BUSY):
        net.fit(X, Y)
    net.set_params(callbacks=None).fit(X, Y)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_many_fits_at_once_end(n_jobs):
    options = {"hidden_layer_sizes": (60, 60), "batch_size": 40, "max_iter": 3, "n_jobs": n_jobs}
    net = regressor(**options, warm_start=True, n_iter_no_change=np.inf)
    results = []

    def work():
        for _ in range(40):
            try:
                net.fit(X, X[:, 0])
                results.append("fitted")
            except RuntimeError as error:
                results.append("refused" if BUSY in str(error) else error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        workers = [threading.Thread(target=work) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(120)
    finally:
        sys.setswitchinterval(interval)
    assert len(results) == 120
    assert set(results) <= {"fitted", "refused"}
    assert len(net.loss_curve_) == 3 * results.count("fitted")
    assert np.isfinite(net.predict(X)).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_forked_during_a_fit_may_fit():
    net = classifier().fit(X, Y)
    with blocked(net), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # threads and fork, from 3.12 on
        child = os.fork()
        if child == 0:
            try:
                expected = clone(net).fit(X, Y).predict_proba(X)
                os._exit(0 if np.array_equal(net.fit(X, Y).predict_proba(X), expected) else 1)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0


# ---- who looks meanwhile -------------------------------------------------------------------------

COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),
}


@pytest.mark.parametrize("standardize", [False, True])
def test_a_new_fit_shows_the_old_one_until_its_end(standardize):
    net = classifier(standardize=standardize).fit(X, Y)
    before = state(net)
    with blocked(net, X=WIDE, y=OTHER):
        assert state(net) == before
        for how, make in COPIES.items():
            assert state(make(net)) == before, how
        assert not hasattr(clone(net), "coefs_")
    assert list(net.classes_) == ["high", "low"]
    assert net.n_features_in_ == 7
    assert set(net.predict(WIDE)) == {"high", "low"}
    first = classifier()
    with blocked(first):
        with pytest.raises(NotFittedError):
            first.predict(X)
        assert not hasattr(first, "classes_")


def test_predictions_belong_to_one_fit():
    """Refits with other classes, more columns and fewer: readers see one of them, never a mix."""
    fits = [(X, Y), (WIDE, OTHER), (X[:, :3], Y % 2)]
    net = classifier(max_iter=1).fit(*fits[0])
    labels = [set(np.unique(y)) for _, y in fits]
    errors, rounds, done = [], [], threading.Event()

    def look():
        while not done.is_set():
            for (x, _), known in zip(fits, labels, strict=True):
                for array in (x, x.tolist()):
                    try:
                        predicted = net.predict(array)
                        assert set(predicted) <= known, predicted
                        net.predict_proba(array)
                    except ValueError as error:  # of another width
                        if "features" not in str(error):
                            errors.append(error)
                    except BaseException as error:
                        errors.append(error)
            rounds.append(None)

    readers = [threading.Thread(target=look) for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for reader in readers:
            reader.start()
        while len(rounds) < 40 and not errors:
            for x, y in fits:
                net.fit(x, y)
    finally:
        done.set()
        sys.setswitchinterval(interval)
        for reader in readers:
            reader.join(60)
    assert not errors


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("standardize", [False, True])
def test_many_threads_predict_the_same(standardize, written):
    for round_ in range(20):
        net = regressor(standardize=standardize, max_iter=1).fit(X, X[:, 0])
        if written:
            net.coefs_[0][:] = round_ + 1
            net.intercepts_[1] = np.array([0.5])
        expected = copy.deepcopy(net).predict(X)
        results, start = [], threading.Barrier(8)

        def look(net=net, results=results, start=start):
            start.wait(60)
            results.append((net.predict(X), net.coefs_))

        readers = [threading.Thread(target=look) for _ in range(8)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(60)
        assert all(np.array_equal(predicted, expected) for predicted, _ in results)
        shown = results[0][1]
        assert all(coefs is shown for _, coefs in results)  # what one writes, all see
        shown[1][:] = 0
        assert np.ptp(net.predict(X)) == 0


def test_a_copy_trains_alone():
    net = classifier().fit(X, Y)
    before = state(net)
    for how, make in COPIES.items():
        other = make(net)
        other.partial_fit(X, Y)
        other.set_params(warm_start=True).fit(X, Y)
        assert len(other.loss_curve_) == 9
        assert state(net) == before, how


def test_large_predictions_start_threads_once(monkeypatch):
    net = regressor(hidden_layer_sizes=(256, 256), max_iter=1, n_jobs=2).fit(X, X[:, 0])
    many = np.tile(X, (200, 1))
    monkeypatch.setattr(threads, "default_threads", lambda: 2)
    expected = net.predict(many)
    started, start = [], threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda t: (started.append(t), start(t)))
    assert np.array_equal(net.predict(many), expected)
    assert not started


# ---- a fit that fails ----------------------------------------------------------------------------


class CalledError(Exception):
    pass


def fail(*args, **kwargs):
    raise CalledError


def no_memory(*args, **kwargs):
    raise MemoryError


def failing_epoch(monkeypatch, after, error):
    """Let the engine's epochs raise after some of them."""
    real, calls = _backend.engine, []

    def engine(spec):
        inner = real(spec)

        class Failing:
            def __getattr__(self, name):
                return getattr(inner, name)

            def epoch(self, data, plan):
                calls.append(None)
                if len(calls) > after:
                    raise error
                return inner.epoch(data, plan)

        return Failing()

    monkeypatch.setattr(_backend, "engine", engine)


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


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("after", [0, 1])
def test_an_epoch_that_fails(method, after, monkeypatch):
    failing_epoch(monkeypatch, 5 + after, MemoryError())
    net = classifier(warm_start=True).fit(X, Y).partial_fit(X, Y)  # five epochs
    before = state(net)
    for _ in range(1 + after * (method == "partial_fit")):
        try:
            getattr(net, method)(X, Y)
        except MemoryError:
            break
        before = state(net)
    else:
        pytest.fail("no error")
    assert state(net) == before
    monkeypatch.undo()


def test_memory_that_ends_at_the_start_of_an_optimizer(monkeypatch):
    net = classifier().fit(X, Y).partial_fit(X, Y)
    before = state(net)
    with monkeypatch.context() as patch:
        patch.setattr(fitting.StochasticFit, "run", no_memory)
        with pytest.raises(MemoryError):
            net.partial_fit(X, Y)
    assert state(net) == before
    assert net._network.run is None  # the engine's optimizer is begun anew
    net.partial_fit(X, Y)


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
