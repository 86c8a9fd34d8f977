"""Strict JSON for model files: unusual input is refused before objects are built.

Python's own parser does the work; checks around it refuse what it would accept: duplicate keys,
NaN, huge numbers, deep nesting. The limits bound time and memory: a header costs a few megabytes.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from typing import Any, NoReturn, TypeAlias

# What a text of JSON describes.
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MOST_DEPTH = 10
MOST_STRING = 1024  # bytes
MOST_INTEGER = 2**53  # JSON readers of other languages round larger integers
LONGEST_INTEGER = len(str(-MOST_INTEGER))
MOST_TOKENS = 1 << 17  # limits memory: each comma, colon or opening bracket adds at most one object

# A string without an end matches up to the end of the text, or the search would be quadratic.
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_LONG_INTEGER = re.compile(rb"(?<![\d.])\d{%d}" % len(str(MOST_INTEGER)))
_SURROGATES = re.compile(rb"\\u[dD][89a-fA-F]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_DEEPER = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


class ModelFormatError(ValueError):
    """The error for a file that is no model, or a damaged one; the message says why.

    Examples
    --------
    >>> import tempfile
    >>> import fastmlp
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     _ = file.write(b"no model")
    ...     file.flush()
    ...     try:
    ...         fastmlp.load(file.name)
    ...     except fastmlp.ModelFormatError:
    ...         print("refused")
    refused
    """


def check(truth: Any, words: str, *values: Any) -> None:
    """Raise ModelFormatError unless something is true; {} stands for the text of a value."""
    if not truth:
        raise ModelFormatError(words.format(*map(shown, values)))


def check_each(*rules: tuple[Any, ...]) -> None:
    """Check several truths at once, in order, each with the arguments of `check`."""
    for rule in rules:
        if not rule[0]:
            check(*rule)


def parse(text: bytes, what: str, long_strings: int = 0) -> dict[str, Any]:
    """Return the JSON object in a UTF-8 text, a few of whose strings may be long."""
    check(text.startswith(b"{"), f"the {what} begins with {{}} and not with a brace", text[:1])
    _measure(text, what, long_strings)
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelFormatError(f"the {what} is not UTF-8: {error.reason}") from None
    parser = json.JSONDecoder(
        object_pairs_hook=_object,
        parse_int=_integer if _LONG_INTEGER.search(text) else None,
        parse_float=_float,
        parse_constant=_constant,
    )
    try:
        tree = parser.decode(decoded)
    except json.JSONDecodeError as error:
        raise ModelFormatError(
            f"the {what} is not JSON: {error.msg} at character {error.pos}"
        ) from None
    if _SURROGATES.search(text):  # unescaped ones are no valid UTF-8
        _refuse_surrogates(tree)
    return tree  # type: ignore[no-any-return]  # it begins with a brace


def _measure(text: bytes, what: str, long_strings: int) -> None:
    """Refuse text that is too long, too deep or has too many parts, before parsing it."""
    long = [string for string in _STRINGS.findall(text) if len(string) > MOST_STRING + len('""')]
    last = long[-1] if long else b""
    words = f"the {what} has a string of {len(last) - 2:,} bytes, more than {MOST_STRING:,}: {{}}"
    check(len(long) <= long_strings, words, last)
    bare = _STRINGS.sub(b"", text)
    parts = sum(bare.count(token) for token in (b"[", b"{", b",", b":"))
    check(parts <= MOST_TOKENS, f"the {what} has more than {MOST_TOKENS:,} parts")
    brackets = bare.translate(None, _NO_BRACKETS)
    depth = max(itertools.accumulate(map(_DEEPER.__getitem__, brackets)), default=0)
    check(depth <= MOST_DEPTH, f"the {what} is nested more than {MOST_DEPTH} deep")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) < len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ModelFormatError(f"the key {shown(twice)} is there twice")
    return tree


def _integer(text: str) -> int:
    number = int(text) if len(text) <= LONGEST_INTEGER else MOST_INTEGER + 1
    if not -MOST_INTEGER <= number <= MOST_INTEGER:
        raise ModelFormatError(f"the integer {shown(text)} is beyond 2**53")
    return number


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ModelFormatError(f"the number {shown(text)} is beyond the largest float")
    return number


def _constant(text: str) -> NoReturn:
    raise ModelFormatError(f"{text} is no number in JSON")


def _refuse_surrogates(tree: Json) -> None:
    try:
        json.dumps(tree, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        text = shown(error.object[max(error.start - 20, 0) : error.end])
        raise ModelFormatError(f"a string has half a character in it: {text}") from None


def shown(value: object) -> str:
    """Return a short text of a value for a message, in ASCII, without control characters."""
    text = ascii(value[:80] if isinstance(value, str | bytes) else value)
    return text if len(text) <= 60 else f"{text[:40]}..."
