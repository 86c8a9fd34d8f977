"""Columns, encodings and networks of an estimator of tables, as parts of a file.

All arrays of a group of members, its parameters too, have the member as their first axis.
"""

from __future__ import annotations

import itertools
from collections import ChainMap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.user_warnings import warn
from fastmlp._engine.optimizer_state import OptimizerState
from fastmlp._files.fields import (
    Choice,
    Context,
    Count,
    Cursor,
    Flag,
    Number,
    Pieces,
    Tensor,
    Text,
    Texts,
)
from fastmlp._files.record import Tensors
from fastmlp._files.safetensors import MOST_TENSORS
from fastmlp._files.schema import At, Computed, Counted, List, Maybe, NamedTensors, Object
from fastmlp._files.strict_json import Json, shown
from fastmlp._models.codecs import parts
from fastmlp._models.codecs.values import Value
from fastmlp._models.network import Network
from fastmlp._network.optimizers import SLOTS
from fastmlp._network.spec import Spec
from fastmlp.tabular.outcome.loss_rows import LOSSES
from fastmlp.tabular.outcome.targets import (
    ClassTarget,
    MultiLabelTarget,
    NumericTarget,
    TargetScale,
)
from fastmlp.tabular.plan.presets import Recipe
from fastmlp.tabular.recipe.blend import Blend
from fastmlp.tabular.recipe.members import Members
from fastmlp.tabular.table import forms
from fastmlp.tabular.table.columns import MISSING, Column, Columns
from fastmlp.tabular.table.encoding import Encoding, NumericStatistics, inputs_of, width_of

if TYPE_CHECKING:
    from fastmlp.tabular.outcome.targets import Target

PLACES = np.dtype(np.int64)
MOST_CODE = np.iinfo(np.int32).max  # codes of categories are int32
MOST_ARRAYS_OF_LAYER, MOST_OTHER_ARRAYS = 6, 64  # a group has two layers' more
MOST_BINS = 1 << 16  # a column of numbers may have this many

# The types of categories, in the order of their numbers in files: to bytes, and from bytes.
TYPES: dict[type, tuple[Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    type(None): (lambda _: b"", lambda _: None),
    str: (str.encode, bytes.decode),
    int: (b"%d".__mod__, int),
    float: (lambda value: repr(value).encode(), float),
    bool: (b"%d".__mod__, lambda text: text == b"1"),
    bytes: (bytes, bytes),
}
TYPE_AT = {kind: at for at, kind in enumerate(TYPES)}

# The targets of classifiers by their names in files, made from the number of outputs.
CLASSES: dict[str, Callable[[int], ClassTarget]] = {
    "classes": lambda n: ClassTarget.of(np.zeros(1, int), np.arange(n)),
    "labels": lambda n: MultiLabelTarget.of_labels(np.zeros((1, n))),
}


def _hazards(n: int) -> ClassTarget:
    """Return the target of `TabMLPSurvival`, for n intervals."""
    from fastmlp.tabular.outcome.survival_target import SurvivalTarget

    return SurvivalTarget.of_times(np.zeros((1, 2)), np.arange(n))


HAZARDS: dict[str, Callable[[int], ClassTarget]] = {"hazards": _hazards}
# The names of targets that a file of each estimator may have.
KINDS = {"TabMLPClassifier": CLASSES, "TabMLPRegressor": LOSSES, "TabMLPSurvival": HAZARDS}


def length(context: Context) -> tuple[int]:
    """Return the shape of a list whose length is stored in the file."""
    return (context["n"],)


# ---------------------------------------------------------------------------------- columns


def _pieces(columns: Iterable[Column]) -> tuple[list[int], list[bytes]]:
    """Return the numbers of the types of columns' categories, and the categories as bytes."""
    types, pieces = list[int](), list[bytes]()
    pairs = [(column, value) for column in columns for value in column.values or ()]
    for column, value in pairs:
        plain = value.item() if isinstance(value, np.generic) else value
        try:
            pieces.append(TYPES[type(plain)][0](plain))
        except (KeyError, ValueError):  # another type, or half a character (a lone surrogate)
            raise ValueError(
                f"the column {shown(column.name)} has the category {shown(value)}, which a file "
                "cannot hold: make the column one of valid strings or of numbers, and fit again"
            ) from None
        types.append(TYPE_AT[type(plain)])
    return types, pieces


def _column_values(columns: Columns) -> dict[str, Any]:
    categories = [column for _, column in columns.categories]
    types, values = _pieces(categories)
    return {
        **vars(columns),
        "left_out": tuple(columns.left_out),
        "reasons": tuple(columns.left_out.values()),
        "numbers": np.array([place for place, _ in columns.numbers], PLACES),
        "categories": np.array([place for place, _ in columns.categories], PLACES),
        "sizes": [len(column.values or ()) for column in categories],
        "frequent": [column.frequent for column in categories],
        "types": types,
        "values": values,
        "ordered": [column.ordered for column in categories],
        "forms": [column.form for _, column in columns.numbers],
        "typical": np.array(columns.typical),
    }


def _columns(names: list[str], left_out: Any, reasons: Any, named: bool, **of: Any) -> Columns:
    if len(left_out) != len(reasons):
        raise ValueError(f"it has {len(reasons)} reasons for {len(left_out)}")
    numbers, places = (of[key].tolist() for key in ("numbers", "categories"))
    if set(numbers) & set(places):
        raise ValueError("it has a column as numbers and as categories")
    values, categories = iter(_values(of["types"], of["values"])), []
    of_columns = (of[key].tolist() for key in ("sizes", "frequent", "ordered"))
    for place, size, frequent, ordered in zip(places, *of_columns, strict=True):
        of_column = tuple(itertools.islice(values, size))
        if len(set(of_column)) < size or any(value != value for value in of_column):
            raise ValueError(f"{shown(names[place])} has {size} categories, not each once")
        categories.append((place, Column(names[place], of_column, frequent, ordered)))
    typical, n = tuple(of["typical"].tolist()), len(numbers)
    for code, (_, column) in zip(typical[n:], categories, strict=True):
        if code != MISSING and code not in range(len(column.values or ())):
            raise ValueError(f"{shown(column.name)} has the typical code {code}, of no value")
    return Columns(
        tuple(
            (place, Column(names[place], form=form))
            for place, form in zip(numbers, of["forms"], strict=True)
        ),
        tuple(categories),
        dict(zip(left_out, reasons, strict=True)),
        tuple(names),
        named,
        of["numeric"],
        typical,
    )


def _values(types: NDArray[np.uint8], pieces: list[bytes]) -> list[Any]:
    """Return categories from their types and bytes, which have one right form."""
    if len(types) != len(pieces):
        raise ValueError(f"it has {len(pieces):,} categories of {len(types):,} types")
    rows = list(TYPES.values())
    values = [rows[at][1](piece) for at, piece in zip(types.tolist(), pieces, strict=True)]
    for at, value, piece in zip(types.tolist(), values, pieces, strict=True):
        if rows[at][0](value) != piece:
            raise ValueError(f"it has the category {shown(piece)}, which is not of its type")
    return values


FORM = Object(
    {
        "kind": Choice(forms.KINDS),
        "layout": Choice(["", *forms.LAYOUTS]),
        "unit": Text(),
        "missing": List(Text(), make=tuple),
        "cycles": List(Choice(forms.CYCLES), make=tuple),
    },
    forms.Form,
)
COLUMNS = Object(
    {
        **dict.fromkeys(("names", "left_out", "reasons"), Texts()),
        "named": Flag(),
        "numeric": Flag(),
        **dict.fromkeys(
            ("numbers", "categories"),
            Counted(Tensor(length, PLACES, 0, lambda c: len(c["names"]) - 1, rising=True)),
        ),
        # All categories of all columns are one list; each column has the next ones of it.
        "sizes": Tensor(lambda context: context["categories"].shape, PLACES, 1, MOST_CODE),
        "frequent": Tensor(lambda context: context["categories"].shape, PLACES, 1),
        "types": Tensor(lambda context: (context["sizes"].sum(),), np.uint8, 0, len(TYPES) - 1),
        "values": Pieces(),
        "ordered": Tensor(lambda context: context["categories"].shape, np.bool_),
        "forms": List(Maybe(FORM), lambda context: len(context["numbers"])),
        "typical": Tensor(lambda c: (len(c["numbers"]) + len(c["categories"]),)),
    },
    _columns,
    _column_values,
)


class UnsavableWarning(UserWarning):
    """A fit has begun whose model no file can hold."""


def warn_if_unsavable(
    columns: Columns, classes: NDArray[Any] | None, recipes: Iterable[Recipe]
) -> None:
    """Warn before a fit if no file can hold its model: `save` would raise an error after it."""
    cursor = Cursor(Tensors(), ChainMap())
    count = MOST_OTHER_ARRAYS + sum(MOST_ARRAYS_OF_LAYER * (len(r.sizes(1)) + 1) for r in recipes)
    try:
        COLUMNS.write(columns, cursor.at("columns"))
        if classes is not None:
            Value().write(classes, cursor.at("classes"))
        if count > MOST_TENSORS:
            raise ValueError(
                f"the networks may take {count:,} arrays but a file has room for "
                f"{MOST_TENSORS:,}: pass fewer recipes, or of fewer layers"
            )
    except (TypeError, ValueError) as error:
        warn(f"no file can hold the model of this fit: {error}", UnsavableWarning)


# ---------------------------------------------------------------------------------- members


def _of_numbers(context: Context) -> tuple[int, int]:
    """Return the shape of one statistic per number of each member."""
    return context["members"], context["columns"].n_numbers


def _of_edges(context: Context) -> tuple[int, int]:
    return context["members"], int(context["bins"].sum()) + context["columns"].n_numbers


def _of_values(context: Context) -> tuple[int, int]:
    return context["members"], sum(column.values for column in context["categories"])


def _of_outputs(context: Context) -> tuple[int, int]:
    return context["members"], _outputs_of(context["network"])


def _outputs_of(network: Spec) -> int:
    """Return the number of predictions of a row, without variances."""
    return network.n_outputs * max(1, len(network.loss.levels))


def _check_width(context: Context) -> None:
    inputs = context["network"].layer_sizes[0]
    width = width_of(context["columns"], len(context["with_missing"]), context["bins"])
    if width != inputs:
        raise ValueError(f"it has {inputs} inputs but {width} come of its table")


class _Networks(parts.Parameters):
    """The parameters of each member; the arrays of a file have the member as their first axis."""

    def write(self, value: Sequence[Any], cursor: Cursor) -> Json:
        kinds = [
            [np.stack(layer) for layer in zip(*kind, strict=True)]
            for kind in zip(*value, strict=True)
        ]
        if not all(np.isfinite(array).all() for arrays in kinds for array in arrays):
            raise ValueError("the weights of the fit are not finite: scale y, and fit again")
        return super().write(kinds, cursor)

    def read(self, tree: Json, cursor: Cursor) -> Any:
        kinds = (zip(*layers, strict=True) for layers in super().read(tree, cursor))
        return list(zip(*kinds, strict=True))


def _optimizers(**fields: Any) -> list[OptimizerState]:
    """Return the state of the optimizer of each member."""
    state = parts.OPTIMIZER.make(**fields)
    return [state._replace(slots=list(slots)) for slots in zip(*state.slots, strict=True)]


def _stacked(states: Sequence[OptimizerState]) -> OptimizerState:
    """Return one state; each slot is that of all members."""
    return states[0]._replace(slots=list(zip(*(state.slots for state in states), strict=True)))


# The state of the optimizers of a group, which have taken the same steps.
OPTIMIZERS = Object(
    {
        **parts.OPTIMIZER.fields,
        "slots": At(
            "",
            NamedTensors(
                _Networks(leading=lambda context: context["members"]),
                lambda fields: SLOTS[fields["row"]],
            ),
        ),
    },
    _optimizers,
    _stacked,
)


def _group(
    share: float, network: Spec, seen: Any, scale: TargetScale | None, networks: Any, **of: Any
) -> tuple[Members, float]:
    """Return the members of a group, without their target, and its share."""
    rng = np.random.default_rng(0)  # nothing is trained
    nets = [Network.of(network, parameters, rng) for parameters in networks]
    numbers = NumericStatistics(*(of[key] for key in NumericStatistics._fields))
    encoding = Encoding(
        numbers, of["bins"], seen, of["categories"], of["with_missing"], of["unclipped"]
    )
    return Members(nets, encoding, scale, None, of["optimizers"] or ()), share


def _group_values(group: tuple[Members, float]) -> dict[str, Any]:
    members, share = group
    return {
        "share": share,
        "network": members.spec,
        "bins": members.encoding.bins,
        **members.encoding.numbers._asdict(),
        "seen": members.encoding.seen,
        "unclipped": members.encoding.unclipped,
        "scale": members.scale,
        "networks": [engine.parameters() for engine in members.engines()],
        "optimizers": members.optimizers or None,
    }


SCALE = Object(
    {
        **dict.fromkeys(("centre", "factor"), Tensor(_of_outputs)),
        **dict.fromkeys(("low", "high"), Tensor(_of_outputs, is_infinite=True)),
    },
    TargetScale,
)
GROUP = Object(
    {
        "share": Number(),
        "network": parts.NETWORK,
        "bins": Tensor(lambda context: (context["columns"].n_numbers,), PLACES, 0, MOST_BINS),
        "width": Computed(_check_width),
        **dict.fromkeys(("centre", "factor"), Tensor(_of_numbers)),
        "edges": Tensor(_of_edges),
        "categories": Computed(lambda context: inputs_of(context["columns"])),
        "seen": Tensor(_of_values, np.bool_),
        "with_missing": Computed(lambda context: context["with_missing"]),
        "unclipped": Counted(
            Tensor(
                *(length, PLACES, 0, lambda context: context["columns"].n_numbers - 1),
                rising=True,
            )
        ),
        "scale": Maybe(SCALE),
        "networks": At("", _Networks(leading=lambda context: context["members"])),
        "optimizers": Maybe(OPTIMIZERS),
    },
    _group,
    _group_values,
)


def _check_groups(context: Context) -> int:
    """Return the number of outputs of all groups."""
    groups = [group for group, _ in context["groups"]]
    shares = [share for _, share in context["groups"]]
    if not groups or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"groups have shares of {sum(shares):g} and not of 1")
    networks = [group.spec for group in groups]
    if len({(net.n_outputs, net.loss) for net in networks}) > 1:
        raise ValueError("groups have different outputs")
    scaled = {group.scale is not None for group in groups}
    # Classes have scales if weights are divided out of their probabilities.
    suitable = {"class": [{False}, {True}], "unit_interval": [{False}]}
    if scaled not in suitable.get(networks[0].loss.target_kind, [{True}]):
        raise ValueError("groups have, or lack, scales of their targets")
    return _outputs_of(networks[0])


def _target(kind: str, unit: NDArray[np.float64] | None, network: Spec) -> Target:
    """Return a target without rows."""
    n = network.n_outputs
    of_classes = CLASSES | HAZARDS
    of_class: Any = of_classes[kind](n) if kind in of_classes else None
    expected = LOSSES[kind].loss if of_class is None else type(of_class.loss)
    if type(network.loss) is not expected:
        words = f"the networks have the loss {network.loss.name} but the target"
        raise ValueError(f"{words} that of {expected.name}")
    target = of_class or NumericTarget.of(np.zeros((1, n)), kind, network.loss)
    measured = {} if unit is None else {"unit": unit}
    return replace(target, y=None, loss=network.loss, **measured)


TARGET = Object(
    {
        "kind": Choice(lambda context: KINDS[context["name"]]),
        "unit": Tensor(
            lambda context: (context["outputs"],) if context["kind"] in LOSSES else None,
            positive=True,
        ),
        "network": Computed(lambda context: context["groups"][0][0].spec),
    },
    _target,
    lambda target: {"kind": target.name, "unit": getattr(target, "unit", None)},
)


def _blend(groups: list[tuple[Members, float]], target: Target, **fields: Any) -> Blend:
    for group, _ in groups:
        if target.kind == "classes" and group.scale is not None:
            target = replace(target, class_weights=1 / group.scale.factor[0])
    members = [replace(group, target=target) for group, _ in groups]
    return Blend(members, np.array([share for _, share in groups]))


BLEND = Object(
    {
        "members": Count(1),
        "with_missing": Counted(
            Tensor(
                *(length, PLACES, 0, lambda context: len(context["columns"].numbers) - 1),
                rising=True,
            )
        ),
        "groups": At("/groups", List(GROUP)),
        "outputs": Computed(_check_groups),
        "target": TARGET,
    },
    _blend,
    lambda blend: {
        "members": len(blend.groups[0]),
        "with_missing": blend.groups[0].encoding.with_missing,
        "groups": list(zip(blend.groups, blend.weights, strict=True)),
        "target": blend.target,
    },
)
