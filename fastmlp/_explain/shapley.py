"""Shapley values of a prediction, with the error of their sampling.

The players are the columns. A coalition's value is the mean prediction of rows with the columns of
the coalition from the explained row and all others from a row of the background (Lundberg and Lee
2017, arXiv:1705.07874; Janzing, Minorics and Bloebaum 2020, arXiv:1910.13413). Each row of the
background is a game of its own; the Shapley value of the mean is the mean of theirs, so that values
always add up to the prediction minus the mean prediction of the background.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

CELLS = 1 << 21  # numbers in the largest array of a block
FEWEST_CHECKS = 25  # fewest second permutations, whose differences tell the errors
CHECKED = 0.25  # share of the background that each round after the first permutes again
RARE = 7  # checks that do not count in the errors
GROWTH = 8  # later errors are looked at after one more round for so many before


# From rows (n, players), the places of b rows of the background, and masks (b or 1, coalitions,
# players), which are true for players from the rows: predictions, (n, b, coalitions, outputs).
ByShares: TypeAlias = Callable[[Array, Array, Array], Array]


class Game(NamedTuple):
    """Rows to explain, the background, and the predictions of both."""

    predict: Callable[[Array], Array]  # (n, players) -> float64, (n, outputs)
    x: Array  # (rows, players)
    background: Array  # (B, players)
    of_x: Array  # predictions, (rows, outputs)
    of_background: Array  # (B, outputs)
    by_shares: ByShares | None = None  # faster than `between`, if there is one

    def rows(self, part: slice | Array) -> Game:
        """Return the game of some of the rows."""
        return self._replace(x=self.x[part], of_x=self.of_x[part])

    def blocks(self, cells: int) -> Iterator[slice]:
        """Yield the rows in blocks; ``cells`` are the numbers that each needs."""
        size = max(1, CELLS // max(cells, 1))
        for first in range(0, len(self.x), size):
            yield slice(first, min(first + size, len(self.x)))

    def between(self, mask: Callable[[slice], Array], i: Array, b: Array) -> Array:
        """Predict rows whose players come from ``x[i]`` where the mask is true, else from ``b``."""
        predictions = np.empty((len(i), self.of_x.shape[1]))
        size = max(1, CELLS // max(self.x.shape[1], 1))
        for first in range(0, len(i), size):
            part = slice(first, first + size)
            mixed = np.where(mask(part), self.x[i[part]], self.background[b[part]])
            predictions[part] = self.predict(mixed)
        return predictions


def differing(x: Array, background: Array) -> Array:
    """Return where rows differ; a missing value equals another one."""
    return np.asarray((x != background) & ~(np.isnan(x) & np.isnan(background)))


def exact(game: Game) -> Array:
    """Return the Shapley values, (rows, players, outputs), by all coalitions.

    A player whose value is the same in both rows changes no prediction: only coalitions of the
    others are predicted.
    """
    n, players = game.x.shape
    size, outputs = len(game.background), game.of_x.shape[1]
    coalitions = np.arange(2**players)
    bits = 1 << np.arange(players)
    has = (coalitions[:, np.newaxis] & bits) > 0
    # Of a coalition of s players that one joins: s! (n - s - 1)! / n!.
    shares = np.array([1 / (players * math.comb(players - 1, s)) for s in range(players)])
    values = np.zeros((n, players, outputs))
    for i, v in (_of_rows if game.by_shares is None else _of_shares)(game, has):
        for player, bit in enumerate(bits):
            others = coalitions[~has[:, player]]
            gains = v[:, others | bit] - v[:, others]  # 0 if the model does not use the player
            share = shares[has[others].sum(axis=1)]
            np.add.at(values[:, player], i, np.einsum("s,pso->po", share, gains))
    return values / size


def _of_rows(game: Game, has: Array) -> Iterator[tuple[Array, Array]]:
    """Yield the places of rows, and predictions of all coalitions, (pairs, coalitions, outputs).

    Each pair of a row and one of the background is predicted by the plain formula.
    """
    size, coalitions = len(game.background), np.arange(len(has))
    bits, outputs = 1 << np.arange(has.shape[1]), game.of_x.shape[1]
    pairs = max(1, CELLS // (len(has) * max(has.shape[1], outputs)))
    for first in range(0, len(game.x) * size, pairs):
        i, b = np.divmod(np.arange(first, min(first + pairs, len(game.x) * size)), size)
        changes = differing(game.x[i], game.background[b]) @ bits
        same_as = coalitions & changes[:, np.newaxis]
        pair, coalition = np.nonzero(same_as == coalitions)
        v = np.empty((len(i), len(has), outputs))
        v[pair, coalition] = game.between(
            lambda part, c=coalition: has[c[part]],  # type: ignore[misc]
            i[pair],
            b[pair],
        )
        yield i, np.take_along_axis(v, same_as[..., np.newaxis], axis=1)


def _of_shares(game: Game, has: Array) -> Iterator[tuple[Array, Array]]:
    """Yield the same by the shares of columns."""
    assert game.by_shares is not None
    size, outputs = len(game.background), game.of_x.shape[1]
    of_row = len(has) * outputs
    some = max(1, CELLS // of_row)
    for first in range(0, size, some):
        b = np.arange(first, min(first + some, size))
        for rows in game.blocks(len(b) * of_row):
            i = np.repeat(np.arange(rows.start, rows.stop), len(b))
            yield (
                i,
                game.by_shares(game.x[rows], b, has[np.newaxis]).reshape(
                    -1, *has.shape[:1], outputs
                ),
            )


def sampled(game: Game, tolerance: Array, seconds: float | None, seed: int) -> tuple[Array, Array]:
    """Return Shapley values and their standard errors, (rows, players, outputs) each.

    In the first round each row of the background is changed into the explained row in a random
    order of the players, and in the reverse order (Castro, Gomez and Tejada 2009; Mitchell,
    Cooper, Frank and Holmes 2022, arXiv:2104.12199). Later rounds do so with new orders for a part
    of the background, until all errors of a row are at the tolerance, (outputs,), or the seconds
    are over. All rows have the same orders, so a row has the same values whatever the others are.
    """
    n, players = game.x.shape
    outputs, began = game.of_x.shape[1], time.monotonic()
    values, errors = np.zeros((2, n, players, outputs))
    for rows in game.blocks(len(game.background) * players * outputs):
        until = math.inf if seconds is None else began + seconds * rows.stop / n
        block = game.rows(rows)
        values[rows], errors[rows] = _sampled(block, tolerance, until, seed)
    return values, errors


def _sampled(game: Game, tolerance: Array, until: float, seed: int) -> tuple[Array, Array]:
    """Return the values of a block of rows, and their standard errors."""
    (n, players), size, outputs = game.x.shape, len(game.background), game.of_x.shape[1]
    of_games = np.zeros((n, size, players, outputs))  # the mean of the orders so far
    spread, errors = np.zeros((2, n, players, outputs))
    count = np.zeros(size, int)  # orders of each row of the background
    todo = np.arange(n)
    for numbers in _rounds(size, one_by_one=math.isfinite(until)):
        drawn = [_orders(seed, number, size, players) for number in numbers]
        most = max(1, CELLS // (2 * (players + 1) * max(len(todo) * outputs, players)))
        for parts in _together(drawn, most):
            gains = contributions(game.rows(todo), *map(np.concatenate, zip(*parts, strict=True)))
            ends = np.cumsum([len(b) for b, _ in parts])
            for (b, _), gain in zip(parts, np.split(gains, ends[:-1], axis=1), strict=True):
                at = todo[:, np.newaxis], b
                count[b] += 1
                away = gain - of_games[at]
                of_games[at] += away / count[b][:, np.newaxis, np.newaxis]
                spread[todo] += (away * (gain - of_games[at])).sum(axis=1)
        checks, is_over = count.sum() - size, time.monotonic() > until
        if checks < FEWEST_CHECKS and not is_over:
            continue
        # The variance of one order, pooled, and wider, as that of Student's t: few checks may have
        # missed what is rare. The mean over the background has each row's share.
        variance = np.maximum(spread[todo], 0) / max(checks - RARE, 1)
        errors[todo] = np.sqrt(variance * (1 / count).sum() / size**2)
        todo = todo[(errors[todo] > tolerance).any(axis=(1, 2))]
        if not len(todo) or is_over:
            break
    return of_games.mean(axis=1), errors


def _rounds(size: int, one_by_one: bool) -> Iterator[range]:
    """Yield the numbers of the rounds to compute before the errors are looked at again.

    Round 0 has all rows of the background, later rounds some of them.
    """
    begin, end = 0, 2 if one_by_one else 1 + math.ceil(FEWEST_CHECKS / _checked(size))
    while True:
        yield range(begin, end)
        begin, end = end, end + (1 if one_by_one else max(1, end // GROWTH))


def _checked(size: int) -> int:
    """Return how many rows of a background have a second order in a round."""
    return min(size, max(FEWEST_CHECKS, int(CHECKED * size)))


def _orders(seed: int, number: int, size: int, players: int) -> tuple[Array, Array]:
    """Return rows of the background, (s,), and an order of the players for each, (s, players)."""
    rng = np.random.default_rng([seed, number])
    b = rng.permutation(size)[: _checked(size) if number else size]
    return b, rng.permuted(np.tile(np.arange(players), (len(b), 1)), axis=1)


def _together(rounds: list[tuple[Array, Array]], most: int) -> Iterator[list[tuple[Array, Array]]]:
    """Yield parts of rounds that have at most so many orders together."""
    parts: list[tuple[Array, Array]] = []
    left = most
    for b, orders in rounds:
        for first in range(0, len(b), most):
            part = b[first : first + most], orders[first : first + most]
            if parts and len(part[0]) > left:
                yield parts
                parts, left = [], most
            parts, left = [*parts, part], left - len(part[0])
    yield parts


def contributions(game: Game, b: Array, orders: Array) -> Array:
    """Return what players add when they join in an order, and in its reverse, the mean of both.

    ``orders`` (s, players) are those of the rows ``b`` of the background; the result has the shape
    (rows, s, players, outputs).
    """
    both = np.concatenate([orders, orders[:, ::-1]])
    place = np.argsort(both, axis=1)  # the place of each player in the order
    v = (_steps_of_rows if game.by_shares is None else _steps_of_shares)(game, b, both, place)
    gains = np.diff(v, axis=2)[:, np.arange(len(both))[:, np.newaxis], place]
    return np.asarray((gains[:, : len(b)] + gains[:, len(b) :]) / 2)


def _steps_of_rows(game: Game, b: Array, both: Array, place: Array) -> Array:
    """Return the predictions after each step, (rows, chains, players + 1, outputs).

    They are those of rows, by the plain formula, where a step changes one.
    """
    of_chain = np.tile(b, 2)
    differs = differing(game.x[:, np.newaxis], game.background[of_chain])
    is_change = differs[:, np.arange(len(both))[:, np.newaxis], both]
    changes = np.cumsum(is_change, axis=2)
    is_last = changes == changes[:, :, -1:]
    i, chain, step = np.nonzero(is_change & ~is_last)
    v = np.empty((*is_change.shape[:2], is_change.shape[2] + 1, game.of_x.shape[1]))
    v[:, :, 0] = game.of_background[of_chain]
    v[i, chain, step + 1] = game.between(
        lambda part: place[chain[part]] <= step[part, np.newaxis], i, of_chain[chain]
    )
    i, chain, step = np.nonzero(is_change & is_last)
    v[i, chain, step + 1] = game.of_x[i]
    latest = np.maximum.accumulate(np.where(is_change, np.arange(1, v.shape[2]), 0), axis=2)
    v[:, :, 1:] = np.take_along_axis(v, latest[..., np.newaxis], axis=2)
    return v


def _steps_of_shares(game: Game, b: Array, both: Array, place: Array) -> Array:
    """Return the same by the shares of columns; an order and its reverse share their ends."""
    assert game.by_shares is not None
    s, players = len(b), both.shape[1]
    has = place[:, np.newaxis] < np.arange(players + 1)[:, np.newaxis]
    v = game.by_shares(game.x, b, np.concatenate([has[:s], has[s:, 1:-1]], axis=1))
    there, back = v[:, :, : players + 1], v[:, :, players + 1 :]
    back = np.concatenate([there[:, :, :1], back, there[:, :, -1:]], axis=2)
    return np.concatenate([there, back], axis=1)
