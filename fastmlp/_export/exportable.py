"""The methods that everything that predicts has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastmlp._export.c import CFiles
    from fastmlp._export.layers import Exported


class Exportable:
    """Base of models, predictors and estimators, not for users."""

    def _exported(self) -> Exported:
        """Return what the model of now predicts with."""
        raise NotImplementedError

    def to_onnx(self, path: Any = None) -> Any:
        """Return the model as ONNX, to run without fastmlp.

        The input is ``X``, (rows, fan-in), of the model's dtype. The outputs are what ``predict``
        returns: ``probabilities``, or ``means`` and ``variances``, or ``predictions``.
        Where there are classes, ``label`` comes before them.

        Parameters
        ----------
        path : str or path, optional
            Where to write the file, too.

        Returns
        -------
        onnx.ModelProto
            Of opset 17, checked.

        Raises
        ------
        ImportError
            If there is no onnx package: ``pip install onnx``.
        TypeError, ValueError
            If ONNX has no type for the classes, or the parameters take more than 2 GiB.

        Examples
        --------
        >>> import fastmlp
        >>> model = fastmlp.MLP([3, 8, 2], loss="cross_entropy", rng=0).to_onnx()
        >>> [output.name for output in model.graph.output]
        ['label', 'probabilities']
        """
        from fastmlp._export import onnx

        return onnx.model(self._exported(), path)

    def to_c(self, path: Any, *, weights: str | None = None, X: Any = None) -> CFiles:
        """Write the model as a C99 file and its header, to run without Python.

        The file needs nothing but libm, no memory but the stack, and keeps no state, so that any
        number of threads may call it; C++ compiles it, too. ``NAME_predict(x, y)`` predicts one
        row: what ``predict`` returns, variances behind means, both probabilities of two classes.
        ``NAME_class(x)`` is the index of the class, ``NAME_labels`` has the classes unless they
        are 0, 1, 2, ...; ``NAME_classes(x, classes)`` says which of several labels are there.
        Compiled with ``-DFASTMLP_MAIN`` the file is a program that checks itself.

        Parameters
        ----------
        path : str or path
            Of the file, ``NAME.c``; ``NAME.h`` is written beside it.
        weights : {"float32", "float64", "int8"}, optional
            By default as in the model. With int8 the arithmetic is float32; weights take a
            quarter of the memory and are less exact.
        X : array-like, shape (n, fan-in), optional
            Typical rows, by which errors are measured; some are in the self-check. By default
            normally distributed ones; needed for int8.

        Returns
        -------
        CFiles
            Paths, sizes, and how far predictions are from the model's.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described, if a weight does not fit into float32, or if
            there are more than 2**24 parameters.

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

        return c.write(self._exported(), path, weights, X)
