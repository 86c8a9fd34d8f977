"""Every complaint about what the user hands over: arrays, labels, weights, options.

The functions return what the engine may use without a second look: finite arrays of the model's
dtype, native byte order, aligned. An array that is so already is never copied, whatever its
strides, and nothing that was handed over is ever written to. Types that cannot be meant raise
TypeError, values that cannot be used raise ValueError; each message says the value, what was
expected, and a remedy.
"""

from fastmlp._core.finite import first_non_finite
from fastmlp._validation.arrays import (
    REFUSED_KINDS,
    bad_out,
    bad_rows,
    cast,
    is_finite,
    is_plain,
    names,
    numeric,
    parameters,
)
from fastmlp._validation.options import (
    averaging,
    callbacks,
    clip_norm,
    generator,
    groups,
    optimizer,
    resume,
)
from fastmlp._validation.samples import (
    data,
    inputs,
    row_numbers,
    sample_weights,
    targets,
    validation,
)

__all__ = [
    "REFUSED_KINDS",
    "averaging",
    "bad_out",
    "bad_rows",
    "callbacks",
    "cast",
    "clip_norm",
    "data",
    "first_non_finite",
    "generator",
    "groups",
    "inputs",
    "is_finite",
    "is_plain",
    "names",
    "numeric",
    "optimizer",
    "parameters",
    "resume",
    "row_numbers",
    "sample_weights",
    "targets",
    "validation",
]
