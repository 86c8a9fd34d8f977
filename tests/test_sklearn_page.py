"""docs/coming-from.md: its blocks run in order, and print what stands below them."""

from __future__ import annotations

import contextlib
import io
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sklearn")

PAGE = Path(__file__).resolve().parents[1] / "docs" / "coming-from.md"
PAIR = re.compile(r"^```python\n(.*?)^```\n+^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.filterwarnings("ignore")  # of PyTorch; and the page's fits may end by max_iter
def test_the_page_prints_what_it_says() -> None:
    pairs = PAIR.findall(PAGE.read_text())
    assert len(pairs) == PAGE.read_text().count("```python") == 5
    names: dict[str, Any] = {}
    for code, expected in pairs:
        if "import torch" in code and find_spec("torch") is None:
            continue
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(code, str(PAGE), "exec"), names)
        assert out.getvalue() == expected
