"""The names that options take, as types, and the names of tensors.

Editors complete the names of options, and type checkers find wrong ones. A test compares them with
the keys of the tables.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

ActivationName: TypeAlias = Literal[
    "identity",
    "relu",
    "leaky_relu",
    "elu",
    "selu",
    "softplus",
    "sigmoid",
    "tanh",
    "gelu",
    "gelu_tanh",
    "silu",
    "mish",
]
LossName: TypeAlias = Literal[
    "squared_error",
    "absolute_error",
    "huber",
    "quantile",
    "poisson_nll",
    "gaussian_nll",
    "cross_entropy",
    "binary_cross_entropy",
]
OptimizerName: TypeAlias = Literal["sgd", "rmsprop", "adam", "adamw", "lion"]
NormPosition: TypeAlias = Literal["before", "after"]
EngineName: TypeAlias = Literal["native", "reference"]
PresetName: TypeAlias = Literal["fast", "default", "best"]
SolverName: TypeAlias = Literal["adam", "sgd", "lbfgs"]

# scikit-learn's names of losses, which the estimators take; those of a table have no huber.
TableLossName: TypeAlias = Literal[
    "squared_error", "absolute_error", "quantile", "poisson", "gaussian"
]
EstimatorLossName: TypeAlias = TableLossName | Literal["huber"]

# What the tensors of a layer are called, by their kind, wherever they have names.
TENSOR_NAMES = {
    "weights": "weight",
    "biases": "bias",
    "gains": "gain",
    "shifts": "shift",
    "scales": "scale",
    "alphas": "alpha",
    "linear_weights": "linear_weight",
}


def name_of(kind: str, layer: int) -> str:
    """Return the name of a tensor.

    Examples
    --------
    >>> name_of("weights", 0)
    'layers.0.weight'
    """
    return f"layers.{layer}.{TENSOR_NAMES[kind]}"
