"""Calls drawn at random, 400 of each kind, or as many as FASTMLP_FUZZ_CALLS says.

What is drawn is said in `odd`, `fuzz` and `fuzz_estimators`, how it is judged in `fuzz_calls`.
They run in a child: a crash is a failure, and its last call is in the message.
"""

import pytest
import trials

GROUPS = ("fuzz of MLP", "fuzz of the estimators")


@pytest.mark.parametrize("trial", trials.every(*GROUPS), ids=", ".join)
def test_trial(trial, check):
    check(trial)
