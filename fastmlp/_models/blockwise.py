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
    outs = () if out is None else _checked(out, one)
    source = X if check.is_source(X) else Blocks(check.inputs(X, model._spec))
    parts, row = [], 0
    with InputStream(source, model._spec).blocks() as blocks:
        for block in blocks:
            found, end = _heads(model.predict(block.x)), row + block.rows
            for each, p in zip(outs, found, strict=False):
                if end > each.shape[0]:
                    raise ValueError(
                        f"out has {each.shape[0]} rows but X has {end} or more: pass a longer one"
                    )
                each[row:end] = p
            if out is None:
                parts.append(found)
            row = end
    if any(each.shape[0] > row for each in outs):
        raise ValueError(
            f"out has more rows than X, which has {row}: pass out[:{row}], whose rows are written"
        )
    if out is not None:
        return out
    joined = tuple(map(np.concatenate, zip(*parts, strict=True)))
    return joined if len(joined) > 1 else joined[0]


def _heads(found: Any) -> tuple[Any, ...]:
    """Return the predictions as a tuple of one array, or two."""
    return found if isinstance(found, tuple) else (found,)


def _checked(out: Any, wanted: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return ``out`` as a tuple of arrays that can take predictions like the wanted ones."""
    outs = _heads(out)
    if len(outs) != len(wanted):
        raise TypeError(
            f"out has {len(outs)} arrays but this loss predicts {len(wanted)}: pass "
            + ("a tuple (means, variances)" if len(wanted) > 1 else "one array")
        )
    for each, p in zip(outs, wanted, strict=True):
        shape, dtype = getattr(each, "shape", None), getattr(each, "dtype", p.dtype)
        if not shape or not hasattr(each, "__setitem__"):
            raise TypeError(
                f"out is {check.short(each)} but an array is expected: pass for example "
                "np.lib.format.open_memmap(path, mode='w+', dtype=net.dtype, shape=shape)"
            )
        if tuple(shape[1:]) != p.shape[1:]:
            expected = ", ".join(["n", *map(str, p.shape[1:])]) + "," * (p.ndim == 1)
            raise ValueError(
                f"out has shape {tuple(shape)} but ({expected}) is expected: pass an array with "
                "one row for each sample"
            )
        if not np.can_cast(p.dtype, dtype, "same_kind"):
            raise TypeError(f"out has dtype {dtype}, which cannot hold {p.dtype}: pass floats")
    return outs
