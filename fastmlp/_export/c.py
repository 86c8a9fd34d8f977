"""Export to C: one C99 source file and its header, with the weights as constants.

The generated functions need only stack memory and libm, and are thread-safe. Loops are plain
(outputs inside inputs), so that compilers can vectorise them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastmlp._core.atomic_files import check_path, write_together
from fastmlp._core.intervals import check_count
from fastmlp._core.keywords import check_choice
from fastmlp._core.weight_types import from_bfloat16, in_units, to_bfloat16
from fastmlp._export import c_derivatives
from fastmlp._export.c_source import NetworkSource, finite_rows, largest
from fastmlp._network.activations import ACTIVATIONS, Array, blended
from fastmlp._network.exported import Exported, Labels, Layer
from fastmlp._network.layer_norm import layer_norm
from fastmlp._network.spec import Spec

MAX_PARAMETERS = 2**24  # compilers cannot handle more constants in reasonable time
ROWS = 16  # rows of the self-check
MAX_STACK = 2**20  # bytes of buffers; threads often have little more


@dataclass(frozen=True)
class CFiles:
    """The C files that `to_c` has written: their paths, sizes and errors.

    Attributes
    ----------
    source, header, description : pathlib.Path
        Paths of the files. The description is JSON for programs in other languages: the names and
        units of a table's columns, the values of its categories in the order of their codes, the
        classes, and the functions of the header.
    constant_bytes : int
        Bytes of weights, biases and scales, which may stay in read-only memory.
    stack_bytes : int
        Bytes of the arrays that a call has on the stack, for hidden layers; the frames of its
        functions and of libm's come on top, some hundred bytes.
    largest_error : float
        Largest difference between predictions of the file and the exact ones of the model, computed
        in float64, on X or the rows of the self-check. It is relative to the largest prediction,
        for estimators of tables to the standard deviation of the target. It includes the rounding
        of the inputs, and of the sums in the order of the file; a compiler's and libm's rounding
        may differ, but is about as large. It leaves out predictions that are infinite in the model.
    labels_changed : float or None
        Share of those rows whose predicted label changes; None without labels.

    Examples
    --------
    >>> import tempfile
    >>> import fastmlp
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = fastmlp.MLP([2, 8, 1], rng=0).to_c(f"{folder}/net.c")
    >>> files.source.name, files.header.name, files.constant_bytes, files.stack_bytes
    ('net.c', 'net.h', 132, 32)
    """

    source: Path
    header: Path
    description: Path
    constant_bytes: int
    stack_bytes: int
    largest_error: float
    labels_changed: float | None


def write(
    model: Exported,
    path: str | os.PathLike[str],
    weights: str | None = None,
    X: Array | None = None,
    derivatives: int = 0,
) -> CFiles:
    """Write the files; arguments and result are those of `Exportable.to_c`."""
    kind, source = kind_of(weights, X, model), source_of(path)
    order = check_count("derivatives", derivatives, example=2, least=0)
    if order > len(c_derivatives.DECLARED):
        raise ValueError(f"derivatives is {order} but 0, 1 or 2 is expected: use hvp in Python")
    if order and kind in NARROW:
        raise ValueError(
            f"derivatives is {order} and weights {kind!r} but derivatives are written with whole "
            "weights: use weights='float32'"
        )
    if order and len(model.nets) > 1 and model.spec.loss.predicts_variance:
        raise ValueError(
            f"derivatives is {order} but the variance of a mixture has none in C: write the "
            "members, each on its own"
        )
    shape = ROWS, model.spec.layer_sizes[0]
    made_up = np.random.default_rng(0).normal(size=shape).astype(model.spec.dtype)
    rows = made_up if X is None else X
    nets, dtype = [layers_of(layers, kind, rows) for layers in model.nets], arithmetic(kind)
    exact = predict(model, model.nets, rows)
    with np.errstate(over="ignore"):
        rows = rows.astype(dtype)
    predictions, wide = predict(model, nets, rows, dtype), predict(model, nets, rows)
    with np.errstate(invalid="ignore"):
        rounding = largest(predictions - wide)
    made = NetworkSource(model, source.stem, dtype, nets, rounding)
    if order:
        c_derivatives.add(made, nets, order)
        if made.stack_bytes > MAX_STACK:
            raise ValueError(
                f"derivatives={order} of this network needs {made.stack_bytes:,} bytes of stack "
                f"but at most {MAX_STACK:,} are expected: use derivatives={order - 1}, or a "
                "network with fewer inputs or units"
            )
    return finish(made, source, rows, predictions, exact, largest(exact))


def finish(
    made: Any, source: Path, rows: Any, predictions: Array, exact: Array, unit: float
) -> CFiles:
    """Write source and header, and measure the errors of predictions in multiples of ``unit``."""
    before, after = (_labels(made.model.labels, p) for p in (exact, predictions))
    with np.errstate(over="ignore"):
        is_finite = np.isfinite(predictions.astype(made.public))
    if not is_finite.any():
        raise ValueError(
            f"the predictions of all {len(predictions)} rows are infinite or NaN in {made.public} "
            "but finite ones are expected: pass X, typical rows, or use weights='float64'"
        )
    with np.errstate(invalid="ignore"):  # differences of infinite predictions
        errors = np.where(is_finite, np.abs(predictions - exact), np.inf)
    files = CFiles(
        source,
        source.with_suffix(".h"),
        source.with_suffix(".json"),
        made.constant_bytes,
        made.stack_bytes,
        float(errors.max(initial=0.0, where=np.isfinite(exact))) / (unit or 1.0),
        None
        if before is None
        else float((before != after).reshape(len(predictions), -1).any(axis=1).mean()),
    )
    few = np.arange(
        0, len(predictions), -(-len(predictions) // ROWS)
    )  # evenly spaced, for the self-check
    few = few[finite_rows(predictions[few], made.public)]
    main = made.main(rows, few, predictions[few])
    described = json.dumps(made.description(), indent=1) + "\n"
    texts = {files.header: made.header(), files.source: made.source(main)}
    texts[files.description] = described
    write_together({path: [text.encode("ascii")] for path, text in texts.items()})
    return files


def _labels(labels: Labels | None, p: Array) -> Array | None:
    if labels is None or labels.kind == "hazards":
        return None
    return p > 0.5 if labels.kind == "each" else p.argmax(axis=1)


def kind_of(weights: str | None, X: Any, model: Any) -> str:
    """Return the name of the weights' dtype, by default the model's; reject invalid choices."""
    chosen = model.spec.dtype.name if weights is None else weights
    kind = check_choice("weights", chosen, WEIGHTS)
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


def source_of(path: str | os.PathLike[str]) -> Path:
    """Return the path of the C file, checked to end in .c and to be usable as a prefix of names."""
    check_path(path)
    source = Path(path)
    if source.suffix != ".c" or not (source.stem.isidentifier() and source.stem.isascii()):
        near = re.sub(r"[^A-Za-z0-9_]", "_", source.stem)
        near = near if near[:1].isalpha() else "model"
        raise ValueError(
            f"path is {str(path)!r} but a name of letters, digits and _ that ends in .c is "
            f"expected, because names in the file begin with it: for example '{near}.c'"
        )
    return source


# ---- layers: rounded, cast to the dtype of the file, and evaluated in NumPy ----------------------

MATRICES = ("weights", "linear_weights")


def _keep(z: Array, stored: dict[str, Array], name: str) -> Array:
    stored[name] = z
    return z


def _whole(weights: Array) -> Array:
    """Return weights as numbers: those of bfloat16 are stored as uint16."""
    return from_bfloat16(weights) if weights.dtype == np.uint16 else weights


def _affine(
    z: Array,
    stored: dict[str, Any],
    name: str,
    weights: Array,
    biases: Array,
    unit: float | Array = 1.0,
) -> Array:
    del name
    return np.asarray(stored["product"](z, _whole(weights)) * unit + biases)


# The value of each layer except the link, from the current and the stored values, the layer's name
# and its arrays. Weights of int8 are multiples of their column's ``unit``, and "scaling" gives such
# networks inputs of equal scale. Most inputs of "entries" are 0.
VALUES: dict[str, Any] = {
    "scaling": lambda z, stored, name, mean, factor: (z - mean) * factor,
    "affine": _affine,
    "entries": _affine,
    "linear": lambda z, stored, name, linear_weights, linear_unit=1.0: (
        z + stored["product"](stored["inputs"], _whole(linear_weights)) * linear_unit
    ),
    "layer_norm": lambda z, stored, name, gains, shifts: layer_norm(z, gains, shifts),
    "parametric": lambda z, stored, name, alphas: blended(name, alphas, z),
    "activation": lambda z, stored, name: ACTIVATIONS[name].value(z),
    "keep": _keep,
    "skip": lambda z, stored, name: z + stored["block"],
}


def in_order(z: Array, weights: Array) -> Array:
    """Return z @ weights, summed in the order of the C file: one input after the other."""
    sums = np.zeros((len(z), weights.shape[1]), z.dtype)
    for at in range(0, len(z), 256):  # rows whose sums stay in the cache
        for x, w in zip(z[at : at + 256].T, weights, strict=True):
            sums[at : at + 256] += np.multiply.outer(x, w)
    return sums


def outputs(
    spec: Spec, layers: list[Layer], rows: Array, dtype: np.dtype[Any] | None = None
) -> Array:
    """Return a network's predictions of some rows: in float64, or as a C file of a dtype does."""
    stored: dict[str, Any] = {"product": in_order if dtype else np.matmul}
    with np.errstate(all="ignore"):
        z = np.asarray(rows, dtype or np.float64)
        for layer in layers[:-1]:
            z = VALUES[layer.kind](z, stored, layer.name, **layer.arrays)
        return spec.loss.link(z)


def predict(
    model: Exported, nets: Sequence[list[Layer]], rows: Array, dtype: np.dtype[Any] | None = None
) -> Array:
    """Return predictions like `outputs`, averaged over the networks."""
    predictions = [outputs(model.spec, layers, rows, dtype) for layers in nets]
    with np.errstate(all="ignore"):
        p = np.asarray(np.mean(predictions, axis=0))
        if model.spec.loss.predicts_variance:
            m = model.spec.n_outputs
            p[:, m:] += np.var([means[:, :m] for means in predictions], axis=0)
    return np.concatenate([1 - p, p], axis=1) if model.is_pair else p


def arithmetic(kind: str) -> np.dtype[Any]:
    """Return the dtype of the arithmetic for this kind of weights."""
    return np.dtype("float64" if kind == "float64" else "float32")


def layers_of(layers: list[Layer], kind: str, rows: Array) -> list[Layer]:
    """Return a network's layers with weights of the file's kind; int8 is calibrated on rows."""
    dtype = arithmetic(kind)

    def cast(array: Array) -> Array:
        if array.dtype in (np.int8, np.uint16):
            return array
        with np.errstate(over="ignore", under="ignore"):
            converted = array.astype(dtype)
        if not np.isfinite(converted).all():
            raise ValueError(f"a weight is too large for {dtype}: use weights='float64'")
        return converted

    if kind in NARROW:
        layers = NARROW[kind](layers, rows)
    return [layer.mapped(cast) for layer in layers]


def quantized(layers: list[Layer], rows: Array) -> list[Layer]:
    """Return layers with int8 weights, after one that scales inputs by statistics of the rows."""
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    arrays = [dict(layer.arrays) for layer in layers]
    affine = [tensors for tensors in arrays if "weights" in tensors]
    # The mean and scale of the inputs move into the layers that read them.
    readers = [(affine[0], "weights", affine[0])]
    readers += [
        (tensors, "linear_weights", affine[-1]) for tensors in arrays if "linear_weights" in tensors
    ]
    for tensors, name, biased in readers:
        biased["biases"] = biased["biases"] + mean @ tensors[name]
        tensors[name] = tensors[name] * spread[:, np.newaxis]
    for tensors in arrays:
        for name in tensors.keys() & {*MATRICES}:
            whole, unit = in_units(tensors[name])
            tensors |= {name: whole, name.replace("weights", "unit"): unit}
    scaling = Layer("scaling", arrays={"mean": mean, "factor": 1 / spread})
    return [
        scaling,
        *(layer._replace(arrays=tensors) for layer, tensors in zip(layers, arrays, strict=True)),
    ]


def halved(layers: list[Layer], rows: Array) -> list[Layer]:
    """Return layers whose weights are the upper halves of float32 numbers."""
    del rows  # rounding needs no calibration
    return [
        layer._replace(
            arrays={
                name: to_bfloat16(array) if name in MATRICES else array
                for name, array in layer.arrays.items()
            }
        )
        for layer in layers
    ]


NARROW = {"int8": quantized, "bfloat16": halved}
WEIGHTS = ("float32", "float64", *NARROW)
