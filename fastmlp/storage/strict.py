"""JSON as a model file has it, read strictly: what is odd is refused before it is built.

Python's own parser does the work; what it lets through (duplicate keys, NaN, huge numbers, any
depth) is looked for around it. The limits bound time and memory: a header costs a few megabytes.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any, NoReturn

MOST_DEPTH = 8
MOST_STRING = 1024  # characters
MOST_INTEGER = 2**53  # beyond, other languages' readers round
# Commas, colons and opening brackets: each is at most one more object in memory.
MOST_TOKENS = 1 << 17

# One that never ends is matched to the end of the text: without it the search would be quadratic.
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_BRACKETS = re.compile(rb"[][{}]")


class ModelFormatError(ValueError):
    """A file is not a model that this version of fastmlp can read; the message says why."""


def parse(text: bytes, what: str, long_string: str = "") -> dict[str, Any]:
    """Return the JSON object that a text is.

    Parameters
    ----------
    text : bytes
        UTF-8, from the opening brace on.
    what : str
        What it is called in complaints.
    long_string : str
        The key of the one string that may be longer than others.

    Raises
    ------
    ModelFormatError
        If it is not one, has a key twice, or is beyond a limit.

    Examples
    --------
    >>> parse(b'{"a": [1, 2.5, "x"]}', "header")
    {'a': [1, 2.5, 'x']}
    """
    if not text.startswith(b"{"):
        raise ModelFormatError(f"the {what} begins with {text[:1]!r} and not with a brace")
    _measure(text, what)
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelFormatError(f"the {what} is not UTF-8: {error.reason}") from None
    parser = json.JSONDecoder(
        object_pairs_hook=_object,
        parse_int=_integer,
        parse_float=_float,
        parse_constant=_constant,
    )
    try:
        found = parser.decode(decoded)
    except json.JSONDecodeError as error:
        raise ModelFormatError(
            f"the {what} is not JSON: {error.msg} at character {error.pos}"
        ) from None
    _look_at_strings(found, long_string)
    return found  # type: ignore[no-any-return]  # it begins with a brace


def _measure(text: bytes, what: str) -> None:
    """Refuse what is nested too deeply or has too many parts, before anything is built."""
    bare = _STRINGS.sub(b"", text)
    if sum(bare.count(token) for token in (b"[", b"{", b",", b":")) > MOST_TOKENS:
        raise ModelFormatError(f"the {what} has more than {MOST_TOKENS:,} parts")
    depth = 0
    for bracket in _BRACKETS.finditer(bare):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > MOST_DEPTH:
            raise ModelFormatError(f"the {what} is nested more than {MOST_DEPTH} deep")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = (Counter(key for key, _ in pairs) - Counter(found)).popitem()
        raise ModelFormatError(f"the key {shown(twice)} is there twice")
    return found


def _integer(text: str) -> int:
    if len(text) > len(str(-MOST_INTEGER)) or abs(int(text)) > MOST_INTEGER:
        raise ModelFormatError(f"the integer {shown(text)} is beyond 2**53")
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ModelFormatError(f"the number {shown(text)} is beyond the largest float")
    return number


def _constant(text: str) -> NoReturn:
    raise ModelFormatError(f"{text} is no number in JSON")


def _look_at_strings(tree: Any, long_string: str) -> None:
    left = [("", tree)]
    while left:
        name, value = left.pop()
        if isinstance(value, dict):
            left += value.items()
            left += [("", key) for key in value]
        elif isinstance(value, list):
            left += [("", each) for each in value]
        elif isinstance(value, str):
            if len(value) > MOST_STRING and not (name and name == long_string):
                raise ModelFormatError(
                    f"a string of {len(value):,} characters is longer than {MOST_STRING:,}: "
                    f"{shown(value)}"
                )
            if not value.isascii() and any("\ud800" <= each <= "\udfff" for each in value):
                raise ModelFormatError(f"the string {shown(value)} has half a character in it")


def shown(value: object) -> str:
    """Return a value for a message: short, and without what a terminal would obey.

    Examples
    --------
    >>> shown("a" * 100)
    "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa..."
    """
    text = ascii(value[:80] if isinstance(value, str) else value)
    return text if len(text) <= 60 else f"{text[:40]}..."
