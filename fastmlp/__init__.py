"""Multi-layer perceptrons, compiled for CPUs.

``MLP`` is the model. ``fastmlp.reference`` is the textbook in NumPy alone, with the whole model
as its ``MLP``, to compare with.
"""

from __future__ import annotations

from importlib.util import find_spec
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Started in the source folder, which comes first: the compiled modules are where pip put them.
if find_spec("fastmlp.predictor") is None:
    __path__ = extend_path(__path__, __name__)

from fastmlp import reference
from fastmlp.averaging import EMA, SWA
from fastmlp.callbacks import EarlyStopping, Progress, ReduceOnPlateau
from fastmlp.checkpoint import Checkpoint
from fastmlp.communicators import Communicator
from fastmlp.config import show_config
from fastmlp.ensembles.ensemble import Ensemble
from fastmlp.export.read_onnx import from_onnx
from fastmlp.export.read_torch import from_torch
from fastmlp.functions.activation import CustomActivation
from fastmlp.functions.optimizer import CustomOptimizer
from fastmlp.functions.pointers import CFunction
from fastmlp.groups import Groups
from fastmlp.loggers import CSVLog, MLflowLog, TensorBoardLog
from fastmlp.losses import (
    AbsoluteError,
    BinaryCrossEntropy,
    CrossEntropy,
    CustomLoss,
    GaussianNLL,
    Huber,
    Loss,
    PoissonNLL,
    Quantile,
    SquaredError,
)
from fastmlp.mlp import MLP
from fastmlp.optimizers import SGD, Adam, AdamW, Lion, Optimizer, RMSprop
from fastmlp.readers import Blocks
from fastmlp.schedules import Constant, Cosine, InverseScaling, OneCycle, Schedule, Step, WarmUp
from fastmlp.storage import ModelFormatError
from fastmlp.storage import load as _load
from fastmlp.training.exchange import RankError
from fastmlp.training.records import Batch, DivergenceError, History, State

# The estimators are attributes too, but not listed: a star import must not need scikit-learn.
__all__ = [
    "MLP",
    "Ensemble",
    "load",
    "ModelFormatError",
    "Blocks",
    "History",
    "State",
    "Batch",
    "DivergenceError",
    "Communicator",
    "RankError",
    "from_onnx",
    "from_torch",
    "reference",
    "show_config",
    "Optimizer",
    "SGD",
    "RMSprop",
    "Adam",
    "AdamW",
    "Lion",
    "EMA",
    "SWA",
    "Groups",
    "Schedule",
    "Constant",
    "Step",
    "Cosine",
    "OneCycle",
    "InverseScaling",
    "WarmUp",
    "Loss",
    "SquaredError",
    "AbsoluteError",
    "Huber",
    "Quantile",
    "PoissonNLL",
    "GaussianNLL",
    "CrossEntropy",
    "BinaryCrossEntropy",
    "CustomActivation",
    "CustomOptimizer",
    "CustomLoss",
    "CFunction",
    "EarlyStopping",
    "ReduceOnPlateau",
    "Progress",
    "Checkpoint",
    "CSVLog",
    "TensorBoardLog",
    "MLflowLog",
    "__version__",
]

_ESTIMATORS = {
    **dict.fromkeys(
        ("MLPClassifier", "MLPRegressor", "from_sklearn", "HintWarning"), "fastmlp.sklearn"
    ),
    **dict.fromkeys(("TabMLPClassifier", "TabMLPRegressor"), "fastmlp.tabular"),
}


if TYPE_CHECKING:  # a __getattr__ would tell type checkers that every name is there, and Any
    from collections.abc import Callable
    from typing import ParamSpec, TypeAlias

    from fastmlp.ensembles.predictor import EnsemblePredictor
    from fastmlp.predictor import Predictor
    from fastmlp.sklearn import HintWarning as HintWarning
    from fastmlp.sklearn import MLPClassifier as MLPClassifier
    from fastmlp.sklearn import MLPRegressor as MLPRegressor
    from fastmlp.sklearn import from_sklearn as from_sklearn
    from fastmlp.tabular import TabMLPClassifier as TabMLPClassifier
    from fastmlp.tabular import TabMLPRegressor as TabMLPRegressor

    _Arguments = ParamSpec("_Arguments")
    _Loaded: TypeAlias = (
        MLP
        | Ensemble
        | Predictor
        | EnsemblePredictor
        | MLPClassifier
        | MLPRegressor
        | TabMLPClassifier
        | TabMLPRegressor
    )

    def _loads(load: Callable[_Arguments, object]) -> Callable[_Arguments, _Loaded]:
        """Say what classes a file can hold, which the storage knows by name only."""

    load = _loads(_load)
else:
    load = _load

    def __getattr__(name: str) -> Any:
        if name not in _ESTIMATORS:
            raise AttributeError(f"module 'fastmlp' has no attribute {name!r}")
        import importlib

        try:
            return getattr(importlib.import_module(_ESTIMATORS[name]), name)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.split(".")[0] != "sklearn":
                raise
            raise ImportError(
                f"fastmlp.{name} needs scikit-learn, which is not installed: "
                "pip install 'fastmlp[sklearn]', or use fastmlp.MLP"
            ) from error


def __dir__() -> list[str]:
    return sorted([*globals(), *_ESTIMATORS])
