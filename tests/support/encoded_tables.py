"""Inputs of networks from a table in plain NumPy: what is compiled is compared with it."""

from __future__ import annotations

import numpy as np

from fastmlp.tabular.table.columns import MISSING, SMALLEST_RANGE
from fastmlp.tabular.table.encoding import CLIPPED, NARROWEST, SEED, SHARED, smooth_clip


def inputs(encoding, table, member=0):
    """Return what ``Encoding.rows`` does, as an array."""
    centre, factor, edges = (array[member] for array in encoding.numbers)
    scaled = smooth_clip(table.numbers, centre, factor, *encoding.limits)
    missing = np.isnan(scaled)
    layout = encoding.layout
    found = np.zeros((len(table), layout.width), np.float32)
    parts = [
        (0, np.where(missing, 0.0, scaled)),
        (layout.bins, binned(edges, encoding.bins, scaled)),
    ]
    parts.append((scaled.shape[1], missing[:, encoding.with_missing]))
    triples = zip(layout.categories, encoding.seen_by_column, encoding.categories, strict=True)
    for k, (place, seen, column) in enumerate(triples):
        parts.append((place, one_hot(table.codes[:, k], seen[member], column.frequent)))
    for place, part in parts:
        found[:, place : place + part.shape[1]] = part
    return found


def binned(edges, bins, scaled):
    """Return the piecewise linear parts from -1 to 1, 0 where a number is missing."""
    share = [np.zeros((len(scaled), 0))]
    for column, ends in zip(scaled.T, np.split(edges, np.cumsum(bins[:-1] + 1)), strict=False):
        half = np.maximum((ends[1:] - ends[:-1]) / 2, NARROWEST)
        away = column[:, np.newaxis] - (ends[:-1] + ends[1:]) / 2
        share.append(np.where(np.isnan(away), 0.0, np.clip(away / half, -1.0, 1.0)))
    return np.concatenate(share, axis=1).astype(np.float32)


def one_hot(codes, seen, frequent):
    """Return the inputs of a category column; 0 for values that the member has not seen."""
    used = (codes != MISSING) & seen[codes]
    return np.where(
        used[:, np.newaxis], inputs_of_values(len(seen), frequent)[codes], np.float32(0)
    )


def inputs_of_values(n, frequent):
    """Return the inputs of n values: one each for the frequent, shared ones for the others."""
    if n <= 2:
        return np.array([[-1], [1]], np.float32)[:n]
    signs = np.random.default_rng(SEED).choice([-1.0, 1.0], (n - frequent, SHARED))
    shared = np.zeros((n, SHARED if n > frequent else 0))
    shared[frequent:] = (signs / np.sqrt(SHARED))[:, : shared.shape[1]]
    return np.concatenate([np.eye(n, frequent), shared], axis=1, dtype=np.float32)


def measured(values, bins):
    """Return what is measured of the numbers of some rows."""
    n = values.shape[1]
    centre, factor, edges = np.zeros(n), np.zeros(n), [np.zeros(count + 1) for count in bins]
    for k in range(n):
        there = values[~np.isnan(values[:, k]), k]
        if not there.size:
            continue
        low, centre[k], high = np.quantile(there, [0.25, 0.5, 0.75])
        with np.errstate(over="ignore"):
            spread = min(high - low, np.finfo(float).max)
            if spread < SMALLEST_RANGE:
                spread = min(0.5 * (there.max() - there.min()), np.finfo(float).max)
        factor[k] = 1 / spread if spread >= SMALLEST_RANGE else 0.0
        if bins[k]:
            edges[k] = edges_of(smooth_clip(there, centre[k], factor[k], *CLIPPED), bins[k])
    return centre, factor, np.concatenate([np.zeros(0), *edges])


def edges_of(values, bins):
    """Return the edges of the bins of a column: quantiles, but for what occurs often."""
    distinct, count = np.unique(values, return_counts=True)
    if len(distinct) <= bins + 1:
        return np.concatenate([distinct, np.full(bins + 1 - len(distinct), distinct[-1])])
    often = np.argsort(-count, kind="stable")[: bins // 3]
    steps = distinct[often[count[often] * bins >= len(values)]]
    others = np.quantile(
        values[~np.isin(values, steps)], np.linspace(0, 1, bins + 1 - 2 * len(steps))
    )
    return np.sort(np.concatenate([steps, steps, others]))
