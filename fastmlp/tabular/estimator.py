"""The common part of both estimators: reading tables, training, prediction and reports."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from fastmlp._core.user_warnings import warn
from fastmlp._engine.thread_count import of_jobs
from fastmlp._training.arrow import ArrowBlocks
from fastmlp._validation.check import callbacks
from fastmlp.sklearn.parameters import copy_with_state, training
from fastmlp.tabular import blend, data_warnings, reading
from fastmlp.tabular.blend import BlendResult
from fastmlp.tabular.budget import Budget, bytes_of
from fastmlp.tabular.codec_members import warn_if_unsavable
from fastmlp.tabular.columns import Array, Columns, Table
from fastmlp.tabular.explained import Explained
from fastmlp.tabular.members import INTERRUPTED
from fastmlp.tabular.parameters import CONSTRAINTS, check
from fastmlp.tabular.presets import PRESETS, adapted
from fastmlp.tabular.progress import show_result
from fastmlp.tabular.report import Report, timed


class BaseTabMLP(Explained):
    """Base class of both estimators; subclasses handle the targets."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = CONSTRAINTS
    _sources = (ArrowBlocks,)

    # Each estimator has its own: checked labels or numbers; their target; a function from
    # out-of-fold predictions to their score, or None; calibration, which returns lines for reports.
    _read_target: Callable[[Any], Array]
    _target: Callable[..., Any]
    _scorer: Callable[[Array, Array | None], Any]
    _finish: Callable[[Any, BlendResult, Array | None, Array | None], dict[str, str]]

    def _columns_of(self, X: Any) -> Columns:
        """Return the columns of a checked table."""
        return Columns.of(X, self.categorical_features)

    def _in_scores(self, given: Array | None, weights: Array | None) -> Array | None:
        """Return the weights of rows in scores, from the user's and those in training."""
        del given
        return weights

    def _weighting(self, in_scores: Array | None, given: Any) -> str:
        """Return what a report says about the weights of rows in scores."""
        del given
        return "" if in_scores is None else " (weighted by sample_weight)"

    def _data_notes(self, columns: Columns, table: Table) -> list[str]:
        """Return notes on suspicious columns, after a warning."""
        return data_warnings.check_columns(columns, table)

    def _calibrated(self, prediction: Array) -> Array:
        """Return predictions as they are scored, calibrated if the estimator calibrates."""
        return prediction

    def _weights(self, y: Array, given: Array | None) -> Array | None:
        """Return the weights of rows in training."""
        del y
        return given

    # ------------------------------------------------------------ fit

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        groups: Any = None,
        X_val: Any = None,
        y_val: Any = None,
    ) -> Self:
        """Train on a raw table.

        Parameters
        ----------
        X : pandas or polars frame, array-like, shape (n_samples, n_features), or ArrowBlocks
            Numbers, booleans, text, categories; missing values are NaN, None, NA or masked. Dates
            are rejected: convert them to numbers. Sparse matrices are rejected, too: pass the
            columns from before the encoding. A `fastmlp.ArrowBlocks` has targets and weights, too;
            numbers and codes of its rows must fit into memory. It is read twice, and with
            ``time_limit`` once, for at most 0.4 of the time.
        y : array-like, shape (n_samples,) or (n_samples, n_outputs)
            Labels or real numbers; None with ArrowBlocks.
        sample_weight : array-like, shape (n_samples,), optional
            Weights of the rows in training and in all scores; weights below 2e-16 times the largest
            count as 0.
        groups : array-like, shape (n_samples,), optional
            Group of each row, for example a patient. Rows of a group are held out together, and
            prediction intervals hold for new groups. Without groups, copies of a row are held out
            together.
        X_val, y_val : like X and y, optional
            Rows that are not used in training: the report shows the fitted model's score on them.

        Returns
        -------
        estimator
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If an argument is invalid; the estimator is unchanged then.
        MemoryError
            If the fit would need more than ``max_memory`` even with 5,000 rows.
        RuntimeError
            If another fit of this estimator is running.
        KeyboardInterrupt
            If an interrupt comes before the first score of held-out rows, or again during the
            calibration; the estimator is unchanged then.

        Warns
        -----
        ConvergenceWarning
            If an interrupt or a callback has ended the fit early. The estimator is fitted then.
        UserWarning
            If ``time_limit`` has ended the reading of a source before its end; or, before the
            training, if no file can hold the model, so that ``save`` will fail: a class of more
            than 1,024 characters, for example; pickle can.
        """
        stopped = self._fit(X, y, sample_weight, groups, X_val, y_val)
        if stopped:
            warn(
                f"the fit has ended early because {stopped}: the model consists of the "
                "networks trained so far, see report()",
                ConvergenceWarning,
            )
        return self

    @training
    def _fit(self, *given: Any) -> str:
        """Train a draft, and take over its state; see `_train`."""
        draft = copy_with_state(self, self.get_params(deep=False))
        stopped: str = draft._train(*given)
        kept = {k: v for k, v in vars(self).items() if k not in vars(draft) and k[-1] != "_"}
        self.__dict__ = {**kept, **vars(draft), **self.get_params(deep=False)}
        return stopped

    def _train(
        self, X: Any, y: Any, sample_weight: Any, groups: Any, X_val: Any, y_val: Any
    ) -> str:
        """Fit; return the reason if the user ended the fit early, else an empty text."""
        seconds: dict[str, float] = {}
        check(self)
        chosen = self.recipes, self.folds, self.members, self.epochs, self.width
        preset = adapted(PRESETS[self.preset], *chosen)
        called = callbacks(self.callbacks or (), "a fit of a table trains whole epochs in one call")
        deadline = None
        if self.time_limit is not None:
            deadline = time.monotonic() + float(self.time_limit)
        self._trained_with = self.get_params(deep=False)
        random_state = check_random_state(self.random_state)
        seed = random_state.randint(2**31 - 1, size=4)
        shared = of_jobs(self.n_jobs), called, bool(self.verbose)
        memory = bytes_of(self.max_memory)
        limits = memory, self.max_memory is not None
        budget = Budget(preset, np.random.default_rng(seed), deadline, None, *shared, *limits)
        with timed(seconds, "reading"):
            given = X, y, sample_weight, groups
            data, table, y, used, plan = reading.read(self, *given, budget, seed)
            target, kept = data.target, data.score_weights
            self._columns = data.columns
            judged = self._read_both(target, X_val, y_val, "X_val and y_val")
        recipes = blend.recipes_of(plan.preset, deadline is not None, data)
        warn_if_unsavable(data.columns, getattr(self, "classes_", None), recipes)
        request = replace(budget, preset=plan.preset, scorer=self._scorer(y[used], kept))
        with timed(seconds, "training"):
            fitted = blend.fit(data, request)
            fitted.notes.extend(plan.notes)
        with timed(seconds, "calibration"):
            self._members = fitted.blend
            calibration = target, fitted, kept, data.copies if groups is None else data.groups
            try:
                more = self._finish(*calibration) | self._scores(request.scorer, fitted, judged)
                self._set_fitted(fitted, target, table, used)
            except KeyboardInterrupt:  # repeat without the scores, which may take long
                fitted.stopped = INTERRUPTED
                fitted.notes.append(f"ended early because {INTERRUPTED}: there are no other scores")
                more = self._finish(*calibration)
                self._set_fitted(fitted, target, table, used)
            self._row_weights = None
            if kept is not None or len(used) < len(table):
                self._row_weights = np.zeros(len(table))
                self._row_weights[used] = 1.0 if kept is None else kept
            self._rows, self._importance = (table, self._with_rows(target, y)), None
        fitted.notes.extend(budget.overrun(seconds))
        self._report = self._reported(fitted, target, len(table), seconds, more)
        if budget.verbose:
            costs = target.costs(self._calibrated(fitted.out_of_fold))
            show_result(target.metric, target.shown(float(np.average(costs, weights=kept))))
        return fitted.stopped

    def _scores(
        self, scorer: Any, fitted: BlendResult, validation: tuple[Table, Any] | None
    ) -> dict[str, str]:
        """Return lines for the report: the score by ``scoring``, and those on validation rows."""
        name = str(getattr(self.scoring, "__name__", self.scoring))
        more = {}
        if scorer is not None:
            more["scoring"] = f"{name} {scorer(fitted.out_of_fold):.4g}, out of fold"
        if validation is not None:
            table, target = validation
            target.weighting = target.weighting and " (unweighted)"
            found = self._calibrated(self._members.predict(table))
            text = f"{target.metric} {target.shown(float(target.costs(found).mean())):.4g}"
            if scorer is not None:
                score = self._scorer(self._given(target), None)(found)
                text += f", {name} {score:.4g}"
            more["validation"] = f"{text}, of {len(table):,} rows that were not learned from"
        return more

    def _set_fitted(self, fitted: BlendResult, target: Any, table: Table, used: Array) -> None:
        """Set the public attributes."""
        whole = np.empty((len(table), fitted.out_of_fold.shape[1]))
        whole[used] = fitted.out_of_fold
        unused = np.full(len(table), True)
        unused[used] = False
        if unused.any():  # rows in no member's folds
            whole[unused] = self._members.predict(table.take(np.flatnonzero(unused)))
        self._out_of_fold = whole
        self._out = [used[rows] for rows in fitted.division.out]
        first = fitted.trained[0]
        self._curve = first.curve
        decoder = copy.copy(target)
        decoder.y = decoder.classes = None  # pickles contain no rows
        for group in self._members.groups:
            group.target = decoder
        self.history_ = first.history
        self.best_epoch_, self.n_iter_ = first.epoch, first.run

    def _reported(
        self, fitted: BlendResult, target: Any, n: int, seconds: dict[str, float], more: Any
    ) -> Report:
        parts, columns = [], self._columns
        for share, trained in zip(self._members.weights, fitted.trained, strict=True):
            ensemble = trained.members.ensemble
            size = f"{len(ensemble)} networks of {ensemble[0].layer_sizes[0]} inputs"
            epoch = f"epoch {trained.epoch} of {trained.run}"
            parts.append(f"{share:.0%}: {trained.recipe.title} ({size}), {epoch}")
        scores = target.shown(fitted.alone), target.shown(fitted.together)
        table = n, len(columns.names), columns.kinds, columns.left_out
        course = {"course": "; then ".join(fitted.course)} if fitted.course else {}
        return Report(*table, parts, target.metric, *scores, seconds, course | more, fitted.notes)
