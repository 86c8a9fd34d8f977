"""Schemas of the parts of models: networks, parameters, histories, optimizers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastmlp._core.history import AveragingState, History
from fastmlp._engine import optimizer_state
from fastmlp._engine.optimizer_state import OptimizerState
from fastmlp._files.fields import (
    GONE,
    Choice,
    Context,
    Count,
    Cursor,
    Field,
    Hidden,
    Number,
    Numbers,
    Text,
)
from fastmlp._files.schema import At, Flagged, List, NamedTensors, Object, OneOf
from fastmlp._files.strict_json import Json
from fastmlp._models.codecs.values import Value
from fastmlp._network import spec
from fastmlp._network.functions.activation import CustomActivation
from fastmlp._network.functions.loss import CustomLoss
from fastmlp._network.losses import Loss
from fastmlp._network.optimizers import N_HYPER, SLOTS
from fastmlp._network.spec import Spec
from fastmlp._network.tensors import name_of
from fastmlp._training.callback_state import STORED, CallbackState

Arrays = list[NDArray[Any]]


class Function(Field[Any]):
    """A custom function, which a file contains by name only, or a value of another kind."""

    def __init__(self, kind: type[Any], other: Field[Any]) -> None:
        self.kind, self.other = kind, other

    def write(self, value: Any, cursor: Cursor) -> Json:
        return value.facts if isinstance(value, self.kind) else self.other.write(value, cursor)

    def read(self, tree: Json, cursor: Cursor) -> Any:
        if isinstance(tree, dict) and "function" in tree:
            return cursor.file.function(tree, self.kind)
        return self.other.read(tree, cursor)


def _network_values(network: Spec) -> dict[str, Any]:
    names = [function.name for function in network.functions]
    if len(set(names)) < len(names):
        raise ValueError(
            f"the model has several functions of the same name, {', '.join(names)}, which a file "
            "cannot tell apart: give each a name=, or pickle the model"
        )
    return {key: getattr(network, key) for key in NETWORK.fields}


# `spec.build` checks the lists; nothing is allocated.
NETWORK = Object(
    {
        "layer_sizes": List(Field()),
        "activations": List(Function(CustomActivation, Field())),
        "dropout": List(Field()),
        "layer_norm": List(Field()),
        "loss": Function(CustomLoss, Value(Loss)),
        "dtype": Choice(spec.DTYPES),
        **dict.fromkeys(("scale", "skip", "linear_path", "compute"), Field()),
        "parametric": List(Field()),
    },
    lambda activations, **others: spec.build(activation=activations, **others),
    _network_values,
)


class Parameters(Hidden[Any]):
    """The finite parameters of the network in the context; views of the file's bytes unless copied.

    Those of many networks have the network as the first axis, whose length ``leading`` returns.
    """

    def __init__(
        self,
        dtype: DTypeLike | None = None,
        copy: bool = False,
        leading: Callable[[Context], int] | None = None,
    ) -> None:
        self.dtype, self.copy, self.leading = dtype, copy, leading

    def write(self, value: Sequence[Arrays], cursor: Cursor) -> Json:
        network = cursor.context["network"]
        for kind, arrays in zip(network.tensors, value, strict=True):
            cursor.file.update(zip(_names(kind, len(arrays), cursor), arrays, strict=True))
        return GONE

    def read(self, tree: Json, cursor: Cursor) -> tuple[Arrays, ...]:
        network, kinds = cursor.context["network"], []
        axis = () if self.leading is None else (self.leading(cursor.context),)
        for kind, shapes in network.tensors.items():
            pairs = zip(_names(kind, len(shapes), cursor), shapes, strict=True)
            dtype = self.dtype or network.dtype
            arrays = [cursor.file.parameter(name, (*axis, *shape), dtype) for name, shape in pairs]
            kinds.append([array.copy() for array in arrays] if self.copy else arrays)
        return tuple(kinds)


def _names(kind: str, n: int, cursor: Cursor) -> Iterator[str]:
    """Yield the names of the parameters of one kind in all layers."""
    begin = f"{cursor.tensor}." if cursor.name else cursor.prefix
    return (f"{begin}{name_of(kind, layer)}" for layer in range(n))


PARAMETERS = At("/", Parameters())


class _Metrics(Field[dict[str, list[float]]]):
    """Metrics by name, with one number per epoch; null if there are none."""

    def write(self, value: dict[str, list[float]], cursor: Cursor) -> Json:
        for at, numbers in enumerate(value.values()):
            Numbers().write(numbers, cursor.at(at))
        return List(Text()).write(list(value), cursor) or None

    def read(self, tree: Json, cursor: Cursor) -> dict[str, list[float]]:
        if tree is None:
            return {}
        names = List(Text()).read(tree, cursor)
        columns = [Numbers().read(GONE, cursor.at(at)) for at in range(len(names))]
        n = {len(cursor.context["loss"])}
        is_right = len(set(names)) == len(names) > 0 and {*map(len, columns)} == n
        cursor.check(is_right, "has other names than numbers of epochs")
        return dict(zip(names, columns, strict=True))


def _history(metrics: dict[str, list[float]], **lists: Any) -> History:
    n, n_val = len(lists["loss"]), len(lists["val_loss"])
    if {len(lists["seconds"]), len(lists["learning_rate"])} != {n} or n_val not in (0, n):
        raise ValueError("its lists have different lengths")
    rows = zip(*metrics.values(), strict=True)
    return History(**lists, measured=[dict(zip(metrics, row, strict=True)) for row in rows])


HISTORY = Object(
    {
        **dict.fromkeys(("loss", "val_loss", "seconds", "learning_rate"), Numbers()),
        "stop_reason": Text(),
        "metrics": _Metrics(),
    },
    _history,
    History.whole,
)


def _optimizer(**fields: Any) -> OptimizerState:
    """Return the state of an optimizer; check numbers by which an engine divides."""
    row, hyper, units = fields["row"], fields["hyper"], fields["units"]
    for at in SLOTS[row].values():
        if at is not None and hyper[at] >= 1:
            raise ValueError(f"hyper has a memory of {hyper[at]}, not below 1")
    if units not in (optimizer_state.textbook(row, hyper), optimizer_state.sums(row, hyper)):
        raise ValueError(f"units are {units}, which are those of no engine")
    return OptimizerState(**fields)


OPTIMIZER = Object(
    {
        "row": Choice(SLOTS),
        "step": Count(),
        "hyper": List(Number(), N_HYPER, tuple),
        "powers": List(Number(), (0, optimizer_state.N_POWERS), tuple),
        "units": List(Number(), lambda fields: len(SLOTS[fields["row"]]), tuple),
        "slots": At("/optimizer", NamedTensors(Parameters(), lambda fields: SLOTS[fields["row"]])),
    },
    _optimizer,
)


CALLBACKS = List(
    OneOf(
        {
            name: Object(
                {key: Value(kind) for key, kind in kinds.items()}
                | {"parameters": Flagged(At("", Parameters(copy=True)))},
                lambda parameters, _name=name, **values: CallbackState(_name, values, parameters),
                lambda state: {**state.values, "parameters": state.parameters},
            )
            for name, kinds in STORED.items()
        },
        lambda state: state.name,
    )
)


def _averaged(raw: Any, mean: Any, epochs: int) -> AveragingState:
    most = np.finfo(raw[0][0].dtype).max  # the mean is to be rounded to the network's dtype
    if any(np.any(np.abs(array) > most) for arrays in mean for array in arrays):
        raise ValueError(f"it has a mean beyond what {most.dtype} can hold")
    return AveragingState(raw, mean, epochs)


AVERAGED = Object(
    {
        "raw": Parameters(copy=True),
        "mean": Parameters(np.dtype(np.float64), copy=True),
        "epochs": Count(1),
    },
    _averaged,
)
