"""The pages of the site: their blocks of code print what stands below them."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted([*DOCS.glob("course/*.md"), *DOCS.glob("start/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_blocks_print_what_stands_below_them(page):
    if "sklearn" in (text := page.read_text(encoding="utf-8")) or "TabMLP" in text:
        pytest.importorskip("sklearn")
    failed, tried = doctest.testfile(str(page), module_relative=False)
    assert failed == 0
    assert tried > 0 or page.name == "index.md"
