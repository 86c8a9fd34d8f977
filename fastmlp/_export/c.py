"""Export to C: one C99 source file and its header, with the weights as constants.

The generated functions need only stack memory and libm, and are thread-safe. Loops are plain
(outputs inside inputs), so that compilers can vectorise them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fastmlp._core.atomic_files import write_together
from fastmlp._export.c_layers import NARROW, narrowed, predict
from fastmlp._export.c_source import Source, largest
from fastmlp._export.layers import (
    Affine,
    Array,
    Exported,
    Labels,
    Linear,
    Normalization,
    Parametric,
)

WEIGHTS = ("float32", "float64", *NARROW)
MAX_PARAMETERS = 2**24  # compilers cannot handle more constants in reasonable time
ROWS = 16  # rows of the self-check


@dataclass(frozen=True)
class CFiles:
    """The files that `to_c` has written, with their sizes and errors.

    Attributes
    ----------
    source, header : pathlib.Path
        Paths of the files.
    constant_bytes : int
        Bytes of weights, biases and scales, which may stay in read-only memory.
    stack_bytes : int
        Bytes of stack that a prediction needs for its hidden layers.
    largest_error : float
        Largest difference between predictions of the file and of the model, on X or the rows of the
        self-check. It is relative to the largest prediction, for estimators of tables to the
        standard deviation of the target.
    labels_changed : float or None
        Share of those rows whose predicted label changes; None without labels.
    """

    source: Path
    header: Path
    constant_bytes: int
    stack_bytes: int
    largest_error: float
    labels_changed: float | None


def write(model: Exported, path: Any, weights: str | None = None, X: Array | None = None) -> CFiles:
    """Write the files; arguments and result are those of `Exportable.to_c`."""
    kind, source = kind_of(weights, X, model), source_of(path)
    rows = _rows(model, X)
    exactly: list[list[Any]] = [network.layers for network in model.each]
    each = [layers_of(layers, kind, rows) for layers in exactly]
    made = Source(model, source.stem, arithmetic(kind), each)
    own, exact = predict(model, each, rows), predict(model, exactly, rows)
    few = some(rows)
    main = made.main(rows[few], own[few])
    return finish(made, source, main, (own, exact), largest(exact))


def finish(
    made: Any, source: Path, main: str, predictions: tuple[Array, Array], unit: float
) -> CFiles:
    """Write source and header, and measure errors, in multiples of ``unit``."""
    own, exact = predictions
    before, after = (_labels(made.model.labels, p) for p in (exact, own))
    files = CFiles(
        source,
        source.with_suffix(".h"),
        made.constant_bytes,
        made.stack_bytes,
        largest(own - exact) / (unit or 1.0),
        None
        if before is None
        else float((before != after).reshape(len(own), -1).any(axis=1).mean()),
    )
    texts = {files.header: made.header(), files.source: made.source(main)}
    write_together({path: [text.encode("ascii")] for path, text in texts.items()})
    return files


def _labels(labels: Labels | None, p: Array) -> Array | None:
    if labels is None:
        return None
    return p > 0.5 if labels.kind == "each" else p.argmax(axis=1)


def some(rows: Any) -> slice:
    """Return a slice of about `ROWS` evenly spaced rows, for the self-check."""
    return slice(None, None, -(-len(rows) // ROWS))


def kind_of(weights: str | None, X: Any, model: Any) -> str:
    """Return the name of the weights' dtype, by default the model's; reject invalid choices."""
    kind = model.spec.dtype.name if weights is None else weights
    if kind not in WEIGHTS:
        raise ValueError(f"weights is {weights!r} but one of {', '.join(WEIGHTS)} is expected")
    if model.n_parameters > MAX_PARAMETERS:
        raise ValueError(
            f"the network has {model.n_parameters:,} parameters but C is written of at most "
            f"{MAX_PARAMETERS:,}: use to_onnx"
        )
    if kind == "int8" and X is None:
        raise ValueError(
            "weights='int8' needs X: typical rows, by which inputs are scaled and the loss of "
            "accuracy is measured"
        )
    return kind


def arithmetic(kind: str) -> np.dtype[Any]:
    """Return the dtype of the arithmetic for this kind of weights."""
    return np.dtype("float64" if kind == "float64" else "float32")


def layers_of(layers: list[Any], kind: str, rows: Array) -> list[Any]:
    """Return a network's layers with weights of the file's kind; int8 is calibrated on rows."""
    made = narrowed(layers, kind, rows) if kind in NARROW else layers
    return [_cast(layer, arithmetic(kind)) for layer in made]


def source_of(path: Any) -> Path:
    """Return the path of the C file, checked to end in .c and to be usable as a prefix of names."""
    source = Path(path)
    if source.suffix != ".c" or not (source.stem.isidentifier() and source.stem.isascii()):
        raise ValueError(
            f"path is {str(path)!r} but a C file whose name is an ASCII identifier is expected: "
            "for example 'model.c'"
        )
    return source


def _rows(model: Exported, X: Array | None) -> Array:
    """Return rows for the self-check: those of the user, or standard normal ones."""
    if X is not None:
        return X
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
