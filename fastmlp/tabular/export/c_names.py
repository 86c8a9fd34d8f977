"""Names of columns and values of categories, as C can have them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from fastmlp.tabular.columns import Column

LONGEST = 4095  # bytes of a string that every compiler takes


def enumerators(prefix: str, names: Iterable[str]) -> list[str]:
    """Return identifiers that differ, one a name.

    Examples
    --------
    >>> enumerators("NET_NUMBER", ["age", "per cent", "per-cent"])
    ['NET_NUMBER_age', 'NET_NUMBER_per_cent', 'NET_NUMBER_per_cent_']
    """
    found: dict[str, None] = {}
    for name in names:
        identifier = prefix + "_" + re.sub(r"\W", "_", name, flags=re.ASCII)
        while identifier in found:
            identifier += "_"
        found[identifier] = None
    return list(found)


def texts_of(column: Column) -> list[bytes | None]:
    """Return the values of a category in order of their codes, None where missing.

    Raises
    ------
    ValueError
        If C cannot tell values apart, or cannot have one.
    """
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
    """Return the places of texts in the order of their bytes; None is the last."""
    return sorted(range(len(texts)), key=lambda k: (texts[k] is None, texts[k] or b""))
