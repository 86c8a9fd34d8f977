"""The validation functions under one name: arrays, labels, weights, options.

They return arrays that an engine can use directly: finite, aligned, of the model's dtype and in
native byte order, without a copy if possible. A wrong type raises TypeError, a value ValueError.
"""

from fastmlp._validation.arrays import *  # noqa: F403
from fastmlp._validation.options import *  # noqa: F403
from fastmlp._validation.samples import *  # noqa: F403
