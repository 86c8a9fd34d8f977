"""Checks of the times until an event that users pass: arrays of records, or two columns."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastmlp._validation.arrays import check_unmasked, is_missing, short
from fastmlp.tabular.table.columns import Array

SHORTEST, LONGEST = 1e-300, 1e100  # so that sums of times are finite, and halves are above 0
DROP_UNKNOWN = "drop the rows of which it is not known"
TRUTHS = (bool, np.bool_, Real)  # types of events, of which 0 and 1 are values

_DAYS = "pass days, such as (end - start) / numpy.timedelta64(1, 'D')"
REFUSED_TIMES = {  # by the kind of dtype: what it holds, and the remedy
    "m": ("time differences", _DAYS),
    "M": ("dates", _DAYS),
    "c": ("complex numbers", "pass real ones"),
    "b": ("truth values", "pass them as event, and as time when it was"),
}


def structured(times: Array, events: Array) -> Array:
    """Return events and times as one array of records, as scikit-survival has them."""
    y = np.empty(len(times), [("event", bool), ("time", float)])
    y["event"], y["time"] = events, times
    return y


def paired(time: Any, event: Any) -> Array:
    """Return times and events as one array of records; raise ValueError for anything else."""
    check_unmasked(time=time, event=event)
    times, events = _times(time), _events(event)
    if times.shape != events.shape:
        raise ValueError(
            f"time has shape {times.shape} and event {events.shape} but one number and one truth "
            "value for each row are expected: pass columns of the same rows"
        )
    return structured(times, events)


def survival_of(y: ArrayLike) -> Array:
    """Return times and whether they are those of events, (n, 2); raise ValueError if y is wrong.

    Numbers without events are times of events.
    """
    check_unmasked(y=y)
    y = np.asarray(y)
    if y.dtype.names is None:
        if y.ndim != 1:
            raise ValueError(
                f"y has shape {y.shape} but an array of records (event, time) is expected: pass "
                "fit(X, time=times, event=events), or scikit-survival's Surv.from_arrays"
            )
        y = paired(y, np.full(len(y), True))
    elif len(y.dtype.names) != 2:
        raise ValueError(
            f"y has the fields {', '.join(y.dtype.names)} but an event and a time are expected: "
            "entry times (left truncation) and several kinds of events are not modelled"
        )
    else:
        event, time = y.dtype.names
        if y.dtype[event].kind != "b" and y.dtype[time].kind == "b":
            event, time = time, event
        elif y.dtype[event].kind != "b" and _are_truths(y[time]) and not _are_truths(y[event]):
            raise ValueError(
                f"y has the fields {event}, {time}, of which the second holds events, 0 or 1, but "
                f"the first is expected to: pass y[[{time!r}, {event!r}]], or events as bool"
            )
        y = paired(y[time], y[event])
    return np.column_stack([y["time"], y["event"]])


def _are_truths(values: Array) -> bool:
    """Whether numbers may say whether rows had the event."""
    return bool(np.isin(values, (0, 1)).all())


def _times(value: Any) -> Array:
    """Return times as float64; raise ValueError unless they are numbers of at least 0."""
    array = np.asarray(value)
    if array.dtype.kind in REFUSED_TIMES:
        what, remedy = REFUSED_TIMES[array.dtype.kind]
        raise ValueError(f"time holds {what} but numbers are expected: {remedy}")
    try:
        times = array.astype(np.float64)
    except (TypeError, ValueError):
        texts = (cell for cell in array.ravel().tolist() if isinstance(cell, str))
        raise ValueError(
            f"time holds {short(next(texts, value))} but numbers are expected: pass the days until "
            "the event"
        ) from None
    if array.ndim == 1 and not ((times >= 0) & (times <= LONGEST)).all():
        wrong = times[~((times >= 0) & (times <= LONGEST))][0]
        raise ValueError(
            f"time holds {wrong} but numbers from 0 to {LONGEST:g} are expected: pass the time "
            "until the event, or until the last look of rows without it"
        )
    if (is_short := (times > 0) & (times < SHORTEST)).any():
        raise ValueError(
            f"time holds {times[is_short][0]} but 0 or numbers from {SHORTEST:g} are expected: "
            "pass times in a smaller unit"
        )
    return times


def _events(value: Any) -> Array:
    """Return whether rows had the event; raise ValueError unless these are truth values."""
    array = np.asarray(value)
    if array.dtype.kind not in "buif":
        others = [each for each in array.ravel().tolist() if not isinstance(each, TRUTHS)]
        if others:
            remedy = "pass for example event == 'died'"
            if is_missing(others[0]):
                remedy = DROP_UNKNOWN
            raise ValueError(
                f"event holds {short(others[0])} but truth values or 0 and 1 are expected: {remedy}"
            )
        array = array.astype(np.float64)
    if not np.isin(array, (0, 1)).all():
        wrong = array[~np.isin(array, (0, 1))][0]
        remedy = "competing events are not modelled, so pass event == 1 for one of them"
        if np.isnan(wrong):
            remedy = DROP_UNKNOWN
        elif wrong != np.floor(wrong):
            remedy = "pass whether rows had the event, and its time as time"
        raise ValueError(f"event holds {wrong} but truth values or 0 and 1 are expected: {remedy}")
    return array.astype(bool)
