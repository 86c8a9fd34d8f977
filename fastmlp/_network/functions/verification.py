"""All functions of the user's in a network, looked at before anything is allocated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastmlp._network.functions.activation import CustomActivation
from fastmlp._network.losses.custom import CustomLoss


def verify(
    activations: Sequence[Any],
    parametric: Sequence[bool],
    loss: Any,
    dtype: np.dtype[Any],
    outputs: int,
) -> None:
    """Complain about own functions that are none, and where they cannot be.

    Parameters
    ----------
    activations, parametric, loss, dtype
        Of a `fastmlp._network.spec.Spec`.
    outputs : int
        Columns of the targets, or classes.

    Raises
    ------
    TypeError, ValueError
        By the name of the function.
    """
    for activation, is_parametric in zip(activations, parametric, strict=True):
        if not isinstance(activation, CustomActivation):
            continue
        if is_parametric:
            raise ValueError(
                f"parametric is True for {activation!r}, which is not blended: say False there, or "
                "use an activation by its name"
            )
        activation.verify(dtype)
    if isinstance(loss, CustomLoss):
        loss.verify(dtype, outputs)
