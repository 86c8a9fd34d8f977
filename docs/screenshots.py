"""Draw the first page's pictures of a report and of the playground, as a phone shows them.

    .ci/docs quick && python -m http.server -d docs/_build 8000 &
    pip install playwright        # with chromium installed
    python docs/screenshots.py http://localhost:8000

The report is that of the program of the README. Texts have at least 10 pixels where a picture is
as wide as a phone.
"""

from __future__ import annotations

import io
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "figures"
WIDTH, HEIGHT = 480, 714  # of CSS pixels
COLORS = 64
SECONDS = 10  # of the training in the playground


def report() -> str:
    """Return the page of the report of the README's model."""
    program = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    assert program is not None
    names: dict[str, Any] = {}
    exec(program[1], names)
    with tempfile.TemporaryDirectory() as folder:
        names["model"].report().save(Path(folder, "report.html"))
        return Path(folder, "report.html").read_text("utf-8")


def main(site: str) -> None:
    """Draw both pictures; ``site`` is the address of the built site."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_content(report())
        keep(page, "report.png")
        page.goto(f"{site}/playground.html#scene=xor")
        page.get_by_role("button", name="Run").first.click()
        page.wait_for_timeout(1000 * SECONDS)
        page.locator("main").evaluate(
            "main => main.scrollIntoView()"
        )  # the scenes would be cut off
        keep(page, "playground.png")
        browser.close()


def keep(page: Any, name: str) -> None:
    """Write what is seen as a picture of few colours, a third as large as one of all."""
    picture = Image.open(io.BytesIO(page.screenshot()))
    picture.convert("RGB").quantize(COLORS).save(FIGURES / name, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
