"""A limited time: by a clock that tests set, so that nothing depends on the machine's."""

import time

import numpy as np
import pytest
from tiny_tables import LABELS, SMALL, N, X, Y, regressor

from fastmlp.tabular.outcome.targets import ClassTarget, MultiLabelTarget, NumericTarget
from fastmlp.tabular.plan import presets
from fastmlp.tabular.plan.progress import Clock
from fastmlp.tabular.recipe import blend
from fastmlp.tabular.recipe.members import seconds_of_epoch
from fastmlp.tabular.table.columns import Columns
from fastmlp.tabular.table.encoding import Encoding, width_of, with_missing

AMPLE = 1e6  # seconds
STEPS = 7  # an epoch has so many


class Watch:
    """A time that tests set."""

    def __init__(self):
        self.time = 1000.0

    def clock(self, limit, epoch=1.0, after=0.0):
        return Clock(self.time + limit, lambda: self.time, epoch, after)


def run(limit, epoch, look, after, thought):
    """Train by a clock; return the shares of each epoch, how many there were, and what is left."""
    watch, shares = Watch(), []
    own, end, over = watch.clock(limit, thought, after), watch.time + limit, False
    while not over:
        steps = np.arange(STEPS * len(shares), STEPS * (len(shares) + 1))
        shares.append(own.shares(steps, STEPS * 10**6))
        watch.time += epoch + look
        own.evaluated(look)
        assert 0 <= own.passed() <= 1
        over = own.ended()
    return np.concatenate(shares), len(shares), end - watch.time - after * look


@pytest.mark.parametrize("limit", [1e-3, 1.0, 1.9, 10.0, 77.7])
@pytest.mark.parametrize("epoch", [0.5, 1.0, 30.0])
@pytest.mark.parametrize(("look", "after"), [(0.0, 0.0), (0.1, 4.0), (0.3, 1.5)])
@pytest.mark.parametrize("wrong", [0.2, 1.0, 3.0])
def test_a_limit_is_kept_and_used(limit, epoch, look, after, wrong):
    shares, epochs, left = run(limit, epoch, look, after, wrong * epoch)
    assert shares[0] == 0
    assert np.all(np.diff(shares[-STEPS:]) > 0)
    assert np.all((shares >= 0) & (shares < 1))
    if epochs > 1:
        assert left > -1e-9 - after * look * (epochs == 2)  # the first look is not believed
        assert left < epoch + look + 1e-9
        assert shares[-1] > 1 - 1.5 / STEPS  # the rates came to their end
    else:  # one is run whatever the time; another would have been too long
        assert limit < 2 * (epoch + look) + after * look


def test_an_epoch_may_become_longer():
    watch = Watch()
    own = watch.clock(10)
    for took, is_last in ((1.0, False), (2.0, False), (2.0, False), (2.0, False), (1.5, True)):
        watch.time += took
        assert own.ended() is is_last


@pytest.mark.parametrize("slow", [0, 1, 4, 20])
@pytest.mark.parametrize("what", ["epoch", "look"])
def test_one_slow_epoch_or_look_spoils_no_plan(what, slow):
    """The fit goes on to its end, and so do its rates."""
    watch = Watch()
    own, end, shares, over = watch.clock(60, 0.1, 5.0), watch.time + 60, [], False
    while not over:
        epoch = len(shares)
        shares.append(own.shares(np.arange(STEPS) + STEPS * epoch, STEPS * 10**6))
        look = 10.0 if (what, slow) == ("look", epoch) else 0.01
        watch.time += 0.1 + look + 10.0 * ((what, slow) == ("epoch", epoch))
        own.evaluated(look)
        over = own.ended()
    assert len(shares) > 400
    assert 0 <= end - watch.time - 5 * 0.01 < 0.2
    assert shares[-1][-1] > 0.99
    assert np.all(np.diff(np.concatenate(shares[slow + 3 :])) > 0)


def test_a_clock_that_stands_still_is_no_error():
    own = Watch().clock(1, epoch=0.0)
    for _ in range(3):
        assert np.all(np.isfinite(own.shares(np.arange(STEPS), 9)))
        assert own.ended() is False
        assert 0 <= own.passed() <= 1


def test_rates_follow_the_steps_or_a_time_that_is_short():
    watch = Watch()
    own, steps = watch.clock(200), np.arange(20, 27)
    watch.time += 100  # the half of it, which of the steps is less
    for planned in (90, 7 * 102):  # there is time for 100 epochs of seven
        plain, timed = presets.Cycles(0.3, planned), presets.Cycles(0.3, planned, own)
        np.testing.assert_array_equal(timed(steps), plain(steps))
    late = presets.Cycles(0.3, 10**6, own)(steps)
    np.testing.assert_allclose(late, presets.Cycles(0.3, 1400)(np.arange(700, 707)))
    assert presets.Cycles(0.3, 90, own)(41) == presets.Cycles(0.3, 90)(41)
    short = presets.Cycles(0.3, 90, watch.clock(1))
    np.testing.assert_allclose(short(np.arange(15)), presets.Cycles(0.3, 15)(np.arange(15)))


def test_reading_counts_as_time(monkeypatch, tiny):
    """The deadline is that of the whole fit: whoever reads for long has less for training."""
    monkeypatch.setattr(blend, "seconds_of_epoch", lambda *_: 1e-9)
    deadlines, init, read, began = [], Clock.__init__, Columns.read, []

    def noted(self, deadline, **rest):
        deadlines.append(deadline)
        init(self, deadline, **rest)

    monkeypatch.setattr(Clock, "__init__", noted)

    def slow(self, table):
        began.append(time.monotonic())
        return read(self, table)

    monkeypatch.setattr(Columns, "read", slow)
    regressor(time_limit=AMPLE).fit(X, Y)
    assert deadlines
    assert max(deadlines) <= began[0] + AMPLE


TARGETS = {
    "numbers": NumericTarget.of(Y[:, np.newaxis], "squared_error"),
    "variances": NumericTarget.of(np.c_[Y, Y], "gaussian"),
    "rates": NumericTarget.of(np.abs(Y)[:, np.newaxis], "poisson"),
    "zeros": NumericTarget.of(np.zeros((N, 1)), "squared_error"),
    "classes": ClassTarget.of((Y > 0).astype(int), np.arange(2)),
    "labels": MultiLabelTarget.of_labels((X > 0).astype(int)),
}


@pytest.mark.parametrize("name", TARGETS)
def test_an_epoch_of_any_target_is_tried(name):
    target = TARGETS[name]
    for rows, size, n_threads in ((1, 1, 1), (N, 6, None), (N, 3, 2)):
        seconds = seconds_of_epoch(SMALL, 5, target, rows, size, n_threads)
        assert 0 < seconds < np.inf


def test_nothing_is_tried_without_a_limit(monkeypatch, tiny):
    monkeypatch.setattr(blend, "seconds_of_epoch", None)
    assert np.isfinite(regressor().fit(X, Y).predict(X)).all()


@pytest.mark.parametrize("bins", [0, 3])
def test_the_width_is_known_before_anything_is_measured(bins):
    with_words = np.empty((N, 3), object)
    with_words[:, 0], with_words[:, 1] = np.where(Y > 1, np.nan, Y), LABELS
    with_words[:, 2] = [f"{k}" for k in range(N)]
    for table in (X, with_words, np.ones((N, 1))):
        columns = Columns.of(table)
        read = columns.read(table)
        missing = with_missing(columns, read)
        encoding = Encoding.of(read, columns, [np.arange(N)], bins)
        assert encoding.rows(read).shape == (N, width_of(columns, len(missing), bins))


def test_a_limit_may_be_as_large_as_numbers_are():
    clock = Watch().clock(1e308, epoch=1e-9)
    assert clock.passed() == 0
    assert np.array_equal(clock.shares(np.arange(STEPS), STEPS), np.arange(STEPS) / STEPS)
    assert not clock.ended()
