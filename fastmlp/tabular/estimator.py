"""The common part of both estimators: reading tables, training, prediction and reports."""

from __future__ import annotations

import copy
import time
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
)

from fastmlp._core.user_warnings import warn
from fastmlp._engine.thread_count import of_jobs
from fastmlp._validation.check import callbacks
from fastmlp.sklearn.parameters import training
from fastmlp.sklearn.validation import refuse_text
from fastmlp.tabular import blend, data_warnings, folds
from fastmlp.tabular.blend import BlendResult
from fastmlp.tabular.columns import DATE_KINDS, Array, Columns, Table
from fastmlp.tabular.explained import Explained
from fastmlp.tabular.fitted import like
from fastmlp.tabular.members import INTERRUPTED, FitOptions
from fastmlp.tabular.parameters import ADDED, CONSTRAINTS, check
from fastmlp.tabular.presets import PRESETS, adapted
from fastmlp.tabular.report import Report, Stopwatch

# Rows with a smaller fraction of the largest weight count as 0: their influence is below rounding,
# and they are 0 in float32.
LIGHTEST = np.finfo(float).eps


class BaseTabMLP(Explained):
    """Base class of both estimators; subclasses handle the targets."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = CONSTRAINTS
    _added = ADDED

    # ------------------------------------------------------------ hooks of subclasses

    def _columns_of(self, X: Any) -> Columns:
        """Return the columns of a checked table."""
        return Columns.of(X, self.categorical_features)

    def _target(self, y: Array, weights: Array | None = None) -> Any:
        """Return the target for checked labels or numbers; set ``n_outputs_``."""
        raise NotImplementedError

    def _read_target(self, y: Any) -> Array:
        """Return checked labels or numbers; set ``classes_`` and the like."""
        raise NotImplementedError

    def _calibrated(self, prediction: Array) -> Array:
        """Return predictions as they are scored, calibrated if the estimator calibrates."""
        return prediction

    def _weights(self, y: Array, given: Array | None) -> Array | None:
        """Return the weights of rows in training."""
        del y
        return given

    def _scorer(self, y: Array, weights: Array | None) -> Any:
        """Return a function from out-of-fold predictions to their score, or None."""
        raise NotImplementedError

    def _finish(
        self, target: Any, fitted: BlendResult, weights: Array | None, groups: Array | None
    ) -> dict[str, str]:
        """Calibrate on out-of-fold predictions; return lines for the report."""
        raise NotImplementedError

    # ------------------------------------------------------------ fit

    @training
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        groups: Any = None,
        X_val: Any = None,
        y_val: Any = None,
    ) -> Self:
        """Train on a raw table.

        Parameters
        ----------
        X : pandas or polars frame, or array-like, shape (n_samples, n_features)
            Numbers, booleans, text, categories; missing values are NaN, None, NA or masked. Dates
            are rejected: convert them to numbers. Sparse matrices are rejected, too: pass the
            columns from before the encoding.
        y : array-like, shape (n_samples,) or (n_samples, n_outputs)
            Labels or real numbers.
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
        RuntimeError
            If another fit of this estimator is running.
        KeyboardInterrupt
            If an interrupt comes before the first score of held-out rows, or again during the
            calibration; the estimator is unchanged then.

        Warns
        -----
        ConvergenceWarning
            If an interrupt or a callback has ended the fit early. The estimator is fitted then.
        """
        draft = like(self, self.get_params(deep=False))
        stopped = draft._train(X, y, sample_weight, groups, X_val, y_val)
        fitting = vars(self).get("_fitting")
        kept = {k: v for k, v in vars(self).items() if k not in vars(draft) and k[-1] != "_"}
        self.__dict__ = {**kept, **vars(draft), "_fitting": fitting}
        if stopped:
            warn(
                f"the fit has ended early because {stopped}: the model consists of the "
                "networks trained so far, see report()",
                ConvergenceWarning,
            )
        return self

    def _train(
        self, X: Any, y: Any, sample_weight: Any, groups: Any, X_val: Any, y_val: Any
    ) -> str:
        """Fit; return the reason if the user ended the fit early, else an empty text."""
        watch = Stopwatch()
        check(self)
        chosen = self.recipes, self.folds, self.members, self.epochs, self.width
        preset = adapted(PRESETS[self.preset], *chosen)
        called = callbacks(self.callbacks or (), "a fit of a table trains whole epochs in one call")
        deadline = None
        if self.time_limit is not None:
            deadline = time.monotonic() + float(self.time_limit)
        self._trained_with = self.get_params(deep=False)
        with watch("reading"):
            data_warnings.check_order(X, y=y, sample_weight=sample_weight, groups=groups)
            if np.ma.is_masked(y):
                raise ValueError("y has masked entries but targets are expected: drop these rows")
            X = self._checked(X, reset=True)
            y = self._read_target(y)
            check_consistent_length(X, y)
            if len(y) < 2:
                raise ValueError(f"n_samples={len(y)} but at least 2 rows are expected")
            self._columns = columns = self._columns_of(X)
            table = columns.read(X)
            used, kept = self._used(y, sample_weight)
            target = self._target(y[used], kept)
            judged = self._read_both(target, X_val, y_val, "X_val and y_val")
        random_state = check_random_state(self.random_state)
        seed = random_state.randint(2**31 - 1, size=4)
        request = FitOptions(
            preset,
            np.random.default_rng(seed),
            deadline,
            self._scorer(y[used], kept),
            of_jobs(self.n_jobs),
            called,
            bool(self.verbose or self.progress_bar),
        )
        grouped = None
        if groups is not None:
            grouped = folds.numbered(groups)
            check_consistent_length(X, grouped)
            grouped = grouped[used]
        rows = table if len(used) == len(table) else table.take(used)
        copies, noted = (None, []) if groups is not None else folds.copied(rows, target.y)
        with watch("training"):
            fitted = blend.fit(rows, columns, target, kept, (grouped, copies), request)
            fitted.notes.extend(noted)
        with watch("calibration"):
            self._members = fitted.blend
            calibration = target, fitted, kept, copies if groups is None else grouped
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
        self._report = self._reported(fitted, target, columns, len(table), watch.seconds, more)
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
            found = self._calibrated(self._members.predict(table))
            text = f"{target.metric} {target.shown(float(target.costs(found).mean())):.4g}"
            if scorer is not None:
                score = self._scorer(self._given(target), None)(found)
                text += f", {name} {score:.4g}"
            more["validation"] = f"{text}, of {len(table):,} rows that were not learned from"
        return more

    def _used(self, y: Array, sample_weight: Any) -> tuple[Array, Array | None]:
        """Return the rows with a positive weight, and their weights, mean 1; None if equal."""
        given = None
        if sample_weight is not None:
            given = _check_sample_weight(
                sample_weight, y, dtype=np.float64, ensure_non_negative=True
            )
        weights = self._weights(y, given)
        if weights is None:
            return np.arange(len(y)), None
        with np.errstate(over="ignore"):
            total = weights.sum()
        if not np.isfinite(total) or np.any(weights < 0):
            raise ValueError(
                f"the weights of the rows are from {weights.min()} to {weights.max()}, in sum "
                f"{total}, but numbers of at least 0 with a finite sum are expected: correct "
                "sample_weight or class_weight"
            )
        heaviest = weights.max()
        rows = np.flatnonzero(weights > LIGHTEST * heaviest)
        if len(rows) < 2:
            raise ValueError(
                f"{len(rows)} rows have a weight above 0, and above {LIGHTEST:.1g} times that of "
                f"the heaviest, {heaviest:g}, but at least 2 are expected: correct sample_weight "
                "or class_weight"
            )
        kept = weights[rows]
        return rows, None if np.all(kept == kept[0]) else kept / kept.mean()

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
        self,
        fitted: BlendResult,
        target: Any,
        columns: Columns,
        n: int,
        seconds: dict[str, float],
        more: dict[str, str],
    ) -> Report:
        parts = []
        for share, trained in zip(self._members.weights, fitted.trained, strict=True):
            ensemble = trained.members.ensemble
            size = f"{len(ensemble)} networks of {ensemble[0].layer_sizes[0]} inputs"
            epoch = f"epoch {trained.epoch} of {trained.run}"
            parts.append(f"{share:.0%}: {trained.recipe.title} ({size}), {epoch}")
        scores = target.shown(fitted.alone), target.shown(fitted.together)
        notes = fitted.notes + data_warnings.texts(columns)
        table = n, len(columns.names), columns.kinds, columns.left_out
        course = {"course": "; then ".join(fitted.course)} if fitted.course else {}
        return Report(*table, parts, target.metric, *scores, seconds, course | more, notes)


def finite_numbers(y: Any) -> Array:
    """Return numbers as float64, (n, outputs); raise ValueError for anything else."""
    refuse_text(y, "TabMLPClassifier")
    if np.asarray(y).dtype.kind in DATE_KINDS:
        raise ValueError("y holds dates but numbers are expected: pass days since one of them")
    try:
        checked = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
    except OverflowError:
        raise ValueError("y holds integers that are too large for float64: rescale y") from None
    return np.asarray(checked.reshape(len(checked), -1))
