"""What is in a file: its header as text, for people. The arrays are not read.

Everything from the file is shown in ASCII with escapes: a terminal obeys nothing of it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from fastmlp import storage
from fastmlp.storage import files
from fastmlp.storage.safetensors import NAMES
from fastmlp.storage.strict import ModelFormatError, shown

WIDTH = 17  # of the names
TABLE = ("target", "rows", "members", "temperature")  # of an estimator of tables


def report(path: str | os.PathLike[str]) -> str:
    """Return what is in a file.

    Raises
    ------
    OSError, ModelFormatError
        If it cannot be read, or its header is wrong; as ``fastmlp.load``.
    """
    try:
        content = files.read(path, header_only=True)
        description = storage.described(content.header)
    except ModelFormatError as error:
        raise ModelFormatError(f"{os.fspath(path)!r}: {error}") from None
    metadata, entries = content.header.metadata, content.header.entries
    lines = [
        _line("class", description.get("class")),
        *(_line(name, value) for name, value in _facts(description).items()),
        _line("format", f"version {metadata['version']}, by fastmlp {metadata['fastmlp']}"),
        _line("digest", f"SHA-256 {metadata['digest']}, not compared"),
        _line("size", f"{content.size:,} bytes, {len(entries)} arrays"),
        "",
    ]
    width = max((len(shown(name)) for name in entries), default=0)
    for name, entry in entries.items():
        shape = " x ".join(f"{size:,}" for size in entry.shape) or "one"
        lines.append(f"{shown(name)[1:-1]:<{width}} {NAMES[entry.dtype]:<5} {shape}")
    return "\n".join(lines)


def _facts(description: dict[str, Any]) -> dict[str, Any]:
    """Return what is to say of a model of any class; a hostile description says less."""
    fit, members = description.get("fit"), description.get("members")
    holder = fit if isinstance(fit, dict) else description
    names = ("engine", "parameters")
    facts: dict[str, Any] = {name: description[name] for name in names if name in description}
    if isinstance(members, list) and members and isinstance(members[0], dict):
        facts["members"], holder = len(members), members[0]  # of one shape
    if isinstance(holder.get("network"), dict):
        facts.update(holder["network"])
    if isinstance(holder.get("labels"), dict):
        facts["labels"] = holder["labels"].get("type")
    facts.update((name, holder[name]) for name in TABLE if name in holder)
    if isinstance(holder.get("groups"), list):
        facts.update((f"group {g}", group) for g, group in enumerate(holder["groups"]))
    progress = holder.get("optimizer", holder.get("run"))
    facts["goes on"] = "no" if progress is None else "with the optimizer's state"
    return facts


def _line(name: str, value: Any) -> str:
    return f"{shown(name)[1:-1]:<{WIDTH}} {ascii(_text(value))[1:-1]}"


def _text(value: Any) -> str:
    """Return a value as people write it: objects like calls, and nothing of their tags."""
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if not isinstance(value, dict):
        return str(value)
    if len(value) == 1:  # a tag
        return _text(*value.values())
    fields = [f"{name}={_text(each)}" for name, each in value.items() if name != "class"]
    return f"{value['class']}({', '.join(fields)})" if "class" in value else ", ".join(fields)


def main(argv: Sequence[str]) -> int:
    """Run ``python -m fastmlp inspect FILE...``; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m fastmlp inspect",
        description="Print what is in the files of saved models, without loading them.",
    )
    parser.add_argument("files", metavar="FILE", nargs="+")
    for at, path in enumerate(parser.parse_args(argv).files):
        try:
            print("\n" * (at > 0) + report(path))
        except (OSError, ModelFormatError) as error:
            print(f"{parser.prog}: {error}", file=sys.stderr)
            return 2
    return 0
