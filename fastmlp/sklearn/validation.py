"""Samples of a fit: checks, the validation split and its scores, weights of classes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array, issparse
from scipy.special import xlogy
from sklearn.metrics import check_scoring
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import type_of_target

from fastmlp._core.intervals import first_non_finite
from fastmlp._core.user_warnings import warn
from fastmlp._network.activations import Array
from fastmlp._network.data import Data
from fastmlp._network.sparse import SparseRows
from fastmlp._training.metrics import r2
from fastmlp._validation import check
from fastmlp._validation.arrays import check_unmasked
from fastmlp.sklearn.parameters import Validated, copy_with_state
from fastmlp.sklearn.scaled_network import ScaledNetwork

if TYPE_CHECKING:
    from fastmlp._engine.protocol import Engine
    from fastmlp._engine.thread_pool import Team
    from fastmlp._validation.arrays import TableLike

DTYPES = (np.float64, np.float32)  # X of another dtype is converted to the first
MAX_LISTED = 5  # classes in a message


@dataclass
class Samples(Data):
    """Data before scaling, in any dtype, with the user's labels or targets."""

    y: Any = None

    def take(self, rows: NDArray[np.int64]) -> Samples:
        """Return a copy of some rows."""
        return Samples(**vars(self.part(rows)), y=self.y[rows])


@dataclass
class Validation:
    """Held-out samples, their scaled version for the engine, and the constant of their loss."""

    samples: Samples
    data: Data
    constant: float

    def score(
        self,
        draft: Validated,
        changes: Mapping[str, Any],
        engine: Engine,
        team: Team | None,
        loss: float,
    ) -> float:
        """Return the score by ``scoring``, higher is better; scorers see changed attributes."""
        if draft.scoring == "loss":
            return -loss
        if draft.scoring is None:
            outputs, targets = engine.predict(self.data.x, team), self.data.targets
            if draft._fitted.targets.labels is None:
                return r2(targets, outputs[:, : targets.shape[1]], self.samples.weights)
            if targets.ndim == 1:
                right = outputs.argmax(axis=1) == targets
            else:
                right = ((outputs > 0.5) == (targets > 0.5)).all(axis=1)
            return float(np.average(right, weights=self.samples.weights))
        scorer = check_scoring(draft, draft.scoring)
        X, y, weights = sound(self.samples.x, "X"), self.samples.y, self.samples.weights
        options = {} if weights is None else {"sample_weight": weights}
        fitted = draft._fitted
        curve = [*fitted.attributes["loss_curve_"], changes["loss_"]]
        attributes = {**fitted.attributes, **changes, "loss_curve_": curve}
        # X has no feature names here; without them in the copy, scorers do not warn.
        attributes.pop("feature_names_in_", None)
        state = {**vars(draft), "_fitted": replace(fitted, attributes=attributes)}
        return float(scorer(copy_with_state(draft, state), X, y, **options))


@contextlib.contextmanager
def checking(X: TableLike | None) -> Iterator[None]:
    """Explain errors of scikit-learn's checks: of large integers, and of X that is not finite."""
    try:
        yield
    except OverflowError as error:
        raise ValueError(
            f"X, y or sample_weight holds a number too large for float64 ({error}): rescale it"
        ) from error
    except ValueError as error:
        if str(error).startswith("Input X contains"):
            with contextlib.suppress(TypeError, ValueError):  # pandas.NA in a frame raises them
                row, column = _first_non_finite(X)
                note = f"the first is in row {row}, column {column} (counted from 0)"
                if str(error).startswith("Input X contains NaN"):
                    note += "; TabMLPRegressor and TabMLPClassifier take NaN as missing"
                error.add_note(note)
        raise


def _first_non_finite(X: Any) -> tuple[int, ...]:
    """Return the row and column of the first NaN or infinity; an empty tuple if there is none."""
    if not issparse(X):
        return first_non_finite(np.asarray(X, np.float64)) or ()
    matrix = X.tocoo()
    places = np.column_stack([matrix.row, matrix.col])[~np.isfinite(matrix.data)]
    return tuple(map(int, min(places.tolist(), default=())))


def are_plain(y: Any, n: int) -> bool:
    """Whether scikit-learn's checks would leave these targets of n samples as they are."""
    return (
        type(y) is np.ndarray
        and y.dtype.kind in "fi"
        and y.ndim in (1, 2)
        and len(y) == n
        and y.size > 0
        and first_non_finite(y) is None
    )


def refuse_text(y: ArrayLike | None, classifier: str) -> None:
    """Reject text as regression targets, which NumPy would convert to numbers."""
    array = np.asarray(y)
    if array.dtype.kind in "US" or array.dtype.kind == "O":
        text = next((value for value in array.flat if isinstance(value, str | bytes)), None)
        if text is not None:
            raise ValueError(
                f"y holds text ({text[:40]!r}) but numbers are expected: convert it, by "
                "astype(float) where the text is a number alone, or predict labels with "
                f"{classifier}"
            )


def plain_labels(y: Any) -> Any:
    """Return labels of pandas's types as NumPy's; scikit-learn would round integers to floats."""
    if hasattr(y, "iloc") and y.ndim > 1 and len(set(y.dtypes)) == 1:
        array = np.column_stack([np.asarray(column) for _, column in y.items()])
    else:
        array = np.asarray(y if hasattr(y, "dtype") else None)
    return y if array.dtype.kind == "O" else array


def refuse_labels(y: Array, regressor: str) -> None:
    """Reject missing labels, fractions, text mixed with others, and objects such as decimals."""
    if y.dtype.kind in "fmM" and np.isnan(y).any():
        missing = "NaN" if y.dtype.kind == "f" else "NaT"
        raise ValueError(f"Input y contains {missing} but labels are expected: drop these rows")
    if y.dtype.kind == "f" and (is_fraction := np.isfinite(y) & (y != np.floor(y))).any():
        raise ValueError(
            f"Unknown label type: continuous, y holds {y[is_fraction][0]} but labels are expected: "
            f"use {regressor} for numbers"
        )
    if y.dtype.kind != "O":
        return
    items = y.reshape(-1).tolist()
    if any(map(check.is_missing, items)):
        raise ValueError("y contains NaN, None or NA but labels are expected: drop these rows")
    if len({isinstance(label, str) for label in items}) > 1:
        other = next(label for label in items if not isinstance(label, str))
        raise ValueError(
            f"y holds text and {other!r} but labels of one type are expected: convert them to text"
        )
    if type_of_target(y) == "unknown":
        raise ValueError(
            f"Unknown label type: y holds {check.short(y.flat[0])} but numbers, text or NumPy's "
            "dates are expected: convert it, numbers by astype(int), dates without a time zone by "
            "astype('datetime64[D]'), others by astype(str)"
        )


def sound(X: Any, name: str) -> Any:
    """Return X; raise an error for a source, masks, or sparse indices out of range."""
    # Most inputs are plain arrays, which need neither check, and each call would take time.
    if type(X) is not np.ndarray:
        check.no_source(X)
        check_unmasked(**{name: X})
    if isinstance(X, SparseRows):
        return csr_array((X.values, X.indices, X.indptr), shape=X.shape)
    # scikit-learn does not check the indices before native code uses them.
    if issparse(X) and X.format in ("csr", "csc", "bsr", "coo"):
        try:  # new matrices share the arrays: SciPy cuts those with spare room
            if X.format == "coo":
                type(X)((X.data, (X.row, X.col)), shape=X.shape)
            else:
                form = type(X)((X.data, X.indices, X.indptr), shape=X.shape)
                form.check_format(full_check=True)
        except ValueError as error:
            raise ValueError(
                f"{name} is a {X.format} matrix of shape {X.shape} with indices outside of it "
                f"({error}): rebuild it from a dense or COO matrix, and do not write into its "
                "index arrays"
            ) from error
    return X


def _of_tweedie(y: Array, loss: Any) -> Array:
    """Return the terms of the Tweedie deviance that the engine's loss leaves out."""
    rise, fall = 2 - loss.power, loss.power - 1
    return np.asarray(-(y**rise) / (rise * fall))


# Name of a loss -> the terms of targets alone by which half the deviance differs from it.
LEFT_OUT: dict[str, Callable[[Array, Any], Array]] = {
    "poisson_nll": lambda y, loss: xlogy(y, y) - y,
    "gamma_nll": lambda y, loss: -1 - np.log(y),
    "tweedie": _of_tweedie,
}


def loss_constant(network: ScaledNetwork, targets: Array, weights: Array | None) -> float:
    """Return the difference of half the deviance and the engine's loss; 0 of other losses."""
    loss, scaling = network.spec.loss, network.scaling
    if loss.name not in LEFT_OUT:
        return 0.0
    scaled = targets if scaling is None else scaling.scaled_targets(targets, network.spec)
    terms = np.sum(LEFT_OUT[loss.name](scaled, loss), axis=1)
    return float(np.average(terms, weights=weights))


def weights_of_classes(class_weight: Any, y: Array, classes: Array) -> Array:
    """Return the weight of each sample by its class; warn of weights for unknown classes."""
    if isinstance(class_weight, dict) and (y.ndim > 1 or y.dtype.kind in "mM"):
        kind = "y is a matrix of labels, each 0 or 1" if y.ndim > 1 else "the classes are dates"
        raise ValueError(
            f"class_weight is {check.short(class_weight)} but {kind}: pass "
            "class_weight='balanced', or sample_weight"
        )
    for label, weight in class_weight.items() if isinstance(class_weight, dict) else ():
        if not (isinstance(weight, Real) and 0 <= float(weight) < np.inf):
            raise ValueError(
                f"class_weight has {weight!r} for the class {label!r} but a finite "
                "number of at least 0 is expected: 0 leaves out the rows of a class"
            )
    weights = np.asarray(compute_sample_weight(class_weight, y))
    if isinstance(class_weight, dict):
        unknown = [label for label in class_weight if label not in set(classes.tolist())]
        if unknown:
            warn(
                f"class_weight has {_listed(unknown)} but y has the classes "
                f"{_listed(classes.tolist())}: the other entries have no effect"
            )
    return weights


def _listed(labels: list[Any]) -> str:
    """Return the first few labels as text."""
    more = ", ..." if len(labels) > MAX_LISTED else ""
    return ", ".join(map(repr, labels[:MAX_LISTED])) + more
