"""What both estimators share: reading a table, training, predicting, and telling about it."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from fastmlp.callbacks import Progress
from fastmlp.intervals import check_count
from fastmlp.sklearn.fitting import one_at_a_time
from fastmlp.tabular import members, shown
from fastmlp.tabular.columns import Columns, Table, is_frame
from fastmlp.tabular.members import Members, Request, Trained
from fastmlp.tabular.presets import PRESETS
from fastmlp.tabular.report import Report
from fastmlp.tabular.shown import Importance
from fastmlp.threads import of_jobs
from fastmlp.turn import Turn

Array = NDArray[Any]

IMPORTANCE_SEED = 0

TEXT = """\
preset : {"fast", "default", "best"}, default="default"
    How much is trained: the numbers are in ``fastmlp.tabular.presets``.
categorical_features : "from_dtype" or array-like, default="from_dtype"
    Text, booleans and category dtypes are categories. A list of names, numbers or booleans says
    which columns of numbers are some too.
scoring : str, callable or None, default=None
    What chooses the epoch, on out-of-fold predictions: the loss, or any scorer of scikit-learn.
time_limit : float, optional
    Seconds that the training may take, about; the schedule follows, so that it ends annealed.
    The result then depends on the speed of the machine.
random_state : int, RandomState or None, default=None
    Source of folds, first weights, order of samples.
progress_bar : bool, default=False
    Show a tqdm bar if tqdm is installed, else a line an epoch on the standard error stream.
n_jobs : int, optional
    Threads; -1 is all. By default what the machine allows. The result does not depend on it."""


class BaseTabMLP(BaseEstimator):
    """Base of both estimators, not for users: the subclasses know about targets."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "preset": [StrOptions(set(PRESETS))],
        "categorical_features": [StrOptions({"from_dtype"}), "array-like", None],
        "scoring": [str, callable, None],
        "time_limit": [Interval(Real, 0, None, closed="neither"), None],
        "random_state": ["random_state"],
        "progress_bar": ["boolean"],
        "n_jobs": [Integral, None],
    }

    _members: Members
    _columns: Columns
    _trained: dict[str, Any]

    # ------------------------------------------------------------ of the task

    def _target(self, y: Array) -> Any:
        """Return the target of checked labels or numbers; set ``classes_`` and the like."""
        raise NotImplementedError

    def _read_target(self, y: Any) -> Array:
        """Return checked labels or numbers."""
        raise NotImplementedError

    def _weights(self, y: Array, weights: Array | None) -> Array | None:
        """Return the weights of rows in training."""
        del y
        return weights

    def _scorer(self, y: Array, weights: Array | None) -> Any:
        """Return ``prediction -> score`` of out-of-fold predictions, or None."""
        raise NotImplementedError

    def _finish(self, target: Any, trained: Trained, weights: Array | None) -> dict[str, str]:
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
            Numbers, booleans, text, categories; missing values as NaN, None or NA. Dates are
            refused: pass what matters of them as numbers.
        y : array-like, shape (n_samples,) or (n_samples, n_outputs)
            Labels, or real numbers.
        sample_weight : array-like, shape (n_samples,), optional
            Weights of the rows, in training and in all that is measured.
        groups : array-like, shape (n_samples,), optional
            Rows of one group are held out together: of one patient, for example.

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
        draft = object.__new__(type(self))
        draft.__dict__.update(self.get_params(deep=False))
        draft._train(X, y, sample_weight, groups)
        fitting = vars(self).get("_fitting")
        kept = {k: v for k, v in vars(self).items() if k not in vars(draft) and k[-1] != "_"}
        self.__dict__ = {**kept, **vars(draft), "_fitting": fitting}
        return self

    def _train(self, X: Any, y: Any, sample_weight: Any, groups: Any) -> None:
        watch = Watch()
        with watch("reading"):
            X = self._checked(X, reset=True)
            y = self._read_target(y)
            check_consistent_length(X, y)
            if len(y) < 2:
                raise ValueError(f"n_samples={len(y)} but at least 2 rows are expected")
            columns = Columns.of(X, self.categorical_features)
            table = columns.read(X)
            used, weights = self._used(X, y, sample_weight)
            target = self._target(y[used])
        random_state = check_random_state(self.random_state)
        seed = random_state.randint(2**31 - 1, size=4)
        request = Request(
            PRESETS[self.preset],
            np.random.default_rng(seed),
            None if self.time_limit is None else time.monotonic() + float(self.time_limit),
            self._scorer(y[used], weights),
            of_jobs(self.n_jobs),
            [Progress()] if self.progress_bar else [],
        )
        grouped = None
        if groups is not None:
            grouped = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
            check_consistent_length(X, grouped)
            grouped = grouped[used]
        with watch("training"):
            rows = table if len(used) == len(table) else table.take(used)
            trained = members.train(rows, columns, target, weights, grouped, request)
        with watch("calibration"):
            self._columns, self._members = columns, trained.members
            more = self._finish(target, trained, weights)
            self._set_fitted(trained, target, table, used)
        self._report = self._reported(trained, target, columns, len(table), watch.seconds, more)

    def _checked(self, X: Any, reset: bool) -> Any:
        """Return a table; its names and their number are checked, or kept."""
        if is_frame(X):
            validate_data(self, X, reset=reset, skip_check_array=True)
            if len(X) == 0 or X.shape[1] == 0:
                raise ValueError(
                    f"Found array with {len(X)} sample(s) and {X.shape[1]} feature(s) "
                    f"(shape={X.shape}) while a minimum of 1 is required."
                )
            return X
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
        weights = self._weights(y, given)
        if weights is None:
            return np.arange(len(y)), None
        used = np.flatnonzero(weights > 0)
        if len(used) < 2:
            raise ValueError(f"{len(used)} rows have a weight above 0 but at least 2 are expected")
        kept = weights[used]
        return used, None if np.all(kept == kept[0]) else kept / kept.mean()

    def _set_fitted(self, trained: Trained, target: Any, table: Table, used: Array) -> None:
        """Set the public attributes."""
        found = trained.held_out.prediction(target)
        whole = np.empty((len(table), found.shape[1]))
        whole[used] = found
        unused = np.setdiff1d(np.arange(len(table)), used)
        if len(unused):  # no member has seen them
            whole[unused] = self._members.predict(table.take(unused))[0]
        self._out_of_fold = whole
        self._out = [used[rows] for rows in trained.out]
        self._curve = trained.curve
        self._members.target = copy.copy(target)
        self._members.target.y = self._members.target.classes = None  # no rows in a pickle
        self.history_ = trained.history
        self.best_epoch_, self.n_iter_ = trained.epoch, trained.epochs

    def _reported(
        self,
        trained: Trained,
        target: Any,
        columns: Columns,
        n: int,
        seconds: dict[str, float],
        more: dict[str, str],
    ) -> Report:
        ensemble, preset = self._members.ensemble, PRESETS[self.preset]
        sizes = ensemble[0].layer_sizes
        _, alone, together, _ = next(row for row in trained.curve if row[0] == trained.epoch)
        count = len(ensemble)
        return Report(
            n,
            len(columns.names),
            {
                "numbers": len(columns.numbers),
                "categories": len(columns.categories),
                "inputs": sizes[0],
            },
            columns.left_out,
            f"{count} of {'-'.join(map(str, sizes))}: {preset.repeats} times "
            f"{count // preset.repeats} folds",
            target.metric,
            target.shown(alone),
            target.shown(together),
            trained.epoch,
            trained.epochs,
            seconds,
            more,
            trained.notes,
        )

    # ------------------------------------------------------------ after it

    def _predictions(self, X: Any) -> tuple[Array, Array]:
        """Return the members' prediction of a table, and the deviation among them."""
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
        fastmlp.tabular.shown.Importance
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
        return shown.importance(
            self._members, self._columns, table, target, self._out, rounds, IMPORTANCE_SEED
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
            Columns to show.
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes
            With labels.
        """
        return shown.bars(self.importance(X, y, rounds=rounds), most, ax)

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
        return shown.history(self._curve, self.best_epoch_, self._members.target, ax)

    def _target_of(self, y: Any) -> Any:
        """Return the target of rows after the fit; nothing is set."""
        draft = object.__new__(type(self))
        draft.__dict__.update(vars(self))
        return draft._target(draft._read_target(y))

    def _turn(self) -> Turn:
        """Return whose turn it is to fit; made when first asked for, and no part of the state."""
        turn = vars(self).get("_fitting")
        if turn is None:
            turn = self.__dict__.setdefault("_fitting", Turn())
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


class Watch:
    """Takes the time of phases.

    Attributes
    ----------
    seconds : dict of str to float
        By name.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the time inside to a phase."""
        began = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began


def finite_numbers(y: Any) -> Array:
    """Return numbers, float64, shape (n, outputs), or complain."""
    checked = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
    return checked.reshape(len(checked), -1)
