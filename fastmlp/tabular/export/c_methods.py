"""The method ``to_c`` of both estimators of tables."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from fastmlp._export.c import CFiles
from fastmlp.tabular.blend import Blend
from fastmlp.tabular.columns import Columns
from fastmlp.tabular.conformal import levels_of
from fastmlp.tabular.export import c_files
from fastmlp.tabular.export.exported import ExportedTable
from fastmlp.tabular.persistence import of_one_moment

Array = NDArray[Any]


class _ToC:
    """The common part."""

    _members: Blend
    _columns: Columns
    _checked: Callable[..., Any]
    _exported: Callable[[], ExportedTable]

    def _said(self, outputs: Array, levels: Sequence[float]) -> Array:
        """Return all outputs of the C file from predictions of all members, (n, columns)."""
        raise NotImplementedError

    def _to_c(self, path: Any, weights: str | None, X: Any, levels: Sequence[float]) -> CFiles:
        check_is_fitted(self, "_members")
        table = None if X is None else self._columns.read(self._checked(X, reset=False))
        said = functools.partial(self._said, levels=levels)
        return c_files.write(self._exported(), self._members, said, path, weights, table, levels)


class ClassifierToC(_ToC):
    """``to_c`` of the classifier."""

    @of_one_moment
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
        weights : {"float32", "float64", "int8"}, optional
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

        Notes ----- The header defines the indices of the used columns. Numbers are ``double``, NaN
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
        return self._to_c(path, weights, X, [])


class RegressorToC(_ToC):
    """``to_c`` of the regressor."""

    @of_one_moment
    def to_c(
        self, path: Any, *, weights: str | None = None, X: Any = None, levels: Sequence[float] = ()
    ) -> CFiles:
        """Write the fitted estimator as a C99 source file and header, for raw columns.

        ``NAME_predict(numbers, codes, y)`` computes ``predict`` of one row; ``NAME_distribution``
        also computes the standard deviations of ``predict(X, return_std=True)`` and the quantiles
        of ``predict_quantiles`` at ``NAME_levels``.

        Parameters
        ----------
        path : str or path
            Path of the source, ``NAME.c``; the header ``NAME.h`` is written beside it.
        weights : {"float32", "float64", "int8"}, optional
            Dtype of the weights, by default float32.
        X : frame or array-like, shape (n_samples, n_features), optional
            Typical rows, used to measure errors; required for int8.
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
