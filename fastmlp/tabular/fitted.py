"""The fitted state of an estimator of tables: read as one snapshot, saved, exported, distilled."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from fastmlp._core.intervals import check_count
from fastmlp._export.c import CFiles
from fastmlp._models import blockwise
from fastmlp._training.arrow import ArrowBlocks
from fastmlp.sklearn.parameters import Validated, copy_with_state
from fastmlp.tabular import sources
from fastmlp.tabular.blend import Blend
from fastmlp.tabular.columns import Array, Columns, Table
from fastmlp.tabular.conformal import levels_of
from fastmlp.tabular.distilled import distilled
from fastmlp.tabular.frames import check_frame, check_names, gathered, is_frame
from fastmlp.tabular.inspection import Importance
from fastmlp.tabular.predictor import RowPredictor
from fastmlp.tabular.report import Report

Method = TypeVar("Method", bound=Callable[..., Any])


def from_snapshot(method: Method) -> Method:
    """Decorate a method to read a snapshot of the fitted state, also during a concurrent fit."""

    @functools.wraps(method)
    def reading(self: Any, *args: Any, **kwargs: Any) -> Any:
        check_is_fitted(self, "_members")
        return method(copy_with_state(self, vars(self)), *args, **kwargs)

    return reading  # type: ignore[return-value]


class Fitted(Validated):
    """The state of a fitted estimator, and the methods that copy or save it."""

    _trained_with: dict[str, Any]  # parameters at the time of the fit
    _columns: Columns
    _members: Blend
    _row_weights: Array | None = None  # None if all are equal
    _out: list[Array]  # rows that the k-th member of every group holds out
    _out_of_fold: Array
    _curve: list[tuple[int, float, float, float]]
    _rows: tuple[Table, Any]  # rows and target of the fit; not in copies and files
    _importance: Importance | None
    _report: Report
    best_epoch_: int
    n_outputs_: int
    rows_: Array | None = None  # None if all rows were used

    # Each estimator has its own: labels or numbers of any rows, encoded like the fitted target; and
    # a function from predictions of all members to the user's result.
    _encoded: Callable[[Any], Array]
    _finisher: Callable[[], Callable[[Array], Array]]
    _exported: Callable[[], Any]  # the `ExportedTable`; exporters are imported when they are used

    # ------------------------------------------------------------ reading of rows

    def _checked(self, X: Any, reset: bool) -> Any:
        """Return a table with checked column names; ``reset`` stores them, else they must match."""
        X = gathered(X)
        if is_frame(X):
            check_frame(X)
            check_names(self, X, reset)
            return X
        with np.errstate(invalid="ignore"):  # scikit-learn sums infinities
            return validate_data(
                self, X, reset=reset, dtype=None, ensure_all_finite="allow-nan", ensure_2d=True
            )

    def _check_rows_of_fit(self, n: int, expected: int) -> None:
        """Raise ValueError if a target for a picture of the fit has another number of rows."""
        if n != expected:
            own = "y of the fit" if self.rows_ is None else "y[model.rows_], the rows used"
            raise ValueError(
                f"y has {n} rows but the {expected} of the fit are expected: pass {own}"
            )

    def _read(self, X: Any) -> Table:
        return self._columns.read(self._checked(X, reset=False))

    def _with_rows(self, target: Any, y: Any) -> Any:
        """Return a copy of a target with the labels or numbers of other rows."""
        other = copy.copy(target)
        other.y = copy_with_state(self, vars(self) | self._trained_with)._encoded(y)
        return other

    def _read_both(self, target: Any, X: Any, y: Any, names: str) -> tuple[Table, Any] | None:
        """Return rows as a table and a copy of the target; None if there are no rows."""
        if (X is None) != (y is None):
            raise ValueError(f"{names} belong together: pass both, or neither")
        if X is None:
            return None
        table, other = self._read(X), self._with_rows(target, y)
        check_consistent_length(table.numbers, other.y)
        return table, other

    def _predicted(self, X: Any, finish: Callable[[Array], Any], out: Any = None) -> Array:
        """Return the finished predictions of all members for a table, or a source by blocks."""
        tables: Iterable[Table]
        if isinstance(X, ArrowBlocks):
            n, tables = None if out is None else X.n, sources.blocks(X, self._columns)
        else:
            tables = [table := self._read(X)]
            n = len(table)
        each = (finish(self._members.predict(table)) for table in tables)
        return blockwise.joined(each, out, n)  # type: ignore[no-any-return]

    @property
    @from_snapshot
    def oof_prediction_(self) -> Array:
        """Out-of-fold predictions: members not trained on a row of the fit predict that row."""
        return self._finisher()(self._out_of_fold).copy()

    # ------------------------------------------------------------ exports

    def _all_outputs(self, outputs: Array, levels: Sequence[float]) -> Array:
        """Return all outputs of the C file from predictions of all members, (n, columns)."""
        del levels
        return self._finisher()(outputs)

    def _levels(self, levels: Any) -> list[float]:
        """Return checked levels of quantiles, which only a regressor predicts."""
        if (found := levels_of(levels)) and not hasattr(self, "predict_quantiles"):
            raise ValueError(
                f"levels is {levels!r} but a classifier predicts no quantiles: leave levels out"
            )
        return found

    @from_snapshot
    def to_c(
        self, path: Any, *, weights: str | None = None, X: Any = None, levels: Sequence[float] = ()
    ) -> CFiles:
        """Write the fitted estimator as a C99 source file and header, for raw columns.

        The file needs only libm and stack memory and keeps no state, so it is thread-safe; it
        compiles as C++, too. ``NAME_predict(numbers, codes, y)`` computes ``predict`` of one row,
        for classifiers ``predict_proba``. Compiled with ``-DFASTMLP_MAIN`` the file is a program
        that checks itself.

        For regressors, ``NAME_distribution`` also computes the standard deviations of
        ``predict(X, return_std=True)`` and the quantiles of ``predict_quantiles`` at
        ``NAME_levels``. For classifiers, ``NAME_class(numbers, codes)`` returns the index of the
        class; the array ``NAME_labels`` holds the classes unless they are 0, 1, 2, ...
        ``NAME_classes(numbers, codes, classes)`` sets one flag per label for multi-label models.

        Parameters
        ----------
        path : str or path
            Path of the source, ``NAME.c``; the header ``NAME.h`` is written beside it.
        weights : {"float32", "float64", "bfloat16", "int8"}, optional
            Dtype of the weights, by default float32; int8 takes a quarter of the memory and is less
            exact.
        X : frame or array-like, shape (n_samples, n_features), optional
            Typical rows, used to measure errors and for the self-check. By default random rows;
            required for int8.
        levels : sequence of float in (0, 1), optional
            Levels of the quantiles, for regressors only; [0.05, 0.95] are the ends of
            ``predict_interval(X, 0.9)``.

        Returns
        -------
        fastmlp._export.c.CFiles
            Paths, sizes, and the largest difference from the estimator's predictions.

        Raises
        ------
        TypeError, ValueError
            If an argument is invalid, if the classes or a column's categories have no form in C, or
            if there are more than 2**24 parameters.

        Notes
        -----
        The header defines the indices of the used columns. Numbers are ``double``, NaN
        where missing; infinity, which ``predict`` rejects, counts as the largest number. Categories
        are codes, -1 where missing: ``NAME_code(category, text)`` returns the code of a text, or of
        a number as Python writes it, and -2 for values unknown to the fit; ``NAME_text(category,
        code)`` returns the text of a code.

        Examples
        --------
        >>> import numpy as np, tempfile
        >>> from fastmlp import TabMLPRegressor
        >>> X = np.random.default_rng(0).normal(size=(99, 2))
        >>> model = TabMLPRegressor(preset="fast", random_state=0).fit(X, X[:, 0] * X[:, 1])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = model.to_c(folder + "/product.c", X=X, levels=[0.05, 0.95])
        >>> files.largest_error < 1e-5
        True
        """
        from fastmlp.tabular.export import c_source

        levels, table = self._levels(levels), None if X is None else self._read(X)
        finish = functools.partial(self._all_outputs, levels=levels)
        return c_source.write(self._exported(), self._members, finish, path, weights, table, levels)

    @from_snapshot
    def to_onnx(self, path: Any = None, *, levels: Sequence[float] = ()) -> Any:
        """Return the fitted estimator as an ONNX model for raw columns, which runs without fastmlp.

        Outputs of regressors are float64: ``predictions`` and ``deviations``, (rows, outputs), the
        results of ``predict(X, return_std=True)``, and with levels ``quantiles``, the result of
        ``predict_quantiles(X, levels)``. Those of classifiers are ``label`` and, in float64,
        ``probabilities``, the results of ``predict`` and ``predict_proba``.

        Parameters
        ----------
        path : str or path, optional
            File to write, in addition to returning the model; it is replaced atomically.
        levels : sequence of float in (0, 1), optional
            Levels of the quantiles, for regressors only; [0.05, 0.95] are the ends of
            ``predict_interval(X, 0.9)``.

        Returns
        -------
        onnx.ModelProto
            The model, of opset 17, checked. Text and integer categories need ai.onnx.ml 3, float64
            categories ai.onnx.ml 4.

        Raises
        ------
        ImportError
            If the onnx package is missing: ``pip install onnx``.
        TypeError, ValueError
            If an argument is invalid, if ONNX has no type for the classes or a column's categories,
            if a column has both empty and missing text or a name that is not valid in ONNX, if no
            column is used, or if the parameters exceed 2 GiB.

        Notes
        -----
        If X was a numeric array, the input is ``X``, float64, (rows, columns of the
        fit). Otherwise each used column is an input of its own name, (rows, 1): float64 for numbers
        of any dtype, so that large numbers with small differences, such as times, are not rounded;
        string, int64 or bool for categories, or float64 for numeric categories with fractions or
        missing values. Missing numbers are NaN, missing text is empty. Categories that the fit has
        not seen are unknown, as for ``predict``. Infinity, which ``predict`` rejects, counts as a
        very large number.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp import TabMLPRegressor
        >>> X = np.random.default_rng(0).normal(size=(99, 2))
        >>> model = TabMLPRegressor(preset="fast", random_state=0).fit(X, X[:, 0] * X[:, 1])
        >>> proto = model.to_onnx(levels=[0.05, 0.95])
        >>> [each.name for each in proto.graph.input], [each.name for each in proto.graph.output]
        (['X'], ['predictions', 'deviations', 'quantiles'])
        """
        from fastmlp.tabular.export import onnx_graph

        return onnx_graph.model(self._exported(), path, self._levels(levels))

    # ------------------------------------------------------------ copies and files

    @from_snapshot
    def predictor(self) -> RowPredictor:
        """Return the fitted estimator as a function that is fast for single rows.

        Returns
        -------
        fastmlp.tabular.predictor.RowPredictor
            Computes ``predict``, for classifiers ``predict_proba``, of one row, with float32
            weights; ``to_c(weights=...)`` writes narrower ones.
        """
        return RowPredictor(self._columns, self._members, self._finisher())

    @from_snapshot
    def distill(self, X: Any, *, random_state: int = 0) -> RowPredictor:
        """Distil all members into one network, and return it as a function of one row.

        It is as fast as a single member, and its predictions are close to those of all members,
        closer than those of single members; see docs/tabular.md. Distillation takes about as long
        as a short fit.

        Parameters
        ----------
        X : frame or array-like, shape (n_samples, n_features)
            Typical rows, for example those of the fit; more rows give better results.
        random_state : int
            Seed; the same seed gives the same bits.

        Returns
        -------
        fastmlp.tabular.predictor.RowPredictor
            Approximates ``predict``, for classifiers ``predict_proba``, of one row.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp import TabMLPRegressor
        >>> X = np.random.default_rng(0).uniform(-1, 1, (99, 2))
        >>> model = TabMLPRegressor(preset="fast", random_state=0).fit(X, X[:, 0] + X[:, 1])
        >>> p = model.distill(X)
        >>> bool(abs(p(X[0]) - model.predict(X[:1])[0]) < 0.2)
        True
        """
        seed = check_count("random_state", random_state, example=1, least=0)
        one = distilled(self._columns, self._members, self._read(X), seed)
        return RowPredictor(self._columns, one, self._finisher())

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop("_rows", None)  # pickles contain no rows
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
