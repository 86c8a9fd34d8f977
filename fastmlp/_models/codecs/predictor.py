"""The schema of predictors: network and parameters, without a state of training."""

from __future__ import annotations

from typing import Any

from fastmlp._engine import cpu_levels, narrow
from fastmlp._engine.numpy import numpy_engine, predictor
from fastmlp._files.kinds import Choice, Count
from fastmlp._files.schema import Later, Maybe, Object
from fastmlp._models.codecs import parts

SCHEMA = Object(
    {
        "network": parts.NETWORK,
        "n_threads": Maybe(Count(1)),
        "weight_type": Later(Maybe(Choice(narrow.TYPES)), None),
        "parameters": parts.PARAMETERS,
    }
)


def values(model: Any, training: bool) -> dict[str, Any]:
    """Return the fields of a predictor."""
    del training
    own = {key: getattr(model, key) for key in ("n_threads", "weight_type")}
    return {"network": model.spec, **own, "parameters": model.parameters()}


def build(cls: Any, fields: dict[str, Any]) -> Any:
    """Return the predictor with these fields, for either engine."""
    network, n_threads, weight_type, parameters = (fields[key] for key in SCHEMA.fields)
    if weight_type is not None:
        parameters = narrow.parameters(network, parameters, weight_type)
    own = {"n_threads": n_threads, "weight_type": weight_type}
    if cls.__module__ != predictor.__name__:
        return cls(network, cpu_levels.level(), *parameters, **own)
    engine = numpy_engine.Engine(network)
    engine.set_parameters(*parameters)
    return cls(engine, **own)
