"""The regressor, with the losses of scikit-learn and six more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from fastmlp._core.intervals import check_flag
from fastmlp._core.keywords import with_argument_hints
from fastmlp._network import losses
from fastmlp._network.activations import Array
from fastmlp._network.names import EstimatorLossName, SolverName
from fastmlp._network.scheduled import LearningRate
from fastmlp._network.spec import Activations, Compute, Predictions
from fastmlp._network.target_kinds import KINDS
from fastmlp._training.callback_list import Callback
from fastmlp.sklearn.estimator import BaseMLP, by_batches
from fastmlp.sklearn.fitted import Targets
from fastmlp.sklearn.parameters import Regressor, Scoring, documented, store
from fastmlp.sklearn.training import train

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from fastmlp._validation.arrays import TableLike

# Name of a loss -> function from the estimator to the loss.
LOSSES: dict[str, Callable[[Any], losses.Loss]] = {
    "squared_error": lambda estimator: losses.SquaredError(),
    "poisson": lambda estimator: losses.PoissonNLL(),
    "absolute_error": lambda estimator: losses.AbsoluteError(),
    "huber": lambda estimator: losses.Huber(delta=float(estimator.huber_delta)),
    "quantile": lambda estimator: losses.Quantile(quantile=float(estimator.quantile)),
    "gaussian": lambda estimator: losses.GaussianNLL(),
    "gamma": lambda estimator: losses.GammaNLL(),
    "tweedie": lambda estimator: losses.Tweedie(power=float(estimator.power)),
}


@with_argument_hints
@documented(
    BaseMLP,
    standardized="and every target; with the losses poisson, gamma and tweedie to the mean 1",
    specific="""
    quantile : float in (0, 1), default=0.5
        For loss="quantile": the share of targets that should lie below the prediction.
    huber_delta : float, default=1.0
        For loss="huber": the error at which the loss changes from quadratic to linear, in units
        of the target, with ``standardize`` in units of its standard deviation.
    power : float from 1.01 to 1.99, default=1.5
        For loss="tweedie": the variance of the target grows like this power of its mean.
    """,
)
class MLPRegressor(Regressor, BaseMLP):
    """A network that predicts numbers, with the methods of scikit-learn's class of this name.

    Take it to make a program faster that has scikit-learn's ``MLPRegressor``: change the import.

    Parameters
    ----------
    loss : str, default="squared_error"
        One of squared_error, poisson (rates, y >= 0), absolute_error (fits the median), huber,
        quantile, gaussian, which fits mean and variance by maximum likelihood (``predict`` with
        ``return_std=True``), gamma (the mean of amounts, y > 0, whose errors count in proportion to
        the mean), and tweedie (that of amounts many of which are 0, y >= 0). The squared error and
        the deviances of poisson, gamma and tweedie are halved; losses are summed over outputs.
    {parameters}

    Attributes
    ----------
    {attributes}
    out_activation_ : str
        Output activation, identity or exp.

    Notes
    -----
    With the same ``random_state``, weights, batches and losses equal those of
    ``sklearn.neural_network.MLPRegressor`` up to rounding; lbfgs works in float64 in both.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import MLPRegressor
    >>> X = np.linspace(-1, 1, 200)[:, np.newaxis]
    >>> net = MLPRegressor(solver="lbfgs", random_state=0, max_iter=1000).fit(X, X[:, 0] ** 2)
    >>> net.score(X, X[:, 0] ** 2) > 0.99
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions(set(LOSSES))],
        "quantile": [Interval(Real, 0, 1, closed="neither")],
        "huber_delta": [Interval(Real, 0, None, closed="neither")],
        "power": [Interval(Real, losses.POWERS.low, losses.POWERS.high, closed="both")],
    }
    _target_checks: ClassVar[dict[str, Any]] = {"y_numeric": True}

    def __init__(
        self,
        loss: EstimatorLossName = "squared_error",
        hidden_layer_sizes: int | Sequence[int] | Array = (100,),
        activation: Activations = "relu",
        *,
        solver: SolverName = "adam",
        alpha: float = 0.0001,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate: str | LearningRate = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        quantile: float = 0.5,
        huber_delta: float = 1.0,
        power: float = 1.5,
        dropout: float | Sequence[float] = 0.0,
        clip_norm: float | None = None,
        compute: Compute = None,
        scoring: Scoring = None,
        restore_best: bool = False,
        standardize: bool = False,
        callbacks: Iterable[Callback] | None = None,
        n_jobs: int | None = None,
    ) -> None:
        store(self, locals())

    @by_batches
    def partial_fit(
        self, X: TableLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train for one epoch, continuing with the weights and optimizer of the last call.

        Parameters
        ----------
        X, y, sample_weight
            As for ``fit``; with ``standardize`` the first call measures means and deviations, for
            all later ones.

        Returns
        -------
        estimator
            The estimator itself.
        """
        train(self, (X, y, sample_weight), one_epoch=True)
        return self

    def predict(self, X: TableLike, return_std: bool = False) -> Predictions:
        """Predict targets.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            Samples.
        return_std : bool
            Whether to also return the predicted standard deviation; only with ``loss="gaussian"``.

        Returns
        -------
        array, shape (n_samples,) or (n_samples, n_outputs), or tuple of two
            Means (or medians, quantiles or rates, depending on the loss), and with ``return_std``
            the standard deviations.
        """
        outputs, fitted = self._outputs(X)
        m = fitted.targets.n_outputs
        mean = outputs[:, 0] if m == 1 else outputs[:, :m]
        if not check_flag("return_std", return_std):
            return mean
        if outputs.shape[1] == m:
            raise ValueError(
                f"return_std needs a variance but loss is {self.loss!r}: fit with loss='gaussian'"
            )
        return mean, np.sqrt(outputs[:, m] if m == 1 else outputs[:, m:])

    def _targets(
        self,
        y: Array,
        earlier: Targets | None,
        partial: bool = False,
        classes: ArrayLike | None = None,
    ) -> Targets:
        n_outputs = 1 if y.ndim == 1 else y.shape[1]
        if partial and earlier is not None and n_outputs != earlier.n_outputs:
            raise ValueError(f"y has {n_outputs} columns but {earlier.n_outputs} are expected")
        return Targets(n_outputs)

    def _encode(self, y: Array, targets: Targets) -> Array:
        KINDS[self._loss(targets).target_kind].check(y, "y", f"loss={self.loss!r}")
        return y.reshape(len(y), -1).astype(np.float64, copy=False)

    def _loss(self, targets: Targets) -> losses.Loss:
        return LOSSES[self.loss](self)
