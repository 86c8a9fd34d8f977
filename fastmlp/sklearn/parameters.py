"""The constructor parameters that both estimators have: ranges, and the text that explains them.

The ranges are checked by scikit-learn's own machinery, so that a wrong value raises the same
``InvalidParameterError`` with the same words.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, InvalidParameterError, Options, StrOptions

from fastmlp._core.keywords import twin
from fastmlp._network.activations import ACTIVATIONS

STOCHASTIC = ("sgd", "adam")

# scikit-learn's names beside ours.
ALIASES = {"logistic": "sigmoid"}
# Schedules that need the number of steps of the whole fit, beside scikit-learn's three rules.
LEARNING_RATES = ("constant", "invscaling", "adaptive", "cosine", "one_cycle")

CONSTRAINTS: dict[str, list[Any]] = {
    "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    "activation": [StrOptions({*ACTIVATIONS, *ALIASES}), list, tuple],
    "solver": [StrOptions({"lbfgs", *STOCHASTIC})],
    "alpha": [Interval(Real, 0, None, closed="left")],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "learning_rate": [StrOptions(set(LEARNING_RATES)), callable],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
    "power_t": [Interval(Real, 0, None, closed="left")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [Interval(Real, 0, None, closed="left")],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "momentum": [Interval(Real, 0, 1, closed="both")],
    "nesterovs_momentum": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    "beta_1": [Interval(Real, 0, 1, closed="left")],
    "beta_2": [Interval(Real, 0, 1, closed="left")],
    "epsilon": [Interval(Real, 0, None, closed="neither")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
    "max_fun": [Interval(Integral, 1, None, closed="left")],
    "dropout": [Interval(Real, 0, 1, closed="left"), list, tuple],
    "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
    "scoring": [str, callable, None],
    "restore_best": ["boolean"],
    "standardize": ["boolean"],
    "callbacks": [list, tuple, None],
    "progress_bar": ["boolean"],
    "n_jobs": [Integral, None],
}

TEXT = """\
hidden_layer_sizes : int or array-like of int, default=(100,)
    Widths of the hidden layers; an empty tuple gives a linear model.
activation : str or list of str, default="relu"
    Of all hidden layers, or of each: identity, logistic, tanh, relu as in scikit-learn, and
    leaky_relu, elu, selu, softplus, gelu, gelu_tanh, silu, mish.
{own}solver : {{"adam", "sgd", "lbfgs"}}, default="adam"
    Who minimises: mini-batches with Adam or gradient descent, or L-BFGS on all rows at once.
alpha : float, default=0.0001
    L2 penalty: 0.5 * alpha * sum(W**2), divided by the samples of the batch, is added to the loss.
batch_size : int or "auto", default="auto"
    Samples a step; "auto" is min(200, n_samples). Not for lbfgs, like the next two.
learning_rate : str or callable, default="constant"
    For sgd "constant", "invscaling" or "adaptive" (a fifth whenever the loss stands still), which
    adam ignores. For both "cosine" or "one_cycle" over max_iter epochs, or any schedule
    ``step -> learning rate`` such as ``fastmlp.WarmUp``, a step being one batch.
learning_rate_init : float, default=0.001
    The learning rate; the highest one of "cosine" and "one_cycle".
power_t : float, default=0.5
    Exponent of "invscaling".
max_iter : int, default=200
    Most epochs, or iterations of lbfgs.
shuffle : bool, default=True
    Visit the samples in a new random order each epoch.
random_state : int, RandomState or None, default=None
    Source of first weights, validation split, order of samples, dropout.
tol : float, default=1e-4
    Smallest change of loss or score that counts as an improvement; gradient tolerance of lbfgs.
verbose : bool or int, default=False
    Print loss and score of each epoch, and hints after the fit to the standard error stream.
warm_start : bool, default=False
    Let fit go on from the weights of the last one.
momentum : float in [0, 1], default=0.9
    Of sgd.
nesterovs_momentum : bool, default=True
    Use Nesterov's form of it.
early_stopping : bool, default=False
    End when the validation score has stopped improving, and keep the best weights. The
    validation data are set aside from the training data unless fit is given some. Of a classifier
    the score is the accuracy, which a few rows measure coarsely: ``scoring="loss"`` is finer.
validation_fraction : float in [0, 1), default=0.1
    Share that is set aside.
beta_1, beta_2 : float in [0, 1), default=0.9, 0.999
    Memory of adam's two moments.
epsilon : float, default=1e-8
    Of adam, added before the bias correction of the second moment, as scikit-learn does.
n_iter_no_change : int, default=10
    The fit ends after one more than this many epochs in a row without improvement.
max_fun : int, default=15000
    Most evaluations of lbfgs.
dropout : float or list of float, default=0.0
    Probability that a hidden value is dropped in training, of all hidden layers or of each.
clip_norm : float, optional
    Gradients with a larger norm, over all parameters together, are scaled down to it.
scoring : str, callable or None, default=None
    What early stopping looks at: accuracy or R2 by default, "loss" for the (negative) validation
    loss, or any scorer of scikit-learn.
restore_best : bool, default=False
    Keep the weights of the best epoch without early stopping too: that of the lowest validation
    loss, or training loss where there are no validation data.
standardize : bool, default=False
    Scale every input to mean 0 and variance 1 ({standardized}). The scaling is measured on the
    training data and folded into the first and last layer after the fit: ``coefs_`` and
    predictions are those of the raw data, and predicting costs nothing more. Losses are those of
    the scaled data.
callbacks : list of callables, optional
    Called with a ``fastmlp.State`` after each epoch; True ends the fit. For example
    ``fastmlp.ReduceOnPlateau()``. ``state.model`` is the estimator in training; the one that is
    fitted changes at the end. Beside scikit-learn's own ``set_callbacks``.
progress_bar : bool, default=False
    Show a tqdm bar if tqdm is installed, else a line an epoch on the standard error stream.
n_jobs : int, optional
    Threads; -1 is all. By default as many as pay off, within the limits of the machine and of
    joblib. The result does not depend on it."""

ATTRIBUTES = """\
coefs_, intercepts_ : lists of arrays
    Weights (fan_in, fan_out) and biases (fan_out,) of each layer.
loss_, best_loss_ : float
    Objective of the last epoch, and the lowest; None with ``early_stopping``.
loss_curve_, validation_loss_curve_ : lists of float
    Of each epoch; the second is None without validation data.
validation_scores_, best_validation_score_ : list of float, float
    With ``early_stopping``: the score of each epoch, and the best; else None.
history_ : fastmlp.History
    Losses, seconds and learning rate of each epoch; why the fit ended.
n_iter_, t_ : int
    Epochs of the last fit; samples seen since the first.
n_layers_, n_outputs_, n_features_in_ : int
    Layers with input and output, columns of the output, columns of X.
feature_names_in_ : array of str
    If X has such."""

Class = TypeVar("Class", bound=type)


def documented(*, standardized: str, own: str = "") -> Callable[[Class], Class]:
    """Return a class decorator that puts the shared texts at ``{parameters}`` and ``{attributes}``.

    Parameters
    ----------
    standardized : str
        What ``standardize`` does to the target.
    own : str
        The class's own parameters, in numpydoc's form, to stand among the shared ones.
    """
    text = TEXT.format(standardized=standardized, own=inspect.cleandoc(own) + "\n" if own else "")

    def decorate(cls: Class) -> Class:
        # Without its indentation, which compilers of Python 3.13 on leave out already.
        for mark, shared in (("{parameters}", text), ("{attributes}", ATTRIBUTES)):
            before, found, after = inspect.cleandoc(cls.__doc__ or "").partition(mark)
            assert found
            cls.__doc__ = before + shared + after
        return cls

    return decorate


def store(estimator: Any, arguments: Mapping[str, Any]) -> None:
    """Keep a constructor's arguments under their own names, unchanged; pass it ``locals()``."""
    for name, value in arguments.items():
        if name not in ("self", "__class__"):
            setattr(estimator, name, value)


class Validated(BaseEstimator):
    """Base of all estimators: complaints about parameters tell what was meant, where it is known.

    The words before are scikit-learn's.
    """

    def _validate_params(self) -> None:
        try:
            super()._validate_params()
        except InvalidParameterError as error:
            found = re.match(r"The '(\w+)' parameter", str(error))
            remedy = found and _meant(self, found[1])
            if not remedy:
                raise
            raise InvalidParameterError(f"{error} {remedy}") from None


def _meant(estimator: Any, name: str) -> str:
    """Return what a wrong value of a parameter was meant to be, if that is known."""
    value = getattr(estimator, name)
    if name == "loss" and not isinstance(value, str):  # the first parameter, as in scikit-learn
        return f"Widths of hidden layers are given by name: hidden_layer_sizes={value!r}"
    for allowed in estimator._parameter_constraints[name]:
        if isinstance(value, str) and isinstance(allowed, StrOptions):
            meant = twin(value, allowed.options)
            return f"Use {meant!r} here." if meant else ""
    return ""


def check_reals(estimator: Any) -> None:
    """Refuse integers beyond the largest float: scikit-learn's open ranges hold them."""
    kind: Any = type(estimator)
    for name in _reals(kind):
        value = getattr(estimator, name)
        if isinstance(value, int) and abs(value) > sys.float_info.max:
            raise ValueError(
                f"{name} is {value!r} but a number up to {sys.float_info.max:g} is expected: "
                "pass a smaller one"
            )


@functools.cache
def _reals(kind: Any) -> list[str]:
    """Return the parameters that are real numbers."""
    return [
        name
        for name, allowed in kind._parameter_constraints.items()
        if any(isinstance(each, Interval) and each.type is Real for each in allowed)
    ]


def hidden_sizes(value: Any) -> list[int]:
    """Return the widths of the hidden layers as a list; scikit-learn's complaint about zeros."""
    sizes = list(value) if hasattr(value, "__iter__") else [value]
    if np.any(np.array(sizes) <= 0):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    return sizes


def activation_names(value: Any) -> Any:
    """Return fastmlp's names for scikit-learn's."""
    if isinstance(value, str):
        return ALIASES.get(value, value)
    return [ALIASES.get(name, name) for name in value]
