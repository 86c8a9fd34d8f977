"""The schema of predictors: network and parameters, without a state of training."""

from __future__ import annotations

from typing import Any

from fastmlp._engine import cpu_levels
from fastmlp._engine.numpy import numpy_engine, predictor
from fastmlp._files.kinds import Count
from fastmlp._files.schema import Maybe, Object
from fastmlp._models.codecs import parts

SCHEMA = Object(
    {"network": parts.NETWORK, "n_threads": Maybe(Count(1)), "parameters": parts.PARAMETERS}
)


def values(model: Any, training: bool) -> dict[str, Any]:
    """Return the fields of a predictor."""
    del training
    parameters = model.parameters()
    return {"network": model.spec, "n_threads": model.n_threads, "parameters": parameters}


def build(cls: Any, fields: dict[str, Any]) -> Any:
    """Return the predictor with these fields, for either engine."""
    network, n_threads, parameters = (fields[key] for key in SCHEMA.fields)
    if cls.__module__ != predictor.__name__:
        return cls(network, cpu_levels.level(), *parameters, n_threads=n_threads)
    engine = numpy_engine.Engine(network)
    engine.set_parameters(*parameters)
    return cls(engine, n_threads)
