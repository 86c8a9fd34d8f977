"""The names of options as types, for editors and type checkers; a test compares the tables."""

from __future__ import annotations

from typing import Literal, TypeAlias

OptimizerName: TypeAlias = Literal["sgd", "rmsprop", "adam", "adamw", "lion"]
NormPosition: TypeAlias = Literal["before", "after"]
EngineName: TypeAlias = Literal["native", "reference"]
PresetName: TypeAlias = Literal["fast", "default", "best"]
SolverName: TypeAlias = Literal["adam", "sgd", "lbfgs"]

# scikit-learn's names of losses, which the estimators accept, and those of table estimators.
EstimatorLossName: TypeAlias = Literal[
    "squared_error",
    "absolute_error",
    "quantile",
    "poisson",
    "gaussian",
    "gamma",
    "tweedie",
    "huber",
]
TableLossName: TypeAlias = Literal[
    "squared_error",
    "absolute_error",
    "quantile",
    "quantiles",
    "poisson",
    "gaussian",
    "gamma",
    "tweedie",
    "huber",
]
