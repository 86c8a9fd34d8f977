"""What a loss is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fastmlp._network import links
from fastmlp._network.activations import Array


@dataclass(frozen=True)
class Loss:
    """What every loss has; the subclasses are the rows.

    `name` is the key in `LOSSES`; `target_kind` says what targets may be: "real" numbers, a "count"
    (>= 0), the "unit_interval" [0, 1], or a "class"; `is_custom`, whether the user wrote it. A loss
    with parameters is a dataclass itself; the others inherit this one's methods.
    """

    name: ClassVar[str]
    is_custom: ClassVar[bool] = False
    target_kind: ClassVar[str] = "real"

    @property
    def heads(self) -> int:
        """Columns of the last affine layer per output."""
        return 1

    @property
    def parameter(self) -> float:
        """The one number of the loss, or 0."""
        return 0.0

    def native_row(self, labels: bool) -> str:
        """Return the row of `NATIVE_LOSSES`; `labels` says whether targets are integer labels."""
        del labels  # only cross_entropy has two kinds of target
        return self.name

    @property
    def _link(self) -> links.Link:
        return links.IDENTITY

    @property
    def link_name(self) -> str:
        """The name of the link, see `fastmlp._network.links`."""
        return self._link.name

    def link(self, z: Array) -> Array:
        """Return the prediction that belongs to z, (n, heads * m), same dtype."""
        return self._link.value(z)

    def link_slope(self, prediction: Array, c: int) -> Array:
        """Return the derivatives of column c of the prediction with respect to z, like z."""
        return self._link.slope(prediction, c)

    def value_and_gradient(self, z: Array, t: Array) -> tuple[Array, Array]:
        """Return the losses of the samples and their gradients, not yet weighted or averaged.

        Parameters
        ----------
        z : array of float32 or float64, shape (n, heads * m)
            Outputs of the last affine layer.
        t : array of the dtype of z, shape (n, m), or of int32, shape (n,)
            Targets.

        Returns
        -------
        values : array, shape (n,)
            Summed over the outputs of a sample.
        dz : array, shape (n, heads * m)
            Row i is d values[i] / d z[i].
        """
        with np.errstate(over="ignore", invalid="ignore"):  # beyond the dtype is infinity, rightly
            terms, dz = self._terms(z, t)
            return np.sum(terms, axis=1), dz

    def _terms(self, z: Array, t: Array) -> tuple[Array, Array]:
        """Return what a sample's loss is the sum of, (n, any), and the gradient."""
        raise NotImplementedError
