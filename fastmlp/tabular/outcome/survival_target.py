"""Times until an event as the target of networks: one probability for each interval of time.

The hazard of an interval is the probability of the event in it, of rows that had none before.
Networks learn hazards as labels that are missing after the event or the last look (Gensheimer and
Narasimhan 2019; Kvamme and Borgan 2021). Curves follow from them, and may cross.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from fastmlp._network.losses import BinaryCrossEntropy
from fastmlp.tabular.outcome import survival_scores as of_curves, temperature
from fastmlp.tabular.outcome.calibration import HazardCalibration
from fastmlp.tabular.outcome.checked_survival import structured, survival_of
from fastmlp.tabular.outcome.loss_rows import SMALLEST
from fastmlp.tabular.outcome.targets import MultiLabelTarget, RowWeights
from fastmlp.tabular.table.columns import Array, RowIndex

MOST_INTERVALS, EVENTS_OF_ONE = 20, 12  # fewer intervals if there would be fewer events in each
MOMENTS = (0.25, 0.5, 0.75)  # quantiles of times of events: a report shows the calibration there
GROUPS = ("lowest", "middle", "highest")  # thirds of the rows by their risk


def edges_of(times: Array, events: Array) -> Array:
    """Return the ends of the intervals, ascending: quantiles of the events, then the last time.

    There are at least two, since a network of one output has no missing targets.
    """
    of_events = times[events]
    count = int(np.clip(len(of_events) // EVENTS_OF_ONE, 1, MOST_INTERVALS))
    ends = np.quantile(of_events, np.arange(1, count + 1) / count, method="inverted_cdf")
    ends[-1] = times.max()
    ends = np.unique(ends[ends > 0])
    return ends if len(ends) > 1 else ends * [0.5, 1.0]


def cumulated(hazards: Array) -> Array:
    """Return the cumulative hazards at the ends of the intervals, the first one 0, (n, 1 + K)."""
    return np.column_stack([np.zeros(len(hazards)), np.cumsum(-np.log1p(-hazards), axis=1)])


def survival(hazards: Array, edges: Array, times: Array) -> Array:
    """Return the probabilities of no event until some times, (n, times).

    Within an interval the rate is constant.
    """
    ends, passed = np.append(0.0, edges), cumulated(hazards)
    at = np.clip(np.searchsorted(ends, times), 1, len(edges))
    share = (times - ends[at - 1]) / (ends[at] - ends[at - 1])
    return np.asarray(np.exp(-((1 - share) * passed[:, at - 1] + share * passed[:, at])))


def quantiles(hazards: Array, edges: Array, share: float) -> Array:
    """Return the times at which a share of such rows has had the event, (n,); infinite if later."""
    ends, passed, wanted = np.append(0.0, edges), cumulated(hazards), -np.log1p(-share)
    at = np.minimum(np.count_nonzero(passed[:, 1:] < wanted, axis=1), len(edges) - 1)
    rows = np.arange(len(hazards))
    before, after = passed[rows, at], passed[rows, at + 1]
    inside = np.divide(wanted - before, after - before, out=np.ones(len(at)), where=after > before)
    return np.where(after < wanted, np.inf, ends[at] + inside * (ends[at + 1] - ends[at]))


def risks(hazards: Array) -> Array:
    """Return the sums of the cumulative hazards at the ends of the intervals, (n,)."""
    return np.asarray(cumulated(hazards).sum(axis=1))


@dataclass(frozen=True, eq=False)
class SurvivalTarget(MultiLabelTarget):
    """Times and events, (n, 2), as one label for each interval: whether the event was in it.

    Its classes are the ends of the intervals, and the probabilities of its labels are the hazards.
    """

    estimator: ClassVar = "TabMLPSurvival"  # messages name it
    name: ClassVar = "hazards"
    cost_name: ClassVar = "negative log-likelihood"
    may_be_monotone: ClassVar = True
    outputs_are_columns: ClassVar = False
    are_hazards: ClassVar = True

    @classmethod
    def of_times(cls, y: Array, edges: Array) -> Self:
        """Return the target of times and events, (n, 2), with the ends of the intervals."""
        return cls(y, edges, BinaryCrossEntropy())

    @classmethod
    def of_fit(cls, parameters: Mapping[str, Any], y: ArrayLike) -> Self:
        """Return the target that the user passes to a fit, checked."""
        checked = survival_of(y)
        times, events = checked[:, 0], checked[:, 1] > 0
        if not times[events].max(initial=0.0) > 0:
            at_begin = "events at the begin are not learned, so pass times from an earlier begin"
            remedy = at_begin if events.any() else "pass rows that had the event, too"
            raise ValueError(
                f"y has {events.sum()} events, none after time 0, but at least one is expected: "
                f"{remedy}"
            )
        return cls.of_times(checked, edges_of(times, events))

    @staticmethod
    def warn_of(parameters: Mapping[str, Any]) -> None:
        """Warn of unexpected effects of parameters, of which there are none."""

    def read(self, y: ArrayLike) -> Self:
        """Return the target of other rows that the user passes, checked."""
        return self.with_rows(survival_of(y))

    def of_rows(self, rows: RowIndex, weights: RowWeights) -> Self:
        """Return the target of the rows that a fit uses."""
        return self.with_rows(self.y[rows], weights.words)

    def row_weights(self, parameters: Mapping[str, Any], sample_weight: Array | None) -> RowWeights:
        """Return the weights of rows as they are; raise ValueError if no event has any."""
        if sample_weight is not None:
            times, events = self.y.T
            if not np.any(sample_weight[(events > 0) & (times > 0)]):
                raise ValueError(
                    "sample_weight is 0 for all rows with an event after time 0, but one above 0 "
                    "is expected: let the curves learn from an event"
                )
        return RowWeights(sample_weight, sample_weight, "sample_weight")

    @property
    def without_scorer(self) -> str:
        """Why scorers of scikit-learn cannot score predictions of these rows."""
        return "a survival curve is judged by its likelihood"

    @property
    def directions(self) -> Array:
        """Directions of the outputs that make the risk rise: those of all hazards."""
        return np.ones(self.outputs)

    @property
    def original_y(self) -> Array:
        """The events and times as a structured array, as scikit-survival has them."""
        return structured(self.y[:, 0], self.y[:, 1] > 0)

    @property
    def strata(self) -> Array | None:
        """Whether rows had the event, which folds spread evenly."""
        return np.asarray(self.y[:, 1], int)

    def labels(self, rows: RowIndex | slice = slice(None)) -> Array:
        """Return 0 or 1 for each interval, (n, intervals), NaN where nothing is known."""
        signs = self._signs[rows]
        return np.where(signs == 0, np.nan, signs > 0)

    @functools.cached_property
    def _signs(self) -> Array:
        """1 for the interval of the event, -1 for those before, 0 where nothing is known, as int8.

        A row that is censored in an interval counts as one that passed it from its middle on.
        """
        times, events = self.y.T
        middles = (np.append(0.0, self.classes[:-1]) + self.classes) / 2
        at, last = np.arange(self.outputs), np.searchsorted(self.classes, times)[:, np.newaxis]
        is_last = at == last
        happened = is_last & (events > 0)[:, np.newaxis]
        passed = (at < last) | (is_last & (times[:, np.newaxis] >= middles))
        return np.asarray(happened.astype(np.int8) - (passed & ~happened))

    def check_learned(self, learn: Sequence[RowIndex]) -> None:
        """Raise ValueError if all rows that a fold learns from are censored too early."""
        (times, events), first = self.y.T, self.classes[0] / 2
        tells = (events > 0) | (times >= first)
        for rows in learn:
            if not np.any(tells[rows]):
                raise ValueError(
                    f"a fold learns from {len(rows)} rows alone that were last seen before "
                    f"{first:g}, without an event, but at least one event or later look is "
                    "expected in each: pass more rows, or folds= or groups= that spread them"
                )

    def encode(self, scale: Any, member: int) -> Array:
        """Return the labels, the same for all members."""
        return self.labels().astype(np.float32)

    def calibrated(self, prediction: Array, weights: Array | None) -> Array:
        """Return out-of-fold hazards at the temperature with the lowest log loss on them."""
        fitted = temperature.fitted(prediction, self.labels(), weights)
        return temperature.applied(prediction, fitted, labels=True)

    def calibration(
        self,
        outputs: Array,
        weights: Array | None,
        groups: Array | None,
        share: float,
        keeps_order: bool,
        most: int | None = None,
    ) -> HazardCalibration:
        """Return the temperature of out-of-fold hazards."""
        fitted = temperature.fitted(outputs, self.labels(), weights)
        return HazardCalibration(fitted, self.classes, has_labels=True)

    def constant(self, weights: Array | None) -> tuple[str, Array]:
        """Return the name and the hazards of the other rows, (n, intervals).

        Those of all rows have so many numbers that they would fit a row itself. Half an event is
        added, since no event among the others does not exclude one.
        """
        labels = self.labels()
        w = np.ones(len(labels)) if weights is None else weights
        known, happened = ~np.isnan(labels), labels == 1
        at_risk, events = (w @ each - w[:, np.newaxis] * each for each in (known, happened))
        return "the curve of the other rows", (events + 0.5) / (at_risk + 1)

    def costs(self, prediction: Array, rows: RowIndex | slice = slice(None)) -> Array:
        """Return the negative log-likelihood of rows, (..., n), summed over their intervals."""
        signs = self._signs[rows]
        right = np.maximum(signs * prediction + (signs < 1), SMALLEST)  # 1 where nothing is known
        return np.asarray(-np.log(np.prod(right, axis=-1)))

    def scores(self, prediction: Array, weights: Array | None) -> dict[str, float]:
        """Return the scores of predictions of these rows, and that of one curve for all of them."""
        times, events = self.y[:, 0], self.y[:, 1] > 0
        first, last = np.minimum(np.quantile(times, [0.1, 0.9]), self.classes[-1]).tolist()
        span = np.linspace(first, last, 50)
        whole = of_curves.at_times(of_curves.kaplan_meier(times, events, weights), span)
        curves = survival(prediction, self.classes, span)
        of_model, of_all = (
            of_curves.integrated(of_curves.brier(times, events, each, span, weights), span)
            for each in (curves, np.broadcast_to(whole, curves.shape))
        )
        return {
            "concordance": of_curves.concordance(times, events, risks(prediction), weights),
            "brier_score": of_model,
            "brier_score_kaplan_meier": of_all,
        }

    def facts(self, prediction: Array, weights: Array | None) -> dict[str, str]:
        """Return lines of a report on predictions of these rows."""
        times, events = self.y[:, 0], self.y[:, 1] > 0
        edges, risk = self.classes, risks(prediction)
        at = times[events] if events.any() else times
        moments = np.unique(np.quantile(at, MOMENTS, method="inverted_cdf"))
        whole = of_curves.kaplan_meier(times, events, weights)
        concordance, of_model, of_all = self.scores(prediction, weights).values()
        expected = np.average(survival(prediction, edges, moments), axis=0, weights=weights)
        observed = of_curves.at_times(whole, moments)
        shown = zip(moments, expected, observed, strict=True)
        thirds = np.array_split(np.argsort(risk, kind="stable"), len(GROUPS))
        middle = moments[len(moments) // 2 :][:1]
        of_groups = []
        for name, rows in zip(GROUPS, thirds, strict=True):
            if len(rows):
                curve = of_curves.kaplan_meier(times[rows], events[rows])
                mean = survival(prediction[rows], edges, middle).mean()
                seen = of_curves.at_times(curve, middle)[0]
                of_groups.append(f"{name} {mean:.2f} predicted, {seen:.2f} observed")
        return {
            "concordance": f"{concordance:.4g}",
            "Brier score": f"{of_model:.4g}, integrated; Kaplan-Meier {of_all:.4g}",
            "survival": "; ".join(
                f"at {t:.4g} {p:.2f} predicted, {q:.2f} observed" for t, p, q in shown
            ),
            "risk": f"survival at {middle[0]:.4g} by third: {'; '.join(of_groups)}",
        }
