"""C: a network as one file of C99 and its header, with the weights as constants.

What is called needs no memory but the stack and nothing but libm, and may be called from any
number of threads. Loops are plain, over outputs inside inputs, for compilers to vectorise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fastmlp import check
from fastmlp.export.c_layers import predict, quantized
from fastmlp.export.c_source import Source
from fastmlp.export.layers import Affine, Array, Exported, Linear, Normalization, Parametric
from fastmlp.storage.files import write as write_file

WEIGHTS = ("float32", "float64", "int8")
MAX_PARAMETERS = 2**24  # more, as text, is no longer a sensible thing for a compiler
ROWS = 16  # of the self-check


@dataclass(frozen=True)
class CFiles:
    """What `to_c` has written.

    Attributes
    ----------
    source, header : pathlib.Path
        The files.
    constant_bytes : int
        Of weights, biases and scales, which may stay in read-only memory.
    stack_bytes : int
        Of the arrays that a prediction needs for its hidden layers.
    largest_error : float
        Between predictions with these weights and the model's own, on the rows of the self-check;
        relative to the largest prediction.
    labels_changed : float or None
        Share of those rows that get another label; None if there are no labels.
    """

    source: Path
    header: Path
    constant_bytes: int
    stack_bytes: int
    largest_error: float
    labels_changed: float | None


def _labels(model: Exported, p: Array) -> Array | None:
    if model.labels is None:
        return None
    return p > 0.5 if model.labels.kind == "each" else p.argmax(axis=1)


def write(model: Exported, path: Any, weights: str | None = None, X: Any = None) -> CFiles:
    """Write the files; arguments and result are those of `Exportable.to_c`."""
    source = _source(path)
    kind = model.spec.dtype.name if weights is None else weights
    if kind not in WEIGHTS:
        raise ValueError(f"weights is {weights!r} but one of {', '.join(WEIGHTS)} is expected")
    if model.n_parameters > MAX_PARAMETERS:
        raise ValueError(
            f"the network has {model.n_parameters:,} parameters but C is written of at most "
            f"{MAX_PARAMETERS:,}: use to_onnx"
        )
    rows = _rows(model, X, needed=kind == "int8")
    dtype = np.dtype("float64" if kind == "float64" else "float32")
    exactly: list[list[Any]] = [network.layers for network in model.each]
    each = [quantized(layers, rows) for layers in exactly] if kind == "int8" else exactly
    each = [[_cast(layer, dtype) for layer in layers] for layers in each]
    own, exact = predict(model, each, rows), predict(model, exactly, rows)
    largest = float(np.abs(exact).max())
    before, after = _labels(model, exact), _labels(model, own)
    made = Source(model, source.stem, dtype, each)
    files = CFiles(
        source,
        source.with_suffix(".h"),
        made.constant_bytes,
        made.stack_bytes,
        float(np.abs(own - exact).max() / (largest or 1.0)),
        None
        if before is None
        else float((before != after).reshape(len(rows), -1).any(axis=1).mean()),
    )
    few = slice(None, None, -(-len(rows) // ROWS))
    main = made.main(rows[few], own[few])
    texts = {files.header: made.header(), files.source: made.source(main)}
    for target, text in texts.items():
        write_file(target, [text.encode("ascii")])
    return files


def _source(path: Any) -> Path:
    source = Path(path)
    if source.suffix != ".c" or not (source.stem.isidentifier() and source.stem.isascii()):
        raise ValueError(
            f"path is {str(path)!r} but a C file is expected whose name can begin the names of "
            "functions: for example 'model.c'"
        )
    return source


def _rows(model: Exported, X: Any, *, needed: bool) -> Array:
    """Return rows of the model's dtype: the given ones, or normal ones."""
    if X is not None:
        return check.inputs(X, model.spec)
    if needed:
        raise ValueError(
            "weights='int8' needs X: typical rows, by which inputs are scaled and the loss of "
            "accuracy is measured"
        )
    shape = ROWS, model.spec.layer_sizes[0]
    return np.random.default_rng(0).normal(size=shape).astype(model.spec.dtype)


def _cast(layer: Any, dtype: np.dtype[Any]) -> Any:
    if not isinstance(layer, Affine | Normalization | Parametric | Linear):
        return layer
    found = {name: each for name, each in vars(layer).items() if isinstance(each, np.ndarray)}
    with np.errstate(over="ignore", under="ignore"):
        arrays: Any = {name: array.astype(dtype) for name, array in found.items()}
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise ValueError(f"a weight is too large for {dtype}: use weights='float64'")
    return replace(layer, **arrays)
