"""The steps of a fit, made on a draft of the estimator, which replaces its state at the end.

Random numbers are drawn in scikit-learn's order: initial weights, validation split, batches.
Meanwhile other threads see the old estimator, and a failed fit leaves it unchanged. Only the
weights of a continued fit and the lists of epochs change in place; `Before` restores them.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import column_or_1d
from sklearn.utils.validation import _check_sample_weight, validate_data

from fastmlp._core.history import DivergenceError, History
from fastmlp._core.user_warnings import warn
from fastmlp._engine.thread_count import fit_team, of_jobs
from fastmlp._network.losses import Loss
from fastmlp._validation import check
from fastmlp._validation.compatibility import refusal
from fastmlp.sklearn import hints, parameters, validation
from fastmlp.sklearn.lbfgs import LbfgsFit
from fastmlp.sklearn.observers import Observers
from fastmlp.sklearn.scaled_network import ScaledNetwork, first_parameters, spec_of
from fastmlp.sklearn.scaling import Scaling
from fastmlp.sklearn.stochastic import NON_FINITE, BatchFit
from fastmlp.sklearn.stopping import CURVES
from fastmlp.sklearn.validation import Samples, sound

Array = NDArray[Any]

# scikit-learn's names of links, where they differ.
OUT_ACTIVATIONS = {"sigmoid": "logistic", "mean_and_variance": "identity"}
# Attributes that a continued fit changes in place, so copies of the estimator have their own.
GROWING = ("_fitted", "history_", *CURVES)


class Before:
    """The state of an estimator before the fit that a draft runs: to restore, or for copies."""

    def __init__(self, estimator: Any, draft: Any) -> None:
        self.draft, self.known, self.network = draft, vars(estimator).copy(), draft._fitted
        of_history = getattr(self.known.get("history_"), "__dict__", {})
        lists = [*of_history.values(), *map(self.known.get, CURVES)]
        self.lengths = [(each, len(each)) for each in lists if isinstance(each, list)]
        self.moment = self.network.moment()

    def restore(self) -> None:
        """Undo the changes that training has made in place."""
        for each, length in self.lengths:
            del each[length:]
        self.network.restore(self.moment)

    def state(self) -> dict[str, Any]:
        """Return copies of all attributes as they were, also while training runs."""
        memo: dict[int, Any] = {id(each): each[:length] for each, length in self.lengths}
        if self.known.get("_fitted") is self.network:
            memo[id(self.network)] = self.network.as_of(self.moment)
        growing = {name: self.known[name] for name in self.known.keys() & GROWING}
        state = {**self.known, **copy.deepcopy(growing, memo)}
        del state["_fitting"]
        return state


class Fitting(parameters.Validated):
    """The training part of both estimators."""

    _target_checks: ClassVar[dict[str, Any]] = {}  # further arguments of validate_data
    _complete = False  # whether the draft's training has finished

    _fitted: ScaledNetwork
    history_: History
    loss_curve_: list[float]
    validation_loss_curve_: list[float] | None
    validation_scores_: list[float] | None
    best_loss_: float | None
    best_validation_score_: float | None
    n_outputs_: int
    class_weight: Any  # these two of classifiers only
    classes_: Array

    def _encode(self, y: Array, known: bool) -> Array:
        """Return targets, floats (n, outputs) or int32 labels; ``known`` rejects new classes."""
        raise NotImplementedError

    def _loss(self) -> Loss:
        raise NotImplementedError

    def _fit(self, *given: Any, **how: Any) -> Self:
        """Call `_train` of a draft, and take over its changes at the end."""
        before, draft = vars(self).copy(), self._draft()
        try:
            told = draft._train(self, *given, **how)
            self._become(draft, before)
        except DivergenceError as error:
            if not draft._is_mine(error):
                raise
            self._become(draft, before)
            raise ValueError(NON_FINITE) from None
        except BaseException:
            if draft._complete:  # the interrupt came after training
                self._become(draft, before)
            raise
        finally:
            self._fitting.before = object()  # a new one: `__getstate__` compares identities
        hints.tell(told, self.verbose)
        return self

    def _draft(self) -> Any:
        """Return a copy that shares all attributes; attributes set later are its own."""
        draft = object.__new__(type(self))
        draft.__dict__.update(vars(self))
        draft.__dict__.pop("_complete", None)
        return draft

    def _become(self, draft: Any, before: dict[str, Any]) -> None:
        """Take over all attributes that the draft has changed, at once."""
        after, nothing = vars(draft).copy(), object()
        after.pop("_complete", None)
        self.__dict__.update(
            {name: new for name, new in after.items() if before.get(name, nothing) is not new}
        )
        for name in before.keys() - after.keys():  # such as column names that no longer exist
            self.__dict__.pop(name, None)

    def _train(
        self,
        owner: Any,
        X: Any,
        y: Any,
        sample_weight: Any,
        held_out: tuple[Any, Any, Any] = (None, None, None),
        classes: Any = None,
        one_epoch: bool = False,
    ) -> list[str]:
        """Run a whole fit on this draft of the estimator ``owner``; return hints for the user."""
        if one_epoch:
            self._first_call(y, classes)
        given = {"X": X, "y": y, "metadata": {"sample_weight": sample_weight}}
        fresh = not hasattr(self, "_fitted") or not (self.warm_start or one_epoch)
        samples = self._samples(X, y, sample_weight, reset=fresh, known=one_epoch)
        rng = self._turn().generator(self.random_state)
        stochastic = self.solver in parameters.STOCHASTIC
        if one_epoch and self.early_stopping:
            raise refusal("early_stopping", "partial_fit")
        if fresh:
            network = spec_of(self, samples.x.shape[1], samples.x.dtype)
            first = first_parameters(network, self.activation, rng)
        else:
            network = self._fitted.spec
        held = self._given_validation(*held_out)
        if held is None and stochastic and self.early_stopping:
            two = network.loss.target_kind == "unit_interval" and self.n_outputs_ == 1
            stratify = samples.targets > 0.5 if two else None
            fraction = self.validation_fraction
            rows, held_rows = validation.split(samples.rows, fraction, stratify, rng)
            held, samples = samples.take(held_rows), samples.take(rows)
        weights = self._training_weights(samples)
        weights = check.sample_weights(weights, len(samples.x), network.dtype)
        if fresh:
            scaling = self._scaling(samples, weights, network)
            decoder = getattr(self, "_label_binarizer", None)
            self._fitted = ScaledNetwork(network, scaling, decoder)
            self._fitted.engine.set_parameters(*first)
            self._reset_statistics()
        else:
            self._go_on(samples.x)
        self._fitted.turn = self._fitting
        before = self._fitting.before = Before(owner, self)
        try:
            data = self._fitted.data(samples, weights)
            judged = None
            if held is not None:
                own = check.sample_weights(held.weights, held.rows, network.dtype)
                judged = validation.Validation(held, self._fitted.data(held, own))
                if getattr(self, "validation_loss_curve_", None) is None:
                    self.validation_loss_curve_ = []
            hooks = Observers(owner, self, given, held is not None, partial=one_epoch)
            is_count = network.loss.target_kind == "count"
            constant = validation.loss_constant(samples.targets, weights) if is_count else 0.0
            if stochastic:
                self._solve(BatchFit(self, data, judged, hooks, constant, rng))
            else:
                self._solve(LbfgsFit(self, data, judged, hooks, constant))
            self._complete = True
        except BaseException as error:
            if not (self._complete or self._is_mine(error)):
                before.restore()
            raise
        n_held = 0 if held is None else held.rows
        return [] if one_epoch else hints.all_of(self, data.x, data.targets, n_held)

    def _solve(self, fit: BatchFit | LbfgsFit) -> None:
        """Run a solver; an interrupt ends it with a warning, after the last completed epoch."""
        network = self._fitted
        self.n_iter_ = 0
        try:
            team = fit_team(of_jobs(self.n_jobs), network.n_weights, fit.rows)
            with team as own, fit.reporter.watching():
                fit.run(own)
                fit.judge.restore_best()
        except KeyboardInterrupt:
            warn("Training interrupted by user.")
            fit.judge.restore_best()
        finally:
            network.take_over()
            network.trained()  # weights were restored here or by a callback

    def _is_mine(self, error: BaseException) -> bool:
        """Whether the error reports the divergence of this fit, whose good epochs are kept."""
        return getattr(error, "history", None) is vars(self).get("history_", self)

    def _first_call(self, y: Any, classes: Any) -> None:
        """Handle the argument ``classes`` of the first ``partial_fit``."""

    def __getstate__(self) -> dict[str, Any]:
        turn = self._turn()
        while True:
            before, state = turn.before, super().__getstate__()
            is_over = turn.is_free()  # also in the child of a fork
            is_draft = turn.is_mine() and getattr(before, "draft", None) is self
            if isinstance(before, Before) and not (is_over or is_draft):
                return {**before.state(), **self.get_params(deep=False)}
            state |= {name: copy.deepcopy(state[name]) for name in state.keys() & GROWING}
            if turn.before is before:  # else a fit began or ended meanwhile: repeat
                return state

    def _samples(self, X: Any, y: Any, sample_weight: Any, *, reset: bool, known: bool) -> Samples:
        """Return dense, checked samples; errors are scikit-learn's."""
        if self._target_checks:  # numbers
            validation.refuse_text(y, "MLPClassifier")
        with validation.checking(X):
            X, y = validate_data(
                self,
                sound(X, "X"),
                sound(y, "y"),
                accept_sparse=["csr", "csc"],
                multi_output=True,
                dtype=(np.float64, np.float32),
                reset=reset,
                **self._target_checks,
            )
            if sample_weight is not None:
                sample_weight = _check_sample_weight(sample_weight, X)
        X = sound(X, "X").toarray() if hasattr(X, "toarray") else X
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return Samples(X, self._encode(y, known), sample_weight, y=y)

    def _given_validation(self, X: Any, y: Any, sample_weight: Any) -> Samples | None:
        if X is None and y is None and sample_weight is None:
            return None
        if X is None or y is None:
            raise ValueError("X_val and y_val belong together: pass both to fit, or neither")
        return self._samples(X, y, sample_weight, reset=False, known=True)

    def _training_weights(self, samples: Samples) -> Array | None:
        if getattr(self, "class_weight", None) is None:
            return samples.weights
        by_class = validation.weights_of_classes(self.class_weight, samples.y, self.classes_)
        return by_class if samples.weights is None else samples.weights * by_class

    def _scaling(self, samples: Samples, weights: Array | None, network: Any) -> Scaling | None:
        if not self.standardize:
            return None
        targets = samples.targets if network.loss.target_kind == "real" else None
        heads = network.loss.heads
        return Scaling.measure(samples.x, targets, network.n_outputs, weights, heads, network.dtype)

    def _reset_statistics(self) -> None:
        self.n_iter_ = self.t_ = 0
        self.n_layers_ = len(self._fitted.spec.layer_sizes)
        link = self._fitted.spec.loss.link_name
        self.out_activation_ = OUT_ACTIVATIONS.get(link, link)
        self.history_ = History()
        self.validation_loss_curve_ = None
        if self.solver in parameters.STOCHASTIC:
            self.loss_curve_ = []
            self._forget_best()

    def _forget_best(self) -> None:
        stops = self.early_stopping
        self._no_improvement_count = 0
        self.validation_scores_ = [] if stops else None
        self.best_validation_score_ = -math.inf if stops else None
        self.best_loss_ = None if stops else math.inf

    def _go_on(self, X: Array) -> None:
        """Keep the weights; adopt changed parameters if the shapes of the layers are equal."""
        known = self._fitted.spec
        wanted = spec_of(self, X.shape[1], known.dtype)
        if wanted.shapes != known.shapes:
            is_loss = wanted.layer_sizes == known.layer_sizes  # which predicts variances, too
            words = "the loss {0.loss.name}" if is_loss else "layers of {0.layer_sizes}"
            raise ValueError(
                f"the network was fitted with {words.format(known)} and cannot continue with "
                f"{words.format(wanted)}: use fit with warm_start=False"
            )
        if wanted != known:
            self._fitted = self._fitted.again(wanted)
        self._fitted.take_over()
        # The history's lists continue, but the stop reason is of an earlier fit.
        self.history_ = replace(self.history_, stop_reason="")
        if self.solver in parameters.STOCHASTIC:
            self.loss_curve_ = getattr(self, "loss_curve_", [])
            best = "best_validation_score_" if self.early_stopping else "best_loss_"
            if getattr(self, best, None) is None:
                self._forget_best()
