"""Aliases for the module names of version 0.1.0, so that its pickles still load."""

from __future__ import annotations

import sys
from collections.abc import MutableSequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

# Old module -> new module, for modules whose classes occur in pickles; "" is an empty package.
MODULES = {
    "averaging": "_network.averaging",
    "checkpoint": "_models.checkpoint",
    "ensembles": "",
    "ensembles.ensemble": "_models.ensemble.ensemble",
    "ensembles.predictor": "_models.ensemble.predictor",
    "frozen": "_engine.numpy.predictor",
    "functions": "",
    "functions.activation": "_network.functions.activation",
    "functions.optimizer": "_network.functions.optimizer",
    "functions.pointers": "_network.functions.c_functions",
    "groups": "_network.groups",
    "loggers": "_training.loggers",
    "losses.base": "_network.losses",
    "losses.classification": "_network.losses",
    "losses.custom": "_network.functions.loss",
    "losses.regression": "_network.losses",
    "mlp": "_models.mlp",
    "optimizers.adaptive": "_network.optimizers",
    "optimizers.base": "_network.optimizers",
    "optimizers.momentum": "_network.optimizers",
    "readers": "_training.readers",
    "sklearn.fitted": "sklearn.scaled_network",
    "spec": "_network.spec",
    "storage": "",
    "storage.strict": "_files.strict_json",
    "training": "",
    "training.exchange": "_training.distributed.exchange",
    "training.records": "_core.history",
}
# (New module, old class) -> new class, for renamed classes.
CLASSES = {
    ("_core.history", "Averaged"): "AveragingState",
    ("_core.history", "Continuation"): "ResumeState",
    ("_models.checkpoint", "Writer"): "BackgroundWriter",
    ("sklearn.scaled_network", "Course"): "EstimatorProgress",
    ("sklearn.scaled_network", "Fitted"): "ScaledNetwork",
}
PACKAGE = "fastmlp."


class _OldName(ModuleType):
    """A module under its old name, which forwards attribute access to the new module."""

    __path__: MutableSequence[str] = []  # noqa: RUF012 so that modules below it are looked for

    def __getattr__(self, name: str) -> object:
        new = MODULES[self.__name__.removeprefix(PACKAGE)]
        if not new or name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(import_module(PACKAGE + new), CLASSES.get((new, name), name))


class _Finder:
    """Import finder for old module names; it comes last, so existing modules cost nothing."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        is_old = name.startswith(PACKAGE) and name.removeprefix(PACKAGE) in MODULES
        return ModuleSpec(name, self) if is_old else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _OldName(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Load nothing; ``__getattr__`` looks attributes up on access."""


def install() -> None:
    """Register the finder, so that Python finds modules under their old names."""
    sys.meta_path.append(_Finder())
