"""The page of `fastmlp train --report`: whole, safe, and readable in a browser."""

import html
import json
import re
import shutil
import subprocess

import children
import numpy as np
import pytest
from commands import here

from fastmlp.tabular.report import page as pages

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom")
DARK = "--blink-settings=preferredColorScheme=0"
HOSTILE = "<script>alert('1')</script>"  # the name of a column and of a class
SECTIONS = [
    *("What was done", "How well it does", "Calibration", "Importance", "Partial dependence"),
    "Why",
    *("The data", "Errors by column", "Largest errors"),
    *("Learning curves", "Where the time went", "How to use it"),
]
MEASURE = (children.TESTS / "measure.js").read_text()


SLOW = pytest.mark.slow  # pages of the other tasks have nearly the same sections


@pytest.fixture(
    scope="module",
    params=[
        *(pytest.param(task, marks=SLOW) for task in ("regression", "four classes")),
        "two classes",
    ],
)
def page(request, tmp_path_factory):
    """The text of a report; names in the table are hostile."""
    folder = tmp_path_factory.mktemp("page")
    rng = np.random.default_rng(0)
    x, kind = rng.normal(size=120), rng.choice(["a", "b", "a rather long name of a category"], 120)
    switch = rng.integers(0, 2, 120)
    score = x + (kind == "b") + 0.5 * switch + 0.3 * rng.normal(size=120)
    target = {
        "regression": 1e6 * (score + x**2),
        "two classes": np.where(score > 0, HOSTILE, "other"),
        "four classes": np.digitize(score, [-1, 0, 1]),
    }[request.param]
    lines = [f'"{HOSTILE}","kind & co",switch,target']
    columns = zip(x.tolist(), kind, switch, target, strict=True)
    lines += [f'{a!r},"{b}",{c},"{d}"' for a, b, c, d in columns]
    (folder / "data.csv").write_text("\n".join(lines))
    words = ("train", "data.csv", "--target", "target", "--preset", "fast")
    more = ("--valid", "data.csv", "--report", "report.html")
    children.printed(here(*words, *more, folder=folder))
    return (folder / "report.html").read_text(encoding="utf-8")


def test_page_has_all_parts_and_needs_nothing_else(page):
    found = re.findall(r"<h2>(.*?)</h2>", page)
    assert set(SECTIONS) < set(found)
    of_classes = {"Each class", "Ranking", "Confusion"}
    assert {"Actual and predicted"} < set(found) or of_classes < set(found)
    assert page.count("<svg") >= 6
    assert not re.search(r"https?://|\bsrc=|\bhref=|url\(|@import|<script|nan", page)
    assert html.escape(HOSTILE) in page
    assert re.search(r"<th>switch</th><td>0</td>.*?<th></th><td>1</td>", page)
    assert "fastmlp.load(&#x27;model.safetensors&#x27;)" in page


def test_a_confusion_matrix_is_readable_with_many_classes():
    few = pages.confusion(np.array([[1.0, 0], [0.25, 2]]), np.array(["a", "b"]), True)
    assert re.findall(r">([\d.]*)</td>", few[1]) == ["1", "", "0.25", "2"]
    assert "sums of the rows' weights" in few[0]
    text, table = pages.confusion(np.eye(24), np.array([f"class {k}" for k in range(24)]), False)
    assert "largest of" not in text
    assert "<th>24</th>" in table
    assert "<th>24 class 23</th>" in table


def measured(page, folder, *options):
    """Return what a browser shows of a page at the widths of a phone and of a desktop."""
    frames = "".join(
        f'<iframe width="{width}" height="900" srcdoc="{html.escape(page)}"></iframe>'
        for width in (360, 1280)
    )
    script = f"<script>addEventListener('load', () => {{{MEASURE}}});</script>"
    (folder / "frames.html").write_text(f"<!doctype html><body>{frames}{script}", encoding="utf-8")
    command = [str(BROWSER), *OPTIONS, *options, f"--user-data-dir={folder / 'profile'}"]
    result = subprocess.run(
        [*command, (folder / "frames.html").as_uri()], capture_output=True, text=True, timeout=120
    )
    assert "CONSOLE" not in result.stderr  # no error of a script, nothing that is not found
    (text,) = re.findall(r"<pre>(.*?)</pre>", result.stdout, re.DOTALL)
    return json.loads(html.unescape(text))


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs chromium")
def test_page_is_readable_on_desktops_and_phones_in_light_and_dark(page, tmp_path):
    light, dark = measured(page, tmp_path), measured(page, tmp_path, DARK)
    for view in (light, dark):
        for width, found in view.items():
            assert found["content"] <= int(width), "the page scrolls sideways"
            assert found["clipped"] == []
            assert found["size"] >= 14
            assert found["pictures"] == page.count("<svg")
        assert (view["360"]["columns"], view["1280"]["columns"]) == (1, 2)
    assert light["360"]["paper"] != dark["360"]["paper"]
