"""The result of a fit: one frozen value, which predictions, copies, files and exports read.

A fit makes a new value and assigns it to the estimator at the end, so whoever reads ``_fitted``
once reads one fit. During a fit only its own thread uses the value that is being made.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, TypeGuard, TypeVar

from fastmlp._core.history import History
from fastmlp._network.activations import Array
from fastmlp._validation.check import is_plain
from fastmlp.sklearn.scaled_network import ScaledNetwork

# Attributes with one entry per epoch, and all others that an epoch changes.
CURVES = ("loss_curve_", "validation_loss_curve_", "validation_scores_")
STATISTICS = (
    *("n_iter_", "t_", "loss_", "best_loss_", "best_validation_score_", "_no_improvement_count"),
    *CURVES,
)


Fit = TypeVar("Fit", covariant=True)


class FitHolder(Protocol[Fit]):
    """An estimator, which holds the value of its last fit."""

    @property
    def _fitted(self) -> Fit: ...


def fitted_of(estimator: FitHolder[Fit]) -> Fit:
    """Return the value of an estimator's fit: a `FittedNetwork`, or a `FittedTable`."""
    return estimator._fitted


class Targets(NamedTuple):
    """What the columns of the targets mean."""

    n_outputs: int
    labels: Any = None  # classifiers have a LabelBinarizer
    classes: Any = None


@dataclass(frozen=True, eq=False)
class FittedNetwork:
    """A network, the meaning of its outputs, and scikit-learn's attributes by their names."""

    network: ScaledNetwork
    targets: Targets
    attributes: dict[str, Any]
    # Lists that a fit extends while it continues from this value, with their lengths here.
    lengths: Sequence[tuple[list[Any], int]] = ()

    @property
    def has_names(self) -> bool:
        """Whether the columns have names, which scikit-learn compares."""
        return "feature_names_in_" in self.attributes

    def takes(self, X: Any) -> TypeGuard[Array]:
        """Whether scikit-learn's checks, which take long, would leave these samples as they are."""
        return not self.has_names and is_plain(X, self.network.spec)

    @property
    def is_apart(self) -> bool:
        """Whether this value was set apart, so that no fit changes its network."""
        return bool(self.lengths)

    @property
    def history(self) -> History:
        """The record of all epochs since the network was made."""
        return self.attributes["history_"]  # type: ignore[no-any-return]

    def attribute(self, name: str) -> Any:
        """Return a copy of an attribute, as it was when this value was set apart."""
        return copy.deepcopy(self.attributes[name], self._short_lists())

    def set_apart(self) -> FittedNetwork:
        """Return an equal value without the optimizer, which no fit of this network changes."""
        attributes = self.attributes
        values = [*attributes.values(), *vars(attributes["history_"]).values()]
        lengths = [(value, len(value)) for value in values if isinstance(value, list)]
        return replace(self, network=self.network.twin(), lengths=lengths)

    def shortened(self) -> FittedNetwork:
        """Remove the epochs that a failed fit has added to the lists."""
        for values, length in self.lengths:
            del values[length:]
        return replace(self, lengths=())

    def _short_lists(self) -> dict[int, Any]:
        """Return the lists as they were, in place of copies: a memo of ``copy.deepcopy``."""
        return {id(values): values[:length] for values, length in self.lengths}

    def __deepcopy__(self, memo: dict[int, Any]) -> FittedNetwork:
        memo.update(self._short_lists())
        network, targets = copy.deepcopy((self.network, self.targets), memo)
        return FittedNetwork(network, targets, copy.deepcopy(self.attributes, memo))
