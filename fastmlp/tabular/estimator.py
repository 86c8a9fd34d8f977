"""The common part of the estimators of tables: a face over the value of the last fit.

A fit returns a `FittedTable`, which one assignment swaps in; every method reads it once, so that
threads that predict during a fit see the last value or the next one, never a mixture.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from fastmlp._core.history import History
from fastmlp._core.intervals import POSITIVE, check_count, check_flag
from fastmlp._core.user_warnings import warn
from fastmlp._engine.explainable import Explainable, Explained
from fastmlp._engine.thread_count import of_jobs
from fastmlp._models import blockwise
from fastmlp._training.readers import TableSource
from fastmlp._training.sources import is_table_source
from fastmlp._validation.arrays import short
from fastmlp.sklearn.parameters import Splitter, Validated, training_method
from fastmlp.tabular import pictures
from fastmlp.tabular.fit import reading, training
from fastmlp.tabular.fit.parameters import CONSTRAINTS
from fastmlp.tabular.fit.reading import TableChunk
from fastmlp.tabular.fitted.fitted_table import FittedTable
from fastmlp.tabular.fitted.predictor import RowPredictor
from fastmlp.tabular.fitted.results import NO_ROWS, Importance, Report, ReportByRows
from fastmlp.tabular.outcome.conformal import levels_for
from fastmlp.tabular.table.columns import Array, RowIndex, Table

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from onnx import ModelProto
    from sklearn.utils import Tags

    from fastmlp._export.c import CFiles
    from fastmlp._validation.arrays import TableLike

MAX_CELLS = 20_000  # largest table whose importance a report computes


class BaseTabMLP(Explainable, Validated):
    """Base class of the estimators, whose docstrings have these sections, too.

    Parameters
    ----------
    preset : {"fast", "default", "best"}, default="default"
        Amount of training; ``fastmlp.tabular.plan.presets`` has the numbers. Each of the next
        five parameters replaces a part of the preset.
    recipes : list of dict, optional
        Recipes to train one after the other and to blend if that helps. Each may have bins
        (piecewise linear inputs per number), width and depth (hidden layers), activation, rate
        (factor on the learning rate), dropout, decay (of weights), parametric (whether units learn
        a blend of their activation and the identity), share (of the epochs) and embedding (units of
        a first layer in which columns do not meet); see ``fastmlp.tabular.plan.presets.Recipe``.
        By default, squared errors of at most 10,000 rows also have a linear part, a ridge
        regression; fits with ``recipes`` or ``epochs`` are those of networks alone.
    folds : int from 2 to 1000, or splitter, optional
        Number of parts of the rows; each network is trained on all parts but one. Or a splitter of
        scikit-learn, such as ``GroupKFold``, whose folds all stages use; files do not contain it.
        See also ``folds`` of ``fit``.
    members : int from 1 to 10000, optional
        Number of networks per recipe, rounded up to a multiple of the folds.
    validation : "choose" or None, default=None
        With "choose", ``X_val`` and ``y_val`` of ``fit`` choose epochs and weights instead of rows
        that folds hold out.
    epochs : int from 1 to 1000000, optional
        Number of epochs of a recipe with share 1, whatever the number of rows. With ``recipes`` or
        ``epochs``, the default preset trains in one stage and ends no recipe early for little gain.
    width : int from 1 to 100000, optional
        Units of each hidden layer, in all recipes.
    categorical_features : "from_dtype", array-like or None, default="from_dtype"
        Text, booleans and category dtypes are categories. A list selects further numeric columns:
        by names (text), indices (integers from 0) or one boolean per column. For frames with
        integer names that differ from the indices, integers are rejected: pass such a name as text,
        ``"10"``. With None, numeric category dtypes are numbers. With "from_dtype", whole numbers
        that name things, such as shops, become ordered categories if ``select`` is true and rows
        that were not learned are predicted better so; a note of the report names them.
    monotone : dict, optional
        Columns of numbers, by name or place from 0, in which predictions must not fall (1) or not
        rise (-1) while all other columns stay the same. Needs squared errors, or two classes: then
        it is the probability of the second.
    select : bool, default=True
        Whether columns that say nothing about the target are left out, if rows that did not choose
        them are predicted better without; see ``left_out_``. The presets "default" and "best" look
        for such columns unless ``recipes`` or ``epochs`` are passed; "fast" uses all columns. Also
        whether numbers may become categories, see ``categorical_features``.
    scoring : str, callable or None, default=None
        Score that selects the epoch, on out-of-fold predictions: the loss by default, or any scorer
        of scikit-learn.
    time_limit : float, optional
        Approximate limit of the fit in seconds, except that one epoch always runs; the learning
        rate schedule is adapted to it. If there is time for fewer than about 8 epochs of all rows,
        a random sample of them is used, at least 5,000; see ``rows_``. The result then depends on
        the speed of the machine.
    max_memory : float or str, optional
        Memory in bytes, or as text such as "4GB" or "500 MiB", that the fit may take beside the
        data given. A fit that would take more by an estimate has fewer networks, even than
        ``members``, or uses a random sample of the rows; the report has a note. By default 80 % of
        the memory that is free in the machine or the control group.
    random_state : int, RandomState or None, default=None
        Seed or generator of folds, initial weights and order of samples.
    verbose : bool or int, default=False
        Show progress on standard error: the recipe, the completed share of the fit, the time left
        and the score of held-out rows; a tqdm bar in terminals and notebooks if tqdm is installed,
        else lines.
    callbacks : list of callables, optional
        Called with a ``fastmlp.State`` after each epoch of each recipe; ``state.val_loss`` is the
        score of held-out rows, ``state.model`` the networks in training. Returning True ends the
        fit like Ctrl-C: the estimator keeps the networks trained so far and warns. Ctrl-C before
        the first score leaves the estimator unchanged. ``EarlyStopping`` and ``ReduceOnPlateau`` of
        val_loss are rejected, because a fit selects the best epoch itself.
    n_jobs : int, optional
        Number of threads; -1 uses all. By default all that are available. The result does not
        depend on it.

    Attributes
    ----------
    best_epoch_, n_iter_ : int
        Selected epoch, counted from 1, and number of epochs run; 0 if the report says that the
        blend is a linear part alone.
    rows_ : array of int64, or None
        Rows of the fit, in ascending order, if ``time_limit`` or ``max_memory`` allowed only a
        sample; results of the fit, such as ``oof_prediction_``, are those of these rows.
    left_out_ : dict of str to str
        Columns that the fit does not use, with the reasons: they are constant, repeat another, or
        say nothing about the target, see ``select``.
    history_ : fastmlp.History
        History of the members' mean loss.
    n_features_in_, n_outputs_ : int
        Number of columns of X, and of columns of y or of probabilities.
    feature_importances_ : array of float64, shape (n_features_in_,)
        Share of each column in ``importance()``, computed on first access.
    feature_names_in_ : array of str
        Names of the columns; only if X has names.

    Notes
    -----
    The method is RealMLP (Holzmueller, Grinsztajn and Steinwart 2024, arXiv 2407.04491) with
    piecewise linear inputs (Gorishniy, Rubachev and Babenko 2022) and an ensemble over folds.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = CONSTRAINTS
    _sources = (TableSource,)
    target_class: ClassVar[Any]  # the class of the target, see `targets`

    _fitted: FittedTable  # the result of the last fit

    # ------------------------------------------------------------ fit

    @training_method
    def fit(
        self,
        X: TableLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        folds: Splitter | ArrayLike | Iterable[tuple[ArrayLike, ArrayLike]] | None = None,
        time: ArrayLike | None = None,
        X_val: TableLike | None = None,
        y_val: ArrayLike | None = None,
    ) -> Self:
        """Train on a table as it is, with text, dates and gaps.

        Parameters
        ----------
        X : pandas or polars frame, array-like, shape (n_samples, n_features), or ArrowBlocks
            Also a pyarrow table, a dictionary of columns, or a list of dictionaries, as frames of
            pandas. Numbers,
            booleans, text, categories, dates, time differences; missing values are NaN, None, NaT,
            NA or masked. Text of which 99 % are dates, or numbers with a unit, is read as such; the
            report says so. Sparse matrices are rejected: pass the columns from before the encoding.
            A `fastmlp.ArrowBlocks` has targets and weights, too; numbers and codes of its rows must
            fit into memory. It is read twice, and with ``time_limit`` or ``max_memory`` once, for
            at most 0.4 of the time.
        y : array-like, shape (n_samples,) or (n_samples, n_outputs), or str
            Labels or real numbers; or the name of the column of X that holds them; None with
            ArrowBlocks. Numbers may be NaN, which means missing: they are left out of training,
            scores and intervals. Rows whose one target is NaN have weight 0, with a warning.
        sample_weight : array-like, shape (n_samples,), optional
            Weights of the rows in training and in all scores; weights below 2e-16 times the largest
            count as 0.
        groups : str or array-like, shape (n_samples,), optional
            Group of each row, for example a patient; or the name of the column of X that has them,
            which stays an input. Rows of a group are held out together, and
            prediction intervals hold for new groups. Without groups, copies of a row are held out
            together, and so are many equal rows whose targets agree. With ``time``, too, networks
            that predict a row have learned from earlier rows of other groups.
        folds : array-like, shape (n_samples,), iterable of pairs, or splitter, optional
            Folds instead of random ones, and of those of the parameter ``folds``: for each row the
            number of the fold that holds it out, from 0, or -1 for none; or pairs of the rows that
            a fold learns from and those that it holds out. Rows that no fold holds out have no
            out-of-fold prediction; scores, weights and calibration are those of the others.
        time : str or array-like, shape (n_samples,), optional
            Time of each row: numbers, datetimes, or ISO dates as text; or the name of the column of
            X that has them. Folds go forward in time: networks that have learned from earlier rows
            predict the later half, whose scores choose epochs and weights, and whose residuals,
            the recent ones above all, give intervals for rows that come later. Then networks are
            trained again on all rows.
        X_val, y_val : like X and y, optional
            Rows that are not used in training: the report shows the fitted model's score on them.
            With ``validation="choose"`` they take the place of folds: all networks learn all rows
            of X, and these rows, which follow those of X in ``oof_prediction_`` and in other
            results of the fit, choose epochs and weights, and calibrate.

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
        rows = TableChunk(X, y, sample_weight, groups, folds, time)
        parameters = self.get_params(deep=False)
        self._fitted, stopped = training.fit(self.target_class, parameters, rows, X_val, y_val)
        if stopped:
            warn(
                f"the fit has ended early because {stopped}: the model consists of the "
                "networks trained so far, see report()",
                ConvergenceWarning,
            )
        return self

    def partial_fit(
        self,
        X: TableLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        rate: float = 0.2,
    ) -> Self:
        """Let the networks of the fit go on with new rows, in one pass over them in their order.

        Columns, categories and scales stay those of the fit: unknown categories are read as by
        ``predict``. Up to 1,024 rows are first predicted, and then learned from in steps of at most
        64. The latest 2,000 of them calibrate, once there are 100, and are the rows of
        ``oof_prediction_``, importance and report. The optimizers' state lasts from call to call,
        also in copies and files. The first rows of an estimator without a fit are those of `fit`.

        Parameters
        ----------
        X : table, ArrowBlocks, or callable or iterator of blocks
            Rows with the columns of the fit; or a `fastmlp.ArrowBlocks` with a target; or a stream
            of blocks, each ``(X, y)`` or ``(X, y, sample_weight)``.
        y : array-like, shape (n_samples,) or (n_samples, n_outputs), or str
            Labels among the classes of the fit, or real numbers; text is the name of the column of
            X that holds them; None beside a source or stream.
        sample_weight : array-like, shape (n_samples,), optional
            Weights of the rows.
        rate : float, default=0.2
            Learning rate, above 0, as a factor on that with which a fit begins. A larger one
            follows drift faster, and is less exact where nothing changes.

        Returns
        -------
        estimator
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If an argument is invalid, or the fit has ``loss="quantiles"`` or balanced weights of
            classes. After any error or an interrupt the estimator is unchanged.
        NotFittedError
            If X is a stream, before a fit.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp import TabMLPRegressor
        >>> X = np.random.default_rng(0).normal(size=(300, 2))
        >>> model = TabMLPRegressor(preset="fast", random_state=0).fit(X[:200], X[:200, 0])
        >>> model.partial_fit(X[200:], 1 + X[200:, 0]).report().more["partial_fit"][:22]
        '100 rows since the fit'
        """
        rate = POSITIVE.check("rate", rate, 0.2)
        is_stream = y is None and not is_table_source(X)
        if "_fitted" not in vars(self) and not is_stream:
            return self.fit(X, y, sample_weight)
        self._update(data=(X, y, sample_weight), rate=rate)
        return self

    @training_method
    def _update(self, *, data: tuple[Any, Any, Any], rate: float) -> None:
        """Swap in a value whose networks have learned from more rows."""
        from fastmlp.tabular.fit.updates import updated

        fitted, n_threads = self._state(), of_jobs(self.n_jobs)
        self._fitted = updated(fitted, data, rate, n_threads)

    def _state(self) -> FittedTable:
        """Return the value of the last fit; raise NotFittedError without one."""
        if "_fitted" not in vars(self):
            check_is_fitted(self)  # which raises scikit-learn's error
        return self._fitted

    def __sklearn_is_fitted__(self) -> bool:
        return "_fitted" in vars(self)

    @property
    def n_features_in_(self) -> int:
        """Number of columns of X."""
        return len(self._state().columns.names)

    @property
    def n_outputs_(self) -> int:
        """Number of columns of y, or of probabilities."""
        fitted = self._state()
        return fitted.calibration.outputs // max(1, len(fitted.target.loss.levels))

    @property
    def rows_(self) -> RowIndex | None:
        """Rows of the fit if it used a sample, or None."""
        return self._state().out_of_fold.sampled

    @property
    def left_out_(self) -> dict[str, str]:
        """Columns that the fit does not use, with the reasons."""
        return dict(self._state().columns.left_out)

    @property
    def history_(self) -> History:
        """History of the mean loss."""
        return self._state().facts.history

    @property
    def best_epoch_(self) -> int:
        """Selected epoch, counted from 1."""
        return self._state().facts.best_epoch

    @property
    def n_iter_(self) -> int:
        """Number of epochs that were run."""
        return self._state().facts.n_iter

    @property
    def oof_prediction_(self) -> Array:
        """Predictions of the rows of the fit by networks that were not trained on them."""
        return self._state().oof_prediction()

    @property
    def feature_names_in_(self) -> Array:
        """The names of the columns of a frame."""
        names = self._fitted.feature_names if "_fitted" in vars(self) else None
        if names is None:
            raise AttributeError("feature_names_in_ exists after a fit of a frame with text names")
        return names

    @feature_names_in_.setter
    def feature_names_in_(self, names: Any) -> None:
        """Forget the names; shap sets None in a copy of the model, and then predicts arrays."""
        if names is not None:
            raise ValueError(
                f"feature_names_in_ is {short(names)} but only None, which forgets the names, is "
                "expected: fit again to rename columns"
            )
        self._fitted = replace(self._state(), feature_names=None)

    # ------------------------------------------------------------ predictions

    def _read(self, fitted: FittedTable, X: TableLike) -> Table:
        """Return new rows as a table."""
        return fitted.columns.read(reading.checked_again(X, fitted.columns, self))

    def _predicted(
        self,
        fitted: FittedTable,
        X: TableLike,
        finish: Callable[[Array], Any],
        out: Array | None = None,
    ) -> Array:
        """Return the finished predictions of all members for a table, or a source by blocks."""
        tables: Iterable[Table]
        if is_table_source(X):
            from fastmlp.tabular.sources import tables as sources

            n, tables = None if out is None else X.n, sources.blocks(X, fitted.columns)
        else:
            tables = [table := self._read(fitted, X)]
            n = len(table)
        blocks = (finish(fitted.predict(table)) for table in tables)
        return blockwise.joined(blocks, out, n)  # type: ignore[no-any-return]

    def predictor(self, *, levels: Sequence[float] = ()) -> RowPredictor:
        """Return the fitted estimator as a function that is fast for single rows.

        Parameters
        ----------
        levels : sequence of float in (0, 1), optional
            Levels of quantiles, for regressors only, that the function predicts instead:
            [0.05, 0.95] are the ends of ``predict_interval(X, 0.9)``, which in addition contains
            the prediction.

        Returns
        -------
        fastmlp.tabular.fitted.predictor.RowPredictor
            Computes ``predict``, for classifiers ``predict_proba``, of one row, with float32
            weights; ``to_c(weights=...)`` writes narrower ones.
        """
        fitted = self._state()
        return fitted.predictor(levels_for(fitted.target, levels))

    def _explained(self) -> Explained:
        calibration = self._state().calibration
        return self._explained_as(calibration.result, getattr(calibration, "classes", None))

    def _explained_as(self, finish: Callable[[Array], Array], classes: Array | None) -> Explained:
        """Return a function of the networks' predictions as one of matrices of rows."""
        from fastmlp.tabular.fitted.explained import of_table

        fitted = self._state()
        return of_table(
            fitted.columns,
            fitted.blend,
            finish,
            lambda X: reading.checked_again(X, fitted.columns, self),
            classes,
            fitted.target_names,
        )

    def distill(self, X: TableLike, *, random_state: int = 0) -> Self:
        """Distil all members into one network: an estimator like this one, but faster.

        It is as fast as a single member, and its predictions are close to those of all members,
        closer than those of single members; see docs/guides/distill.md. Its intervals, temperature
        and ``oof_prediction_`` are those of all members: its own error is not in the intervals,
        which contain somewhat fewer targets. Distillation takes about as long as a short fit.

        Parameters
        ----------
        X : frame or array-like, shape (n_samples, n_features)
            Typical rows, for example those of the fit; more rows give better results.
        random_state : int
            Seed; the same seed gives the same bits.

        Returns
        -------
        estimator
            A fitted estimator of this class and with these parameters, whose predictions
            approximate those of this one.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp import TabMLPRegressor
        >>> X = np.random.default_rng(0).uniform(-1, 1, (99, 2))
        >>> model = TabMLPRegressor(preset="fast", random_state=0).fit(X, X[:, 0] + X[:, 1])
        >>> p = model.distill(X).predictor()
        >>> bool(abs(p(X[0]) - model.predict(X[:1])[0]) < 0.2)
        True
        """
        from fastmlp.tabular.fitted.distilled import distilled

        seed = check_count("random_state", random_state, example=1, least=0)
        fitted = self._state()
        return self.with_fitted(distilled(fitted, self._read(fitted, X), seed))

    # ------------------------------------------------------------ exports

    def to_c(
        self,
        path: str | os.PathLike[str],
        *,
        weights: str | None = None,
        X: TableLike | None = None,
        levels: Sequence[float] = (),
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
            Path of the source, ``NAME.c``; the header ``NAME.h`` and ``NAME.json``, for
            programs in other languages, are written beside it.
        weights : {"float32", "float64", "bfloat16", "int8"}, optional
            Dtype of the weights, by default float32; int8 takes a quarter of the memory and is less
            exact.
        X : frame or array-like, shape (n_samples, n_features), optional
            Typical rows, used to measure errors and for the self-check. By default random rows;
            required for int8.
        levels : sequence of float in (0, 1), optional
            Levels of the quantiles, for regressors only; [0.05, 0.95] are the ends of
            ``predict_interval(X, 0.9)``, which in addition contains the prediction.

        Returns
        -------
        fastmlp._export.c.CFiles
            Paths, sizes, and the largest difference from the estimator's predictions, relative to
            the target's standard deviation.

        Raises
        ------
        TypeError, ValueError
            If an argument is invalid, if the classes or a column's categories have no form in C, or
            if there are more than 2**24 parameters.

        Notes
        -----
        The header defines the indices of the used columns. Numbers are ``double``, NaN
        where missing; infinity, which ``predict`` rejects, counts as the largest number. Dates are
        seconds since 1970-01-01 00:00, in UTC if they had a time zone, and time differences are
        seconds. Categories
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

        fitted = self._state()
        levels = levels_for(fitted.target, levels)
        table = None if X is None else self._read(fitted, X)
        return c_source.write(fitted, path, weights, table, levels)

    def to_onnx(
        self, path: str | os.PathLike[str] | None = None, *, levels: Sequence[float] = ()
    ) -> ModelProto:
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
            ``predict_interval(X, 0.9)``, which in addition contains the prediction.

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
        >>> [v.name for v in proto.graph.input], [v.name for v in proto.graph.output]
        (['X'], ['predictions', 'deviations', 'quantiles'])
        """
        from fastmlp.tabular.export import onnx_graph
        from fastmlp.tabular.export.exported import exported

        fitted = self._state()
        return onnx_graph.model(exported(fitted), path, levels_for(fitted.target, levels))

    # ------------------------------------------------------------ report and importance

    def report(self) -> Report:
        """Return a report of the fit: columns, networks, out-of-fold scores, seconds per phase.

        Returns
        -------
        fastmlp.tabular.fitted.results.Report
            Report to print, or to read by attributes. Notebooks add pictures: the score by epoch,
            calibration, and the importance of columns if it is known or the table is small. Copies
            of an estimator lack the rows that the last two pictures need.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp import TabMLPRegressor
        >>> X = np.random.default_rng(0).normal(size=(99, 2))
        >>> model = TabMLPRegressor(preset="fast", random_state=0).fit(X, X[:, 0] * X[:, 1])
        >>> model.report().kinds
        {'numbers': 2, 'dates': 0, 'categories': 0}
        """
        from fastmlp.tabular.report import page

        fitted = self._state()
        unchanging = self.with_fitted(fitted)  # pictures are drawn later
        by_rows = ReportByRows(
            pictures=tuple(unchanging._pictures(fitted)),
            write=partial(page.write, model=unchanging, fitted=fitted),
            verdict=partial(page.verdict, unchanging, fitted),
        )
        return replace(fitted.facts.report, by_rows=by_rows)

    def _pictures(self, fitted: FittedTable) -> Iterator[Callable[..., Any]]:
        """Yield functions that draw a picture of the fit on axes."""
        from fastmlp.tabular.fitted import inspection

        if fitted.facts.curve:
            yield self.plot_history
        cells = MAX_CELLS + 1
        if fitted.rows is not None:
            yield self.plot_calibration
            cells = len(fitted.rows[0]) * len(fitted.columns.used)
        if fitted.importance is not None or cells <= MAX_CELLS:
            yield lambda ax: inspection.bars(self._importance_of_fit(), pictures.MAX_BARS, ax)

    def importance(
        self,
        X: TableLike | None = None,
        y: ArrayLike | None = None,
        *,
        rounds: int = 3,
        time_limit: float | None = None,
    ) -> Importance:
        """Return the permutation importance of each column, on held-out rows.

        Parameters
        ----------
        X, y : as for :meth:`fit`, optional
            New rows, which count equally and are predicted by all members; or the rows of the fit
            in their order, with its weights and predicted out of fold, except by a distilled model,
            to which all rows are new. By default the rows of the fit, with its weights; copies,
            pickles and files of an estimator lack them.
        rounds : int
            Number of shuffles of each column, at least 1.
        time_limit : float, optional
            Approximate limit in seconds, above 0: there are fewer rounds then, at least one, of a
            random sample of the rows if all take too long. With ``verbose``, a line counts columns.

        Returns
        -------
        fastmlp.tabular.fitted.results.Importance
            Names, means and deviations; the most important column comes first.

        Raises
        ------
        ValueError
            If X and y are missing, and this estimator is a copy without the rows of the fit.
        """
        from fastmlp.tabular.fitted import inspection

        rounds = check_count("rounds", rounds, example=3)
        fitted = self._state()
        others = reading.other_rows(fitted.target, fitted.columns, self, X, y, "X and y")
        if time_limit is not None:
            time_limit = POSITIVE.check("time_limit", time_limit, 60.0)
        return inspection.importance(fitted, others, rounds, time_limit, bool(self.verbose))

    @property
    def feature_importances_(self) -> Array:
        """Share of each column in :meth:`importance`, on the rows of the fit.

        Array of float64, shape (n_features_in_,), sum 1, computed on first access. Unused columns,
        and columns without which predictions do not get worse, have 0.
        """
        importance = self._importance_of_fit()
        means = dict(zip(importance.names, importance.means, strict=True))
        gains = np.array([max(means.get(name, 0.0), 0.0) for name in self._fitted.columns.names])
        return gains / gains.sum() if gains.any() else gains

    def _importance_of_fit(self) -> Importance:
        """Return the importance on the rows of the fit, computed once."""
        from fastmlp.tabular.fitted import inspection

        fitted = self._state()
        if fitted.importance is not None:
            return fitted.importance
        if fitted.rows is None:
            raise AttributeError(NO_ROWS.format("feature_importances_"))
        importance = inspection.importance(fitted, None, rounds=3)
        if vars(self).get("_fitted") is fitted:  # no other fit has ended meanwhile
            self._fitted = replace(fitted, importance=importance)
        return importance

    # ------------------------------------------------------------ files and copies

    plot_importance = pictures.plot_importance
    plot_history = pictures.plot_history
    plot_partial_dependence = pictures.plot_partial_dependence

    def save(
        self, path: str | os.PathLike[str], *, training: bool = True, out_of_fold: bool = True
    ) -> None:
        """Write the estimator to a file, for ``fastmlp.load``.

        The file contains parameters, columns and categories, networks, calibration, out-of-fold
        predictions and the report; see docs/saving.md.

        Parameters
        ----------
        path : str or path
            The file, which is replaced atomically; links are followed.
        training : bool
            Whether to include ``history_``, the curve of `plot_history`, and the state with which
            ``partial_fit`` continues.
        out_of_fold : bool
            Whether to include the out-of-fold predictions, 8 bytes for each row and class or
            output, and the latest rows of ``partial_fit``. Without them the loaded estimator
            predicts as before, with calibration and intervals; ``oof_prediction_``, ``rows_``,
            ``importance``, ``distill``, ``plot_calibration`` and the page of ``report().save``
            raise AttributeError.

        Raises
        ------
        OSError
            If the file cannot be written.
        TypeError, ValueError
            If a parameter is invalid, or a file cannot store it: an object such as a function, or
            a class of more than 1,024 characters. ``callbacks`` of other libraries are left out.
        """
        check_flag("out_of_fold", out_of_fold)
        model = self
        if not out_of_fold and "_fitted" in vars(self):
            model = self.with_fitted(replace(self._fitted, held_out=None, latest=None))
        super(BaseTabMLP, model).save(path, training=training)

    def with_fitted(self, fitted: FittedTable | None = None) -> Self:
        """Return a copy of this estimator that has the value of a fit, by default its own."""
        other = type(self)(**self.get_params(deep=False))
        other._fitted = self._state() if fitted is None else fitted
        return other

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if "_fitted" in state:  # pickles contain no rows
            state["_fitted"] = replace(state["_fitted"], rows=None)
        return state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.non_deterministic = False
        return tags
