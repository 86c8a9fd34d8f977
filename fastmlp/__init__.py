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
from fastmlp._core.communicators import Communicator
from fastmlp._core.history import Batch, DivergenceError, History, State
from fastmlp._export.read_onnx import from_onnx
from fastmlp._files.storage import ModelFormatError, load as _load
from fastmlp._models.checkpoint import Checkpoint
from fastmlp._models.config import show_config
from fastmlp._models.ensemble.ensemble import Ensemble
from fastmlp._models.from_torch import from_torch
from fastmlp._models.mlp import MLP
from fastmlp._network.averaging import EMA, SWA
from fastmlp._network.functions.activation import CustomActivation
from fastmlp._network.functions.c_functions import CFunction
from fastmlp._network.functions.optimizer import CustomOptimizer
from fastmlp._network.groups import Groups
from fastmlp._network.losses import (
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
from fastmlp._network.optimizers import SGD, Adam, AdamW, Lion, Optimizer, RMSprop
from fastmlp._network.schedules import (
    Constant,
    Cosine,
    InverseScaling,
    OneCycle,
    Schedule,
    Step,
    WarmUp,
)
from fastmlp._training.callbacks import EarlyStopping, Progress, ReduceOnPlateau
from fastmlp._training.distributed.exchange import RankError
from fastmlp._training.loggers import CSVLog, MLflowLog, TensorBoardLog
from fastmlp._training.readers import Blocks

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

    from fastmlp._engine.predictor import Predictor
    from fastmlp._models.ensemble.predictor import EnsemblePredictor
    from fastmlp.sklearn import (
        HintWarning as HintWarning,
        MLPClassifier as MLPClassifier,
        MLPRegressor as MLPRegressor,
        from_sklearn as from_sklearn,
    )
    from fastmlp.tabular import (
        TabMLPClassifier as TabMLPClassifier,
        TabMLPRegressor as TabMLPRegressor,
    )

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
