"""What happens to a process in the middle of a call: signals and forks."""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import trials
from at_once import busy, repeating
from injection import REAL, X, estimator, many_threads
from interrupting import alarm
from states import digest, state

import fastmlp
from fastmlp._engine import thread_count
from fastmlp.sklearn import MLPRegressor

# CPU seconds until an interrupt is seen: those promised, of each thread that may work meanwhile.
LATENCY = 0.2 * max(2, thread_count.default_threads())

COLUMNS = 5000  # sparse rows have so many


def rows(n: int, width: int) -> np.ndarray:
    """Return many different rows in little memory."""
    values = np.random.default_rng(0).normal(size=n + width).astype(np.float32)
    return np.lib.stride_tricks.sliding_window_view(values, width)[:n]


def network(*sizes: int) -> fastmlp.MLP:
    """Return a model of one output, with first weights."""
    return fastmlp.MLP(sizes, activation="tanh", rng=0)


def wide() -> fastmlp.MLP:
    """Return a model that takes 4 million multiply-adds a row."""
    return network(64, 2000, 2000, 1)


# ---- signals -----------------------------------------------------------------------------------


def data(n: int, width: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and targets."""
    x = rows(n, width)
    return x, x[:, 0]


@functools.cache
def unsorted() -> tuple[np.ndarray, ...]:
    """Return the arrays of sparse rows whose columns stand in any order."""
    rng, n = np.random.default_rng(0), 8_000_000
    return np.arange(0, n + 1, 40), rng.integers(0, COLUMNS, n), rng.normal(size=n)


def wide_estimator(**options: Any) -> MLPRegressor:
    """Return the like of `wide`."""
    return MLPRegressor(hidden_layer_sizes=(2000, 2000), **options)


# A model, and a call that takes some seconds when nobody interrupts it.
LONG: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "fit in batches": (
        lambda: network(64, 64, 64, 1),
        lambda net: net.fit(*data(10**6), epochs=50),
    ),
    "fit, two threads": (
        lambda: network(64, 64, 64, 1),
        lambda net: net.fit(*data(10**6), epochs=50, n_threads=2),
    ),
    "fit, batches of 20,000": (wide, lambda net: net.fit(*data(60000), batch_size=20000, epochs=9)),
    "partial_fit, all rows": (
        lambda: network(8, 500, 500, 1),
        lambda net: net.partial_fit(*data(150000, 8)),
    ),
    "predict": (wide, lambda net: net.predict(rows(100000, 64))),
    "predictor": (wide, lambda net: net.predictor()(rows(100000, 64))),
    "predictor, one thread": (wide, lambda net: net.predictor(1)(rows(60000, 64))),
    "evaluate": (wide, lambda net: net.evaluate(*data(100000))),
    "gradients": (wide, lambda net: net.gradients(*data(20000))),
    "gradients of samples": (
        lambda: network(512, 512, 1),
        lambda net: net.gradients(*data(1000, 512), per_sample=True),
    ),
    "unsorted sparse rows": (
        lambda: network(COLUMNS, 1),
        lambda net: [fastmlp.SparseRows(*unsorted(), COLUMNS) for _ in range(5)],
    ),
    "jacobian": (wide, lambda net: net.jacobian(rows(30000, 64))),
    "hessian": (wide, lambda net: net.hessian(rows(1000, 64))),
    "estimator fit": (lambda: wide_estimator(batch_size=20000), lambda it: it.fit(*data(60000))),
    "estimator lbfgs": (lambda: wide_estimator(solver="lbfgs"), lambda it: it.fit(*data(20000))),
    "estimator predict": (
        lambda: wide_estimator(max_iter=1).fit(*data(100)),
        lambda model: model.predict(rows(100000, 64)),
    ),
}


def denormals_are_kept() -> bool:
    """Whether the thread computes as Python's code expects, with nothing flushed to 0."""
    tiny = np.array([1e-40], np.float32)
    return float(tiny[0] + np.float32(0)) != 0 and 5e-324 * float(len(tiny)) != 0


def interrupted(name: str) -> trials.Trial:
    """Interrupt a long call at a random time, and look how much CPU time it goes on for."""

    def trial(rng: np.random.Generator) -> Iterator[float]:
        make, call = LONG[name]
        model, kept = make(), []
        before = state(model)

        def interrupt(*_: Any) -> None:
            kept.append(denormals_are_kept())
            raise KeyboardInterrupt

        delay = rng.uniform(0.05, 0.4)
        with alarm(delay, interrupt, of_cpu=True):
            began = time.process_time()
            with contextlib.suppress(KeyboardInterrupt):
                call(model)  # estimators end their fit with a warning
            latency = time.process_time() - began - delay
        assert kept, f"{name} took less than {delay:.2f} CPU s: nothing was interrupted"
        assert kept == [True], "the handler ran with denormals flushed to zero"
        if "fit" not in name and "lbfgs" not in name:
            assert state(model) == before, "an interrupted prediction has changed the model"
        assert latency < LATENCY, f"interrupted {latency:.2f} CPU s after the signal"
        yield max(latency, 0.0)

    return trial


def at_random_times(rng: np.random.Generator) -> Iterator[float]:
    """Interrupt short fits of all kinds: the model is at the end of a whole epoch and goes on."""
    options: dict[str, Any] = {"epochs": 200, "batch_size": 50, "n_threads": 2}
    ends = {}

    def note(current: Any) -> None:
        ends[digest([*current.model.weights])] = current.epoch

    net = network(5, 64, 64, 1)
    ends[digest([*net.weights])] = -1
    began = time.perf_counter()
    net.fit(X, REAL, **options, callbacks=[note])
    whole = time.perf_counter() - began
    for _ in range(20):
        net, caught = network(5, 64, 64, 1), []

        def interrupt(*_: Any, caught: list[float] = caught) -> None:
            caught.append(time.perf_counter())
            raise KeyboardInterrupt

        with contextlib.suppress(KeyboardInterrupt), alarm(rng.uniform(1e-4, whole), interrupt):
            net.fit(X, REAL, **options)
        assert digest([*net.weights]) in ends, "interrupted in the middle of an epoch"
        waited = time.perf_counter() - caught[0] if caught else 0.0
        net.fit(X, REAL, epochs=1, n_threads=2)
        yield waited


def handlers_that_return(rng: np.random.Generator) -> Iterator[float]:
    """A handler that raises nothing changes nothing, however often it runs."""
    x = rows(30000, 64)
    options: dict[str, Any] = {"epochs": 2, "n_threads": 2}
    expected = digest([(net := network(64, 64, 64, 1)).fit(x, x[:, 0], **options), *net.weights])
    kept: list[bool] = []
    for _ in range(3):
        net = network(64, 64, 64, 1)
        with alarm(1e-3, lambda *_: kept.append(denormals_are_kept())):
            signal.setitimer(signal.ITIMER_REAL, 1e-3, rng.uniform(1e-3, 5e-3))
            history = net.fit(x, x[:, 0], **options)
        assert digest([history, *net.weights]) == expected
        yield 0.0
    assert all(kept), "a handler ran with denormals flushed to zero"


SIGNALS: dict[str, trials.Trial] = {
    **{name: interrupted(name) for name in LONG},
    "short fits at random times": at_random_times,
    "handlers that return": handlers_that_return,
}

# ---- forks -------------------------------------------------------------------------------------


def trained(net: Any) -> str:
    """Let a model or an estimator predict and fit, with threads; return what came out."""
    with many_threads():
        before = net.predict(X)
        if isinstance(net, fastmlp.MLP):
            net.fit(X, REAL, epochs=2, n_threads=2)
        else:
            # Without the callbacks of the fit in whose middle it was forked.
            net.set_params(callbacks=None, max_iter=3).fit(X, REAL)
        return digest([before, net.predict(X)])


def fork_while(state_of_process: Callable[[Any, Callable[[], None]], None], make: Any) -> Any:
    """Fork in a state, and let the child use the model in that state, a copy, and a new one."""

    def trial(rng: np.random.Generator) -> Iterator[float]:
        expected, waits = trained(make()), []
        model = make()
        untouched = copy.deepcopy(model)

        def child() -> None:
            try:
                trained(model)
            except RuntimeError as error:
                # The child goes on in the middle of a fit of this model: it is refused, as here.
                if state_of_process not in WITHIN or "a fit is running" not in str(error):
                    raise
            assert trained(make()) == expected
            assert trained(untouched) == expected

        def fork() -> None:
            time.sleep(rng.uniform(0, 0.01))
            waits.append(trials.forked(child))

        state_of_process(model, fork)
        assert trained(make()) == expected
        yield from waits

    return trial


def idle(model: Any, fork: Callable[[], None]) -> None:
    """Helpers look for work, or have fallen asleep."""
    trained(copy.deepcopy(model))
    for pause in (0.0, 0.05):
        time.sleep(pause)
        fork()


def in_a_fit(model: Any, fork: Callable[[], None]) -> None:
    """Another thread is in a fit of the same model."""
    with busy(lambda stop: fit_until(model, stop), seconds=trials.FORK_SECONDS):
        time.sleep(0.05)
        for _ in range(3):
            fork()


def in_a_prediction(model: Any, fork: Callable[[], None]) -> None:
    """Another thread predicts with the same model."""
    predicting = repeating(lambda: model.predict(X))
    with many_threads(), busy(predicting, seconds=trials.FORK_SECONDS):
        time.sleep(0.05)
        for _ in range(3):
            fork()


def in_a_callback(model: Any, fork: Callable[[], None]) -> None:
    """This thread is between two epochs of a fit."""
    fit_until(model, stop_after(2), [lambda _: fork()])


def in_a_handler(model: Any, fork: Callable[[], None]) -> None:
    """This thread is in a signal handler, called from within a fit."""
    done: list[bool] = []

    def handle(*_: Any) -> None:
        fork()
        done.append(True)

    with alarm(0.02, handle):
        fit_until(model, lambda: bool(done))


def fit_until(model: Any, stop: Callable[[], bool], more: Any = ()) -> None:
    """Fit with two threads until asked to stop after an epoch."""
    callbacks = [lambda _: stop(), *more]
    if isinstance(model, fastmlp.MLP):
        model.fit(X, REAL, epochs=10**6, n_threads=2, batch_size=50, callbacks=callbacks)
        return
    asked = model.get_params()
    long = {"max_iter": 10**6, "n_jobs": 2, "n_iter_no_change": 10**6, "callbacks": callbacks}
    model.set_params(**long).fit(X, REAL)
    model.set_params(**asked)


def stop_after(epochs: int) -> Callable[[], bool]:
    """Return an answer to "stop?", asked once an epoch."""
    asked = itertools.count(1)
    return lambda: next(asked) >= epochs


WITHIN = (in_a_callback, in_a_handler)
STATES = {
    state_of_process.__name__.replace("_", " "): state_of_process
    for state_of_process in (idle, in_a_fit, in_a_prediction, in_a_callback, in_a_handler)
}
FORKS: dict[str, trials.Trial] = {
    f"{kind}, {name}": fork_while(state_of_process, make)
    for kind, make in {
        "MLP": lambda: network(5, 64, 64, 1),
        "MLPRegressor": functools.partial(estimator, MLPRegressor),
    }.items()
    for name, state_of_process in STATES.items()
}
