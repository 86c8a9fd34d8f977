"""The validation functions under one name: arrays, labels, weights, options.

They return arrays that an engine can use directly: finite, aligned, of the model's dtype and in
native byte order. Arrays that already qualify are not copied, whatever their strides, and the
user's arrays are never modified. A wrong type raises TypeError and a wrong value ValueError; each
message gives the value, the expectation and a remedy.
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
