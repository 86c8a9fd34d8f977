"""Conversion of fitted estimators: an MLP, a predictor function, derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from fastmlp._engine.protocol import Predictor
from fastmlp._models.mlp import MLP
from fastmlp.sklearn.scaled_network import ScaledNetwork


class AsMLP:
    """Methods of estimators that expose the network, with scaling folded in, for raw inputs."""

    _fitted: ScaledNetwork

    def to_mlp(self) -> MLP:
        """Return a ``fastmlp.MLP`` with a copy of the current weights.

        Returns
        -------
        fastmlp.MLP
            Independent of the estimator. It predicts like ``predict`` of a regressor or
            ``predict_proba`` of a classifier; for two classes, only the probability of the second.

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
        """Return the network as a function that is fast for single rows; see ``MLP.predictor``.

        Parameters
        ----------
        n_threads : int, optional
            Largest number of threads for large batches.

        Returns
        -------
        fastmlp.predictor.Predictor
            Predicts like :meth:`to_mlp`. Later fits do not change it.
        """
        return self.to_mlp().predictor(n_threads)

    def jacobian(self, X: ArrayLike) -> NDArray[Any]:
        """Return the derivatives of the predictions with respect to the inputs.

        Parameters
        ----------
        X : array-like, shape (n_features,) for one sample or (n, n_features)
            Points at which to differentiate.

        Returns
        -------
        array of the dtype of the fit, shape (outputs, n_features) or (n, outputs, n_features)
            Derivatives of the predictions of :meth:`to_mlp` by the raw inputs, also with
            ``standardize``. For many calls use ``predictor().jacobian``.
        """
        return np.asarray(self.to_mlp().jacobian(X))
