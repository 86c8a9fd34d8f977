"""Divergence and the ends of the range: tables over dtypes and levels.

What is tried, and what must hold, is said in `extremes`.
"""

import pytest
import trials

GROUPS = ("divergence", "extreme values")


@pytest.mark.parametrize("trial", trials.every(*GROUPS), ids=", ".join)
def test_trial(trial, check):
    check(trial)
