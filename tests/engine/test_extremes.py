"""Divergence, the ends of the range, thread counts and batches: tables over dtypes and levels.

What is tried, and what must hold, is said in `extremes`.
"""

import pytest
import trials

GROUPS = ("divergence", "extreme values", "thread counts and batches")


@pytest.mark.parametrize("trial", trials.every(*GROUPS), ids=", ".join)
def test_trial(trial, check):
    check(trial)
