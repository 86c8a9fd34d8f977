"""Pages about the estimators: their blocks run in order, and print what stands below them."""

import contextlib
import io
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("sklearn")

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAIR = re.compile(r"^```python\n(.*?)^```\n+^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# And how many blocks they have.
PAGES = {"coming-from.md": 5, "tabular.md": 9, "guides/other-tools.md": 13}
OTHERS = (
    *("torch", "pandas", "optuna", "skops", "shap", "mapie", "imblearn", "dask", "duckdb"),
    *("distributed", "dask_ml", "ray"),
)


@pytest.mark.filterwarnings("ignore")  # of PyTorch; and a page's fits may end by max_iter
@pytest.mark.parametrize("name", PAGES)
def test_the_page_prints_what_it_says(name):
    page = (DOCS / name).read_text()
    pairs = PAIR.findall(page)
    assert len(pairs) == page.count("```python") == PAGES[name]
    names = {}
    for code, expected in pairs:
        needed = re.findall(rf"^(?:import|from) ({'|'.join(OTHERS)})\b", code, re.M)
        if any(find_spec(each) is None for each in needed):
            if "pandas" in needed and name == "tabular.md":  # the rest of the page needs its frame
                pytest.skip("pandas is not installed")
            continue
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(code, str(DOCS / name), "exec"), names)
        assert out.getvalue() == expected
