"""What is known of a target in advance: an offset of each row, or the exposure of its rate.

Both need no input of the networks. A loss with the identity as link does not change if targets and
predictions move by the same numbers; a cost with the log link is multiplied by a power of the
exposure if targets and predictions are, so that a rate with a weight is learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastmlp._core.intervals import POSITIVE, Interval
from fastmlp._training.sources import is_table_source
from fastmlp._validation.arrays import TableLike, check_unmasked
from fastmlp.tabular.fit.reading import column_of, with_target
from fastmlp.tabular.outcome.checked_targets import finite_numbers
from fastmlp.tabular.outcome.loss_rows import LOSSES
from fastmlp.tabular.table.columns import Array
from fastmlp.tabular.table.frames import gathered

FARTHEST = 500.0  # offset of a logarithm: with it, rates and weights are finite
ANY = Interval(-np.inf, np.inf)


class Known(NamedTuple):
    """The offsets and exposures of rows, each (n,); None without any."""

    offset: Array | None = None
    exposure: Array | None = None

    @classmethod
    def of(cls, X: Any, loss: str, offset: Any, exposure: Any) -> Known:
        """Return checked numbers, of which names are those of columns of X."""
        if offset is None and exposure is None:
            return cls()
        if is_table_source(X):
            raise TypeError(
                "offset and exposure need a table in memory but X is a source: pass a frame or an "
                "array"
            )
        has_log_link = LOSSES[loss].degree is not None
        if exposure is not None and not has_log_link:
            names = [name for name, row in LOSSES.items() if row.degree is not None]
            raise ValueError(
                f"exposure is given but loss is {loss!r}, which predicts no rates: use one of "
                f"{', '.join(names)}, or pass offset"
            )
        X = gathered(X)
        n = len(X)
        limits = Interval(-FARTHEST, FARTHEST, high_open=False) if has_log_link else ANY
        added = _checked(column_of(X, offset, "offset"), "offset", limits, n)
        factor = _checked(column_of(X, exposure, "exposure"), "exposure", POSITIVE, n)
        if added is None or not has_log_link:
            return cls(added, factor)
        return cls(None, np.exp(added) * (1.0 if factor is None else factor))

    def learned(
        self, y: ArrayLike, sample_weight: ArrayLike | None, parameters: Mapping[str, Any]
    ) -> tuple[Array, Any]:
        """Return the targets and weights that networks learn from."""
        check_unmasked(y=y, sample_weight=sample_weight)
        numbers, loss = finite_numbers(y), LOSSES[parameters["loss"]]
        if self.offset is not None:
            numbers = numbers - self.offset[:, np.newaxis]
        if self.exposure is not None:
            assert loss.degree is not None
            numbers = numbers / self.exposure[:, np.newaxis]
            power = self.exposure ** loss.degree(loss.made(parameters))
            sample_weight = power if sample_weight is None else np.asarray(sample_weight) * power
        return numbers[:, 0] if numbers.shape[1] == 1 else numbers, sample_weight

    def moved(self, prediction: ArrayLike, is_size: bool = False) -> Array:
        """Return predictions of the user's targets; the size of an error has no offset."""
        result = np.asarray(prediction)
        shape = -1, *[1] * (result.ndim - 1)
        if self.exposure is not None:
            result = result * self.exposure.reshape(shape)
        if self.offset is not None and not is_size:
            result = result + self.offset.reshape(shape)
        return result


def without_columns(X: TableLike, *names: Any) -> TableLike:
    """Return a table without the columns that are named."""
    for name in names:
        if isinstance(name, str):
            X, _ = with_target(X, name)
    return X


def _checked(values: Any, name: str, allowed: Interval, n: int) -> Array | None:
    """Return a number for each row, as float64; raise ValueError if one is not allowed."""
    if values is None:
        return None
    check_unmasked(**{name: values})
    try:
        numbers = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} holds no numbers but one for each row is expected") from None
    if numbers.shape != (n,):
        raise ValueError(
            f"{name} has shape {numbers.shape} but ({n},) is expected: pass one for each row of X"
        )
    inside = allowed.has(numbers)
    if not inside.all():
        raise ValueError(
            f"{name} holds {numbers[~inside][0]} but numbers in {allowed} are expected: leave out "
            "such rows"
        )
    return numbers
