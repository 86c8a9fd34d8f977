"""Faults, disturbances, extremes and fuzzed calls: the model is whole, and nothing hangs.

The modules of tests/support that `trials.GROUPS` names say what is tried, and what must hold. Here
each trial is run once, in a child; `python tests/campaign/campaign.py` runs them again and again.
FASTMLP_FUZZ_CALLS says how many calls are fuzzed, 100 by default.
"""

import os

import pytest
import trials

PORTABLE = (
    *("fuzz of MLP", "fuzz of the estimators", "sparse rows", "derivatives", "rules"),
    *("files replaced meanwhile", "divergence", "extreme values"),
)
OF_POSIX = (
    *("near the memory limit", "interrupts", "forks", "exits with threads running"),
    "affinity changed meanwhile",
)
INJECTED = ("out of memory", "out of memory for arrays", "threads that cannot start")
needs_posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="written for POSIX")


@pytest.mark.parametrize("trial", trials.every(*PORTABLE), ids=", ".join)
def test_trial(trial, check):
    check(trial)


@pytest.mark.slow
@needs_posix
@pytest.mark.parametrize("trial", trials.every(*INJECTED), ids=", ".join)
def test_trial_of_a_fault(trial, check):
    check(trial)


@pytest.mark.slow
@needs_posix
@pytest.mark.parametrize("trial", trials.every(*OF_POSIX), ids=", ".join)
def test_trial_of_a_process(trial, check):
    check(trial)


def test_a_trial_that_crashes_or_hangs_or_fails_is_counted(monkeypatch):
    monkeypatch.setenv("FASTMLP_HANG_SECONDS", "2")
    found = trials.run(trials.every("the machinery itself"), None, 0)
    outcomes = {name: outcome for (_, name), outcome in found.items()}
    assert {name: outcome.failed for name, outcome in outcomes.items()} == {
        "holds": 0,
        "crashes": 1,
        "hangs": 1,
        "fails": 1,
        "a child that hangs": 1,
        "holds too": 0,
    }
    assert "Segmentation fault" in outcomes["crashes"].messages[0]
    assert "Timeout" in outcomes["hangs"].messages[0]
    assert "AssertionError: seen" in outcomes["fails"].messages[0]
    assert outcomes["holds"].longest == 0.5
