"""`fastmlp.reference.MLP`: the model on the NumPy engine."""

from __future__ import annotations

from fastmlp._engine.numpy.numpy_engine import Engine
from fastmlp._models import mlp


class MLP(mlp.MLP):
    """The same model as `fastmlp.MLP`, computed in plain NumPy: slower, to compare with.

    Users know it as ``fastmlp.reference.MLP``.

    Examples
    --------
    >>> import numpy as np
    >>> net = MLP([2, 3, 1], activation="tanh", dtype="float64", rng=0)
    >>> net.predict(np.zeros((1, 2)))
    array([[0.]])
    """

    _make_engine = Engine
