"""The function `fastmlp.explain`: checks, the background, and the choice of the method."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp._core.intervals import POSITIVE, Interval, check_count
from fastmlp._core.user_warnings import warn
from fastmlp._explain import shapley
from fastmlp._explain.explained import Array, Explained
from fastmlp._explain.explanation import Explanation
from fastmlp._validation.arrays import short

if TYPE_CHECKING:
    from fastmlp._validation.arrays import TableLike

MOST_EXACT = 10  # columns of which all coalitions are predicted
BACKGROUND = 100  # rows drawn from X
TYPICAL = "typical"  # the background of one row that a fit of a table keeps
FEWEST_BACKGROUND = 30  # rows of X that may stand for the population
MIXING = 4.0  # time of a mixed row over that of a prediction: wide rows take most
PASSES = 2  # the second pass over the background gives the errors
CERTAIN = 1e-7  # distance from 0 and 1 to which probabilities are limited before log-odds
LARGEST_GAP = 1e-6  # sums and predictions may differ by this share of the largest prediction
TOLERANCE = Interval(0.0, 1.0, low_open=True, high_open=False)


class OutputError(ValueError):
    """Log-odds are asked for of a model that predicts no probabilities, or another output."""


def explain(
    model: Any,
    X: TableLike,
    background: TableLike | None = None,
    *,
    output: str | None = None,
    tolerance: float = 0.02,
    time_limit: float | None = None,
    random_state: int = 0,
) -> Explanation:
    """Explain predictions: how much each column adds to them, beside usual rows, the background.

    Take it to answer why this prediction is high or low.

    The contributions are interventional Shapley values. Together with the mean prediction of the
    background they add up to the prediction of each row. A column is one of the user's table, such
    as a date or a category, whatever inputs the networks have for it.

    Parameters
    ----------
    model : TabMLPRegressor, TabMLPClassifier, MLP, Ensemble, MLPRegressor or MLPClassifier
        A fitted model, or what its ``predictor()`` or `fastmlp.load_predictor` returns.
    X : like that of predict, shape (rows, columns)
        Rows to explain.
    background : like X, or "typical", optional
        Rows that stand for the population, for example 100 rows of the fit. By default up to 100
        rows drawn from X, which must have at least 30 then. With "typical", of models of tables:
        one row of the medians and most frequent values of the fit, which their files hold.
    output : None or "score", optional
        With "score", log-odds of probabilities are explained instead of the predictions; those of
        probabilities nearer to 0 or 1 than 1e-7 are limited.
    tolerance : float in (0, 1], default=0.02
        With more than 10 columns, orders of the columns are sampled until each standard error is at
        most this share of the standard deviation of the predictions for X and background (of
        probabilities, of the class in which it is largest).
    time_limit : float, optional
        Approximate limit in seconds, above 0: sampling ends then, and may replace all coalitions.
        Two passes over the background always run; if they take longer, it has fewer rows, with a
        warning. The result then depends on the speed of the machine.
    random_state : int, default=0
        Seed of the background and of the orders.

    Returns
    -------
    fastmlp.Explanation
        Values, base and standard errors. Up to 10 used columns the values are exact for this
        background. The bits do not depend on the number of threads, or on other rows of X.

    Raises
    ------
    TypeError, ValueError
        If the model or an argument is invalid, X has less than 30 rows and there is no background,
        or X is sparse.

    Warns
    -----
    UserWarning
        If ``time_limit`` allows fewer rows of the background than given, which are drawn then, or
        contributions are not finite, as predictions are infinite.

    Examples
    --------
    >>> import fastmlp, numpy as np
    >>> rng = np.random.default_rng(0)
    >>> net = fastmlp.MLP([2, 1], loss="squared_error", rng=0, dtype="float64")
    >>> net.weights, net.biases = [np.array([[3.0], [-1.0]])], [np.zeros(1)]
    >>> fastmlp.explain(net, [[1.0, 1.0]], background=np.zeros((1, 2))).values
    array([[ 3., -1.]])
    """
    if not hasattr(model, "explain"):
        raise TypeError(
            f"the model is {short(model)} but a fitted model of fastmlp is expected: pass an MLP, "
            "an Ensemble, an estimator, or a predictor of one"
        )
    made: Explanation = model.explain(
        X,
        background,
        output=output,
        tolerance=tolerance,
        time_limit=time_limit,
        random_state=random_state,
    )
    return made


def explanation(
    model: Explained,
    X: Any,
    background: Any,
    *,
    output: str | None,
    tolerance: float,
    time_limit: float | None,
    random_state: int,
) -> Explanation:
    """Return the explanation of a model; see `explain` for the arguments."""
    tolerance = TOLERANCE.check("tolerance", tolerance, 0.02)
    if time_limit is not None:
        time_limit = POSITIVE.check("time_limit", time_limit, 60.0)
    seed = check_count("random_state", random_state, example=1, least=0)
    _check_output(model, output)
    x = model.read(X)
    names, data = model.cells(X)
    rows = _drawn(x, seed) if background is None else _given(model, background)

    def scored(p: Array) -> Array:
        if output is None:
            return p
        p = np.clip(p, CERTAIN, 1 - CERTAIN)
        return np.asarray(np.log(p) - np.log1p(-p))

    def predict(matrix: Array) -> Array:
        return scored(np.asarray(model.predict(matrix), np.float64).reshape(len(matrix), -1))

    began = time.monotonic()
    of_both = predict(np.concatenate([rows, x]))
    pace = (time.monotonic() - began) / len(of_both)
    of_rows, of_x = np.split(of_both, [len(rows)])
    players, n, by_shares = x.shape[1], len(x), model.beside(rows)
    pace *= MIXING if by_shares is None else 1.0
    allowed = math.inf if time_limit is None else time_limit / pace / max(n, 1)
    is_exact = players <= MOST_EXACT and len(rows) * 2**players <= allowed
    drawn = np.arange(len(rows))
    if not is_exact:
        kept = _background_in_time(
            rows, int(min(allowed, len(rows) * 2.0 * PASSES * players)), players
        )
        drawn = np.sort(np.random.default_rng(seed).permutation(len(rows))[:kept])
        rows, of_rows = rows[drawn], of_rows[drawn]
    game = shapley.Game(predict, x, rows, of_x, of_rows)
    if by_shares is not None:
        game = game._replace(by_shares=lambda x, b, masks: scored(by_shares(x, drawn[b], masks)))
    with np.errstate(over="ignore", invalid="ignore"):  # differences of infinite predictions
        if is_exact:
            values = shapley.exact(game)
            errors = np.zeros_like(values)
        else:
            deviation = np.concatenate([of_rows, of_x]).std(axis=0)
            if model.are_probabilities:
                deviation = deviation.max(keepdims=True)
            values, errors = shapley.sampled(game, tolerance * deviation, time_limit, seed)
        values = _adding_up(values, of_x - of_rows.mean(axis=0))
    _warn_of_infinite(values)
    _warn_of_cancellation(values, of_x, of_rows)
    unit = "log-odds" if output else "probability" if model.are_probabilities else "prediction"
    outputs = tuple(map(str, model.outputs))
    if len(outputs) != of_x.shape[1]:  # there are no names, or several quantiles of each
        outputs = tuple(f"output {k}" for k in range(of_x.shape[1]))
    return Explanation(
        _of_all_columns(model, values),
        of_rows.mean(axis=0)[0] if len(outputs) == 1 else of_rows.mean(axis=0),
        _of_all_columns(model, errors),
        data,
        tuple(names),
        outputs,
        dict(model.left_out),
        len(rows),
        unit,
    )


def _check_output(model: Explained, output: str | None) -> None:
    """Raise ValueError unless the output is None, or "score" of probabilities."""
    if output is not None and (output != "score" or not model.are_probabilities):
        expected = 'None or "score"' if model.are_probabilities else "None"
        why = "" if model.are_probabilities else ", as the model predicts no probabilities"
        raise OutputError(
            f"output is {short(output)} but {expected} is expected{why}: leave it out"
        )


def _drawn(x: Array, seed: int) -> Array:
    """Return rows of X that stand for the population."""
    if len(x) < FEWEST_BACKGROUND:
        raise ValueError(
            f"X has {len(x)} rows but at least {FEWEST_BACKGROUND} are expected where it is its "
            "own background: pass background=rows that stand for the population, such as 100 rows "
            "of the fit, or of a table background='typical'"
        )
    return x[drawn_places(len(x), seed)]


def drawn_places(n: int, seed: int) -> Array:
    """Return the places of rows of n that stand for all of them."""
    return np.random.default_rng(seed).permutation(n)[:BACKGROUND]


def _given(model: Explained, background: TableLike | None) -> Array:
    """Return the user's background as a matrix."""
    if isinstance(background, str) and background == TYPICAL and model.typical is not None:
        return model.typical[np.newaxis]
    if isinstance(background, str | bytes):
        why = "" if model.typical is not None else ", as a network holds no rows of its fit"
        or_typical = f", or {TYPICAL!r}," if model.typical is not None else ""
        raise TypeError(
            f"background is {background!r} but rows like those of X{or_typical} are expected{why}: "
            "pass for example 100 rows of the fit"
        )
    try:
        rows = model.read(background)
    except (TypeError, ValueError) as error:
        raise type(error)(f"background: {error}") from error
    if not len(rows):
        raise ValueError("background has 0 rows but at least 1 is expected: pass rows of the fit")
    return rows


def _background_in_time(rows: Array, allowed: int, players: int) -> int:
    """Return how many rows of the background the passes of allowed predictions may have."""
    kept = max(1, min(len(rows), allowed // max(2 * PASSES * players, 1)))
    if kept < len(rows):
        warn(
            f"time_limit allows {kept} of the {len(rows)} rows of the background: raise it, or "
            "explain fewer rows at once"
        )
    return kept


def _warn_of_infinite(values: Array) -> None:
    """Warn of rows without finite contributions."""
    count = np.count_nonzero(~np.isfinite(values).all(axis=(1, 2)))
    if count:
        warn(
            f"contributions of {count:,} rows are infinite or NaN, as predictions are, of these "
            "rows or of some between them and the background: pass a background nearer to them"
        )


def _adding_up(values: Array, totals: Array) -> Array:
    """Return values whose sums are these, (rows, outputs): each gets its share of the rounding."""
    size = np.abs(values)
    whole, away = size.sum(axis=1), totals - values.sum(axis=1)
    is_number = (whole > 0) & np.isfinite(whole) & np.isfinite(away)
    share = np.divide(away, whole, out=np.zeros_like(whole), where=is_number)
    return np.asarray(
        np.where(is_number[:, np.newaxis], values + size * share[:, np.newaxis], values)
    )


def _warn_of_cancellation(values: Array, of_x: Array, of_rows: Array) -> None:
    """Warn of contributions that are too large for sums of float64 to be those of predictions."""
    away = np.abs(of_rows.mean(axis=0) + values.sum(axis=1) - of_x)
    largest = np.abs(np.concatenate([of_rows, of_x])).max(axis=0)
    count = np.count_nonzero((away > LARGEST_GAP * largest).any(axis=1))  # never where it is NaN
    if count:
        warn(
            f"contributions of {count:,} rows do not add up to their predictions but to within "
            f"{away[np.isfinite(away)].max():.2g}, since some are as large as "
            f"{np.abs(values[np.isfinite(values)]).max():.2g}, of rows between them and the "
            "background: pass a background nearer to them"
        )


def _of_all_columns(model: Explained, values: Array) -> Array:
    """Return values of all columns, 0 of those that are not used; one output has no axis."""
    n, _, outputs = values.shape
    result = np.zeros((n, model.n_columns, outputs))
    result[:, model.used] = values
    return result[..., 0] if outputs == 1 else result
