"""The methods ``to_c`` and ``to_onnx`` of both estimators of tables."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from fastmlp._export.c import CFiles
from fastmlp.tabular.columns import Array
from fastmlp.tabular.conformal import levels_of
from fastmlp.tabular.export.exported import ExportedTable
from fastmlp.tabular.fitted import Fitted, from_snapshot


class Exports(Fitted):
    """Exports of the classifier; exporters are imported when they are used."""

    _exported: Callable[[], ExportedTable]  # the fitted model as plain arrays

    def _all_outputs(self, outputs: Array, levels: Sequence[float]) -> Array:
        """Return all outputs of the C file from predictions of all members, (n, columns)."""
        del levels
        return self._finisher()(outputs)

    def _to_c(self, path: Any, weights: str | None, X: Any, levels: Sequence[float] = ()) -> CFiles:
        from fastmlp.tabular.export import c_source

        table = None if X is None else self._read(X)
        finish = functools.partial(self._all_outputs, levels=levels)
        return c_source.write(self._exported(), self._members, finish, path, weights, table, levels)

    def _to_onnx(self, path: Any, levels: Sequence[float] = ()) -> Any:
        from fastmlp.tabular.export import onnx_graph

        return onnx_graph.model(self._exported(), path, levels)

    @from_snapshot
    def to_c(self, path: Any, *, weights: str | None = None, X: Any = None) -> CFiles:
        """Write the fitted estimator as a C99 source file and header, for raw columns.

        The file needs only libm and stack memory and keeps no state, so it is thread-safe; it
        compiles as C++, too. ``NAME_predict(numbers, codes, y)`` computes :meth:`predict_proba` of
        one row. ``NAME_class(numbers, codes)`` returns the index of the class; the array
        ``NAME_labels`` holds the classes unless they are 0, 1, 2, ... ``NAME_classes(numbers,
        codes, classes)`` sets one flag per label for multi-label models. Compiled with
        ``-DFASTMLP_MAIN`` the file is a program that checks itself.

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
        >>> from fastmlp import TabMLPClassifier
        >>> X = np.random.default_rng(0).normal(size=(99, 2))
        >>> model = TabMLPClassifier(preset="fast", random_state=0).fit(X, X[:, 0] > 0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = model.to_c(folder + "/sign.c", X=X)
        >>> files.largest_error < 1e-5, files.labels_changed
        (True, 0.0)
        """
        return self._to_c(path, weights, X)

    @from_snapshot
    def to_onnx(self, path: Any = None) -> Any:
        """Return the fitted estimator as an ONNX model for raw columns, which runs without fastmlp.

        Outputs are ``label`` and, in float64, ``probabilities``, the results of :meth:`predict` and
        :meth:`predict_proba`.

        Parameters
        ----------
        path : str or path, optional
            File to write, in addition to returning the model; it is replaced atomically.

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
            If ONNX has no type for the classes or a column's categories, if a column has both empty
            and missing text or a name that is not valid in ONNX, if no column is used, or if the
            parameters exceed 2 GiB.

        Notes
        -----
        If X was a numeric array, the input is ``X``, float64, (rows, columns of the
        fit). Otherwise each used column is an input of its own name, (rows, 1): float64 for numbers
        of any dtype, so that large numbers with small differences, such as times, are not rounded;
        string, int64 or bool for categories, or float64 for numeric categories with fractions or
        missing values. Missing numbers are NaN, missing text is empty. Categories that the fit has
        not seen are unknown, as for :meth:`predict`. Infinity, which ``predict`` rejects, counts as
        a very large number.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp import TabMLPClassifier
        >>> X = np.random.default_rng(0).normal(size=(99, 2))
        >>> model = TabMLPClassifier(preset="fast", random_state=0).fit(X, X[:, 0] > 0)
        >>> proto = model.to_onnx()
        >>> [each.name for each in proto.graph.input], [each.name for each in proto.graph.output]
        (['X'], ['label', 'probabilities'])
        """
        return self._to_onnx(path)


class RegressorExports(Exports):
    """Exports of the regressor."""

    @from_snapshot
    def to_c(
        self, path: Any, *, weights: str | None = None, X: Any = None, levels: Sequence[float] = ()
    ) -> CFiles:
        """Write the fitted estimator as a C99 source file and header, for raw columns.

        ``NAME_predict(numbers, codes, y)`` computes ``predict`` of one row; ``NAME_distribution``
        also computes the standard deviations of ``predict(X, return_std=True)`` and the quantiles
        of ``predict_quantiles`` at ``NAME_levels``.

        Parameters
        ----------
        path, weights, X
            As for :meth:`TabMLPClassifier.to_c`.
        levels : sequence of float in (0, 1), optional
            Levels of the quantiles; [0.05, 0.95] are the ends of ``predict_interval(X, 0.9)``.

        Returns
        -------
        fastmlp._export.c.CFiles
            See :meth:`TabMLPClassifier.to_c`, also for columns, codes and errors.

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
        return self._to_c(path, weights, X, levels_of(levels))

    @from_snapshot
    def to_onnx(self, path: Any = None, *, levels: Sequence[float] = ()) -> Any:
        """Return the fitted estimator as an ONNX model for raw columns, which runs without fastmlp.

        Outputs are float64: ``predictions`` and ``deviations``, (rows, outputs), the results of
        ``predict(X, return_std=True)``, and with levels ``quantiles``, the result of
        ``predict_quantiles(X, levels)``.

        Parameters
        ----------
        path
            As for :meth:`TabMLPClassifier.to_onnx`.
        levels : sequence of float in (0, 1), optional
            Levels of the quantiles; [0.05, 0.95] are the ends of ``predict_interval(X, 0.9)``.

        Returns
        -------
        onnx.ModelProto
            The model; see :meth:`TabMLPClassifier.to_onnx` for inputs and errors.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp import TabMLPRegressor
        >>> X = np.random.default_rng(0).normal(size=(99, 2))
        >>> model = TabMLPRegressor(preset="fast", random_state=0).fit(X, X[:, 0] * X[:, 1])
        >>> proto = model.to_onnx(levels=[0.05, 0.95])
        >>> [each.name for each in proto.graph.output]
        ['predictions', 'deviations', 'quantiles']
        """
        return self._to_onnx(path, levels_of(levels))
