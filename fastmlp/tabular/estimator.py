"""What both estimators share: reading a table, training, predicting, and telling about it."""

from __future__ import annotations

import copy
import time
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from fastmlp._core.fit_lock import FitLock
from fastmlp._core.intervals import check_count
from fastmlp._engine.thread_count import of_jobs
from fastmlp._training.callbacks import Progress
from fastmlp.sklearn.fitting import one_at_a_time
from fastmlp.tabular import blend, data_warnings, folds, inspection, weights
from fastmlp.tabular.blend import Blend, BlendResult
from fastmlp.tabular.columns import DATE_KINDS, Columns, Table
from fastmlp.tabular.frames import check_frame, gathered, is_frame
from fastmlp.tabular.inspection import Importance
from fastmlp.tabular.members import FitOptions, Splits
from fastmlp.tabular.parameters import CONSTRAINTS, check
from fastmlp.tabular.persistence import Persistent, like, of_one_moment
from fastmlp.tabular.presets import PRESETS
from fastmlp.tabular.report import Report, Stopwatch
from fastmlp.tabular.timing import in_time

Array = NDArray[Any]

IMPORTANCE_SEED = 0


class BaseTabMLP(Persistent, BaseEstimator):
    """Base of both estimators, not for users: the subclasses know about targets."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = CONSTRAINTS

    _members: Blend
    _columns: Columns
    _trained_with: dict[str, Any]  # the parameters of the fit; those of the estimator may change
    _row_weights: Array | None = None  # of the fit; None where all are equal
    n_outputs_: int

    # ------------------------------------------------------------ of the task

    def _target(self, y: Array, weights: Array | None = None) -> Any:
        """Return the target of checked labels or numbers; set ``classes_`` and the like."""
        raise NotImplementedError

    def _read_target(self, y: Any) -> Array:
        """Return checked labels or numbers."""
        raise NotImplementedError

    def _weights(self, y: Array, given: Array | None) -> Array | None:
        """Return the weights of rows in training."""
        del y
        return given

    def _scorer(self, y: Array, weights: Array | None) -> Any:
        """Return ``prediction -> score`` of out-of-fold predictions, or None."""
        raise NotImplementedError

    def _finish(
        self, target: Any, fitted: BlendResult, weights: Array | None, groups: Array | None
    ) -> dict[str, str]:
        """Calibrate; return lines of the report."""
        raise NotImplementedError

    # ------------------------------------------------------------ fit

    @one_at_a_time
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> Any:
        """Train on a table as it is.

        Parameters
        ----------
        X : pandas or polars frame, or array-like, shape (n_samples, n_features)
            Numbers, booleans, text, categories; missing values as NaN, None, NA or masked. Dates
            are refused: pass what matters of them as numbers. So are sparse matrices: pass the
            columns that they were made of.
        y : array-like, shape (n_samples,) or (n_samples, n_outputs)
            Labels, or real numbers.
        sample_weight : array-like, shape (n_samples,), optional
            Weights of the rows, in training and in all that is measured; less than 2e-16 times the
            heaviest count as 0.
        groups : array-like, shape (n_samples,), optional
            Rows of one group are held out together: of one patient, for example. Intervals are then
            those of new groups. Without groups, copies of a row are held out together.

        Returns
        -------
        estimator
            Itself.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described; the estimator is then as it was.
        RuntimeError
            If another fit of this estimator is running.
        """
        draft = like(self, self.get_params(deep=False))
        draft._train(X, y, sample_weight, groups)
        fitting = vars(self).get("_fitting")
        kept = {k: v for k, v in vars(self).items() if k not in vars(draft) and k[-1] != "_"}
        self.__dict__ = {**kept, **vars(draft), "_fitting": fitting}
        return self

    def _train(self, X: Any, y: Any, sample_weight: Any, groups: Any) -> None:
        watch = Stopwatch()
        check(self)
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
            columns = Columns.of(X, self.categorical_features)
            table = columns.read(X)
            used, kept = self._used(X, y, sample_weight)
            target = self._target(y[used], kept)
        random_state = check_random_state(self.random_state)
        seed = random_state.randint(2**31 - 1, size=4)
        request = FitOptions(
            PRESETS[self.preset],
            np.random.default_rng(seed),
            deadline,
            self._scorer(y[used], kept),
            of_jobs(self.n_jobs),
            [Progress()] if self.progress_bar else [],
        )
        grouped = None
        if groups is not None:
            grouped = folds.numbered(groups)
            check_consistent_length(X, grouped)
            grouped = grouped[used]
        rows = table if len(used) == len(table) else table.take(used)
        copies, noted = (None, []) if groups is not None else folds.copied(rows, target.y)
        with watch("training"):
            notes = in_time(request, rows, columns, target)
            together = target.classes, grouped, copies
            division = Splits.of(len(rows), request.preset, request.rng, *together)
            division.notes.extend(notes + noted)
            fitted = blend.fit(rows, columns, target, kept, division, request)
        with watch("calibration"):
            self._columns, self._members = columns, fitted.blend
            more = self._finish(target, fitted, kept, copies if groups is None else grouped)
            if request.scorer is not None:
                name = getattr(self.scoring, "__name__", self.scoring)
                more["scoring"] = f"{name} {request.scorer(fitted.out_of_fold):.4g}, out of fold"
            self._set_fitted(fitted, division, target, table, used)
            self._row_weights = weights.of_all(len(table), used, kept)
        self._report = self._reported(fitted, target, columns, len(table), watch.seconds, more)

    def _checked(self, X: Any, reset: bool) -> Any:
        """Return a table; its names and their number are checked, or kept."""
        X = gathered(X)
        if is_frame(X):
            check_frame(X)
            validate_data(self, X, reset=reset, skip_check_array=True)
            return X
        with np.errstate(invalid="ignore"):  # of a sum that scikit-learn looks at
            return validate_data(
                self, X, reset=reset, dtype=None, ensure_all_finite="allow-nan", ensure_2d=True
            )

    def _used(self, X: Any, y: Array, sample_weight: Any) -> tuple[Array, Array | None]:
        """Return the rows of a weight above 0, and the weights of these."""
        given = None
        if sample_weight is not None:
            given = _check_sample_weight(
                sample_weight, y, dtype=np.float64, ensure_non_negative=True
            )
        return weights.used(len(y), self._weights(y, given))

    def _set_fitted(
        self, fitted: BlendResult, division: Splits, target: Any, table: Table, used: Array
    ) -> None:
        """Set the public attributes."""
        whole = np.empty((len(table), fitted.out_of_fold.shape[1]))
        whole[used] = fitted.out_of_fold
        unused = np.full(len(table), True)
        unused[used] = False
        if unused.any():  # no member has seen them
            whole[unused] = self._members.predict(table.take(np.flatnonzero(unused)))
        self._out_of_fold = whole
        self._out = [used[rows] for rows in division.out]
        first = fitted.trained[0]
        self._curve = first.curve
        decoder = copy.copy(target)
        decoder.y = decoder.classes = None  # no rows in a pickle
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
        shares, parts = self._members.weights, []
        for share, trained in zip(shares, fitted.trained, strict=True):
            ensemble = trained.members.ensemble
            sizes = "-".join(map(str, ensemble[0].layer_sizes))
            epoch = f"epoch {trained.epoch} of {trained.run}"
            parts.append(f"{share:.0%} {len(ensemble)} of {sizes} at {epoch}")
        return Report(
            n,
            len(columns.names),
            {
                "numbers": len(columns.numbers),
                "categories": len(columns.categories),
            },
            columns.left_out,
            parts,
            target.metric,
            target.shown(fitted.alone),
            target.shown(fitted.together),
            seconds,
            more,
            fitted.notes + data_warnings.texts(columns),
        )

    # ------------------------------------------------------------ after it

    def _predictions(self, X: Any) -> Array:
        """Return the prediction of all members for a table."""
        check_is_fitted(self, "_members")
        checked = self._checked(X, reset=False)
        return self._members.predict(self._columns.read(checked))

    def report(self) -> Report:
        """Return what the fit has done: columns, members, scores out of fold, seconds by phase.

        Returns
        -------
        fastmlp.tabular.report.Report
            To print, or to read its attributes.
        """
        check_is_fitted(self, "_members")
        return self._report

    @of_one_moment
    def importance(self, X: Any, y: Any, *, rounds: int = 3) -> Importance:
        """Return how much each column matters, on rows that members have not learned from.

        Parameters
        ----------
        X, y : as for :meth:`fit`
            The rows of the fit, in their order: the estimator does not keep them.
        rounds : int
            Shuffles of each column, at least 1.

        Returns
        -------
        fastmlp.tabular.inspection.Importance
            Names, means, deviations; the most important column first.

        Raises
        ------
        ValueError
            If these are not as many rows as the fit had.
        """
        check_is_fitted(self, "_members")
        rounds = check_count("rounds", rounds, example=3)
        table = self._columns.read(self._checked(X, reset=False))
        n = len(self._out_of_fold)
        if len(table) != n:
            raise ValueError(f"X has {len(table)} rows but the {n} rows of the fit are expected")
        target = self._target_of(y)
        check_consistent_length(table.numbers, target.y)
        return inspection.importance(
            *(self._members, self._columns, table, target, self._row_weights),
            *(self._out, rounds, IMPORTANCE_SEED),
        )

    def plot_importance(
        self, X: Any, y: Any, *, rounds: int = 3, most: int = 20, ax: Any = None
    ) -> Any:
        """Plot :meth:`importance`.

        Parameters
        ----------
        X, y, rounds
            As for :meth:`importance`.
        most : int
            Columns to show, at least 1.
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes
            With labels.
        """
        check_is_fitted(self, "_members")
        most = check_count("most", most, example=20)
        return inspection.bars(self.importance(X, y, rounds=rounds), most, ax)

    @of_one_moment
    def plot_history(self, ax: Any = None) -> Any:
        """Plot the score of held-out rows by epoch: of single members, and of all of a row.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes
            With legend and labels.
        """
        check_is_fitted(self, "_members")
        return inspection.history(self._curve, self.best_epoch_, self._members.groups[0].target, ax)

    def _target_of(self, y: Any) -> Any:
        """Return the target of the fit, with the rows of it; nothing is set."""
        draft = like(self, vars(self) | self._trained_with)
        y = draft._target(draft._read_target(y)).y
        if draft.n_outputs_ != self.n_outputs_ or not draft._has_classes_of(self):
            raise ValueError(
                "y has other outputs or classes than the fit had: pass the y of the fit, in the "
                "order of its rows"
            )
        target = copy.copy(self._members.groups[0].target)
        target.y = y
        return target

    def _has_classes_of(self, other: Any) -> bool:
        """Whether both know the same classes, if any."""
        del other
        return True

    def _turn(self) -> FitLock:
        """Return whose turn it is to fit; made when first asked for, and no part of the state."""
        if vars(self).get("_fitting") is None:
            self.__dict__["_fitting"] = FitLock()
        turn: FitLock = vars(self)["_fitting"]
        return turn

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_fitting", None)
        return state

    def __sklearn_is_fitted__(self) -> bool:
        return "_members" in vars(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.non_deterministic = False
        return tags


def finite_numbers(y: Any) -> Array:
    """Return numbers, float64, shape (n, outputs), or complain."""
    if np.asarray(y).dtype.kind in DATE_KINDS:
        raise ValueError("y holds dates but numbers are expected: pass days since one of them")
    try:
        checked = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
    except OverflowError:
        raise ValueError("y holds integers that are too large for float64: rescale y") from None
    except ValueError as error:
        if "could not convert" not in str(error):
            raise
        raise ValueError(
            f"y holds text ({error}) but numbers are expected: convert it, or predict labels with "
            "TabMLPClassifier"
        ) from None
    return np.asarray(checked.reshape(len(checked), -1))
