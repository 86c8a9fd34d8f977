"""Columns, encodings and networks of a table's estimator, as parts of a file.

What each member of a group has is stacked, one row a member; weights lie under
``groups.G.members.K`` by the names of the layers.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._engine import optimizer_state
from fastmlp._files.record import Record, Store, Tensors, built
from fastmlp._files.strict_json import ModelFormatError, shown
from fastmlp._models.codecs import parts
from fastmlp._models.codecs.values import describe as described, value
from fastmlp._models.ensemble.ensemble import Ensemble
from fastmlp._models.mlp import MLP
from fastmlp._network.spec import Spec
from fastmlp.tabular.blend import Blend
from fastmlp.tabular.columns import Column, Columns
from fastmlp.tabular.encoding import Encoding, NumericStatistics, width_of
from fastmlp.tabular.members import TrainedMembers
from fastmlp.tabular.targets import TargetScale

FLOATS, PLACES = np.dtype(float), np.dtype(np.int64)
MOST_CATEGORIES = 1 << 16  # of all columns: each takes ten times its place in the file
MOST_BINS = 1 << 16  # of numbers where there are none: they take no place

# Values of a category: how a run of those of one type lies in a file.
RUNS = {str: np.dtype(object), int: PLACES, float: FLOATS, bool: np.dtype(bool)}


# ---------------------------------------------------------------------------------- columns


def describe_columns(columns: Columns, tensors: Tensors) -> dict[str, Any]:
    """Return the columns of a table as JSON and tensors."""
    total = sum(len(column.values or ()) for _, column in columns.categories)
    if total > MOST_CATEGORIES:
        raise ValueError(
            f"the columns have {total:,} categories but a file has room for {MOST_CATEGORIES:,}: "
            "pickle the model, or leave out columns that name each row"
        )
    for kind in ("numbers", "categories"):
        places = [place for place, _ in getattr(columns, kind)]
        tensors[f"fit.columns.{kind}"] = np.array(places, np.int64)
    texts = {
        "names": columns.names,
        "left_out": tuple(columns.left_out),
        "reasons": tuple(columns.left_out.values()),
    }
    return {
        **{key: _describe_texts(texts[key], f"fit.columns.{key}", tensors) for key in texts},
        "named": columns.named,
        "numeric": columns.numeric,
        "numbers": len(columns.numbers),
        "categories": [
            _describe_values(column, f"fit.columns.categories.{k}", tensors)
            for k, (_, column) in enumerate(columns.categories)
        ],
    }


def rebuild_columns(part: Record) -> Columns:
    """Return the columns that a file describes."""
    names, left_out, reasons = (_texts(part, key) for key in ("names", "left_out", "reasons"))
    if len(left_out) != len(reasons):
        raise ModelFormatError(f"{part.where} has {len(reasons)} reasons for {len(left_out)}")
    n_numbers, trees = part.count("numbers"), part.items("categories")
    numbers = ascending(part, "numbers", n_numbers, len(names))
    categories = ascending(part, "categories", len(trees), len(names))
    if set(numbers.tolist()) & set(categories.tolist()):
        raise ModelFormatError(f"{part.where} has a column as numbers and as categories")
    found: list[tuple[int, Column]] = []
    total = 0
    for k, (place, tree) in enumerate(zip(categories.tolist(), trees, strict=True)):
        own = Record({"values": tree}, f"{part.where}.categories.{k}", part.store)
        values = _rebuild_values(own, MOST_CATEGORIES - total)
        total += len(values)
        found.append((place, Column(names[place], values)))
    named = part.flag("named")
    numeric = not named and not any(column.has_text for _, column in found)
    if part.there("numeric"):  # there were files without
        numeric = part.flag("numeric")
    part.finish()
    return Columns(
        tuple((place, Column(names[place])) for place in numbers.tolist()),
        tuple(found),
        dict(zip(left_out, reasons, strict=True)),
        tuple(names),
        named,
        numeric,
    )


def ascending(part: Record, key: str, n: int, end: int) -> NDArray[np.int64]:
    """Return so many places below an end, each once, in order."""
    name = f"{part.where.partition('.')[2]}.{key}"
    places = part.store.parameter(name, (n,), PLACES).copy()
    if n and not (places[0] >= 0 and places[-1] < end and (places[:-1] < places[1:]).all()):
        raise ModelFormatError(f"tensor '{name}' has other places than those of 0 to {end - 1}")
    return places


def _describe_texts(texts: tuple[str, ...], name: str, tensors: Tensors) -> Any:
    return described(np.array(texts, object), name, tensors)


def _texts(part: Record, key: str) -> list[str]:
    array = value(part, key, np.ndarray)
    if array.dtype != object:
        raise ModelFormatError(f"{part.where}.{key} is an array of {array.dtype} and no strings")
    return array.tolist()  # type: ignore[no-any-return]


def _describe_values(column: Column, name: str, tensors: Tensors) -> list[Any]:
    """Return the values of a category in their order: runs of one type, or null for missing."""
    plain = [v.item() if isinstance(v, np.generic) else v for v in column.values or ()]
    found: list[Any] = []
    for at, (kind, run) in enumerate(itertools.groupby(plain, type)):
        where = f"{name}.values.{at}"
        values: tuple[Any, ...] = tuple(run)
        odd = [v for v in values if kind not in RUNS or (kind is int and abs(v) >= 2**63)]
        if kind is str:
            try:
                found.append(_describe_texts(values, where, tensors))
            except ValueError as error:
                raise ValueError(f"the column {column.name!r}: {error}") from None
        elif not odd:
            found.append(described(np.array(values, RUNS[kind]), where, tensors))
        elif values == (None,):
            found.append(None)
        else:
            raise TypeError(
                f"{column.name} has the category {shown(odd[0])}, which a file cannot hold: make "
                "the column one of strings, or of numbers below 2**63"
            )
    return found


def _rebuild_values(own: Record, most: int) -> tuple[Any, ...]:
    runs = own.items("values")
    part = Record(dict(enumerate(runs)), f"{own.where}.values", own.store)
    found: list[Any] = []
    for at in range(len(runs)):
        run = value(part, at, np.ndarray, None)  # type: ignore[arg-type]
        run = np.array([None]) if run is None else run
        if run.ndim != 1 or run.dtype not in RUNS.values() or len(found) + len(run) > most:
            raise ModelFormatError(
                f"{part.where}.{at} is {run.dtype} of shape {run.shape} but at most {most:,} "
                "categories, strings, int64, float64 or bool, belong there"
            )
        found += run.tolist()
    if not found or len(set(found)) < len(found) or any(each != each for each in found):
        raise ModelFormatError(f"{part.where} are {len(found)} categories, not each once")
    return tuple(found)


# ---------------------------------------------------------------------------------- members


def describe_blend(blend: Blend, tensors: Tensors) -> dict[str, Any]:
    """Return groups of members as JSON and tensors."""
    first = blend.groups[0]
    missing = first.encodings[0].with_missing  # of the whole table: of all members
    tensors["fit.with_missing"] = np.asarray(missing, np.int64)
    return {
        "members": len(first.ensemble),
        "with_missing": len(missing),
        "groups": [
            _describe_group(group, float(share), f"groups.{g}", tensors)
            for g, (group, share) in enumerate(zip(blend.groups, blend.weights, strict=True))
        ],
    }


def _describe_group(
    group: TrainedMembers, share: float, name: str, tensors: Tensors
) -> dict[str, Any]:
    for key in NumericStatistics._fields:
        stack = [getattr(encoding.numbers, key) for encoding in group.encodings]
        tensors[f"{name}.{key}"] = np.stack(stack)
    known = [np.concatenate([[], *each.known]).astype(bool) for each in group.encodings]
    tensors[f"{name}.known"] = np.stack(known)
    if group.scales[0] is not None:
        tensors[f"{name}.scales"] = np.array([np.stack(scale) for scale in group.scales], float)
    network = group.ensemble[0].__getstate__()["_spec"]
    for k, member in enumerate(group.ensemble):
        found = optimizer_state.from_arrays(member.__getstate__()["engine"], network)[0]
        parts.put(network, found, tensors, f"{name}.members.{k}.")
    return {
        "share": share,
        "bins": group.encodings[0].bins,
        "network": parts.describe_spec(network, tensors),
    }


def rebuild_blend(record: Record, columns: Columns) -> Blend:
    """Return the groups that a file describes, still without a target."""
    n = record.count("members", 1)
    n_missing = record.count("with_missing")
    missing = ascending(record, "with_missing", n_missing, len(columns.numbers))
    groups, shares = [], []
    for g, tree in enumerate(record.items("groups")):
        part = Record(tree, f"groups.{g}", record.store)
        shares.append(part.number("share"))
        groups.append(_rebuild_group(part, columns, missing, n))
        part.finish()
    if not groups or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise ModelFormatError(f"{record.where}.groups have shares of {sum(shares):g} and not of 1")
    sizes = {group.ensemble[0].layer_sizes[-1] for group in groups}
    if len(sizes) > 1 or len({type(group.ensemble[0].loss) for group in groups}) > 1:
        raise ModelFormatError(f"{record.where}.groups have different outputs")
    return Blend(groups, np.array(shares))


def _rebuild_group(
    part: Record, columns: Columns, missing: NDArray[np.int64], n: int
) -> TrainedMembers:
    network, store = parts.rebuild_spec(part.part("network")), part.store
    inputs, name = network.layer_sizes[0], part.where
    count = len(columns.numbers)
    bins = part.count("bins", 0, inputs // count if count else MOST_BINS)
    values = [len(column.values or ()) for _, column in columns.categories]
    width = width_of(columns, len(missing), bins)
    if width != inputs:
        raise ModelFormatError(f"{name} has {inputs} inputs but {width} come of its table")
    nets = [_rebuild_network(network, store, f"{name}.members.{k}.") for k in range(n)]
    shapes = {"centre": (n, count), "factor": (n, count), "edges": (n, count, bins + 1)}
    stacks = [
        store.parameter(f"{name}.{key}", shapes[key], FLOATS) for key in NumericStatistics._fields
    ]
    known = store.parameter(f"{name}.known", (n, sum(values)), np.dtype(bool))
    ends = np.cumsum(values[:-1], dtype=int)
    encodings = [
        Encoding(
            NumericStatistics(*(stack[k].copy() for stack in stacks)),
            tuple(each.copy() for each in np.split(known[k], ends))[: len(values)],
            missing,
            bins,
        )
        for k in range(n)
    ]
    ensemble = built(name, Ensemble, nets)
    return TrainedMembers(ensemble, encodings, _rebuild_scales(network, store, name, n), None)


def _rebuild_scales(network: Spec, store: Store, name: str, n: int) -> list[Any]:
    if network.loss.target_kind not in ("real", "count"):
        return [None] * n
    shape = (n, len(TargetScale._fields), network.n_outputs)
    scales = store.parameter(f"{name}.scales", shape, FLOATS)
    if scales[:, TargetScale._fields.index("factor")].min() <= 0:
        raise ModelFormatError(f"tensor '{name}.scales' has a factor that is no scale")
    return [TargetScale(*(each.copy() for each in scale)) for scale in scales]


def _rebuild_network(network: Spec, store: Store, prefix: str) -> MLP:
    """Return a network that predicts; what its training needs is not kept."""
    state = {
        "_spec": network,
        "_rng": np.random.default_rng(0),
        "_history": None,
        "engine": optimizer_state.to_arrays(network, parts.take(network, store, prefix), None),
        "progress": None,
    }
    net = MLP.__new__(MLP)
    net.__setstate__(state)
    return net
