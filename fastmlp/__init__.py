"""Multi-layer perceptrons, compiled for CPUs.

``MLP`` is the model. ``fastmlp.reference`` is a textbook version in NumPy alone, to compare with;
its ``MLP`` has all options. The public names are listed here and loaded on first use.
``from fastmlp import *`` imports all but the estimators, which need scikit-learn: import these by
their names, as in ``from fastmlp import TabMLPRegressor``.
"""

from __future__ import annotations

from importlib import import_module
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # type checkers read these imports instead of the table below
    from collections.abc import Callable
    from typing import ParamSpec, TypeAlias

    from fastmlp import (
        callbacks as callbacks,
        dask as dask,
        digits as digits,
        initializers as initializers,
        losses as losses,
        optimizers as optimizers,
        predictor as predictor,
        reference as reference,
        schedules as schedules,
    )
    from fastmlp._core.communicators import (
        Communicator as Communicator,
        TorchCommunicator as TorchCommunicator,
    )
    from fastmlp._core.history import (
        Batch as Batch,
        DivergenceError as DivergenceError,
        History as History,
        State as State,
    )
    from fastmlp._explain.explain import explain as explain
    from fastmlp._explain.explanation import Explanation as Explanation
    from fastmlp._files.storage import (
        ModelFormatError as ModelFormatError,
        load as _load,
        load_predictor as _load_predictor,
    )
    from fastmlp._models.checkpoint import Checkpoint as Checkpoint
    from fastmlp._models.config import show_config as show_config
    from fastmlp._models.conversion.from_keras import from_keras as from_keras
    from fastmlp._models.conversion.from_torch import from_torch as from_torch
    from fastmlp._models.conversion.to_torch import to_torch as to_torch
    from fastmlp._models.ensemble.ensemble import Ensemble as Ensemble
    from fastmlp._models.ensemble.predictor import EnsemblePredictor
    from fastmlp._models.lr_find import lr_find as lr_find
    from fastmlp._models.mlp import MLP as MLP
    from fastmlp._network.averaging import EMA as EMA, SWA as SWA
    from fastmlp._network.functions.activation import CustomActivation as CustomActivation
    from fastmlp._network.functions.c_functions import CFunction as CFunction
    from fastmlp._network.functions.loss import CustomLoss as CustomLoss
    from fastmlp._network.groups import Groups as Groups
    from fastmlp._network.losses import *  # noqa: F403
    from fastmlp._network.optimizers import *  # noqa: F403
    from fastmlp._network.schedules import *  # noqa: F403
    from fastmlp._network.sparse import SparseRows as SparseRows
    from fastmlp._training.arrow import ArrowBlocks as ArrowBlocks
    from fastmlp._training.distributed.exchange import RankError as RankError
    from fastmlp._training.loggers import (
        CSVLog as CSVLog,
        MLflowLog as MLflowLog,
        TensorBoardLog as TensorBoardLog,
    )
    from fastmlp._training.readers import Blocks as Blocks
    from fastmlp.callbacks import *  # noqa: F403
    from fastmlp.sklearn import *  # noqa: F403
    from fastmlp.sklearn import MLPClassifier, MLPRegressor
    from fastmlp.tabular import *  # noqa: F403
    from fastmlp.tabular import (
        TabMLPClassifier,
        TabMLPRegressor,
        TabMLPSurvival,
        distill as distill,
    )
    from fastmlp.tabular.fitted.predictor import RowPredictor

    _Arguments = ParamSpec("_Arguments")
    _Loaded: TypeAlias = (
        MLP
        | Ensemble
        | MLPClassifier
        | MLPRegressor
        | TabMLPClassifier
        | TabMLPRegressor
        | TabMLPSurvival
    )

    def _loads(load: Callable[_Arguments, object]) -> Callable[_Arguments, _Loaded]:
        """Give `load` its return type; the storage knows the classes by name only."""

    def _serves(
        load: Callable[_Arguments, object],
    ) -> Callable[_Arguments, predictor.Predictor | EnsemblePredictor | RowPredictor]:
        """Give `load_predictor` its return type."""

    load, load_predictor = _loads(_load), _serves(_load_predictor)

__version__ = "0.1.0"

# If Python finds the source folder first, the compiled modules are where pip has installed them.
if PathFinder.find_spec("native", [f"{folder}/_engine" for folder in __path__]) is None:  # noqa: F405
    from pkgutil import extend_path

    __path__ = extend_path(__path__, __name__)  # noqa: F405

# The public names of each module, in the order of the documentation. Those that need scikit-learn
# come last and are not in __all__, so that a star import works without it.
_NAMES = {
    "_models.mlp": "MLP",
    "_models.ensemble.ensemble": "Ensemble",
    "_files.storage": "load load_predictor ModelFormatError",
    "_explain.explain": "explain",
    "_explain.explanation": "Explanation",
    "_network.sparse": "SparseRows",
    "_training.arrow": "ArrowBlocks",
    "_training.readers": "Blocks",
    "_core.history": "History State Batch DivergenceError",
    "_core.communicators": "Communicator TorchCommunicator",
    "_training.distributed.exchange": "RankError",
    "_models.conversion.from_torch": "from_torch",
    "_models.conversion.from_keras": "from_keras",
    "_models.conversion.to_torch": "to_torch",
    "_models.lr_find": "lr_find",
    "_models.config": "show_config",
    "optimizers": "Optimizer SGD RMSprop Adam AdamW Lion LBFGS",
    "_network.averaging": "EMA SWA",
    "_network.groups": "Groups",
    "schedules": "Schedule Constant Step Cosine OneCycle InverseScaling WarmUp",
    "losses": "Loss SquaredError AbsoluteError Huber Quantile Quantiles PoissonNLL GaussianNLL "
    "CrossEntropy BinaryCrossEntropy GammaNLL Tweedie CustomLoss",
    "_network.functions.activation": "CustomActivation",
    "_network.functions.c_functions": "CFunction",
    "callbacks": "EarlyStopping ReduceOnPlateau Progress",
    "_models.checkpoint": "Checkpoint",
    "_training.loggers": "CSVLog TensorBoardLog MLflowLog",
}
# Public modules. Only one is in __all__: a star import loads nothing compiled.
_MODULES = (
    *("reference", "losses", "optimizers", "schedules", "initializers", "callbacks"),
    *("predictor", "digits", "dask"),
)
_ESTIMATORS = {
    "sklearn": "MLPClassifier MLPRegressor from_sklearn",
    "tabular": "TabMLPClassifier TabMLPRegressor TabMLPSurvival distill",
}
_HOMES = {
    name: module for module, names in (_NAMES | _ESTIMATORS).items() for name in names.split()
}
__all__ = [*" ".join(_NAMES.values()).split(), "reference", "__version__"]


if not TYPE_CHECKING:  # a type checker that saw it would accept any name

    def __getattr__(name: str) -> Any:
        """Load a public name on first use."""
        if name in _MODULES:
            return import_module(f"fastmlp.{name}")
        if name not in _HOMES:
            advice = ""
            if name[0] != "_":
                from fastmlp._core.keywords import PACKAGE, near, synonym

                meant = synonym(name, _HOMES, PACKAGE) or near(name, _HOMES)
                advice = f": use {meant}" if meant else ""
            raise AttributeError(f"module 'fastmlp' has no attribute {name!r}{advice}")
        value = getattr(import_module(f"fastmlp.{_HOMES[name]}"), name)
        globals()[name] = value  # later look-ups do not call this function
        return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_HOMES, *_MODULES})
