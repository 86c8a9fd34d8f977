"""The schema of MLPs: constructor arguments, parameters, generator, history, optimizer."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastmlp._core.history import ResumeState
from fastmlp._engine import optimizer_state
from fastmlp._files.kinds import Count, Flag, Number, Numbers
from fastmlp._files.schema import Later, Maybe, Object
from fastmlp._models.codecs import parts
from fastmlp._models.codecs.values import Value

LARGE = Count(1, 2**64 - 1)  # written as hexadecimal digits

PROGRESS = Object(
    {
        "shuffles": Numbers(np.uint64),
        "averaged": Later(parts.AVERAGED, None),
        "seed": Count(most=2**64 - 1),
        **dict.fromkeys(("step", "rows", "epochs"), Count()),
        "scale": Number(),
        "shuffled": Count(),
        "callbacks": parts.CALLBACKS,
        **dict.fromkeys(("batch_size", "data"), Later(LARGE, 0)),
    },
    lambda callbacks, **others: ResumeState((), memories=callbacks, **others),
    lambda state: {**state._asdict(), "callbacks": state.memories},
)

SCHEMA = Object(
    {
        "network": parts.NETWORK,
        "parameters": parts.PARAMETERS,
        "rng": Value(np.random.Generator),
        "history": Maybe(parts.HISTORY),
        "progress": Maybe(PROGRESS),
        "optimizer": Maybe(parts.OPTIMIZER),
        "flat_y": Later(Flag(), False),
    }
)


def values(model: Any, training: bool) -> dict[str, Any]:
    """Return the fields of an MLP; during a fit, those after the last complete epoch."""
    state = model.__getstate__()
    parameters, memory = optimizer_state.from_arrays(state["engine"], state["_spec"])
    progress: ResumeState | None = state["progress"]
    if training and progress is not None:
        epochs = len(state["_history"].loss) if state["_history"] else 0
        if progress.rows and progress.epochs != epochs:
            raise ValueError(
                f"history has {epochs} epochs but the fit {progress.epochs}, and a file must have "
                "all: change copies of its lists, or leave it out by save(path, training=False)"
            )
        if progress.memory is not None:
            raise TypeError(
                "a file cannot hold what a CustomOptimizer remembers: save(path, training=False) "
                "leaves it out, a pickle has it; for a Checkpoint use an optimizer of fastmlp's own"
            )
    trained = {"history": state["_history"], "progress": progress, "optimizer": memory}
    return {
        "network": state["_spec"],
        "parameters": parameters,
        "rng": state["_rng"],
        **(trained if training else dict.fromkeys(trained)),
        "flat_y": bool(state.get("_flat_y")),
    }


def build(cls: Any, fields: dict[str, Any]) -> Any:
    """Return the MLP with these fields."""
    network, history = fields["network"], fields["history"]
    memory, progress = fields["optimizer"], fields["progress"]
    if progress is not None:
        if memory is None:
            raise ValueError("progress goes on without an optimizer")
        if progress.shuffled > len(progress.shuffles):
            raise ValueError(f"progress.shuffled is {progress.shuffled}, more than there are")
        epochs = len(history.loss) if history else 0
        if progress.rows and progress.epochs != epochs:
            raise ValueError(f"progress has {progress.epochs} epochs but the history {epochs}")
        progress = progress._replace(kind=(memory.row, memory.hyper[:-1]))
    if fields["flat_y"] and network.n_outputs > 1:
        raise ValueError("flat_y is true but of several outputs")
    model = cls.__new__(cls)
    model.__setstate__(
        {
            "_spec": network,
            "_rng": fields["rng"],
            "_history": history,
            "_flat_y": fields["flat_y"],
            "engine": optimizer_state.to_arrays(network, fields["parameters"], memory),
            "progress": progress,
        }
    )
    return model
