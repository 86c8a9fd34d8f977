"""How a fit of many ranks ends where one fails: on all of them, by name, without a hang."""

import math
import sys

import numpy as np
import pytest
import ranks
from ranks import N, X, Y, everything, net, schedule, train
from states import refused

import fastmlp
from fastmlp import reference
from fastmlp._models import fit, mlp as network
from fastmlp._models.network import network_of
from fastmlp._training import loop
from fastmlp._training.distributed import exchange, processes
from fastmlp._training.distributed.exchange import AgreedValue, Exchange

# ---- one that fails ------------------------------------------------------------------------------


class Hook:
    """A callback that raises an error in an epoch, or at the end."""

    def __init__(self, error, epoch=0, at_end=False):
        self.error, self.epoch, self.at_end = error, epoch, at_end

    def __call__(self, state):
        if state.epoch == self.epoch and not self.at_end:
            raise self.error

    def finish(self, state):
        if self.at_end:
            raise self.error


def hooked(error, **where):
    return lambda model, communicator: train(model, communicator, callbacks=[Hook(error, **where)])


def bad_rows(model, communicator):
    model.fit(np.full((8, 3), np.nan), np.zeros(8), communicator=communicator)


def scheduled(fails_at=None):
    optimizer = fastmlp.Adam(schedule(1e-3, fails_at=fails_at))
    return lambda model, communicator: train(model, communicator, optimizer=optimizer)


def bad_source():
    yield X[:16], Y[:16]
    raise BlockingIOError("source")


def from_source(source):
    given = {"epochs": 3, "batch_size": 16}
    return lambda model, communicator: model.fit(source, communicator=communicator, **given)


class UnsayableError(Exception):
    def __str__(self):
        raise RuntimeError("cannot say")


BLOCKS = fastmlp.Blocks(X, Y, rows=16)
# What rank 1 does; epochs after which the model is left; what the others do.
FAILURES = {
    "ValueError": (bad_rows, 0, train),
    "ValueError: epochs is 0": (lambda m, c: train(m, c, epochs=0), 0, train),
    "TypeError: resume is 1.5": (lambda m, c: train(m, c, resume=1.5), 0, train),
    "KeyError: 'callback'": (hooked(KeyError("callback"), epoch=1), 2, train),
    "ZeroDivisionError: finish": (hooked(ZeroDivisionError("finish"), at_end=True), 3, train),
    "LookupError: schedule": (scheduled(fails_at=4), 1, scheduled()),
    "BlockingIOError: source": (from_source(bad_source), 0, from_source(BLOCKS)),
    "KeyboardInterrupt": (hooked(KeyboardInterrupt), 1, train),
    "UnsayableError": (hooked(UnsayableError()), 1, train),
    "OSError: caf?": (hooked(OSError("caf\udce9")), 1, train),
}


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("said", FAILURES)
def test_a_rank_that_fails_ends_the_fit_of_all_by_name(mlp, said, size):
    work, epochs, others = FAILURES[said]
    models = [net(mlp) for _ in range(size)]
    last = size - 1
    results = ranks.run(size, lambda c: (work if c.rank == last else others)(models[c.rank], c))
    *told, own = ranks.raised(results)
    assert type(own).__name__ == said.partition(":")[0]
    notes = " ".join(getattr(own, "__notes__", []))
    assert (f"on rank {last} of {size}" in notes) == (size > 1)
    for error in told:
        assert isinstance(error, fastmlp.RankError)
        assert error.rank == last
        assert error.error.startswith(said)
        assert f"rank {last} of {size}: {said}" in str(error)
    for model in models:
        assert len(model.history.loss if model.history else ()) == epochs
        np.testing.assert_array_equal(everything(model), everything(models[0]))
    for model in models:
        model.fit(X, Y, epochs=1)  # is usable


@pytest.mark.parametrize(
    ("reduce", "what"),
    [
        (lambda buffer, size: None, "1"),
        (lambda buffer, size: buffer.__imul__(np.nan), "nan"),
        (lambda buffer, size: buffer.__itruediv__(size), "0.333333"),
    ],
)
def test_a_communicator_that_does_not_sum_is_found_out(mlp, reduce, what):
    class Wrong:
        rank, size = 0, 3

        def allreduce(self, buffer):
            reduce(buffer, self.size)

    with refused(RuntimeError, f"made {what} of a one from each of 3 ranks", model := net(mlp)):
        train(model, Wrong())


def test_ranks_of_which_one_resumes_hear_about_options(mlp, tmp_path):
    path = tmp_path / "net"

    def job(communicator, resume, epochs):
        model, callbacks = net(mlp), [fastmlp.Checkpoint(path)] if communicator.rank == 0 else []
        train(model, communicator, epochs=epochs, callbacks=callbacks, resume=resume)

    assert ranks.run(2, lambda c: job(c, False, 2)) == [None, None]
    for error in ranks.raised(ranks.run(2, lambda c: job(c, c.rank == 0 and path, 4))):
        assert "with the same options on every rank, resume among them" in str(error)


def test_ranks_that_all_fail_each_have_their_own_error(mlp):
    def work(communicator):
        train(net(mlp), communicator, epochs=-communicator.rank)

    for rank, error in enumerate(ranks.raised(ranks.run(3, work))):
        assert f"epochs is {-rank}" in str(error)


ALONE = np.full(N, 1e30)  # whose square is infinite
DIVERGING = {  # the targets of rank 1, the options of all, and what is said
    "together, at once": (np.where(np.arange(N) == 0, 1e30, Y), {}, "diverged in epoch 0"),
    "together, later": (np.where(np.arange(N) == 40, 1e30, Y), {}, "diverged in epoch 0"),
    "alone": (ALONE, {"optimizer": None}, "training on rank 1 diverged in epoch 0"),
}


@pytest.mark.filterwarnings("ignore:y has columns")
@pytest.mark.parametrize("weights", [None, np.linspace(0, 1, N)])
@pytest.mark.parametrize("name", DIVERGING)
def test_a_rank_that_diverges_is_named_by_all(mlp, name, weights):
    huge, options, said = DIVERGING[name]
    given = {"epochs": 3, "batch_size": 16, "shuffle": False, "sample_weight": weights}
    given |= {"optimizer": fastmlp.SGD(1e10), **options}

    def work(communicator):
        own = net(mlp)
        with ranks.unchanged(own):
            own.fit(X, huge if communicator.rank == 1 else Y, communicator=communicator, **given)

    for error in ranks.raised(ranks.run(3, work)):
        assert type(error) is fastmlp.DivergenceError
        assert said in str(error)
        assert error.history.loss == []
        assert not math.isnan(error.learning_rate)


# ---- an interrupt anywhere -----------------------------------------------------------------------

FILES = {module.__file__ for module in (exchange, fit, loop, network, processes)}


class Interrupts:
    """Raises KeyboardInterrupt at one of the lines that a fit runs, once it has joined."""

    def __init__(self, at):
        self.at, self.seen = at, 0
        self.joined = False

    def __call__(self, frame, event, argument):
        if frame.f_code.co_filename not in FILES:
            return None
        if event == "line" and self.joined:
            self.seen += 1
            if self.seen == self.at:
                raise KeyboardInterrupt
        if frame.f_code.co_name == "__init__" and "DistributedFit" in frame.f_code.co_qualname:
            self.joined = True
        return self


def fit_with_interrupt(at):
    def work(communicator):
        own = net(reference.MLP)
        tracer = Interrupts(at) if communicator.rank == 1 else None
        sys.settrace(tracer)
        try:
            given = {"validation_data": (X, Y), "communicator": communicator}
            own.fit(X, Y, epochs=2, batch_size=24, **given)
        finally:
            sys.settrace(None)
            work.seen = tracer.seen if tracer else getattr(work, "seen", 0)
        return own

    return ranks.run(2, work), work


@pytest.mark.parametrize(
    "first", [1, *(pytest.param(k, marks=pytest.mark.slow) for k in range(2, 7))]
)
def test_an_interrupt_at_any_line_ends_all_ranks(monkeypatch, first):
    monkeypatch.setattr(ranks, "SECONDS", 20)
    for _ in range(2):  # the first fit of a process runs more lines, which fill caches
        results, work = fit_with_interrupt(-1)
        ranks.good(results)
    total = work.seen
    assert total > 250
    for at in range(first, total + 1, 6):
        (other, second), _ = fit_with_interrupt(at)
        assert isinstance(second, KeyboardInterrupt), at
        assert "could not be told" not in str(getattr(second, "__notes__", "")), at
        if isinstance(other, BaseException):
            assert isinstance(other, fastmlp.RankError), (at, other)
            assert other.error == "KeyboardInterrupt"
        else:
            assert at > total - 30, at  # only the last message comes before


def test_a_rank_that_an_interrupt_left_one_epoch_behind_is_found_by_the_next_fit(monkeypatch):
    models, record = [net(), net()], loop.record

    def interrupted(state, *rest):
        if state.model is models[1] and state.history.loss:
            raise KeyboardInterrupt
        record(state, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "record", interrupted)
        ranks.raised(ranks.run(2, lambda c: train(models[c.rank], c)))
    assert [len(model.history.loss) for model in models] == [2, 1]
    words = ranks.told(ranks.run(2, lambda c: train(models[c.rank], c)), ValueError)
    assert "the state of the model of rank 1" in words
    models[1].load_state_dict(models[0].state_dict())
    ranks.good(ranks.run(2, lambda c: train(models[c.rank], c)))


def test_the_last_words_of_all_are_cut_to_what_there_is_room_for():
    def work(communicator):
        messages = Exchange(communicator, network_of(net()).engine)
        try:
            messages.gather([AgreedValue("name", "x" * communicator.rank * 5000)])
        except ValueError as error:
            messages.end_for_all(error)
            return str(error)

    first, second = ranks.good(ranks.run(2, work))
    assert first == second
    assert len(first) < exchange.TEXT + 100
