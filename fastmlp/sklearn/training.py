"""One fit of MLPClassifier or MLPRegressor: checked samples, a network, a solver, a new value.

Random numbers are drawn in scikit-learn's order: initial weights, validation split, batches. The
estimator gets the new `FittedNetwork` after the last epoch. Until then, and after an error, it has
the old one; a fit that continues trains the old network, and leaves an equal one in its place.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import train_test_split
from sklearn.utils import column_or_1d
from sklearn.utils.validation import _check_sample_weight, validate_data

from fastmlp._core.history import History
from fastmlp._core.user_warnings import warn
from fastmlp._engine.thread_count import fit_team, of_jobs
from fastmlp._network.activations import Array
from fastmlp._network.data import Data
from fastmlp._network.sparse import is_sparse, rows_of
from fastmlp._network.spec import Spec
from fastmlp._validation import check
from fastmlp._validation.arrays import check_unmasked
from fastmlp._validation.compatibility import refusal
from fastmlp.sklearn import hints, validation
from fastmlp.sklearn.fitted import FittedNetwork, Targets
from fastmlp.sklearn.lbfgs import LbfgsFit
from fastmlp.sklearn.observers import Observers
from fastmlp.sklearn.parameters import STOCHASTIC, Validated, copy_with_state
from fastmlp.sklearn.scaled_network import ScaledNetwork, first_parameters, spec_of
from fastmlp.sklearn.scaling import Scaling
from fastmlp.sklearn.stochastic import NON_FINITE, BatchFit
from fastmlp.sklearn.validation import Samples, Validation, sound

if TYPE_CHECKING:
    from fastmlp._validation.arrays import TableLike

# Samples, targets and sample weights as the user passes them.
Rows: TypeAlias = "tuple[TableLike | None, ArrayLike | None, ArrayLike | None]"

# scikit-learn's names of links, where they differ.
OUT_ACTIVATIONS = {"sigmoid": "logistic", "mean_and_variance": "identity"}
ABSENT = (None, None, None)  # validation data
FEATURES = ("n_features_in_", "feature_names_in_")  # attributes that scikit-learn's checks set


def train(
    estimator: Validated,
    data: Rows,
    valid: Rows = ABSENT,
    classes: ArrayLike | None = None,
    one_epoch: bool = False,
) -> None:
    """Train, and replace the estimator's value; ``one_epoch`` is a ``partial_fit``.

    The data are samples, targets and sample weights; so are those for validation.
    """
    X, y, sample_weight = data
    if one_epoch and estimator.early_stopping:
        raise refusal("early_stopping", "partial_fit")
    continues = estimator.warm_start or one_epoch
    earlier: FittedNetwork | None = vars(estimator).get("_fitted") if continues else None
    # scikit-learn's checks set attributes of the draft, and callbacks get it as ``state.model``.
    draft = copy_with_state(estimator, {**vars(estimator), "_fitted": earlier})
    reset = earlier is None
    X_checked, y_checked, weights = _checked(draft, X, y, sample_weight, reset, earlier)
    targets = draft._targets(y_checked, earlier and earlier.targets, one_epoch, classes)
    samples = Samples(X_checked, draft._encode(y_checked, targets), weights, y=y_checked)
    rng = estimator._fitting.generator(estimator.random_state)
    before = None if earlier is None else earlier.network
    network = _network(estimator, before, samples, targets, rng)
    spec = network.spec
    held_out = _validation_samples(draft, targets, *valid)
    if held_out is None and estimator.early_stopping and estimator.solver in STOCHASTIC:
        samples, held_out = _split(samples, spec, estimator.validation_fraction, rng)
    weights = _training_weights(estimator, samples, targets, spec)
    if earlier is None:
        if estimator.standardize:
            network.scaling = Scaling.measure(samples.x, samples.targets, weights, spec, one_epoch)
        attributes = _first_attributes(estimator, draft, spec, targets)
    else:
        network.scaling = _next_scaling(network, earlier, samples, weights)
        attributes = _next_attributes(estimator, earlier)
    if held_out is not None and attributes.get("validation_loss_curve_") is None:
        attributes["validation_loss_curve_"] = []
    fitted = draft._fitted = FittedNetwork(network, targets, attributes)
    scaled = network.data(samples, weights)
    test = None if held_out is None else _validation(network, held_out)
    constant = validation.loss_constant(network, samples.targets, weights)
    arguments = {"X": X, "y": y, "metadata": {"sample_weight": sample_weight}}
    reporter = Observers(estimator, draft, arguments, held_out is not None, one_epoch)
    if earlier is not None:
        estimator._fitted = earlier = earlier.set_apart()
    try:
        if estimator.solver in STOCHASTIC:
            solver: BatchFit | LbfgsFit = BatchFit(reporter, scaled, test, constant, rng)
        else:
            solver = LbfgsFit(reporter, scaled, test, constant)
        _solve(solver, estimator.n_jobs, fitted)
        _adopt(estimator, fitted)
    except BaseException as error:
        if getattr(error, "history", None) is fitted.history:  # this fit has diverged
            _adopt(estimator, fitted)
            raise ValueError(NON_FINITE) from None
        if earlier is not None and estimator._fitted is earlier:
            estimator._fitted = earlier.shortened()
        raise
    if not one_epoch:
        _tell(estimator, scaled, held_out)


def _next_scaling(
    network: ScaledNetwork, earlier: FittedNetwork, samples: Samples, weights: Array | None
) -> Scaling | None:
    """Return the scaling of a network that goes on; another link scales its targets anew."""
    scaling, spec = network.scaling, network.spec
    if scaling is None or spec.loss.link_name == earlier.network.spec.loss.link_name:
        return scaling
    return scaling.of_targets(samples.targets, weights, spec)


def _tell(estimator: Validated, scaled: Data, held_out: Samples | None) -> None:
    """Log what users should know of a fit that has ended."""
    n_held_out = 0 if held_out is None else held_out.rows
    messages = hints.all_of(estimator, scaled.x, scaled.targets, n_held_out)
    hints.tell(messages, estimator.verbose)


def _validation(network: ScaledNetwork, held_out: Samples) -> Validation:
    """Return what measures a network on rows that it does not learn."""
    weights = check.sample_weights(held_out.weights, held_out.rows, network.spec.dtype)
    constant = validation.loss_constant(network, held_out.targets, weights)
    return Validation(held_out, network.data(held_out, weights), constant)


def _adopt(estimator: Validated, fitted: FittedNetwork) -> None:
    """Give the estimator the value of a fit, in place of all that the user has assigned."""
    estimator._fitted = fitted
    for name in vars(estimator).keys() & fitted.attributes.keys():
        delattr(estimator, name)


def _solve(solver: BatchFit | LbfgsFit, n_jobs: int | None, fitted: FittedNetwork) -> None:
    """Run a solver; an interrupt ends it with a warning, after the last completed epoch."""
    network = fitted.network
    fitted.attributes["n_iter_"] = 0
    try:
        threads = fit_team(of_jobs(n_jobs), network.n_weights, solver.rows)
        with threads as team, solver.reporter.watching():
            solver.run(team)
            solver.evaluator.restore_best()
    except KeyboardInterrupt:
        warn("Training interrupted by user.")
        solver.evaluator.restore_best()
    finally:
        network.take_over()
        network.trained()  # weights were restored here or by a callback


# ---- samples -------------------------------------------------------------------------------------


def _validation_samples(
    draft: Validated,
    targets: Targets,
    X: TableLike | None,
    y: ArrayLike | None,
    sample_weight: ArrayLike | None,
) -> Samples | None:
    """Return the user's validation data, if there are any."""
    if X is None and y is None and sample_weight is None:
        return None
    if X is None or y is None:
        raise ValueError("X_val and y_val belong together: pass both to fit, or neither")
    X, y, weights = _checked(draft, X, y, sample_weight, reset=False)
    targets = draft._targets(y, targets, True)
    return Samples(X, draft._encode(y, targets), weights, y=y)


def _split(
    samples: Samples, spec: Spec, fraction: float, random_state: np.random.RandomState
) -> list[Samples]:
    """Return the samples to train on and those to hold out, the same as scikit-learn's."""
    is_binary = spec.loss.target_kind == "unit_interval" and spec.n_outputs == 1
    options = {"stratify": samples.targets > 0.5 if is_binary else None, "test_size": fraction}
    try:
        rows = train_test_split(np.arange(samples.rows), random_state=random_state, **options)
    except ValueError as error:  # it names no parameter of the estimator
        error.add_note(
            f"early_stopping holds out validation_fraction={fraction} of {samples.rows} rows: pass "
            "more rows, X_val and y_val, or early_stopping=False"
        )
        raise
    if len(rows[1]) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' "
            "or the size of your dataset."
        )
    return list(map(samples.take, rows))


def _checked(
    draft: Validated,
    X: TableLike | None,
    y: Any,
    sample_weight: ArrayLike | None,
    reset: bool,
    earlier: FittedNetwork | None = None,
) -> tuple[Any, Any, Any]:
    """Return checked arrays, or `SparseRows`; errors are scikit-learn's.

    What an earlier fit takes as it is, is not checked again by scikit-learn.
    """
    check_unmasked(y=y, sample_weight=sample_weight)
    if draft._target_checks:  # numbers
        validation.refuse_text(y, "MLPClassifier")
    else:
        y = validation.plain_labels(y)
    are_plain = earlier is not None and earlier.takes(X) and validation.are_plain(y, len(X))
    with validation.checking(X):
        if not are_plain:
            X, y = validate_data(
                draft,
                sound(X, "X"),
                sound(y, "y"),
                accept_sparse=["csr", "csc"],
                multi_output=True,
                dtype=validation.DTYPES,
                reset=reset,
                **draft._target_checks,
            )
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
    X = rows_of(X) if is_sparse(X) else X
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    return X, y, sample_weight


def _training_weights(
    estimator: Validated, samples: Samples, targets: Targets, spec: Spec
) -> Array | None:
    """Return the checked weights of the samples, with those of their classes."""
    weights = samples.weights
    if vars(estimator).get("class_weight") is not None:
        by_class = validation.weights_of_classes(estimator.class_weight, samples.y, targets.classes)
        weights = by_class if weights is None else weights * by_class
    return check.sample_weights(weights, len(samples.x), spec.dtype)


# ---- the state before the first epoch ------------------------------------------------------------


def _network(
    estimator: Validated,
    before: ScaledNetwork | None,
    samples: Samples,
    targets: Targets,
    rng: np.random.RandomState,
) -> ScaledNetwork:
    """Return a new network, or the one ``before`` with changed parameters of the estimator."""
    dtype = samples.x.dtype if before is None else before.spec.dtype
    spec = spec_of(estimator, samples.x.shape[1], targets, dtype)
    if before is None:
        network = ScaledNetwork(spec)
        first = first_parameters(spec, estimator.activation, rng)
        network.engine.set_parameters(*first)
        return network
    if spec.shapes != before.spec.shapes:
        is_loss = spec.layer_sizes == before.spec.layer_sizes  # which predicts variances, too
        words = "the loss {0.loss.name}" if is_loss else "layers of {0.layer_sizes}"
        raise ValueError(
            f"the network was fitted with {words.format(before.spec)} and cannot continue with "
            f"{words.format(spec)}: use fit with warm_start=False"
        )
    before.take_over()
    return before if spec == before.spec else before.again(spec)


def _first_attributes(
    estimator: Validated, draft: Validated, spec: Spec, targets: Targets
) -> dict[str, Any]:
    """Return the attributes of a new network; those of the features are taken from the draft."""
    link = spec.loss.link_name
    attributes = {name: vars(draft).pop(name) for name in FEATURES if name in vars(draft)}
    attributes |= {
        "n_outputs_": targets.n_outputs,
        "n_layers_": len(spec.layer_sizes),
        "out_activation_": OUT_ACTIVATIONS.get(link, link),
        "n_iter_": 0,
        "t_": 0,
        "history_": History(),
        "validation_loss_curve_": None,
    }
    if targets.labels is not None:
        attributes["classes_"] = targets.classes
    if estimator.solver in STOCHASTIC:
        attributes |= {"loss_curve_": [], **_no_best_epoch(estimator)}
    return attributes


def _next_attributes(estimator: Validated, earlier: FittedNetwork) -> dict[str, Any]:
    """Return the attributes of a fit that continues, whose lists of epochs grow."""
    attributes = dict(earlier.attributes)
    # The stop reason is of the earlier fit.
    attributes["history_"] = replace(attributes["history_"], stop_reason="")
    if estimator.solver in STOCHASTIC:
        attributes.setdefault("loss_curve_", [])
        best = "best_validation_score_" if estimator.early_stopping else "best_loss_"
        if attributes.get(best) is None:
            attributes |= _no_best_epoch(estimator)
    return attributes


def _no_best_epoch(estimator: Validated) -> dict[str, Any]:
    """Return the attributes of the best epoch before there is one."""
    stops = estimator.early_stopping
    return {
        "_no_improvement_count": 0,
        "validation_scores_": [] if stops else None,
        "best_validation_score_": -math.inf if stops else None,
        "best_loss_": None if stops else math.inf,
    }
