"""The validation functions under one name: arrays, labels, weights, options.

They return arrays that an engine can use directly: finite, aligned, of the model's dtype and in
native byte order. Arrays that already qualify are not copied, whatever their strides, and the
user's arrays are never modified. A wrong type raises TypeError and a wrong value ValueError; each
message gives the value, the expectation and a remedy.
"""

from fastmlp._validation.arrays import *  # noqa: F403
from fastmlp._validation.options import *  # noqa: F403
from fastmlp._validation.samples import *  # noqa: F403
