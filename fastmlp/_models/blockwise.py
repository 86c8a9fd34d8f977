"""Predictions of a source: one block after the other, into any array."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastmlp._network.data import Data
from fastmlp._training.readers import Blocks
from fastmlp._training.sources import BlockStream
from fastmlp._validation import check


class InputStream(BlockStream):
    """A source of samples: its blocks are arrays X, or tuples that begin with X."""

    def _check(self, block: Any) -> Data:
        is_tuple = isinstance(block, (tuple, list)) and len(block) and np.ndim(block[0]) == 2
        x = check.inputs(block[0] if is_tuple else block, self.spec)
        return Data(x, np.empty((len(x), 0)))  # without targets


def predict(model: Any, X: Any, out: Any) -> Any:
    """Return the predictions of a source or an array, in ``out`` if it is given."""
    model = model._still()
    one = _heads(model.predict(np.zeros((1, model.layer_sizes[0]), model.dtype)))
    outs = () if out is None else _checked(_heads(out), one)
    room = min((each.shape[0] for each in outs), default=np.inf)
    source = X if check.is_source(X) else Blocks(check.inputs(X, model._spec))
    parts, row, end = [], 0, 0
    with InputStream(source, model._spec).blocks() as blocks:
        for block in blocks:
            found, row, end = _heads(model.predict(block.x)), end, end + block.rows
            if end > room:
                break
            for each, p in zip(outs, found, strict=False):
                each[row:end] = p
            if out is None:
                parts.append(found)
    for each in outs:
        if each.shape[0] != end:
            raise ValueError(
                f"out has {each.shape[0]} rows but {end} rows of X were read: pass an array with "
                "one row for each row of X"
            )
    joined = tuple(map(np.concatenate, zip(*parts, strict=True)))
    return out if out is not None else joined if len(joined) > 1 else joined[0]


def _heads(found: Any) -> tuple[Any, ...]:
    """Return the predictions as a tuple of one array, or two."""
    return found if isinstance(found, tuple) else (found,)


def _checked(outs: tuple[Any, ...], wanted: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arrays if they can take predictions like the wanted ones."""
    if len(outs) != len(wanted):
        remedy = "a tuple (means, variances)" if len(wanted) > 1 else "one array"
        raise TypeError(
            f"out is {len(outs)} arrays but this loss predicts {len(wanted)}: pass {remedy}"
        )
    for each, p in zip(outs, wanted, strict=True):
        shape, dtype = getattr(each, "shape", ()), getattr(each, "dtype", p.dtype)
        if not shape or shape[1:] != p.shape[1:] or not np.can_cast(p.dtype, dtype, "same_kind"):
            has = f"has shape {shape} and dtype {dtype}" if shape else f"is {check.short(each)}"
            expected = "(n,)" if p.ndim == 1 else f"(n, {p.shape[1]})"
            raise TypeError(
                f"out {has} but an array of floats of shape {expected} is expected: pass for "
                f"example np.empty(shape, {p.dtype}), or what np.lib.format.open_memmap returns"
            )
    return outs
