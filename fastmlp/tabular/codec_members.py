"""Columns, encodings and networks of an estimator of tables, as parts of a file.

Arrays of the members of a group are stacked, one row per member; their parameters are under
``groups.G.members.K`` by the names of the layers.
"""

from __future__ import annotations

import itertools
from collections import ChainMap
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastmlp._files.kinds import Count, Flag, Kind, Number, Place, Tensor
from fastmlp._files.record import Tensors
from fastmlp._files.schema import At, Checked, Counted, Each, List, Object
from fastmlp._files.strict_json import shown
from fastmlp._models.codecs import models, parts
from fastmlp._models.codecs.values import Value
from fastmlp._models.ensemble.ensemble import Ensemble
from fastmlp._models.mlp import MLP
from fastmlp.tabular.blend import Blend
from fastmlp.tabular.columns import Column, Columns
from fastmlp.tabular.encoding import Encoding, NumericStatistics, width_of
from fastmlp.tabular.members import Members
from fastmlp.tabular.targets import TargetScale

PLACES = np.dtype(np.int64)
MOST_CATEGORIES = 1 << 16  # in all columns; each takes ten times its bytes in memory
MOST_BINS = 1 << 16  # needed if no column is numeric: then no array limits the bins

# Type of category values -> dtype of consecutive values of that type in a file.
RUNS = {str: np.dtype(object), int: PLACES, float: np.dtype(float), bool: np.dtype(bool)}


# ---------------------------------------------------------------------------------- columns


class _Texts(Value):
    """A list of strings."""

    def __init__(self) -> None:
        super().__init__(np.ndarray)

    def write(self, value: Any, place: Place) -> Any:
        return super().write(np.array(value, object), place)

    def read(self, tree: Any, place: Place) -> list[str]:
        array = super().read(tree, place)
        place.check(array.dtype == object, f"is an array of {array.dtype} and no strings")
        return array.tolist()  # type: ignore[no-any-return]


class _Category(Kind):
    """The values of a category column: consecutive values of one type, or null for missing."""

    def write(self, value: Column, place: Place) -> list[Any]:
        plain = [v.item() if isinstance(v, np.generic) else v for v in value.values or ()]
        found: list[Any] = []
        for at, (kind, run) in enumerate(itertools.groupby(plain, type)):
            values: tuple[Any, ...] = tuple(run)
            odd = [v for v in values if kind not in RUNS or (kind is int and abs(v) >= 2**63)]
            if odd and values != (None,):
                raise TypeError(
                    f"{value.name} has the category {shown(odd[0])}, which a file cannot hold: "
                    "make the column one of strings, or of numbers below 2**63"
                )
            array = None if odd else np.array(values, RUNS[kind])
            try:
                found.append(Value().write(array, place.at("values").at(at)))
            except ValueError as error:
                raise ValueError(f"the column {value.name!r}: {error}") from None
        return found

    def read(self, tree: Any, place: Place) -> tuple[Any, ...]:
        found, place = list[Any](), place.at("values")
        for at, run in enumerate(List(Value(np.ndarray, None)).read(tree, place)):
            values = np.array([None]) if run is None else run
            place.at(at).check(
                values.ndim == 1 and values.dtype in RUNS.values(),
                f"is {values.dtype} of shape {values.shape} but strings, int64, float64 or bool "
                "belong there",
            )
            found += values.tolist()
        is_right = len(set(found)) == len(found) > 0 and all(each == each for each in found)
        place.check(is_right, f"are {len(found)} categories, not each once")
        return tuple(found)


def _check_count(categories: Sequence[Column]) -> None:
    total = sum(len(column.values or ()) for column in categories)
    if total > MOST_CATEGORIES:
        raise ValueError(
            f"the columns have {total:,} categories but a file has room for {MOST_CATEGORIES:,}: "
            "pickle the model, or leave out columns that name each row"
        )


def _column_values(columns: Columns) -> dict[str, Any]:
    places, categories = zip(*columns.categories, strict=True) if columns.categories else ((), ())
    _check_count(categories)
    return {
        **vars(columns),
        "left_out": tuple(columns.left_out),
        "reasons": tuple(columns.left_out.values()),
        "numbers": np.array([place for place, _ in columns.numbers], PLACES),
        "categories": categories,
        "places": np.array(places, PLACES),
    }


def _columns(names: list[str], left_out: Any, reasons: Any, named: bool, **of: Any) -> Columns:
    if len(left_out) != len(reasons):
        raise ValueError(f"it has {len(reasons)} reasons for {len(left_out)}")
    numbers, places = (of[key].tolist() for key in ("numbers", "places"))
    if set(numbers) & set(places):
        raise ValueError("it has a column as numbers and as categories")
    categories = [Column(names[k], v) for k, v in zip(places, of["categories"], strict=True)]
    _check_count(categories)
    return Columns(
        tuple((place, Column(names[place])) for place in numbers),
        tuple(zip(places, categories, strict=True)),
        dict(zip(left_out, reasons, strict=True)),
        tuple(names),
        named,
        of["numeric"],
    )


def _last_name(known: Any) -> int:
    return len(known["names"]) - 1


COLUMNS = Object(
    {
        **dict.fromkeys(("names", "left_out", "reasons"), _Texts()),
        "named": Flag(),
        "numeric": Flag(),
        "numbers": Counted(Tensor(lambda known: (known["n"],), PLACES, 0, _last_name, rising=True)),
        "categories": List(_Category()),
        "places": At(
            "categories",
            Tensor(lambda known: (len(known["categories"]),), PLACES, 0, _last_name, rising=True),
        ),
    },
    _columns,
    _column_values,
    first=("numbers", "places"),
)


def check_room(X: Any) -> None:
    """Raise an error if a file cannot hold the categories of a table; nothing is written."""
    COLUMNS.write(Columns.of(X), Place(Tensors(), ChainMap()))


# ---------------------------------------------------------------------------------- members


def _check_width(known: Any) -> None:
    inputs = known["network"].layer_sizes[0]
    width = width_of(known["columns"], len(known["with_missing"]), known["bins"])
    if width != inputs:
        raise ValueError(f"it has {inputs} inputs but {width} come of its table")


def _shape(known: Any) -> tuple[int, int]:
    """Return the shape of one statistic per number of each member."""
    return known["members"], len(known["columns"].numbers)


def _n_values(columns: Columns) -> list[int]:
    return [len(column.values or ()) for _, column in columns.categories]


def _scales_shape(known: Any) -> Any:
    network = known["network"]
    if network.loss.target_kind not in ("real", "count"):
        return None
    return known["members"], len(TargetScale._fields), network.n_outputs


GROUP = Object(
    {
        "share": Number(),
        "bins": Count(most=MOST_BINS),
        "network": parts.NETWORK,
        "width": Checked(_check_width),
        "centre": Tensor(_shape),
        "factor": Tensor(_shape),
        "edges": Tensor(lambda known: (*_shape(known), known["bins"] + 1)),
        "known": Tensor(
            lambda known: (known["members"], sum(_n_values(known["columns"]))), np.bool_
        ),
        "scales": Tensor(_scales_shape),
        "nets": At("members", Each(parts.Parameters(), lambda known: range(known["members"]))),
    }
)


def group_values(group: Members, share: float) -> dict[str, Any]:
    """Return the fields of a group."""
    members = [models.values(member, False) for member in group.ensemble]
    nets = [member["parameters"] for member in members]
    if not all(np.isfinite(a).all() for net in nets for arrays in net for a in arrays):
        raise ValueError("the weights of the fit are not finite: scale y, and fit again")
    return {
        "share": share,
        "bins": group.encoding.bins,
        "network": members[0]["network"],
        **group.encoding.numbers._asdict(),
        "known": group.encoding.seen,
        "scales": None if group.scale is None else np.stack(group.scale, axis=1),
        "nets": nets,
    }


def check_groups(known: Any) -> int:
    """Return the number of outputs of all groups."""
    groups = known["groups"]
    shares = [group["share"] for group in groups]
    if not groups or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"groups have shares of {sum(shares):g} and not of 1")
    networks = [group["network"] for group in groups]
    if len({(net.layer_sizes[-1], type(net.loss)) for net in networks}) > 1:
        raise ValueError("groups have different outputs")
    return int(networks[0].layer_sizes[-1])


def blend_of(fit: dict[str, Any], target: Any) -> Blend:
    """Return the groups of a fit."""
    groups, sizes = [], tuple(_n_values(fit["columns"]))
    for group in fit["groups"]:
        numbers = NumericStatistics(*(group[key] for key in NumericStatistics._fields))
        encoding = Encoding(numbers, group["known"], sizes, fit["with_missing"])
        state = {"network": group["network"], "rng": np.random.default_rng(0)}  # without training
        nets = [models.build(MLP, {**state, "parameters": each}) for each in group["nets"]]
        ensemble = Ensemble(nets)
        scale = None
        if group["scales"] is not None:
            scale = TargetScale(*np.moveaxis(group["scales"], 1, 0))
            if scale.factor.min() <= 0:
                raise ValueError("the scales of the targets have a factor that is not above 0")
        groups.append(Members(ensemble, encoding, scale, target))
    return Blend(groups, np.array([group["share"] for group in fit["groups"]]))
