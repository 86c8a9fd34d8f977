"""Print the longest time for which the playground keeps the thread of its page busy.

python docs/longest_task.py docs/_build

The site is a built one. The page trains six layers of 128 neurons on 4,096 points for 20 seconds,
at the speed "fast"; beside it, a timer of the page is started anew each time that it rings.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from check_site import CHROMIUM, told_by_browser

HARNESS = """<!doctype html><meta charset="utf-8">
<iframe style="border: 0; width: 1280px; height: 900px"></iframe><script type="module">
const wait = time => new Promise(done => setTimeout(done, time));
const frame = document.querySelector("iframe"), settings = "points=4096&batch=4096&speed=fast";
frame.src = `/playground.html#scene=spirals&layers=128,128,128,128,128,128&${settings}`;
await new Promise(done => frame.onload = done);
const inside = frame.contentDocument, text = id => inside.getElementById(id).textContent;
while (inside.body.dataset.waiting !== "0") await wait(20);
inside.getElementById("run").click();
let last = performance.now(), longest = 0;
for (const end = last + 20000; last < end;) {
  await wait(0);
  longest = Math.max(longest, performance.now() - last);
  last = performance.now();
}
const found = [`longest wait ${longest.toFixed(0)} ms`, `${text("epoch")} epochs`, text("time")];
fetch("/found", { method: "POST", body: JSON.stringify(found) });
</script>"""


def main(folder: str) -> None:
    """Print what the page measures."""
    browser = next(filter(None, map(shutil.which, CHROMIUM)))
    print(*told_by_browser(Path(folder), browser, HARNESS), sep=", ")


if __name__ == "__main__":
    main(*sys.argv[1:])
