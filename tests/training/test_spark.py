"""The program of the page about Spark, on a local Spark."""

import re
import shutil
from pathlib import Path

import children
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "spark.md"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="needs Java")
def test_the_program_of_the_page_prints_what_it_says(tmp_path):
    pytest.importorskip("pyspark", reason="needs pip install pyspark")
    text = PAGE.read_text("utf-8")
    ((code, output),) = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", text, re.DOTALL)
    (tmp_path / "program.py").write_text(code, "utf-8")
    ran = children.python(tmp_path / "program.py", timeout=300)
    assert children.printed(ran) == output
