"""Valid C forms of column names and category values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from fastmlp.tabular.columns import Column

LONGEST = 4095  # longest string that all compilers support, in bytes


def enumerators(prefix: str, names: Iterable[str]) -> list[str]:
    """Return distinct C identifiers for names: "per cent" becomes PREFIX_per_cent."""
    found: dict[str, None] = {}
    for name in names:
        identifier = prefix + "_" + re.sub(r"\W", "_", name, flags=re.ASCII)
        while identifier in found:
            identifier += "_"
        found[identifier] = None
    return list(found)


def texts_of(column: Column) -> list[bytes | None]:
    """Return a category's values as bytes, None if missing; raise ValueError if C has no form."""
    texts = [_text(value, column.name) for value in column.values or ()]
    seen: set[bytes | None] = set()
    for text, value in zip(texts, column.values or (), strict=True):
        if text in seen:
            raise ValueError(
                f"{column.name} has {value!r} and another category of the same text, which C "
                "cannot tell apart: give the column values of one type, and fit again"
            )
        seen.add(text)
    return texts


def _text(value: object, name: str) -> bytes | None:
    plain = value.item() if isinstance(value, np.generic) else value
    if plain is None:
        return None
    try:
        text = plain if isinstance(plain, bytes) else str(plain).encode()
    except UnicodeEncodeError:
        text = b"\0"
    if b"\0" in text or len(text) > LONGEST:
        raise ValueError(
            f"{name} has the category {str(plain)[:40]!r} but text of at most {LONGEST:,} bytes in "
            "UTF-8, none of them 0, is expected: rename it, and fit again"
        )
    return text


def in_order(texts: Sequence[bytes | None]) -> list[int]:
    """Return the indices that sort texts by their bytes; None comes last."""
    return sorted(range(len(texts)), key=lambda k: (texts[k] is None, texts[k] or b""))
