"""The losses: per-sample value, gradient with respect to the network's last affine output z, link.

The loss of a sample is the SUM over its outputs; the loss of a batch is the weighted MEAN over its
samples (the engine does that part). The link turns z into what `predict` returns, and belongs to
the loss: so the gradient is taken through the link in closed form and never overflows on the way.
Targets arrive checked and shaped (n, m) in the dtype of z, or as int32 labels (n,).
"""

from __future__ import annotations

from fastmlp._core.keywords import choices
from fastmlp._network.losses.base import Loss
from fastmlp._network.losses.classification import BinaryCrossEntropy, CrossEntropy
from fastmlp._network.losses.regression import (
    AbsoluteError,
    GaussianNLL,
    Huber,
    PoissonNLL,
    Quantile,
    SquaredError,
)

__all__ = [
    "LOSSES",
    "NATIVE_LOSSES",
    "Loss",
    "AbsoluteError",
    "GaussianNLL",
    "Huber",
    "PoissonNLL",
    "Quantile",
    "SquaredError",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "resolve",
]

# Row order of the C table. One class may have several rows (labels or soft targets, for example).
NATIVE_LOSSES = (
    "squared_error",
    "absolute_error",
    "huber",
    "quantile",
    "poisson_nll",
    "gaussian_nll_unit",
    "gaussian_nll",
    "cross_entropy_labels",
    "cross_entropy_soft",
    "binary_cross_entropy",
)

LOSSES: dict[str, type[Loss]] = {
    row.name: row
    for row in (
        *(SquaredError, AbsoluteError, Huber, Quantile, PoissonNLL, GaussianNLL),
        *(CrossEntropy, BinaryCrossEntropy),
    )
}


def resolve(loss: str | Loss) -> Loss:
    """Return the loss that the user named or built.

    Parameters
    ----------
    loss : str or Loss
        A key of `LOSSES`, for the defaults, or an instance, of a `CustomLoss` too.

    Returns
    -------
    Loss
        An instance.

    Raises
    ------
    ValueError
        If no loss has that name.
    TypeError
        If it is neither a name nor an instance of exactly one of these classes.

    Examples
    --------
    >>> resolve("huber")
    Huber(delta=1.0)
    """
    if isinstance(loss, Loss) and (type(loss) in LOSSES.values() or _is_custom(loss)):
        return loss
    if not isinstance(loss, str):
        raise TypeError(
            f"loss is {loss!r} ({type(loss).__name__}) but a name or an instance such as "
            "losses.Huber() is expected, no subclass, whose formula would never be called: "
            f"choose from {', '.join(LOSSES)}, or pass a fastmlp.CustomLoss"
        )
    if loss not in LOSSES:
        raise ValueError(f"loss is {loss!r} but no loss has that name: {choices(loss, LOSSES)}")
    return LOSSES[loss]()


def _is_custom(loss: Loss) -> bool:
    """Whether it is a `CustomLoss`, and of no class derived from it."""
    if not loss.is_custom:
        return False
    from fastmlp._network.losses.custom import CustomLoss

    return type(loss) is CustomLoss
