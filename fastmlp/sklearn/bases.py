"""scikit-learn's base classes of estimators, and its decorator of ``fit``.

The stub beside this file gives them types, which scikit-learn has not: a class whose base has none
is Any for a type checker, which could not tell apart the classes that ``fastmlp.load`` returns.
"""

from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9
    CallbackSupportMixin, with_callbacks = object, lambda method: method

__all__ = ["BaseEstimator", "CallbackSupportMixin", "ClassifierMixin", "RegressorMixin"]
__all__ += ["with_callbacks"]
