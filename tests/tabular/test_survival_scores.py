"""Curves and scores of rows that are censored, against sums over all pairs of rows."""

import itertools

import numpy as np
import pytest

from fastmlp.tabular.outcome import survival_scores as of_curves
from fastmlp.tabular.outcome.checked_survival import structured

RNG = np.random.default_rng(0)
TIMES = RNG.integers(0, 12, 80).astype(float)  # many are tied
EVENTS = RNG.random(80) < 0.6
RISKS = RNG.integers(0, 9, 80) - 0.5 * TIMES
WEIGHTS = RNG.integers(1, 4, 80).astype(float)


def repeated(*arrays):
    return [np.repeat(array, WEIGHTS.astype(int), axis=0) for array in arrays]


def test_the_curve_is_the_product_of_the_shares_that_pass():
    times, curve = of_curves.kaplan_meier(TIMES, EVENTS)
    np.testing.assert_array_equal(times, np.unique(TIMES[EVENTS]))
    passed = 1.0
    for time, share in zip(times, curve, strict=True):
        passed *= 1 - np.sum(EVENTS & (time == TIMES)) / np.sum(time <= TIMES)
        assert share == pytest.approx(passed)
    steps = times, curve
    assert of_curves.at_times(steps, np.array([-1.0]))[0] == 1
    np.testing.assert_array_equal(of_curves.at_times(steps, times), curve)
    before = of_curves.at_times(steps, times, before=True)
    np.testing.assert_array_equal(before, np.append(1.0, curve[:-1]))
    assert of_curves.at_times(steps, np.array([1e9]))[0] == curve[-1]


def pairs(times, events, risks, weights):
    right = total = 0.0
    for i, j in itertools.permutations(range(len(times)), 2):
        if events[i] and (times[i] < times[j] or (times[i] == times[j] and not events[j])):
            total += weights[i] * weights[j]
            right += weights[i] * weights[j] * ((risks[i] > risks[j]) + (risks[i] == risks[j]) / 2)
    return right / total


@pytest.mark.parametrize("at_a_time", [1, 100, 1 << 22])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_concordance_is_that_of_all_pairs(weights, at_a_time, monkeypatch):
    monkeypatch.setattr(of_curves, "AT_A_TIME", at_a_time)
    found = of_curves.concordance(TIMES, EVENTS, RISKS, weights)
    ones = np.ones(len(TIMES)) if weights is None else weights
    assert found == pytest.approx(pairs(TIMES, EVENTS, RISKS, ones), rel=1e-12)
    assert of_curves.concordance(TIMES, EVENTS, -TIMES) > 0.9
    assert of_curves.concordance(TIMES, EVENTS, 0 * TIMES) == 0.5
    assert np.isnan(of_curves.concordance(TIMES, ~EVENTS & EVENTS, RISKS))


def test_brier_scores_are_those_of_graf():
    at = np.array([0.5, 4.0, 7.5])
    survival = RNG.random((80, 3))
    kept = of_curves.kaplan_meier(TIMES, EVENTS, reverse=True)
    found = of_curves.brier(TIMES, EVENTS, survival, at)
    for k, moment in enumerate(at):
        total = 0.0
        for time, event, p in zip(TIMES, EVENTS, survival[:, k], strict=True):
            if time <= moment and event:
                total += p**2 / of_curves.at_times(kept, np.array([time]), before=True)[0]
            elif time > moment:
                total += (1 - p) ** 2 / of_curves.at_times(kept, np.array([moment]))[0]
        assert found[k] == pytest.approx(total / 80)
    area = (found[0] + found[1]) / 2 * 3.5 + (found[1] + found[2]) / 2 * 3.5
    assert of_curves.integrated(found, at) == pytest.approx(area / 7)
    assert of_curves.integrated(found[:1], at[:1]) == found[0]


def test_last_looks_come_after_events_of_the_same_time():
    at, survival = np.array([0.5, 4.5, 7.5]), RNG.random((80, 3))
    apart = TIMES + 0.25 * ~EVENTS
    np.testing.assert_allclose(
        of_curves.brier(TIMES, EVENTS, survival, at),
        of_curves.brier(apart, EVENTS, survival, at),
    )
    times, kept = of_curves.kaplan_meier(TIMES, EVENTS, reverse=True)
    np.testing.assert_array_equal(times, np.unique(TIMES[~EVENTS]))
    np.testing.assert_allclose(kept, of_curves.kaplan_meier(apart, ~EVENTS)[1])


def test_without_censoring_it_is_the_mean_squared_error():
    at, survival = np.array([3.0]), RNG.random((80, 1))
    found = of_curves.brier(TIMES, np.full(80, True), survival, at)
    assert found[0] == pytest.approx(np.mean(((TIMES > 3) - survival[:, 0]) ** 2))


def test_weights_are_those_of_repeated_rows():
    at, survival = np.array([2.0, 6.0]), RNG.random((80, 2))
    times, events, curves = repeated(TIMES, EVENTS, survival)
    for one, other in zip(
        of_curves.kaplan_meier(TIMES, EVENTS, WEIGHTS),
        of_curves.kaplan_meier(times, events),
        strict=True,
    ):
        np.testing.assert_allclose(one, other)
    np.testing.assert_allclose(
        of_curves.brier(TIMES, EVENTS, survival, at, WEIGHTS),
        of_curves.brier(times, events, curves, at),
    )


def test_scores_are_those_of_scikit_survival():
    metrics = pytest.importorskip("sksurv.metrics", reason="needs scikit-survival")
    # Of equal times, scikit-survival takes the last look before the event, for its weights.
    times = TIMES + 1 + 0.25 * ~EVENTS
    y = structured(times, EVENTS)
    concordance = metrics.concordance_index_censored(y["event"], y["time"], RISKS)[0]
    assert of_curves.concordance(times, EVENTS, RISKS) == pytest.approx(concordance)
    at = np.array([2.0, 5.0, 9.0])
    survival = RNG.random((80, 3))
    theirs = metrics.brier_score(y, y, survival, at)[1]
    np.testing.assert_allclose(of_curves.brier(times, EVENTS, survival, at), theirs)
    tied = structured(TIMES + 1, EVENTS)
    theirs = metrics.concordance_index_censored(tied["event"], tied["time"], RISKS)[0]
    assert of_curves.concordance(TIMES + 1, EVENTS, RISKS) == pytest.approx(theirs)
