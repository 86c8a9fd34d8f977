"""Describe a file for people: its header as text; of the arrays only some names are read.

Text from the file is shown in ASCII with escapes, so that it cannot control the terminal.
"""

from __future__ import annotations

import itertools
import os
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._files import files, storage
from fastmlp._files.fields import TIMES
from fastmlp._files.files import Content
from fastmlp._files.safetensors import NAMES
from fastmlp._files.strict_json import Json, ModelFormatError, shown

WIDTH = 17  # characters of the column of names
# Entries of the fit of a table, with their places.
TABLE = {
    "target kind": "blend.target.kind",
    "rows": "facts.report.rows",
    "members": "blend.members",
    "temperature": "calibration.temperature",
}
LONGEST = 40  # characters shown of a name
MOST_NAMES = 16  # names shown

# The arrays with the names of columns and classes, and with the kinds of a table's columns.
NAMES_AT = {
    "columns": ("fit.columns.names.ends", "fit.attributes.feature_names_in_"),
    "classes": ("fit.calibration.classes", "fit.labels.classes"),
}
KINDS_AT = {"number": "fit.columns.numbers", "category": "fit.columns.categories"}
FORMS_AT = "fit.columns.forms"  # how each column of numbers was written, such as a date
KINDS = {"date": "date", "instant": "date", "duration": "duration"}  # a form: its kind
BYTES_AT = {"fit.columns.names.ends": "fit.columns.names.bytes"}  # names may be stored as texts
WANTED = (
    *(name for names in NAMES_AT.values() for name in names),
    *(*KINDS_AT.values(), *BYTES_AT.values()),
)


def facts(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the content of a file; raise OSError or ModelFormatError as ``fastmlp.load`` does."""
    try:
        content = files.read(path, only=WANTED)
        description = storage.described(content.header)
    except ModelFormatError as error:
        raise ModelFormatError(f"{os.fspath(path)!r}: {error}") from None
    metadata, entries = content.header.metadata, content.header.entries
    return {
        "file": os.fspath(path),
        "class": description.get("class"),
        "facts": _facts(description),
        "names": _named(content, description),
        "format": {"version": metadata["version"], "fastmlp": metadata["fastmlp"]},
        "digest": metadata["digest"],
        "bytes": content.size,
        "arrays": {
            name: {"dtype": NAMES[entry.dtype], "shape": list(entry.shape)}
            for name, entry in entries.items()
        },
    }


def as_text(content: dict[str, Any], with_arrays: bool = False) -> str:
    """Return the content of a file as text, perhaps with a line for each array."""
    arrays, version = content["arrays"], content["format"]
    lines = [
        _line("class", content["class"]),
        *(_line(name, value) for name, value in content["facts"].items()),
        *(_line(name, _brief(**value)) for name, value in content["names"].items()),
        _line("format", f"version {version['version']}, by fastmlp {version['fastmlp']}"),
        _line("digest", f"SHA-256 {content['digest']}, which inspect does not compare"),
        _line("size", f"{content['bytes']:,} bytes, {len(arrays)} arrays"),
    ]
    if not with_arrays:
        return "\n".join(lines)
    lines.append("")
    width = max((len(shown(name)) for name in arrays), default=0)
    for name, array in arrays.items():
        sizes = " x ".join(f"{size:,}" for size in array["shape"]) or "one"
        lines.append(f"{shown(name)[1:-1]:<{width}} {array['dtype']:<5} {sizes}")
    return "\n".join(lines)


def _facts(description: dict[str, Any]) -> dict[str, Any]:
    """Return the facts in the description of a model of any class, which may be hostile."""
    fit, members = description.get("fit"), description.get("members")
    holder = fit if isinstance(fit, dict) else description
    names = ("engine", "parameters")
    facts: dict[str, Any] = {name: description[name] for name in names if name in description}
    if isinstance(members, list) and members and isinstance(members[0], dict):
        facts["members"], holder = len(members), members[0]  # all members have one shape
    if isinstance(holder.get("network"), dict):
        facts.update(holder["network"])
    if isinstance(holder.get("labels"), dict):
        facts["labels"] = holder["labels"].get("type")
    of_table = {name: _entry(holder, place) for name, place in TABLE.items()}
    facts.update((name, value) for name, value in of_table.items() if value is not None)
    if isinstance(groups := _entry(holder, "blend.groups"), list):
        facts.update((f"group {g}", group) for g, group in enumerate(groups))
    progress = holder.get("optimizer", holder.get("run"))
    facts["resumes"] = "no" if progress is None else "with the optimizer's state"
    return facts


def _entry(tree: Json, place: str) -> Any:
    """Return the entry at a place of a description, or None."""
    for key in place.split("."):
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _named(content: Content, description: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return number and first names of columns and of classes, and the kinds of columns."""
    named: dict[str, dict[str, Any]] = {}
    targets = _entry(description, "fit.target_names")
    if isinstance(targets, list) and targets:
        texts = [_short(str(name)) for name in targets[:MOST_NAMES]]
        named["targets"] = {"count": len(targets), "first": texts}
    for fact, places in NAMES_AT.items():
        at = next((name for name in places if name in content.firsts), None)
        if at is None:
            continue
        array: NDArray[Any] = content.firsts[at]
        tree = _entry(description, at)
        if isinstance(tree, dict) and tree.get("times") in TIMES and array.dtype == np.int64:
            array = array.view(tree["times"])
        if at in BYTES_AT:
            names = _texts(array, content.firsts.get(BYTES_AT[at], np.empty(0, np.uint8)))
        else:
            names = _names(array)
        n = content.header.entries[at].shape[:1]
        named[fact] = {"count": sum(n), "first": names}
        if fact == "columns" and at == NAMES_AT[fact][0]:  # an estimator of tables
            kinds = {
                place: kind
                for kind, name in KINDS_AT.items()
                for place in content.firsts.get(name, np.empty(0)).ravel().tolist()
            }
            kinds |= _kinds_of_forms(description, content)
            named[fact]["kinds"] = [kinds.get(k, "left out") for k in range(len(names))]
    return named


def _kinds_of_forms(description: dict[str, Any], content: Content) -> dict[int, str]:
    """Return the kinds of the columns of a table that have dates or durations, by their places."""
    forms = _entry(description, FORMS_AT)
    places = content.firsts.get(KINDS_AT["number"], np.empty(0)).ravel().tolist()
    pairs = zip(places, forms if isinstance(forms, list) else [], strict=False)
    kinds = {place: _entry(form, "kind") for place, form in pairs}
    return {place: KINDS[kind] for place, kind in kinds.items() if kind in [*KINDS]}


def _brief(count: int, first: list[str], kinds: list[str] | None = None) -> str:
    """Return a number of names and the first of them as text."""
    more, texts = count - len(first), first
    if kinds is not None:
        texts = [f"{name} ({kind})" for name, kind in zip(first, kinds, strict=True)]
    return f"{count:,}: {', '.join([*texts, *[f'and {more:,} more'] * (more > 0)])}"


def _texts(ends: NDArray[Any], first: NDArray[Any]) -> list[str]:
    """Return the texts with these ends, in bytes of which the first ones are there."""
    bounds = [0, *ends.ravel()[:MOST_NAMES].tolist()]
    return [
        _short(first.tobytes()[slice(*map(int, pair))].decode(errors="replace"))
        for pair in itertools.pairwise(bounds)
        if 0 <= pair[0] <= pair[1] <= first.nbytes
    ]


def _names(array: NDArray[Any]) -> list[str]:
    """Return strings, stored as rows of code points, or numbers as short texts."""
    array = array[:MOST_NAMES]
    if array.dtype == np.uint32 and array.ndim == 2:
        points = (row[row > 0].tolist() for row in array[:, : LONGEST + 1])
        texts = ["".join(chr(p) if p <= sys.maxunicode else "?" for p in row) for row in points]
    else:
        texts = list(map(str, array.ravel()[:MOST_NAMES].tolist()))
    return list(map(_short, texts))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _line(name: str, value: Any) -> str:
    return f"{shown(name)[1:-1]:<{WIDTH}} {ascii(_text(value))[1:-1]}"


def _text(value: Any) -> str:
    """Return a readable text of a value: objects look like calls, and tags are left out."""
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if not isinstance(value, dict):
        return str(value)
    if len(value) == 1:  # a tag
        (inner,) = value.values()
        if "tuple" not in value or not isinstance(inner, list):
            return _text(inner)
        return f"({_text(inner)}{',' * (len(inner) == 1)})"
    fields = [f"{name}={_inner(part)}" for name, part in value.items() if name != "class"]
    return f"{value['class']}({', '.join(fields)})" if "class" in value else ", ".join(fields)


def _inner(value: Any) -> str:
    """Return the text of a value in another: lists and groups of fields have brackets."""
    text = _text(value)
    if isinstance(value, list):
        return f"[{text}]"
    is_group = isinstance(value, dict) and len(value) > 1 and "class" not in value
    return f"({text})" if is_group else text
