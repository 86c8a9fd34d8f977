"""How many threads work, and on which CPU: found out while training, see docs/adr/0009-pace.md."""

import itertools
import os

import numpy as np
import pytest
from probing import probe

import fastmlp


@pytest.mark.parametrize(
    ("team", "least", "most"),
    [
        (lambda t: 1e-4, 0.0, 0.02),  # faster all the time
        (lambda t: 3e-3 if t % 0.05 < 2e-3 else 1e-4, 0.0, 0.1),  # held up now and then
        (lambda t: 1.9e-4, 0.98, 1.0),  # not worth its helpers
        (lambda t: 3.5e-3 if t % 7e-3 > 3.5e-3 else 1e-4, 0.9, 1.0),  # a helper has half a CPU
        (lambda t: 4e-4 if t < 0.5 else 1e-4, 0.2, 0.8),  # another process ends after half the time
    ],
)
def test_autotuning_finds_the_faster_mode(team, least, most):
    """Shares of the time that thread 0 is alone, where a step alone takes 0.2 ms."""
    alone = 2e-4
    seconds = 1.0
    _, steps_alone = probe.autotune(team, lambda t: alone, seconds)
    assert least <= steps_alone * alone / seconds <= most


def test_a_team_works_four_windows_before_its_first_trial():
    seconds = 4 * 2e-3
    assert probe.autotune(lambda t: 1e-4, lambda t: 2e-4, 0.99 * seconds)[1] == 0
    assert probe.autotune(lambda t: 1e-4, lambda t: 2e-4, 1.2 * seconds)[1] > 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs a system that tells")
def test_a_helper_leaves_a_cpu_and_its_affinity_stays():
    allowed = os.sched_getaffinity(0)
    moved = [probe.leave_cpu() for _ in range(20)]
    assert os.sched_getaffinity(0) == allowed
    if len(allowed) > 1:
        assert sum(before != after for before, after in moved) >= 15  # the system may bring it back
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert probe.leave_cpu() == (min(allowed), min(allowed))
    finally:
        os.sched_setaffinity(0, allowed)


def test_a_trial_ends_though_an_epoch_is_one_step():
    """A step of milliseconds, so that each is a window or a trial of its own."""
    net = fastmlp.MLP([128, 512, 512, 1], rng=0)
    x = np.random.default_rng(0).normal(size=(2048, 128)).astype(np.float32)
    trials = []

    def note(state):
        trials.append(probe.is_trial(state.engine))

    net.fit(x, x[:, :1], epochs=12, batch_size=2048, n_threads=2, callbacks=[note])
    assert (True, False) in itertools.pairwise(trials)
