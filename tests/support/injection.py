"""Faults by injection: allocations that fail, threads that do not start, memory that runs short.

Each trial compares with a model that never saw the fault: the one that did must be as before, and
go on with the same bits.
"""

from __future__ import annotations

import _thread
import contextlib
import copy
import functools
import itertools
import os
import pickle
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import trials
from states import digest, state

import fastmlp
from fastmlp._engine import native, thread_count, thread_pool
from fastmlp.sklearn import MLPClassifier, MLPRegressor

RNG = np.random.default_rng(3)
X = RNG.normal(size=(300, 5)).astype(np.float32)
Y = RNG.integers(0, 3, 300)
ONE_HOT = np.eye(3, dtype=np.float32)[Y]
REAL = X[:, 0] - X[:, 1] * X[:, 2]
ADAM = fastmlp.Adam(0.01)
THREADS_WANTED = 4


@dataclass(frozen=True)
class Subject:
    """A model in the middle of its life, one call of it, and what it does afterwards."""

    make: Callable[[], Any]
    call: Callable[[Any], Any]
    then: Callable[[Any], Any]


def network() -> fastmlp.MLP:
    """Return a model between two calls of partial_fit: with moments, and a step count."""
    options = {"activation": "gelu", "loss": "cross_entropy", "dropout": [0.2, 0.0]}
    net = fastmlp.MLP([5, 9, 7, 3], rng=0, **options)
    for _ in range(3):
        net.partial_fit(X, Y, batch_size=40, optimizer=ADAM)
    return net


def go_on(net: fastmlp.MLP) -> Any:
    """Take another pass with the same moments."""
    return net.partial_fit(X, Y, batch_size=40, optimizer=ADAM)


def estimator(kind: Any = MLPClassifier, **parameters: Any) -> Any:
    """Return a fitted estimator whose parameters have been set to others since."""
    model = kind(hidden_layer_sizes=(9, 7), random_state=0, max_iter=3, n_jobs=1)
    model.fit(X, Y if kind is MLPClassifier else REAL)
    return model.set_params(**parameters)


def written_into(model: Any) -> Any:
    """Return an estimator whose coefs_ the user has changed since the last call."""
    model.coefs_[0][0] = 0.5
    return model


CALLS: dict[str, Callable[[Any], Any]] = {
    "fit": lambda net: net.fit(X, Y, epochs=2, batch_size=40, n_threads=THREADS_WANTED),
    "fit with everything": lambda net: net.fit(
        X, Y, epochs=2, batch_size=40, clip_norm=0.5, l2=0.01, validation_data=(X, Y),
        sample_weight=np.ones(300), callbacks=[fastmlp.EarlyStopping(patience=1)],
    ),
    "fit with a mean of weights": lambda net: net.fit(  # each epoch allocates: the first alone
        X, Y, epochs=1, batch_size=40, l1=0.01, averaging=fastmlp.EMA(), validation_data=(X, Y),
    ),
    "partial_fit": lambda net: net.partial_fit(
        X, Y, batch_size=40, optimizer=ADAM, n_threads=THREADS_WANTED
    ),
    "partial_fit of all rows": lambda net: net.partial_fit(X, Y, optimizer=ADAM),
    "partial_fit, another optimizer": lambda net: net.partial_fit(
        X, Y, optimizer=fastmlp.RMSprop(0.01)
    ),
    "predict": lambda net: net.predict(X),
    "predict one row": lambda net: net.predict(X[:1]),
    "predictor": lambda net: net.predictor(n_threads=THREADS_WANTED)(X),
    "predictor of one row": lambda net: net.predictor()(X[0]),
    "jacobian": lambda net: net.jacobian(X),
    "jacobian of a predictor": lambda net: net.predictor().jacobian(X[:3]),
    "vjp": lambda net: net.vjp(X, ONE_HOT),
    "hessian": lambda net: net.hessian(X[:3]),
    "partial_fit of a gradient": lambda net: net.partial_fit(
        X, output_gradient=ONE_HOT, optimizer=ADAM
    ),
    "evaluate": lambda net: net.evaluate(X, Y),
    "gradients": lambda net: net.gradients(X, Y, l2=0.1, l1=0.1),
    "copy": lambda net: copy.deepcopy(net).predict(X),
    "pickle": lambda net: pickle.loads(pickle.dumps(net)).predict(X),
    "assign weights": lambda net: setattr(net, "weights", [2 * w for w in net.weights]),
}  # fmt: skip
SUBJECTS = {f"MLP: {name}": Subject(network, call, go_on) for name, call in CALLS.items()}


def ensemble() -> fastmlp.Ensemble:
    """Return networks between two calls of partial_fit."""
    nets = [fastmlp.MLP([5, 9, 3], loss="cross_entropy", dropout=0.2, rng=k) for k in range(4)]
    found = fastmlp.Ensemble(nets)
    found.partial_fit(X, Y, batch_size=40, optimizer=ADAM)
    return found


ENSEMBLE_CALLS: dict[str, Callable[[Any], Any]] = {
    "fit": lambda nets: nets.fit(X, Y, epochs=2, batch_size=40, n_threads=THREADS_WANTED),
    "fit with everything": lambda nets: nets.fit(
        X, Y, epochs=2, batch_size=40, rows=[range(9, 300)] * 4, clip_norm=0.5,
        validation_rows=[range(9)] * 4, scorer=lambda epoch, predictions: epoch,
        sample_weight=np.ones(300), drop_last=True,
    ),
    "partial_fit": lambda nets: nets.partial_fit(
        X, Y, batch_size=40, optimizer=ADAM, n_threads=THREADS_WANTED
    ),
    "predict": lambda nets: nets.predict(X),
    "evaluate": lambda nets: nets.evaluate(X, Y),
}  # fmt: skip
SUBJECTS |= {
    f"Ensemble: {name}": Subject(
        ensemble, call, lambda nets: nets.partial_fit(X, Y, batch_size=40, optimizer=ADAM)
    )
    for name, call in ENSEMBLE_CALLS.items()
}
REFITS: dict[str, dict[str, Any]] = {
    "refit": {},
    "refit of other layers": {"hidden_layer_sizes": (8,)},
    "warm start": {"warm_start": True},
    "early stopping": {"early_stopping": True},
    "standardize": {"standardize": True},
    "lbfgs": {"solver": "lbfgs"},
}
SUBJECTS |= {
    f"{kind.__name__}: {name}": Subject(
        functools.partial(estimator, kind, **parameters),
        lambda model, y=y: model.fit(X[::-1], y[::-1]),
        lambda model: model.predict(X),
    )
    for kind, y in ((MLPClassifier, Y), (MLPRegressor, REAL))
    for name, parameters in REFITS.items()
}
SUBJECTS |= {
    "MLPClassifier: partial_fit": Subject(
        estimator, lambda model: model.partial_fit(X, Y), lambda model: model.partial_fit(X, Y)
    ),
    "MLPClassifier: first partial_fit": Subject(
        lambda: MLPClassifier((9, 7), random_state=0, n_jobs=1),
        lambda model: model.partial_fit(X, Y, classes=[0, 1, 2]),
        lambda model: model.partial_fit(X, Y, classes=[0, 1, 2]),
    ),
    "MLPClassifier: predict_proba": Subject(
        estimator, lambda model: model.predict_proba(X), lambda model: model.predict(X)
    ),
    "MLPRegressor: predict with other coefs_": Subject(
        lambda: written_into(estimator(MLPRegressor, standardize=True)),
        lambda model: model.predict(X),
        lambda model: model.predict(X),
    ),
}


@dataclass
class Fault:
    """Counts the calls of a function; the nth (from 0) fails, and all later ones if it is for good.

    ``before`` tells whether the error comes instead of the function's work, or after it.
    """

    function: Any
    error: Any
    nth: int
    for_good: bool
    before: bool = True
    count: int = 0

    @property
    def fired(self) -> bool:
        """Whether a call has failed."""
        return self.count > self.nth

    def call(self, *arguments: Any) -> Any:
        """Stand in the place of the function."""
        at, self.count = self.count, self.count + 1
        fails = at >= self.nth if self.for_good else at == self.nth
        result = None if fails and self.before else self.function(*arguments)
        if fails:
            raise self.error
        return result


@contextlib.contextmanager
def injected(place: Any, name: str, *fault: Any) -> Iterator[Fault]:
    """Put a fault in the place of a function for a while."""
    stand_in = Fault(getattr(place, name), *fault)
    # A function, not a bound method: as an attribute of a class it must be given the instance.
    with mock.patch.object(place, name, lambda *arguments: stand_in.call(*arguments)):
        yield stand_in


def out_of_memory(subject: Subject, for_good: bool) -> trials.Trial:
    """Have each allocation of a call fail in turn."""

    def trial(rng: np.random.Generator) -> Iterator[float]:
        untouched, called = subject.make(), subject.make()
        result = digest(subject.call(called))
        expected = {False: then(untouched), True: then(called)}
        for nth in itertools.count():
            model, again = subject.make(), bool(rng.integers(2))  # the same call once more
            before = state(model)
            error = MemoryError(f"injected into allocation {nth}")
            with injected(native, "allocate", error, nth, for_good) as fault:
                try:
                    subject.call(model)
                    raised = None
                except MemoryError as caught:
                    raised = caught
            yield 0.0
            if not fault.fired:
                return
            assert raised is error, f"allocation {nth} failed, and nobody was told"
            assert state(model) == before, f"allocation {nth} failed and the model has changed"
            if again:
                assert digest(subject.call(model)) == result, f"other results after {nth}"
            assert then(model) == expected[again], f"goes on otherwise after {nth}"

    def then(model: Any) -> tuple[str, str]:
        return digest(subject.then(model)), state(model)

    return trial


MEMORY: dict[str, trials.Trial] = {
    f"{name}, {'for good' if for_good else 'once'}": out_of_memory(subject, for_good)
    for name, subject in SUBJECTS.items()
    for for_good in (False, True)
}


def end_teams() -> None:
    """End the threads that sleep until the next prediction: they would need no start."""
    for idle in thread_pool._idle.values():
        while idle:
            idle.pop().close()


@contextlib.contextmanager
def many_threads() -> Iterator[None]:
    """Have predictions start threads of their own, however small and whatever the machine."""
    wanted = {"FASTMLP_NUM_THREADS": str(THREADS_WANTED)}
    end_teams()
    with mock.patch.object(thread_count, "CALL_SECONDS", 0.0), mock.patch.dict(os.environ, wanted):
        yield
    end_teams()


THREADED = {
    **{name: SUBJECTS[f"MLP: {name}"] for name in ("fit", "partial_fit", "predict", "predictor")},
    "evaluate": SUBJECTS["MLP: evaluate"],
    "ensemble fit": SUBJECTS["Ensemble: fit"],
    "ensemble partial_fit": SUBJECTS["Ensemble: partial_fit"],
    "estimator fit": Subject(
        lambda: estimator(n_jobs=THREADS_WANTED),
        lambda model: model.fit(X[::-1], Y[::-1]),
        lambda model: model.predict_proba(X),
    ),
    "estimator predict": Subject(
        lambda: estimator(n_jobs=THREADS_WANTED),
        lambda model: model.predict_proba(X),
        lambda model: model.predict_proba(X),
    ),
}
REFUSALS = {
    "refused": RuntimeError("can't start new thread"),
    "no memory": MemoryError("injected into the start of a thread"),
    "interrupted": KeyboardInterrupt("injected into the start of a thread"),
}


def no_thread(subject: Subject, error: BaseException, before: bool) -> trials.Trial:
    """Have each thread's start fail in turn, before or after the thread has started."""

    def trial(rng: np.random.Generator) -> Iterator[float]:
        clean = subject.make()
        expected = digest(subject.call(clean)), state(clean)
        for nth, for_good in itertools.product(range(THREADS_WANTED - 1), (False, True)):
            model = subject.make()
            n_threads = _thread._count()
            refused = type(error)(*error.args)
            with many_threads():
                with injected(_thread, "start_new_thread", refused, nth, for_good, before) as start:
                    try:
                        result = digest(subject.call(model))
                    except KeyboardInterrupt:
                        if not isinstance(error, KeyboardInterrupt):
                            raise
                assert start.fired, "no thread was started: the fault was not injected"
                if not isinstance(error, KeyboardInterrupt):
                    assert (result, state(model)) == expected, f"start {nth} failed, other bits"
                # Once more as if nothing had been, with the threads that there are.
                assert digest(subject.call(subject.make())) == expected[0]
            trials.until(lambda most=n_threads: _thread._count() <= most)
            yield 0.0

    return trial


def limited(work: Callable[[], Any]) -> trials.Trial:
    """Try in a child whose user may have no thread more."""

    def trial(rng: np.random.Generator) -> Iterator[float]:
        clean = fresh_and_trained()

        def child() -> None:
            if os.getuid() == 0:
                os.setuid(65534)  # the limit does not hold for root
            resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
            assert work() == clean

        yield trials.forked(child)

    return trial


def fresh_and_trained() -> str:
    """Fit, predict and go on with four threads; return a digest of all that came out."""
    with many_threads():
        net = network()
        results = [CALLS[name](net) for name in ("fit", "predict", "partial_fit", "evaluate")]
    return digest([*results, state(net)])


THREADS: dict[str, trials.Trial] = {
    f"{name}, {why}, {'before' if before else 'after'} the start": no_thread(subject, error, before)
    for name, subject in THREADED.items()
    for why, error in REFUSALS.items()
    for before in (True, False)
} | {"RLIMIT_NPROC": limited(fresh_and_trained)}


def near_the_limit(rng: np.random.Generator) -> Iterator[float]:
    """Fit with threads and ever so much address space left: the right bits, or MemoryError."""
    clean = fresh_and_trained()

    def child(room: int) -> None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + room, most))
        try:
            assert fresh_and_trained() == clean
        except MemoryError:
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
            assert fresh_and_trained() == clean

    for room in rng.integers(0, 48 << 20, 8).tolist():  # a thread's stack is 8 MB
        yield trials.forked(functools.partial(child, room))


LIMITS: dict[str, trials.Trial] = {"RLIMIT_AS": near_the_limit}
