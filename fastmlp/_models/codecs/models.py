"""The schemas of MLPs and ensembles."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from fastmlp._core.history import ResumeState
from fastmlp._engine import optimizer_state
from fastmlp._files import storage
from fastmlp._files.fields import Count, Cursor, Flag, Number, Numbers
from fastmlp._files.schema import Codec, List, Maybe, Object
from fastmlp._files.strict_json import Json
from fastmlp._models.codecs import parts
from fastmlp._models.codecs.values import Value
from fastmlp._models.mlp import restored
from fastmlp._models.network import Model, Network, NetworkState, network_of

LARGE = Count(most=2**64 - 1)  # written as hexadecimal digits

# ---------------------------------------------------------------------------------- MLPs

PROGRESS = Object(
    {
        "shuffles": Numbers(np.uint64),
        "averaged": Maybe(parts.AVERAGED),
        **dict.fromkeys(("step", "rows", "epochs"), Count()),
        "scale": Number(),
        "shuffled": Count(),
        "callbacks": parts.CALLBACKS,
        **dict.fromkeys(("seed", "batch_size", "data"), LARGE),
    },
    functools.partial(ResumeState, ()),
)
MLP = Object(
    {
        "network": parts.NETWORK,
        "parameters": parts.PARAMETERS,
        "rng": Value(np.random.Generator),
        "history": Maybe(parts.HISTORY),
        "progress": Maybe(PROGRESS),
        "optimizer": Maybe(parts.OPTIMIZER),
        "flat_y": Flag(),
    }
)


def values(model: Model[Network], training: bool) -> dict[str, Any]:
    """Return the fields of an MLP; during a fit, those after the last complete epoch."""
    return values_of(network_of(model), training)


def values_of(network: Network, training: bool) -> dict[str, Any]:
    """Return the fields of a network, see `values`."""
    state = network.state()
    parameters, optimizer = optimizer_state.from_arrays(state.engine, state.spec)
    resume = state.resume_state
    if training and resume is not None:
        epochs = len(state.history.loss) if state.history else 0
        if resume.rows and resume.epochs != epochs:
            raise ValueError(
                f"history has {epochs} epochs but the fit {resume.epochs}, and a file must have "
                "all: change copies of its lists, or leave it out by save(path, training=False)"
            )
    trained = {"history": state.history, "progress": resume, "optimizer": optimizer}
    return {
        "network": state.spec,
        "parameters": parameters,
        "rng": state.rng,
        **(trained if training else dict.fromkeys(trained)),
        "flat_y": state.flat_y,
    }


def build(cls: type[Any], fields: dict[str, Any]) -> Any:
    """Return the MLP with these fields, checked together; those that are missing are None."""
    spec, history = fields["network"], fields.get("history")
    optimizer, resume = fields.get("optimizer"), fields.get("progress")
    if resume is not None:
        if optimizer is None:
            raise ValueError("progress goes on without an optimizer")
        if resume.shuffled > len(resume.shuffles):
            raise ValueError(f"progress.shuffled is {resume.shuffled}, more than there are")
        epochs = len(history.loss) if history else 0
        if resume.rows and resume.epochs != epochs:
            raise ValueError(f"progress has {resume.epochs} epochs but the history {epochs}")
        resume = resume._replace(kind=optimizer.kind)
    flat_y = fields.get("flat_y", False)
    if flat_y and spec.n_outputs > 1:
        raise ValueError("flat_y is true but of several outputs")
    arrays = optimizer_state.to_arrays(spec, fields["parameters"], optimizer)
    state = NetworkState(spec, fields["rng"], history, resume, flat_y, arrays)
    return restored(state, cls)


# ---------------------------------------------------------------------------------- ensembles


class _Member(Object):
    """An MLP; its tensors have the names in an MLP's own file, after a prefix for the member."""

    def write(self, value: Any, cursor: Cursor) -> dict[str, Any]:
        return super().write(value, cursor._replace(prefix=f"{cursor.tensor}.", name=""))

    def read(self, tree: Json, cursor: Cursor) -> Any:
        fields = super().read(tree, cursor._replace(prefix=f"{cursor.tensor}.", name=""))
        return cursor.built(build, storage.class_of("MLP", cursor.context["engine"]), fields)


ENSEMBLE = Object(
    {
        "members": List(_Member(MLP.fields)),
        "generators": List(
            Count(0, lambda fields: len(fields["members"]) - 1),
            lambda fields: len(fields["members"]),
        ),
        "history": Maybe(parts.HISTORY),
    }
)


def _ensemble_values(model: Any, training: bool) -> dict[str, Any]:
    networks = network_of(model).members
    generators = [id(network.rng.bit_generator) for network in networks]
    return {
        "members": [values_of(network, training) for network in networks],
        "generators": [generators.index(generator) for generator in generators],
        "history": model.history if training else None,
        "engine": storage.row_of(model.members[0])[1],
    }


def _ensemble(cls: type[Any], fields: dict[str, Any]) -> Any:
    networks = [network_of(member) for member in fields["members"]]
    for network, first in zip(networks, fields["generators"], strict=True):
        network.share_generator(networks[first])
    model = cls(fields["members"])
    network_of(model).history = fields["history"]
    return model


CODECS = {
    "MLP": Codec(MLP, values, build),
    "Ensemble": Codec(ENSEMBLE, _ensemble_values, _ensemble),
}
