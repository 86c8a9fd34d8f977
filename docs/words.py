"""Print how long the pages are: words, the longest paragraph, and pictures; fail above the limits.

    python docs/words.py

Words of programs do not count; words of tables do, but a table is no paragraph. An item of a list
is a paragraph.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
README = "README.md"


class Size(NamedTuple):
    """What a page has, or at most may have."""

    words: int
    paragraph: int  # words of the longest one


LIMIT = Size(2000, 90)
# Pages with other limits: the first page is shorter, and pages of figures and of names are longer.
LIMITS = {
    README: Size(450, 60),
    "docs/coming-from.md": Size(3300, 90),
    "docs/comparison.md": Size(3750, 90),
    "docs/performance.md": Size(2400, 90),
    "docs/reliability.md": Size(2200, 90),
    "docs/saving.md": Size(2400, 90),
    "docs/sources.md": Size(2150, 90),
}
PAGES = (README, "docs/*.md", "docs/start/*.md", "docs/guides/*.md", "docs/reference/*.md")
BUILDERS = ("adding", "architecture", "kernels", "index")  # not for people who use the library


def words_of(text: str) -> int:
    """Return the number of words, without signs that stand alone."""
    return sum(bool(re.search(r"\w", each)) for each in text.split())


def size_of(text: str) -> tuple[Size, int]:
    """Return the size of a page and its number of pictures."""
    prose = re.sub(r"^ *(```|:::).*?^ *\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    pictures = len(re.findall(r"!\[|<img ", prose))
    prose = re.sub(r"\]\([^)]*\)|<[^>]*>", "", prose)  # addresses, tags
    parts = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", prose)
    lengths = [words_of(part) for part in parts if not part.lstrip().startswith("|")]
    return Size(words_of(prose), max(lengths, default=0)), pictures


def main() -> int:
    """Print the sizes; return 1 if a page is too long."""
    found = 0
    paths = [path for pattern in PAGES for path in sorted(ROOT.glob(pattern))]
    print(f"{'words':>6} {'paragraph':>9} {'pictures':>8}  page")
    for path in paths:
        name = path.relative_to(ROOT).as_posix()
        if path.stem in BUILDERS:
            continue
        size, pictures = size_of(path.read_text("utf-8"))
        limit = LIMITS.get(name, LIMIT)
        is_long = size.words > limit.words or size.paragraph > limit.paragraph
        found |= is_long
        more = f"  more than {limit.words} and {limit.paragraph}" * is_long
        print(f"{size.words:6} {size.paragraph:9} {pictures:8}  {name}{more}")
    return found


if __name__ == "__main__":
    sys.exit(main())
