"""Makes a notebook of each chapter of the course, when the site is built.

A page's programs are examples of doctest, which a test runs, so their outputs are on the page.
"""

from __future__ import annotations

import base64
import doctest
import re
from pathlib import Path
from typing import Any

import nbformat
from nbformat import v4

COURSE = Path(__file__).parent / "course"
FOLDER = COURSE / "notebooks"
CHAPTERS = sorted(path.stem for path in COURSE.glob("*.md") if path.stem != "index")


def words(text: str) -> Any:
    """Return a cell of words, with its pictures; links to other pages of the site become words."""
    text = re.sub(r"(?<!!)\[([^]]*)\]\((?!https:)[^)]*\)", r"\1", text)
    text = re.sub(r'<a href="(?!https:)[^"]*">(.*?)</a>', r"\1", text, flags=re.DOTALL)
    pictures = {}
    for name in re.findall(r"\]\(pictures/(.*?)\)", text):
        picture = base64.b64encode((COURSE / "pictures" / name).read_bytes()).decode()
        pictures[name] = {"image/svg+xml": picture}
    text = text.replace("](pictures/", "](attachment:").strip()
    return v4.new_markdown_cell(text, attachments=pictures)


def programs(block: str) -> list[Any]:
    """Return a cell for each piece of a program that ends with an output."""
    cells, source = [], ""
    block = re.sub(r" *# doctest: .*", "", block)  # words to the test, not to readers
    for example in doctest.DocTestParser().get_examples(block):
        source += example.source
        if output := example.want.replace("<BLANKLINE>\n", "\n"):
            shown = v4.new_output("stream", text=output)
            cells.append(v4.new_code_cell(source.rstrip(), outputs=[shown]))
            source = ""
    return [*cells, v4.new_code_cell(source.rstrip())] if source else cells


def notebook(chapter: str) -> Any:
    """Return the notebook of a chapter."""
    text = (COURSE / f"{chapter}.md").read_text("utf-8")
    blocks = re.split(r"^```python\n(.*?)^```\n", text, flags=re.MULTILINE | re.DOTALL)
    cells = []
    for k, block in enumerate(blocks):
        cells += programs(block) if k % 2 else [words(block)]
    for k, cell in enumerate(cells):
        cell["id"] = f"cell-{k}"  # the same file each time
    made = v4.new_notebook(cells=cells)
    nbformat.validate(made)
    return made


def write() -> None:
    """Write the notebooks of all chapters; their pictures are there."""
    FOLDER.mkdir(exist_ok=True)
    for chapter in CHAPTERS:
        nbformat.write(notebook(chapter), FOLDER / f"{chapter}.ipynb")
