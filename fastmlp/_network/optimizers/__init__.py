"""The optimizers: one row each, the elementwise step as NumPy, with PyTorch's formulas.

SGD and Adam have a second form each, a keyword away, which scikit-learn and others compute.

The state of an optimizer is `n_slots` arrays a parameter, all zero at the start, kept by the
engine; an optimizer itself is frozen and can be shared by models. g is the gradient of the
objective, L2 penalty included; t counts the steps from 1.
"""

from __future__ import annotations

from fastmlp._core.keywords import OPTIONS, explained
from fastmlp._network.optimizers.adaptive import Adam, AdamW, Lion, RMSprop
from fastmlp._network.optimizers.base import N_HYPER, Optimizer, Slots
from fastmlp._network.optimizers.momentum import SGD

__all__ = [
    "NATIVE_OPTIMIZERS",
    "N_HYPER",
    "OPTIMIZERS",
    "SLOTS",
    "Optimizer",
    "Slots",
    "SGD",
    "RMSprop",
    "Adam",
    "AdamW",
    "Lion",
]

# Row order of the C table.
NATIVE_OPTIMIZERS = (
    *("sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw"),
    *("momentum_with_rate", "nesterov_with_rate", "adam_hat", "adamw_hat", "lion"),
)

OPTIMIZERS: dict[str, type[Optimizer]] = {
    row.name: explained(row, OPTIONS) for row in (SGD, RMSprop, Adam, AdamW, Lion)
}

# Of each native row: its slots, by their names in the formulas. The native engine keeps a mean as a
# sum, c/tables/optimizers.h: the number is the place among `hyper` of the mean's memory.
SLOTS: dict[str, Slots] = {
    row: slots for kind in OPTIMIZERS.values() for row, slots in kind._slots_by_row.items()
}
