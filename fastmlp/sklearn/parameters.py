"""The common part of all estimators: base classes, and the ranges of parameters."""

from __future__ import annotations

import functools
import inspect
import operator
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from sklearn import config_context, get_config
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, InvalidParameterError, Options, StrOptions

from fastmlp._core.fit_lock import FitLock
from fastmlp._core.keywords import near, synonym
from fastmlp._files import storage
from fastmlp._network.activations import ACTIVATIONS
from fastmlp._validation import check
from fastmlp._validation.arrays import TableLike
from fastmlp.sklearn.bases import BaseEstimator, ClassifierMixin, RegressorMixin

if TYPE_CHECKING:
    from sklearn.utils import Tags

STOCHASTIC = ("sgd", "adam")
ClassWeight: TypeAlias = Mapping[Any, float] | Literal["balanced"] | None
Scoring: TypeAlias = str | Callable[..., float] | None  # a name of scikit-learn's, or a scorer


class Splitter(Protocol):
    """A splitter of scikit-learn, such as ``GroupKFold``."""

    def split(
        self, X: ArrayLike, y: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> Iterable[tuple[ArrayLike, ArrayLike]]:
        """Yield the rows to learn from, and those to hold out, of each fold."""


# scikit-learn's name -> fastmlp's name.
ALIASES = {"logistic": "sigmoid"}
# scikit-learn's three rules, and schedules that need the number of steps of the whole fit.
LEARNING_RATES = ("constant", "invscaling", "adaptive", "cosine", "one_cycle")

FLAGS = (
    *("shuffle", "warm_start", "nesterovs_momentum", "early_stopping"),
    *("restore_best", "standardize"),
)
_ABOVE_0: list[Any] = [Interval(Real, 0, None, closed="neither")]
_BELOW_1: list[Any] = [Interval(Real, 0, 1, closed="left")]
_COUNT: list[Any] = [Interval(Integral, 1, None, closed="left")]
CONSTRAINTS: dict[str, list[Any]] = {
    **{key: [Interval(Real, 0, None, closed="left")] for key in ("alpha", "power_t", "tol")},
    **dict.fromkeys(("learning_rate_init", "epsilon"), _ABOVE_0),
    **dict.fromkeys(("validation_fraction", "beta_1", "beta_2"), _BELOW_1),
    **dict.fromkeys(("max_iter", "max_fun"), _COUNT),
    **{key: ["boolean"] for key in FLAGS},
    "hidden_layer_sizes": ["array-like", *_COUNT],
    "activation": [StrOptions({*ACTIVATIONS, *ALIASES}), list, tuple],
    "solver": [StrOptions({"lbfgs", *STOCHASTIC})],
    "batch_size": [StrOptions({"auto"}), *_COUNT],
    "learning_rate": [StrOptions(set(LEARNING_RATES)), callable],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
    "momentum": [Interval(Real, 0, 1, closed="both")],
    "n_iter_no_change": [*_COUNT, Options(Real, {np.inf})],
    "dropout": [*_BELOW_1, list, tuple],
    "clip_norm": [*_ABOVE_0, None],
    "compute": [StrOptions({"bfloat16"}), None],
    "scoring": [str, callable, None],
    "callbacks": [list, tuple, None],
    "n_jobs": [Integral, None],
}

Class = TypeVar("Class", bound=type)
Method = TypeVar("Method", bound=Callable[..., Any])
Estimator = TypeVar("Estimator", bound=BaseEstimator)


def documented(base: type, **texts: str) -> Callable[[Class], Class]:
    """Return a class decorator that fills marks of a docstring, such as {parameters}.

    They are filled with the sections of the base's docstring, whose names they have, and texts.
    """

    def decorate(cls: Class) -> Class:
        # cleandoc removes the indentation, as Python 3.13's compiler does.
        doc, shared = (inspect.cleandoc(kind.__doc__ or "") for kind in (cls, base))
        _, *sections = re.split(r"\n\n(\w+)\n-+\n", shared)
        of_base = dict(zip(map(str.lower, sections[::2]), sections[1::2], strict=True))
        for mark, text in {**of_base, **texts}.items():
            assert f"{{{mark}}}" in doc
            doc = doc.replace(f"{{{mark}}}", inspect.cleandoc(text))
        cls.__doc__ = doc
        return cls

    return decorate


def store(estimator: BaseEstimator, arguments: Mapping[str, Any]) -> None:
    """Store a constructor's arguments, given as ``locals()``, as attributes, unchanged."""
    for name, value in arguments.items():
        if name not in ("self", "__class__"):
            setattr(estimator, name, value)


def training_method(method: Method) -> Method:
    """Decorate a training method: one call at a time, and only with valid parameters."""

    @functools.wraps(method)
    def locked(self: Any, *args: Any, **kwargs: Any) -> Any:
        X = kwargs.get("X", args[0] if args else None)
        # Most are arrays, and calls take time.
        if type(X) is not np.ndarray and not isinstance(X, self._sources):
            check.no_source(X)
        lock = self._lock()
        with lock.taken():
            if not get_config()["skip_parameter_validation"]:
                self._validate_changes(lock)
            with config_context(skip_parameter_validation=True):  # ours is done
                return method(self, *args, **kwargs)

    return locked  # type: ignore[return-value]


def copy_with_state(estimator: Estimator, state: Mapping[str, Any]) -> Estimator:
    """Return an estimator of the same class with these attributes."""
    other = object.__new__(type(estimator))
    other.__dict__.update(state)
    return other


class TrainingLock(FitLock):
    """The lock of an estimator, and objects that its next fit can reuse."""

    validated: Sequence[Any] = ()  # the values of the parameters that were validated last
    _generator: np.random.RandomState | None = None  # a new seed takes it a microsecond

    def generator(self, seed: Any) -> np.random.RandomState:
        """Return the generator of a ``random_state``; a number has it until the next call."""
        if not isinstance(seed, Integral):
            return check_random_state(seed)  # type: ignore[no-any-return]
        self._generator = self._generator or np.random.RandomState()
        self._generator.seed(int(seed))
        return self._generator


class Validated(BaseEstimator):
    """Base of all estimators: a lock for training, the validation of parameters, and files."""

    _fitting: TrainingLock  # made on first use
    _fitted: Any  # the value of the last fit, whose type each class declares
    _sources: tuple[type, ...] = ()  # ``fit`` accepts their blocks instead of a table

    def _lock(self) -> TrainingLock:
        """Return the lock of this estimator, created on first use; it is not part of the state."""
        lock: TrainingLock | None = vars(self).get("_fitting")
        return lock or self.__dict__.setdefault("_fitting", TrainingLock())

    def save(self, path: str | os.PathLike[str], *, training: bool = True) -> None:
        """Write the estimator to a file, for ``fastmlp.load``.

        The file contains parameters, networks, preprocessing, classes, names of columns and all
        other fitted attributes of this class. It does not contain attributes of other libraries,
        such as scikit-learn's callbacks or metadata requests.

        Parameters
        ----------
        path : str or path
            The file, which is replaced atomically; links are followed.
        training : bool
            Whether to include ``history_``, the curves, and the state with which ``partial_fit``
            continues.

        Raises
        ------
        OSError
            If the file cannot be written.
        TypeError, ValueError
            If a parameter is invalid, or a file cannot store it: an object such as a function, or
            a class of more than 1,024 characters. ``callbacks`` of other libraries are left out.
        """
        storage.save(self, path, training)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_fitting", None)
        return state

    def _validate_changes(self, lock: TrainingLock) -> None:
        """Validate the parameters unless they are the objects that were validated last."""
        kind: Any = type(self)
        values = _values(kind)(self)
        if len(lock.validated) != len(values) or not all(map(operator.is_, lock.validated, values)):
            self._validate_params()
            lock.validated = values

    def _validate_params(self) -> None:
        """Raise scikit-learn's error for an invalid parameter, extended by a likely remedy."""
        kind: Any = type(self)
        for name in _reals(kind):  # scikit-learn's open ranges accept integers of any size
            value = getattr(self, name)
            if isinstance(value, int) and abs(value) > sys.float_info.max:
                raise ValueError(
                    f"{name} is {value!r} but a number up to {sys.float_info.max:g} is expected"
                )
        try:
            super()._validate_params()
        except InvalidParameterError as error:
            match = re.match(r"The '(\w+)' parameter", str(error))
            remedy = match and _remedy(self, match[1])
            if not remedy:
                raise
            raise InvalidParameterError(f"{error} {remedy}") from None


class Classifier(ClassifierMixin):
    """The common part of both classifiers."""

    predict_proba: Callable[..., Any]

    def predict_log_proba(self, X: TableLike) -> Any:
        """Return the logarithm of ``predict_proba``.

        Parameters
        ----------
        X : as for :meth:`predict_proba`
            Samples.

        Returns
        -------
        array, shape (n_samples, n_classes)
            Log-probabilities in the order of ``classes_``.
        """
        probabilities = self.predict_proba(X)
        return np.log(probabilities, out=probabilities)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class Regressor(RegressorMixin):
    """The common part of both regressors."""

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _remedy(estimator: Validated, name: str) -> str:
    """Return advice for a wrong value of a parameter, or an empty text."""
    value = getattr(estimator, name)
    # The first argument is the loss, as in scikit-learn, but users pass the widths of layers.
    if name == "loss" and not isinstance(value, str):
        return f"Widths of hidden layers are given by name: hidden_layer_sizes={value!r}"
    for allowed in estimator._parameter_constraints[name]:
        if isinstance(value, str) and isinstance(allowed, StrOptions):
            meant = synonym(value, allowed.options) or near(value, allowed.options)
            return f"Use {meant!r} here." if meant else ""
    return ""


@functools.cache
def _values(kind: Any) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function from an estimator to the values of its parameters."""
    return operator.attrgetter(*kind._get_param_names())


@functools.cache
def _reals(cls: type[Any]) -> list[str]:
    """Return the names of parameters that are real numbers."""
    return [
        name
        for name, allowed in cls._parameter_constraints.items()
        if any(isinstance(kind, Interval) and kind.type is Real for kind in allowed)
    ]


def hidden_sizes(value: int | Iterable[int]) -> list[int]:
    """Return the widths of hidden layers as a list; raise scikit-learn's error for zeros."""
    sizes = list(value) if hasattr(value, "__iter__") else [value]
    if np.any(np.array(sizes) <= 0):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    return sizes


def activation_names(value: str | Iterable[str]) -> str | tuple[str, ...]:
    """Return fastmlp's names of activations for scikit-learn's."""
    if isinstance(value, str):
        return ALIASES.get(value, value)
    return tuple(ALIASES.get(name, name) for name in value)
