"""Explain wrong arguments by tables of equivalent names, which docs/coming-from.md prints."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from typing import Any, TypeAlias, TypeVar

Twins: TypeAlias = tuple[tuple[tuple[str, ...], str], ...]
Class = TypeVar("Class", bound=type)

# Equivalent names: fastmlp's, with a value where an example helps, then other libraries'.
TWINS: Twins = (
    (("rng", "random_state"), "seed random_seed"),
    (("epochs", "max_iter"), "n_epochs num_epochs max_epochs nb_epoch iterations n_iter"),
    (("learning_rate_init", "optimizer=fastmlp.Adam(learning_rate=...)"), "learning_rate lr eta"),
    (("validation_data=(X, y)", "X_val=..., y_val=..."), "y_val eval_set validation valid_sets"),
    (("validation_fraction", "validation_data=(X, y)"), "validation_split test_size"),
    (("n_threads", "n_jobs"), "num_threads thread_count nthread workers"),
    (("l2", "alpha"), "weight_decay reg_lambda"),
    (("layer_sizes=[inputs, ..., outputs]", "hidden_layer_sizes"), "hidden_sizes units layers"),
    (("sample_weight",), "sample_weights weight weights"),
    (("clip_norm",), "max_norm clipnorm max_grad_norm gradient_clip_val"),
    (("callbacks=[fastmlp.EarlyStopping(...)]", "n_iter_no_change"), "early_stopping patience"),
    (("verbose",), "verbosity"),
    (("optimizer", "solver"), "algorithm"),
    (("metrics", "scoring"), "eval_metric metric"),
    (("loss",), "criterion objective loss_function"),
    (("dropout",), "dropout_rate"),
    (("initializer",), "kernel_initializer init"),
    (("categorical_features",), "cat_features categorical_feature cat_cols"),
    (("time_limit",), "time_budget timeout max_time"),
    # Values of arguments.
    (("squared_error",), "mse mean_squared_error"),
    (("absolute_error",), "mae mean_absolute_error"),
    (("poisson_nll", "poisson"), "poisson_deviance"),
    (("gaussian_nll", "gaussian"), "normal"),
    (("cross_entropy",), "log_loss categorical_crossentropy sparse_categorical_crossentropy"),
    (("binary_cross_entropy",), "bce binary_crossentropy"),
    (("sigmoid",), "logistic"),
    (("silu",), "swish"),
    (("identity",), "linear"),
)
# Options of optimizers, where alpha and weight_decay have a different meaning.
OPTIONS: Twins = (
    (("learning_rate",), "lr eta learning_rate_init"),
    (("beta_1=..., beta_2=...",), "betas beta1 beta2"),
    (("epsilon",), "eps"),
    (("alpha",), "rho"),
)


def twin(name: str, known: Collection[str], twins: Twins = TWINS) -> str | None:
    """Return the known name that is equivalent to another name; None if there is none."""
    for ours, others in twins:
        heads = [text.partition("=")[0] for text in ours]
        if name in (*heads, *others.split()):
            for head, text in zip(heads, ours, strict=True):
                if head in known:
                    return text
    return None


def check_choice(name: str, value: Any, known: Collection[str], other: str = "") -> str:
    """Return the value if it is a name of the table, else raise TypeError or ValueError."""
    advice = f"choose from {', '.join(known)}"
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r} but must be a name{other}: {advice}")
    if value not in known:
        meant = twin(value, known)
        advice = f"use {meant!r}, or " * (meant is not None) + advice + other
        raise ValueError(f"{name} is {value!r} but no {name} has that name: {advice}")
    return str(value)


def explained(cls: Class, twins: Twins = TWINS) -> Class:
    """Class decorator: the constructor and inherited methods explain wrong arguments."""
    for name in dir(cls):
        method = inspect.getattr_static(cls, name)
        if not inspect.isfunction(method):
            continue
        inherited = name not in vars(cls) and method.__module__.startswith("fastmlp")
        if name == "__init__" or (inherited and name[0] != "_"):
            setattr(cls, name, _explained(cls, method, twins))
    return cls


def _explained(cls: type, method: Callable[..., Any], twins: Twins) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except TypeError as error:
            complaint = _complaint(cls, method, twins, args, kwargs)
            if complaint is None or f"{method.__name__}() " not in str(error):  # not of the call
                raise
        raise TypeError(complaint)

    return call


def _complaint(
    cls: type, method: Callable[..., Any], twins: Twins, args: Any, kwargs: dict[str, Any]
) -> str | None:
    """Describe the mismatch between a call and the signature; None if the arguments fit."""
    signature = inspect.signature(method)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        words = str(error)
    else:
        return None
    who = cls.__name__ + f".{method.__name__}" * (method.__name__ != "__init__")
    own = signature.parameters
    name = next((key for key in kwargs if key not in own), None)
    if name is not None:
        # Options of training belong to fit, options of a trained model's other forms to to_c.
        other = "fit" if method.__name__ == "__init__" else "to_c"
        remedy = _remedy(name, list(own), cls, twins, other)
        return f"{who}() got an unexpected keyword argument {name!r}: {remedy}"
    places = [key for key, each in own.items() if each.kind == each.POSITIONAL_OR_KEYWORD][1:]
    rule = f"{', '.join(places)} by position, all others by name" if places else "all by name"
    return f"{who}(): {words}: pass {rule}"


def _remedy(name: str, own: list[str], cls: Any, twins: Twins, other: str) -> str:
    """Return advice for an unknown argument: the right name and the right method."""
    places = {"": own, f" to {cls.__name__}": list(inspect.signature(cls).parameters)}
    if hasattr(cls, other):
        places[f" to {other}"] = list(inspect.signature(getattr(cls, other)).parameters)
    for place, known in places.items():
        meant = name if name in known else twin(name, known, twins)
        if meant is not None:
            return f"pass {meant if '=' in meant else f'{meant}=...'}{place}"
    import difflib

    near = difflib.get_close_matches(name, own, 1)
    if near:
        return f"did you mean {near[0]}?"
    return f"the arguments are {', '.join(each for each in own if each != 'self')}"
