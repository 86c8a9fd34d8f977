"""The methods that everything that predicts has."""

from __future__ import annotations

from typing import Any

from fastmlp.export.layers import Exported


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
            If there is no onnx package: ``pip install 'fastmlp[onnx]'``.
        TypeError, ValueError
            If ONNX has no type for the classes, or the parameters take more than 2 GiB.

        Examples
        --------
        >>> import fastmlp
        >>> model = fastmlp.MLP([3, 8, 2], loss="cross_entropy", rng=0).to_onnx()
        >>> [output.name for output in model.graph.output]
        ['label', 'probabilities']
        """
        from fastmlp.export import onnx

        return onnx.model(self._exported(), path)
