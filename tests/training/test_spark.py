"""The program of the page about Spark, on a local Spark."""

import os
import re
import shutil
from pathlib import Path

import children
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "spark.md"


def without_fastmlp(folder):
    """Return a folder for the path, whose python3 cannot run, as where no environment is active."""
    other = folder / "python3"
    other.write_text("#!/bin/sh\nexit 1\n")
    other.chmod(0o755)
    return folder


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="needs Java")
def test_the_program_of_the_page_prints_what_it_says(tmp_path):
    pytest.importorskip("pyspark", reason="needs pip install pyspark")
    text = PAGE.read_text("utf-8")
    ((code, output),) = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", text, re.DOTALL)
    (tmp_path / "program.py").write_text(code, "utf-8")
    path = f"{without_fastmlp(tmp_path)}{os.pathsep}{os.environ['PATH']}"
    ran = children.python(tmp_path / "program.py", timeout=300, PATH=path, PYSPARK_PYTHON=None)
    assert children.printed(ran) == output
