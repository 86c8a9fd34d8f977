"""A fitted estimator as what it holds: an MLP, a function of one row, derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from fastmlp._engine.protocol import Predictor
from fastmlp._models.mlp import MLP
from fastmlp.sklearn.scaled_network import ScaledNetwork


class AsMLP:
    """The part of an estimator that gives its network away, for raw data: scaling is folded in."""

    _fitted: ScaledNetwork

    def to_mlp(self) -> MLP:
        """Return a ``fastmlp.MLP`` with the weights of now, for all that an MLP can do.

        Returns
        -------
        fastmlp.MLP
            Of its own: neither changes the other. It predicts what ``predict`` of a regressor
            does, of a classifier ``predict_proba``: of two classes the probability of the second.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp import MLPRegressor
        >>> X = np.random.default_rng(0).normal(size=(50, 2))
        >>> model = MLPRegressor(solver="lbfgs", random_state=0).fit(X, X[:, 0])
        >>> net = model.to_mlp()
        >>> net.layer_sizes, bool((net.predict(X)[:, 0] == model.predict(X)).all())
        ((2, 100, 1), True)
        """
        check_is_fitted(self, "_fitted")
        network = self._fitted
        spec = network.spec
        net = MLP(
            spec.layer_sizes,
            activation=spec.activations,
            loss=spec.loss,
            dtype=spec.dtype,
            dropout=spec.dropout,
            rng=0,
        )
        net.weights, net.biases = network.predictor.parameters()
        return net

    def predictor(self, n_threads: int | None = None) -> Predictor:
        """Return the network as a function, for single rows in a hurry; see ``MLP.predictor``.

        Parameters
        ----------
        n_threads : int, optional
            The most threads for large batches.

        Returns
        -------
        fastmlp.predictor.Predictor
            Predicts as :meth:`to_mlp` does. Later fits do not change it.
        """
        return self.to_mlp().predictor(n_threads)

    def jacobian(self, X: ArrayLike) -> NDArray[Any]:
        """Return the derivatives of the predictions with respect to the inputs.

        Parameters
        ----------
        X : array-like, shape (n_features,) for one sample or (n, n_features)
            Where to differentiate.

        Returns
        -------
        array of the dtype of the fit, shape (outputs, n_features) or (n, outputs, n_features)
            Of what :meth:`to_mlp` predicts; for raw inputs, after ``standardize`` too. For many
            calls use ``predictor().jacobian``.
        """
        return np.asarray(self.to_mlp().jacobian(X))
