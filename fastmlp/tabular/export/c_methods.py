"""``to_c`` of both estimators of tables."""

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
    """What both have."""

    _members: Blend
    _columns: Columns
    _checked: Callable[..., Any]
    _exported: Callable[[], ExportedTable]

    def _said(self, outputs: Array, levels: Sequence[float]) -> Array:
        """Return all that a C file says of predictions of all members, (n, columns)."""
        raise NotImplementedError

    def _to_c(self, path: Any, weights: str | None, X: Any, levels: Sequence[float]) -> CFiles:
        check_is_fitted(self, "_members")
        table = None if X is None else self._columns.read(self._checked(X, reset=False))
        said = functools.partial(self._said, levels=levels)
        return c_files.write(self._exported(), self._members, said, path, weights, table, levels)


class ClassifierToC(_ToC):
    """Of the classifier."""

    @of_one_moment
    def to_c(self, path: Any, *, weights: str | None = None, X: Any = None) -> CFiles:
        """Write the fitted estimator as a C99 file and its header: raw columns in.

        The file needs nothing but libm, no memory but the stack, and keeps no state, so that any
        number of threads may call it; C++ compiles it, too. ``NAME_predict(numbers, codes, y)`` is
        what :meth:`predict_proba` returns of a row. ``NAME_class(numbers, codes)`` is the index of
        the class, ``NAME_labels`` has the classes unless they are 0, 1, 2, ...;
        ``NAME_classes(numbers, codes, classes)`` says which of several labels are there. Compiled
        with ``-DFASTMLP_MAIN`` the file is a program that checks itself.

        Parameters
        ----------
        path : str or path
            Of the file, ``NAME.c``; ``NAME.h`` is written beside it.
        weights : {"float32", "float64", "int8"}, optional
            By default float32. With int8 weights take a quarter of the memory and are less exact.
        X : frame or array-like, shape (n_samples, n_features), optional
            Typical rows, by which errors are measured; some are in the self-check. By default made
            up; needed for int8.

        Returns
        -------
        fastmlp._export.c.CFiles
            Paths, sizes, and how far predictions are from the estimator's.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described, if C cannot have the classes or the categories of a
            column, or if there are more than 2**24 parameters.

        Notes
        -----
        The header names the places of the columns that are used. Numbers are ``double``, NaN where
        missing; an infinity, which ``predict`` refuses, counts as the largest number. Categories
        are codes, -1 where missing: ``NAME_code(category, text)`` is that of a text, or of a number
        as Python writes it, -2 if it was not there at fit; ``NAME_text(category, code)`` the other
        way.

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
    """Of the regressor."""

    @of_one_moment
    def to_c(
        self, path: Any, *, weights: str | None = None, X: Any = None, levels: Sequence[float] = ()
    ) -> CFiles:
        """Write the fitted estimator as a C99 file and its header: raw columns in.

        ``NAME_predict(numbers, codes, y)`` is what ``predict`` returns, ``NAME_distribution`` also
        what ``predict(X, return_std=True)`` and, at the levels of ``NAME_levels``,
        ``predict_quantiles`` return.

        Parameters
        ----------
        path : str or path
            Of the file, ``NAME.c``; ``NAME.h`` is written beside it.
        weights : {"float32", "float64", "int8"}, optional
            By default float32.
        X : frame or array-like, shape (n_samples, n_features), optional
            Typical rows, by which errors are measured; needed for int8.
        levels : sequence of float in (0, 1), optional
            Of the quantiles; [0.05, 0.95] are the ends of ``predict_interval(X, 0.9)``.

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
