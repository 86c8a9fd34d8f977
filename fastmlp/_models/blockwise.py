"""Predictions of a source: one block after the other, into any array."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._models.network import Network
from fastmlp._network.data import Data
from fastmlp._network.sparse import SparseRows
from fastmlp._network.spec import Spec
from fastmlp._training.readers import Blocks
from fastmlp._training.sources import BlockStream, is_table_source
from fastmlp._validation import check


class InputStream(BlockStream):
    """A source of samples: its blocks are arrays X, or tuples that begin with X."""

    def __init__(self, source: Any, spec: Spec, outs: tuple[Any, ...]) -> None:
        super().__init__(source, spec)
        self.outs = outs  # their memory is not that of the blocks

    def _check(self, block: Any) -> Data:
        is_tuple = isinstance(block, (tuple, list)) and len(block) and np.ndim(block[0]) == 2
        X = block[0] if is_tuple else block
        _refuse_overlap(X, self.outs, self.name)
        x = check.inputs(X, self.spec)
        return Data(x, np.empty((len(x), 0)))  # there are no targets


def predict(network: Network, X: Any, out: NDArray[Any] | None, link: bool) -> Any:
    """Return the predictions of a source or an array, in ``out`` if it is given."""
    network = network.frozen()
    outs = () if out is None else _heads(out)
    if is_source := check.is_source(X):
        if isinstance(X, Blocks):  # nothing has been written yet
            _refuse_overlap(X.arrays["X"], outs, "the source of X")
    else:
        x = check.inputs(X, network.spec)
        X = Blocks(x.copy() if any(_overlap(x, array) for array in outs) else x)
    n = X.n if outs and (isinstance(X, Blocks) or is_table_source(X)) else None
    stream = InputStream(X, network.spec, outs if is_source else ())
    with stream.blocks() as blocks:
        return joined((network.predict(block.x, link) for block in blocks), out, n)


def joined(predictions: Iterable[Any], out: Any, n: int | None) -> Any:
    """Join the predictions of blocks, or write each to ``out`` before the next one is computed.

    ``n`` is the number of all rows, if it is known before.
    """
    outs = () if out is None else _heads(out)
    for array in outs if n else ():
        _check_rows(array, n, n)
    parts, end = [], 0
    for predicted in map(_heads, predictions):
        row, end = end, end + len(predicted[0])
        if out is None:
            parts.append(predicted)
        else:
            _write(outs, predicted, row, end)
    if out is None:
        whole = tuple(map(np.concatenate, zip(*parts, strict=True))) if len(parts) > 1 else parts[0]
        return whole if len(whole) > 1 else whole[0]
    for array in outs:
        _check_rows(array, end, end)
    return out


def _check_rows(out: Any, least: Any, most: Any) -> None:
    """Raise an error if an output has fewer or more rows than X."""
    rows = (getattr(out, "shape", ()) or (least,))[0]
    if rows > most:
        raise ValueError(f"out has {rows} rows but X has {most}: pass out[:{most}]")
    if rows < least:
        more = "" if least == most else " or more"
        raise ValueError(f"out has {rows} rows but X has {least}{more}: pass an array with as many")


def _heads(arrays: Any) -> tuple[Any, ...]:
    """Return the predictions as a tuple of one array, or two."""
    return arrays if isinstance(arrays, tuple) else (arrays,)


def _refuse_overlap(X: Any, outs: tuple[Any, ...], name: str) -> None:
    """Raise ValueError if an output shares memory with rows of a source."""
    if any(_overlap(X, array) for array in outs):
        raise ValueError(
            f"out shares memory with {name}, whose later rows it would overwrite: pass another "
            "array"
        )


def _overlap(a: Any, b: Any) -> bool:
    """Whether two arrays share memory."""
    a = a.values if isinstance(a, SparseRows) else a
    return isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and np.shares_memory(a, b)


def _write(outs: tuple[Any, ...], predicted: tuple[Any, ...], row: int, end: int) -> None:
    """Write predictions to the rows from ``row`` to ``end``."""
    if len(outs) != len(predicted):
        remedy = f"a tuple of {len(predicted)} arrays" if len(predicted) > 1 else "one array"
        raise TypeError(
            f"out has the length {len(outs)} but {len(predicted)} is expected: pass {remedy}"
        )
    if any(_overlap(a, b) for a, b in itertools.combinations(outs, 2)):
        raise ValueError("out has two arrays that share memory: pass arrays of their own")
    for array, p in zip(outs, predicted, strict=True):
        shape, dtype = getattr(array, "shape", ()), np.dtype(getattr(array, "dtype", p.dtype))
        _check_rows(array, end, np.inf)
        if isinstance(array, np.ndarray) and not array.flags.writeable:
            raise ValueError(
                "out is read-only but predictions are written to it: pass an array of your own, "
                'such as out.copy(), or open the memory map with mode="r+"'
            )
        fits = shape and tuple(shape[1:]) == p.shape[1:]
        is_float = p.dtype.kind == "f"
        holds = dtype.kind == "f" if is_float else np.can_cast(p.dtype, dtype, "safe")
        if not (fits and holds):
            kind = "floats" if is_float else f"{p.dtype} labels"
            raise ValueError(
                f"out is a {type(array).__name__} of shape {shape} and dtype {dtype} but {kind} of "
                f"shape {(end, *p.shape[1:])}, or more rows, are expected: pass for example a "
                "np.lib.format.open_memmap with one row for each row of X"
            )
        array[row:end] = p
