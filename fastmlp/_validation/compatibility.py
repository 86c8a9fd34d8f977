"""Pairs of options of a fit that exclude each other, which docs/compatibility.md shows."""

from __future__ import annotations

import functools
import pkgutil


@functools.cache
def refusals() -> dict[tuple[str, str], str]:
    """Return the messages by option and other option, with names of values in braces."""
    content = pkgutil.get_data("fastmlp", "data/refusals.txt") or b""
    rows = (line.split(" | ") for line in content.decode().split("\n\n")[1].splitlines())
    return {(option, other): message for option, other, message in rows}


def refusal(option: str, other: str, **values: object) -> Exception:
    """Return the error for a call with both options, given the values in its message."""
    error = TypeError if option == "source" else ValueError
    return error(refusals()[option, other].format(**values))
