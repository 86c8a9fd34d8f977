"""Curves of survival, and scores of those that a model predicts, with rows that are censored.

Times are (n,), events (n,) booleans: whether the time is that of the event, or of the last look.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

AT_A_TIME = 1 << 22  # pairs of rows that are compared at once


def kaplan_meier(
    times: Array, events: Array, weights: Array | None = None, reverse: bool = False
) -> tuple[Array, Array]:
    """Return the times of events, ascending, and the share of rows that have none until then.

    With ``reverse``, return the times of last looks, and the share of rows that would still be
    looked at: events come before last looks of the same time, which they hide.
    """
    w = np.ones(len(times)) if weights is None else weights
    distinct, at = np.unique(times, return_inverse=True)
    ended, happened = (np.bincount(at, part, len(distinct)) for part in (w, w * events))
    at_risk = np.cumsum(ended[::-1])[::-1]
    if reverse:
        happened, at_risk = np.bincount(at, w * ~events, len(distinct)), at_risk - happened
    share = np.divide(happened, at_risk, out=np.zeros(len(distinct)), where=happened > 0)
    return distinct[happened > 0], np.cumprod(1 - share)[happened > 0]


def at_times(steps: tuple[Array, Array], times: Array, before: bool = False) -> Array:
    """Return the curve of `kaplan_meier` at times, or just before them."""
    at = np.searchsorted(steps[0], times, side="left" if before else "right")
    return np.append(1.0, steps[1])[at]


def concordance(times: Array, events: Array, risks: Array, weights: Array | None = None) -> float:
    """Return Harrell's concordance: the share of comparable pairs whose higher risk ends first.

    A pair is comparable if the earlier time is that of an event; of equal times, if one of them is
    censored. Equal risks count half. NaN if there is no such pair.
    """
    w = np.ones(len(times)) if weights is None else weights
    right = total = 0.0
    happened = np.flatnonzero(events)
    for first in range(0, len(happened), step := max(1, AT_A_TIME // len(times))):
        rows = happened[first : first + step, np.newaxis]
        is_later = (times > times[rows]) | ((times == times[rows]) & ~events)
        pairs = is_later * w * w[rows]
        total += pairs.sum()
        right += (pairs * ((risks < risks[rows]) + 0.5 * (risks == risks[rows]))).sum()
    return right / total if total > 0 else np.nan


def brier(
    times: Array, events: Array, survival: Array, at: Array, weights: Array | None = None
) -> Array:
    """Return the Brier scores of survival, (n, moments), at moments, (moments,).

    Rows count by the inverse share of rows that are not censored until then (Graf et al. 1999).
    """
    w = np.ones(len(times)) if weights is None else weights
    kept = kaplan_meier(times, events, weights, reverse=True)
    own = np.maximum(at_times(kept, times, before=True), np.finfo(float).tiny)[:, np.newaxis]
    is_over = (times[:, np.newaxis] <= at) & events[:, np.newaxis]
    is_going_on = times[:, np.newaxis] > at
    still = np.maximum(at_times(kept, at), np.finfo(float).tiny)
    errors = is_over * survival**2 / own + is_going_on * (1 - survival) ** 2 / still
    return np.asarray(np.average(errors, axis=0, weights=w))


def integrated(scores: Array, at: Array) -> float:
    """Return the mean over time of scores at moments."""
    if at[-1] == at[0]:
        return float(scores[0])
    return float(np.sum(np.diff(at) * (scores[1:] + scores[:-1]) / 2) / (at[-1] - at[0]))
