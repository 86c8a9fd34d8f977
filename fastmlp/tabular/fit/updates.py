"""`partial_fit` of tables: the networks of a fit go on learning, and the latest rows calibrate.

Columns, encodings and scales stay those of the fit. Rows are predicted before they are learned
from, so that their errors are those of new rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from fastmlp._models.network import Network
from fastmlp._network.optimizers import Adam
from fastmlp._network.schedules import WarmUp
from fastmlp._training.sources import is_table_source
from fastmlp._validation import check
from fastmlp._validation.arrays import TableLike
from fastmlp.tabular.fit import reading
from fastmlp.tabular.fit.reading import used_rows
from fastmlp.tabular.fit.training import calibrated
from fastmlp.tabular.fitted.fitted_table import FittedTable, HeldOut
from fastmlp.tabular.fitted.results import WARNING
from fastmlp.tabular.outcome.calibration import NumberCalibration
from fastmlp.tabular.outcome.targets import Target
from fastmlp.tabular.plan.folds import ScoredRows, Splits, parts_of
from fastmlp.tabular.plan.presets import BETA_2, even
from fastmlp.tabular.recipe import embedding, linear, monotone
from fastmlp.tabular.recipe.blend import Blend, BlendResult
from fastmlp.tabular.recipe.epoch_selection import mean_cost
from fastmlp.tabular.recipe.members import GROUPS, Members, ensemble_of
from fastmlp.tabular.table import data_warnings
from fastmlp.tabular.table.columns import Array, Table

MOST_ROWS = 1_024  # most rows that are predicted before they are learned from
BATCH = 64  # most rows of a step
FIRST_STEPS = 64  # the first steps of an optimizer, which are smaller
LATEST_ROWS = 2_000  # number of latest rows that calibrate
FEWEST_ROWS = 100  # fewest rows that calibrate; with fewer, the calibration of the fit holds


# Rows, their targets as networks hold them, and their weights in training and in scores.
Piece: TypeAlias = tuple[Table, Array, Array | None, Array]


class LatestRows(NamedTuple):
    """Rows that were predicted before they were learned from."""

    y: Array  # in the form in which a target holds them for the networks, see `Target.y`
    weights: Array  # scores weigh rows by them
    predictions: Array
    table: Table | None  # None after a file


def updated(
    fitted: FittedTable, data: tuple[Any, Any, Any], rate: float, n_threads: int | None
) -> FittedTable:
    """Return a fitted table whose networks have learned further rows: X, y and weights in ``data``.

    X is a table, an `ArrowBlocks`, or without y a callable or an iterable of such data.
    """
    if fitted.target.loss.levels:
        raise ValueError(
            "loss is 'quantiles' but partial_fit would move levels apart: fit again on the latest "
            "rows"
        )
    if fitted.parameters.get("class_weight") == "balanced":
        raise ValueError(
            "class_weight is 'balanced' but partial_fit does not see all rows: fit with a dict, "
            "for example from sklearn.utils.compute_class_weight"
        )
    blend = Blend([_learner(fitted, group) for group in fitted.blend.groups], fitted.blend.weights)
    rate *= fitted.target.row.rate
    latest, n = _latest(fitted), 0
    for piece in _pieces(fitted, *data):
        table, y, _, in_scores = piece
        latest.append(LatestRows(y, in_scores, blend.predict(table), table))
        learned = [_learned(group, piece, rate, n_threads) for group in blend.groups]
        blend = Blend(learned, blend.weights)
        n += len(table)
        while sum(len(rows.y) for rows in latest[1:]) >= LATEST_ROWS:
            del latest[0]
    if not n:
        raise ValueError("the stream has no rows with a weight above 0 but at least 1 is expected")
    blend = Blend([_published(group) for group in blend.groups], blend.weights)
    return _calibrated(fitted, blend, latest, n)


def _learner(fitted: FittedTable, group: Members) -> Members:
    """Return a copy of members that can be trained."""
    networks = []
    for k, member in enumerate(group.networks):
        state = group.optimizers[k] if group.optimizers else None
        parameters, rng = member.engine.parameters(), np.random.default_rng(0)
        networks.append(Network.of(member.spec, parameters, rng, state))
    for net in networks:
        embedding.keep(net, group.encoding.columns)
    signs = monotone.signs_of(fitted.parameters["monotone"], fitted.columns, group.target)
    if signs is not None:
        directions = group.encoding.directions(signs)
        for net in networks:
            monotone.constrain(net, directions, group.target.directions)
    return replace(group, networks=networks)


def _learned(group: Members, piece: Piece, rate: float, n_threads: int | None) -> Members:
    """Return members that were trained for one pass over some rows.

    Steps are smaller at first, and for few rows: those of Adam have the same size however small
    gradients are. At first its moments come from few steps, and gradients of few rows are mostly
    noise.
    """
    table, y, weights, _ = piece
    target, members = group.target.with_rows(y), range(len(group))
    group = replace(group, scale=target.widened(group.scale))
    size, groups = even(len(y), BATCH), GROUPS
    if group.is_linear:
        rate, groups = linear.UPDATE_RATE * rate, linear.UPDATE_GROUPS
    rates = WarmUp(rate * size / BATCH, n_steps=FIRST_STEPS)
    ensemble_of(group.networks).partial_fit(
        [group.encoding.rows(table, member) for member in members],
        [target.encode(group.scale, member) for member in members],
        sample_weight=weights,
        batch_size=size,
        optimizer=Adam(learning_rate=rates, beta_2=BETA_2),
        groups=groups,
        n_threads=n_threads,
    )
    return group


def _published(group: Members) -> Members:
    """Return members for predictions, with the state of their optimizers for the next call."""
    states = [state for network in group.networks if (state := network.optimizer_state())]
    return replace(group.published(), optimizers=states)


def _latest(fitted: FittedTable) -> list[LatestRows]:
    """Return the rows that the last `partial_fit` has learned."""
    if fitted.latest is None:
        return []
    y, held_out = fitted.latest, fitted.out_of_fold
    weights = np.ones(len(y)) if held_out.weights is None else held_out.weights
    table = None if fitted.rows is None else fitted.rows[0]
    return [LatestRows(y, weights, held_out.predictions, table)]


def _pieces(
    fitted: FittedTable, X: TableLike, y: ArrayLike | str | None, sample_weight: ArrayLike | None
) -> Iterator[Piece]:
    """Yield pieces of the rows with a weight above 0."""
    for table, target, of_rows in _blocks(fitted, X, y, sample_weight):
        if y is None and of_rows is not None and not np.any(of_rows):
            continue  # other blocks may have weights
        data_warnings.check_targets(target.y)
        rows, (weights, in_scores, *_) = used_rows(target, fitted.parameters, of_rows, least=1)
        in_scores = np.ones(len(rows)) if in_scores is None else in_scores
        for first in range(0, len(rows), MOST_ROWS):
            piece = slice(first, first + MOST_ROWS)
            part = rows[piece]
            in_fit = None if weights is None else weights[piece]
            yield table.take(part), target.y[part], in_fit, in_scores[piece]


def _blocks(
    fitted: FittedTable, X: Any, y: Any, sample_weight: ArrayLike | None
) -> Iterator[tuple[Table, Target, Any]]:
    """Yield the rows of a call, their targets and their weights."""
    target = fitted.target
    is_stream = y is None and check.is_source(X) and not is_table_source(X)
    is_source = is_table_source(X)
    if (is_source and y is not None) or ((is_source or is_stream) and sample_weight is not None):
        raise TypeError("y or sample_weight is passed beside a source, which has its own")
    if is_source:
        from fastmlp.tabular.sources import tables as sources

        for table, targets, weights in sources.learned(X, fitted.columns, target.kind == "classes"):
            yield table, target.read(targets), weights
        return
    if y is None and not is_stream:
        raise TypeError(
            f"y is None and X is a {type(X).__name__}, no source of blocks: pass X and y, or as X "
            "an ArrowBlocks with a target, or an iterator of blocks (X, y)"
        )
    blocks = (X() if callable(X) else X) if is_stream else [(X, y, sample_weight)]
    layout = reading.layout_of(fitted.columns, fitted.feature_names, target.estimator)
    for k, block in enumerate(blocks):
        try:
            if not isinstance(block, tuple | list) or len(block) not in (2, 3):
                raise TypeError(
                    f"a block is a {type(block).__name__} but (X, y) or (X, y, sample_weight) is "
                    "expected"
                )
            rows, targets, weights = (*block, None)[:3]
            of_block = reading.other_rows(
                target, fitted.columns, layout, rows, targets, "X and y", weights
            )
            assert of_block is not None
        except (TypeError, ValueError) as error:
            if is_stream:
                error.add_note(f"in block {k} (counted from 0)")
            raise
        yield (*of_block, weights)


def _calibrated(fitted: FittedTable, blend: Blend, latest: list[LatestRows], n: int) -> FittedTable:
    """Return the fitted table of networks that have learned n rows; the latest calibrate."""
    y, weights, predictions = (
        np.concatenate(arrays)[-LATEST_ROWS:]
        for arrays in zip(*(rows[:3] for rows in latest), strict=True)
    )
    unequal = None if np.all(weights == 1) else weights
    target = fitted.target.with_rows(y, "" if unequal is None else " (weighted)")
    scored = ScoredRows(np.arange(len(y)), target, unequal, None, None)
    cost = mean_cost(target, predictions, scored.cost_weights)
    result = BlendResult(blend, predictions, cost, cost, cost, [], Splits(), [])
    calibration, report = fitted.calibration, fitted.facts.report
    more = dict(report.more)
    if np.count_nonzero(y == y, axis=0).min() >= FEWEST_ROWS:  # NaN is missing
        keeps_order = monotone.is_set(fitted.parameters)
        calibration, lines, _ = calibrated(scored, result, keeps_order)
        more.pop(WARNING, None)
        more |= {name: text for name, text in lines.items() if name == WARNING}
    if isinstance(calibration, NumberCalibration) and calibration.are_counts:
        calibration = replace(calibration, are_counts=not np.any(np.nan_to_num(y) % 1))
    learned = n + fitted.facts.updated_rows
    shown = mean_cost(target, calibration.scored(predictions), scored.cost_weights)
    text = (
        f"{learned:,} row{'s' * (learned > 1)} since the fit; {target.metric} "
        f"{target.shown(shown):.4g} of the latest {len(y):,}, each predicted before it was learned "
        "from"
    )
    report = replace(report, more={**more, "partial_fit": text})
    tables = [rows.table for rows in latest if rows.table is not None]
    of_fit = None
    if len(tables) == len(latest):
        of_fit = tables[0].joined(*tables[1:]).take(slice(-len(y), None)), target
    out = parts_of(np.arange(len(y)), len(blend.groups[0]))
    return replace(
        fitted,
        blend=blend,
        calibration=calibration,
        held_out=HeldOut(predictions, out, unequal),
        facts=replace(fitted.facts, report=report, updated_rows=learned),
        importance=None,
        rows=of_fit,
        latest=y,
    )
