"""Export methods shared by models, predictors and estimators."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto

    from fastmlp._export.c import CFiles
    from fastmlp._network.exported import Exported
    from fastmlp._validation.arrays import TableLike


class Exportable:
    """Base class of everything that can be exported."""

    def _exported(self) -> Exported:
        """Return a description of the current model for the exporters."""
        raise NotImplementedError

    def to_onnx(self, path: str | os.PathLike[str] | None = None) -> ModelProto:
        """Return the model as an ONNX model, which runs without fastmlp.

        The input is ``X``, shape (rows, inputs), in the model's dtype. The outputs equal those of
        ``predict``: ``probabilities``, or ``means`` and ``variances``, or ``predictions``.
        Classifiers also have the output ``label``, the first one.

        Parameters
        ----------
        path : str or path, optional
            File to write, in addition to returning the model.

        Returns
        -------
        onnx.ModelProto
            The model, of opset 17, checked by ``onnx.checker``.

        Raises
        ------
        ImportError
            If the onnx package is missing: ``pip install onnx``.
        TypeError, ValueError
            If ONNX has no type for the classes, or the parameters exceed 2 GiB.

        Examples
        --------
        >>> import fastmlp
        >>> model = fastmlp.MLP([3, 8, 2], loss="cross_entropy", rng=0).to_onnx()
        >>> [output.name for output in model.graph.output]
        ['label', 'probabilities']
        """
        from fastmlp._export import onnx

        return onnx.model(self._exported(), path)

    def to_c(
        self,
        path: str | os.PathLike[str],
        *,
        weights: str | None = None,
        X: TableLike | None = None,
        derivatives: int = 0,
    ) -> CFiles:
        """Write the model as a C99 source file and header, which run without Python.

        The file needs only libm and stack memory and keeps no state, so it is thread-safe; it
        compiles as C++, too. ``NAME_predict(x, y)`` predicts one row, like ``predict``: variances
        follow the means, and two classes have two probabilities. ``NAME_class(x)`` returns the
        index of the class; the array ``NAME_labels`` holds the classes unless they are 0, 1, 2, ...
        ``NAME_classes(x, classes)`` sets one flag per label for multi-label models. Compiled with
        ``-DFASTMLP_MAIN`` the file is a program that checks itself.

        Parameters
        ----------
        path : str or path
            Path of the source, ``NAME.c``; the header ``NAME.h`` and ``NAME.json``, for programs
            in other languages, are written beside it.
        weights : {"float32", "float64", "bfloat16", "int8"}, optional
            Dtype of the weights, by default that of the model. With bfloat16 or int8 the weights
            take a half or a quarter of the memory of float32 and are less exact; the arithmetic is
            float32.
        X : array-like, shape (n, fan-in), optional
            Typical rows, used to measure errors and for the self-check; required for int8. By
            default standard normal rows, whose errors mean nothing for inputs of other sizes.
        derivatives : {0, 1, 2}
            With 1, ``NAME_jacobian(x, y, jacobian)`` also computes the derivatives of the
            predictions by the inputs, as ``predictor().derivatives`` returns them; with 2, also
            ``NAME_hessian(x, y, jacobian, hessian)`` the second ones. Needs weights of float32 or
            float64. Compiled with ``-DFASTMLP_CASADI`` the file has the functions of CasADi's
            interface, for ``casadi.external("NAME", ...)``.

        Returns
        -------
        CFiles
            Paths, sizes, and the largest difference from the model's predictions, relative to the
            largest of these.

        Raises
        ------
        TypeError, ValueError
            If an argument is invalid, a weight does not fit into float32, the model has more than
            2**24 parameters, or derivatives need more than a megabyte of stack.

        Examples
        --------
        >>> import fastmlp, numpy as np, tempfile
        >>> net = fastmlp.MLP([3, 8, 2], loss="cross_entropy", rng=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = net.to_c(folder + "/net.c", weights="int8", X=np.eye(3))
        >>> files.constant_bytes, files.largest_error < 0.05
        (144, True)
        """
        from fastmlp._export import c
        from fastmlp._validation import check

        exported = self._exported()
        rows = None if X is None else check.inputs(X, exported.spec)
        return c.write(exported, path, weights, rows, derivatives)
