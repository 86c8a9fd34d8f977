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
from fastmlp._models.codecs import parts
from fastmlp._models.codecs.values import Value

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


def values(model: Any, training: bool) -> dict[str, Any]:
    """Return the fields of an MLP; during a fit, those after the last complete epoch."""
    state = model.__getstate__()
    parameters, optimizer = optimizer_state.from_arrays(state["engine"], state["_spec"])
    progress: ResumeState | None = state["progress"]
    if training and progress is not None:
        epochs = len(state["_history"].loss) if state["_history"] else 0
        if progress.rows and progress.epochs != epochs:
            raise ValueError(
                f"history has {epochs} epochs but the fit {progress.epochs}, and a file must have "
                "all: change copies of its lists, or leave it out by save(path, training=False)"
            )
    trained = {"history": state["_history"], "progress": progress, "optimizer": optimizer}
    return {
        "network": state["_spec"],
        "parameters": parameters,
        "rng": state["_rng"],
        **(trained if training else dict.fromkeys(trained)),
        "flat_y": state["_flat_y"],
    }


def build(cls: Any, fields: dict[str, Any]) -> Any:
    """Return the MLP with these fields; those that are missing are None."""
    network, history = fields["network"], fields.get("history")
    optimizer, progress = fields.get("optimizer"), fields.get("progress")
    if progress is not None:
        if optimizer is None:
            raise ValueError("progress goes on without an optimizer")
        if progress.shuffled > len(progress.shuffles):
            raise ValueError(f"progress.shuffled is {progress.shuffled}, more than there are")
        epochs = len(history.loss) if history else 0
        if progress.rows and progress.epochs != epochs:
            raise ValueError(f"progress has {progress.epochs} epochs but the history {epochs}")
        progress = progress._replace(kind=(optimizer.row, optimizer.hyper[:-1]))
    flat_y = fields.get("flat_y", False)
    if flat_y and network.n_outputs > 1:
        raise ValueError("flat_y is true but of several outputs")
    model = cls.__new__(cls)
    model.__setstate__(
        {
            "_spec": network,
            "_rng": fields["rng"],
            "_history": history,
            "_flat_y": flat_y,
            "engine": optimizer_state.to_arrays(network, fields["parameters"], optimizer),
            "progress": progress,
        }
    )
    return model


# ---------------------------------------------------------------------------------- ensembles


class _Member(Object):
    """An MLP; its tensors have the names in an MLP's own file, after a prefix for the member."""

    def write(self, value: Any, cursor: Cursor) -> dict[str, Any]:
        return super().write(value, cursor._replace(prefix=f"{cursor.tensor}.", name=""))

    def read(self, tree: Any, cursor: Cursor) -> Any:
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
    members = model.members
    generators = [id(member._rng.bit_generator) for member in members]
    return {
        "members": [values(member, training) for member in members],
        "generators": [generators.index(generator) for generator in generators],
        "history": model.history if training else None,
        "engine": storage.row_of(members[0])[1],
    }


def _ensemble(cls: Any, fields: dict[str, Any]) -> Any:
    members = fields["members"]
    for member, first in zip(members, fields["generators"], strict=True):
        member._rng = members[first]._rng
    model = cls(members)
    model._history = fields["history"]
    return model


CODECS = {
    "MLP": Codec(MLP, values, build),
    "Ensemble": Codec(ENSEMBLE, _ensemble_values, _ensemble),
}
