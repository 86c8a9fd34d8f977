"""Export to C: one C99 source file and its header, with the weights as constants.

The generated functions need only stack memory and libm, and are thread-safe. Loops are plain
(outputs inside inputs), so that compilers can vectorise them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastmlp._core.atomic_files import write_together
from fastmlp._export.c_layers import NARROW, arithmetic, layers_of, predict
from fastmlp._export.c_source import NetworkSource, largest
from fastmlp._export.layers import Array, Exported, Labels

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
    shape = ROWS, model.spec.layer_sizes[0]
    made_up = np.random.default_rng(0).normal(size=shape).astype(model.spec.dtype)
    rows = made_up if X is None else X
    nets = [layers_of(layers, kind, rows) for layers in model.nets]
    own, exact = predict(model, nets, rows), predict(model, model.nets, rows)
    made = NetworkSource(model, source.stem, arithmetic(kind), nets)
    return finish(made, source, rows, own, exact, largest(exact))


def finish(made: Any, source: Path, rows: Any, own: Array, exact: Array, unit: float) -> CFiles:
    """Write source and header, and measure the errors of predictions in multiples of ``unit``."""
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
    few = np.arange(0, len(own), -(-len(own) // ROWS))  # evenly spaced, for the self-check
    few = few[np.isfinite(own[few]).all(axis=1)]
    main = made.main(rows, few, own[few])
    texts = {files.header: made.header(), files.source: made.source(main)}
    write_together({path: [text.encode("ascii")] for path, text in texts.items()})
    return files


def _labels(labels: Labels | None, p: Array) -> Array | None:
    if labels is None:
        return None
    return p > 0.5 if labels.kind == "each" else p.argmax(axis=1)


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


def source_of(path: Any) -> Path:
    """Return the path of the C file, checked to end in .c and to be usable as a prefix of names."""
    source = Path(path)
    if source.suffix != ".c" or not (source.stem.isidentifier() and source.stem.isascii()):
        raise ValueError(
            f"path is {str(path)!r} but a C file whose name is an ASCII identifier is expected: "
            "for example 'model.c'"
        )
    return source
