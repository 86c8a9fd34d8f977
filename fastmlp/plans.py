"""From the user's arguments to a Plan: what one fit is to do, all checked, nothing changed yet."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastmlp import check
from fastmlp.intervals import NON_NEGATIVE, check_count
from fastmlp.spec import Data, Plan, Spec, dropout_of_fit


def plan(
    spec: Spec,
    data: Data,
    batch_size: Any,
    optimizer: Any,
    l2: Any,
    clip_norm: Any,
    groups: Any,
    dropout: Any,
) -> Plan:
    """Return the plan of a fit, without what belongs to one epoch.

    Parameters
    ----------
    spec : Spec
        The network.
    data : Data
        Checked.
    batch_size, optimizer, l2, clip_norm, groups, dropout
        As the user gave them to ``MLP.fit``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described there.
    """
    return Plan(
        optimizer=check.optimizer(optimizer),
        batch_size=min(check_count("batch_size", batch_size, example=64), data.x.shape[0]),
        learning_rates=np.empty(0),
        l2=NON_NEGATIVE.check("l2", l2, example=1e-4),
        clip_norm=check.clip_norm(clip_norm),
        groups=check.groups(groups, spec),
        dropout=dropout_of_fit(dropout, spec),
    )
