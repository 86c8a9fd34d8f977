"""Estimators and threads: one fit at a time, and what who looks meanwhile sees."""

import contextlib
import copy
import os
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import trials
from at_once import at_once, busy, held, repeating
from sklearn.base import clone
from small_estimators import COPIES, OTHER, WIDE, X, Y, classifier, regressor, state

import fastmlp
from fastmlp.sklearn import scaled_network
from fastmlp.sklearn.fitted import fitted_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BUSY = "a fit is running on this model, or an assignment to it: wait for its end"
TRAINED = r"is being trained by another thread.* use predictor\(\), or copy it in a callback"


@contextlib.contextmanager
def blocked(net, method="fit", X=X, y=Y, **arguments):
    """A fit in another thread that waits, after its second epoch (the only one of partial_fit)."""

    def work(hold):
        def wait(state):
            if state.epoch == 1 or method == "partial_fit":
                hold()

        net.set_params(callbacks=[wait])
        return getattr(net, method)(X, y, **arguments)

    with held(work) as outcome:
        net.set_params(callbacks=None)
        yield
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


# ---- who looks meanwhile -------------------------------------------------------------------------


def saved(net, path):
    net.save(path / "net.safetensors")
    return fastmlp.load(path / "net.safetensors")


def readings(net):
    """Return all that other threads may read of an estimator during a fit."""
    return [
        *(array.copy() for array in (*net.coefs_, *net.intercepts_)),
        *(net.predict_proba(X), net.to_mlp().predict(X), net.predictor()(X)),
        *(net.n_iter_, net.t_, net.loss_, net.best_loss_, net.classes_, net.n_features_in_),
        *(list(net.loss_curve_), net.history_.to_json()),
    ]


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("method", ["fit", "warm", "partial_fit"])
def test_another_thread_reads_the_old_fit_and_copies_nothing(method, standardize, tmp_path):
    net = classifier(standardize=standardize, warm_start=method == "warm").fit(X, Y)
    net.coefs_[0][0] = 1.0  # not yet known to the engine
    before, data = readings(net), {"X": WIDE, "y": OTHER} if method == "fit" else {}
    copies = {**COPIES, "file": lambda net: saved(net, tmp_path)}
    with blocked(net, "partial_fit" if method == "partial_fit" else "fit", **data):
        for a, b in zip(readings(net), before, strict=True):
            np.testing.assert_array_equal(a, b)
        for copied in copies.values():
            with pytest.raises(RuntimeError, match=TRAINED):
                copied(net)
        assert not hasattr(clone(net), "coefs_")
    assert state(saved(net, tmp_path)) == state(copy.deepcopy(net)) == state(net)
    assert list(net.classes_) == (["high", "low"] if method == "fit" else [0, 1, 2])
    assert net.n_features_in_ == (7 if method == "fit" else 5)


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("method", ["fit", "warm", "partial_fit"])
def test_callbacks_copy_the_estimator_and_the_draft(method, standardize, tmp_path):
    net = classifier(standardize=standardize, warm_start=method == "warm").fit(X, Y)
    before, seen = state(net), []

    def look(epoch):
        for make in (copy.copy, copy.deepcopy, lambda net: saved(net, tmp_path)):
            draft = make(epoch.model)
            assert len(draft.loss_curve_) == len(draft.history_.loss) == draft.t_ // len(X)
            assert draft.n_iter_ == epoch.epoch + 1
            seen.append(state(make(net)) == before)
            draft.set_params(callbacks=None).partial_fit(X, Y)  # shares nothing with the fit

    alone = copy.deepcopy(net)
    for each in (net.set_params(callbacks=[look]), alone):
        getattr(each, "partial_fit" if method == "partial_fit" else "fit")(X, Y)
    assert all(seen)
    assert len(seen) == 3 * net.n_iter_
    assert state(net) == state(alone)


def test_labels_are_those_of_the_fit_that_has_predicted(monkeypatch):
    net = classifier().fit(X, Y)
    before, outputs = net.predict(X), type(net)._outputs

    def overtaken(self, rows):
        found = outputs(self, rows)
        self.fit(X, OTHER)  # other classes
        return found

    monkeypatch.setattr(type(net), "_outputs", overtaken)
    np.testing.assert_array_equal(net.predict(X), before)
    assert list(net.classes_) == ["high", "low"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 and newer warn
def test_a_child_that_was_forked_during_a_fit_copies_after_a_fit_alone():
    net, other = (regressor(warm_start=True).fit(X, X[:, 0]) for _ in range(2))

    def child():
        copy.deepcopy(other), net.predict(X)
        with pytest.raises(RuntimeError, match="when this process was forked"):
            copy.deepcopy(net)
        net.fit(X, X[:, 0])
        assert np.array_equal(copy.deepcopy(net).predict(X), net.predict(X))

    with blocked(net, y=X[:, 0]):
        trials.forked(child)


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("method", ["fit", "partial_fit", "lbfgs"])
def test_a_fit_that_continues_shows_whole_fits(method, standardize):
    """Predictions of other threads are those of the ends of fits."""
    net = regressor(hidden_layer_sizes=(40, 40), standardize=standardize, batch_size=4)
    net.set_params(warm_start=True, max_iter=8, tol=0, n_iter_no_change=np.inf)
    if method == "lbfgs":
        net.set_params(solver="lbfgs", max_iter=40)
    net.fit(X, X[:, 0])
    ends, seen = {net.predict(X).tobytes()}, []
    with busy(*[repeating(lambda: seen.append(net.predict(X).tobytes()))] * 3):
        for _ in range(10):
            getattr(net, "partial_fit" if method == "partial_fit" else "fit")(X, X[:, 0])
            ends.add(net.predict(X).tobytes())
    assert seen
    assert set(seen) <= ends


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("standardize", [False, True])
def test_many_threads_predict_the_same(standardize, written):
    for round_ in range(20):
        net = regressor(standardize=standardize, max_iter=1).fit(X, X[:, 0])
        if written:
            net.coefs_[0][:] = round_ + 1
            net.intercepts_[1] = np.array([0.5])
        expected = copy.deepcopy(net).predict(X)
        results = at_once(*[lambda net=net: (net.predict(X), net.coefs_)] * 8)
        assert all(np.array_equal(predicted, expected) for predicted, _ in results)
        shown = results[0][1]
        assert all(coefs is shown for _, coefs in results)  # what one writes, all see
        shown[1][:] = 0
        assert np.ptp(net.predict(X)) == 0


def test_a_copy_has_the_optimizer_of_its_weights(monkeypatch):
    net = classifier().fit(X, Y)
    assert all(fitted_of(make(net)).network.run is not None for make in COPIES.values())

    def overtaken(run):  # a pass begins and ends while the state is read
        monkeypatch.undo()
        net.partial_fit(X, Y)
        return copy.deepcopy(run)

    monkeypatch.setattr(scaled_network, "copy", SimpleNamespace(deepcopy=overtaken))
    twin = pickle.loads(pickle.dumps(net))
    for each in (twin, net):
        each.partial_fit(X, Y)
    assert np.array_equal(twin.predict_proba(X), net.predict_proba(X))


def test_a_prediction_that_a_fit_overtakes_is_of_the_last_fit(monkeypatch):
    net = regressor(warm_start=True, max_iter=20).fit(X, X[:, 0])
    before, predict = net.predict(X), scaled_network.ScaledNetwork.predict
    with contextlib.ExitStack() as stack:

        def overtaken(self, *args):
            monkeypatch.undo()
            stack.enter_context(blocked(net, y=9 * X[:, 0]))  # it waits after an epoch
            return predict(self, *args)

        monkeypatch.setattr(scaled_network.ScaledNetwork, "predict", overtaken)
        np.testing.assert_array_equal(net.predict(X), before)
