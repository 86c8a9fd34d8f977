"""Texts from data, such as names of columns, as lines that people can safely read in a terminal."""

from __future__ import annotations


def printable(line: str) -> str:
    """Return a line in which control characters are escaped, as ``repr`` does.

    A terminal would obey them: they could erase what is above, or begin a line of their own.
    """
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)


def printable_lines(text: str) -> str:
    """Return a text of several lines in which all other control characters are escaped."""
    return "\n".join(map(printable, text.split("\n")))
