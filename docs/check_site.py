"""Check the built site: links, sizes and servers in its files; layout, search and axe in a browser.

    python docs/check_site.py docs/_build [axe.min.js | files]

With `files`, only the first half. Without Chromium the second half is left out, and without the
file of the npm package axe-core the search for obstacles to people with disabilities; the output
says so. Links to other servers are not followed: they are checked for their form, and printed.
"""

from __future__ import annotations

import functools
import html.parser
import http.server
import itertools
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from search import SEARCHES

ROOT = Path(__file__).resolve().parents[1]
LARGEST_PAGE = 1_000_000  # bytes, with scripts, styles and pictures
WIDTHS = (1280, 390)  # pixels of a desktop and of a phone
THEMES = {"light": (), "dark": ("--blink-settings=preferredColorScheme=0",)}  # options of Chromium
ALIKE = ("reference/names/", "adr/")  # pages of which there are many
# Files of the repository, whose address is a setting of the release, as in setup.py.
REPOSITORY = os.environ.get("FASTMLP_REPOSITORY", "https://github.com/fastmlp/fastmlp").rstrip("/")
SOURCES = f"{REPOSITORY}/blob/HEAD/"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0")
LONGEST_VISIT = 900  # seconds of a browser

# Loads each page in a frame of each width, and sends what is wrong to the server.
HARNESS = """<!doctype html><meta charset="utf-8"><body><script>
const visits = VISITS, searches = SEARCHES, theme = THEME, axe = AXE, found = [];
const frame = document.createElement("iframe");
frame.style.cssText = "border: 0; height: 900px";
document.body.append(frame);
const loaded = () => new Promise(done => frame.onload = done);
const listen = "<script>window.wrong=[];addEventListener('error',e=>wrong.push(" +
  "e.message||'cannot load '+(e.target.src||e.target.href)),true)<\\/script>";
async function look(page, width, seeks) {
  frame.style.width = width + "px";
  const text = await (await fetch(page)).text();
  const done = loaded();
  frame.srcdoc = text.replace("<head>", `<head><base href="/${page}">` + listen);
  await done;
  const inside = frame.contentWindow;
  for (const each of inside.wrong ?? ["no script of ours ran"])
    found.push(`${page}, ${width} px: ${each}`);
  const { scrollWidth, clientWidth } = inside.document.documentElement;
  if (scrollWidth > clientWidth + 1)
    found.push(`${page}, ${width} px: scrolls sideways, ${scrollWidth} px wide`);
  if (axe && seeks) await seek(inside, `${page}, ${width} px, ${theme}`);
}
async function seek(inside, where) {
  inside.eval(axe);
  const { violations } = await inside.axe.run({ resultTypes: ["violations"] });
  for (const { id, impact, nodes } of violations)
    if (["serious", "critical"].includes(impact))
      found.push(`${where}: ${impact}, ${id}, ${nodes.length} times: ${nodes[0].html}`);
}
async function search(words, wanted) {
  frame.removeAttribute("srcdoc");
  const done = loaded();
  frame.src = "/search.html?q=" + encodeURIComponent(words);
  await done;
  for (let k = 0; k < 100; k++) {
    const links = [...frame.contentDocument.querySelectorAll("#search-results li a")].slice(0, 3);
    if (new Set(links.map(link => link.pathname)).size < links.length)
      found.push(`search for "${words}": a page is there twice`);
    const link = links.find(link => link.href.includes(wanted));
    if (link?.hash) {
      const text = await (await fetch(link.href)).text();
      const page = new DOMParser().parseFromString(text, "text/html");
      const place = page.getElementById(link.hash.slice(1));
      if (!place?.textContent && !place?.nextElementSibling)
        found.push(`search for "${words}": ${link.href} is the end of the page`);
    }
    if (link) return;
    await new Promise(later => setTimeout(later, 100));
  }
  found.push(`search for "${words}": ${wanted} is not among the first three pages`);
}
(async () => {
  if (matchMedia("(prefers-color-scheme: dark)").matches !== (theme === "dark"))
    found.push(`the browser does not show the ${theme} theme`);
  for (const visit of visits) await look(...visit);
  for (const [words, wanted] of Object.entries(searches)) await search(words, wanted);
})().catch(error => found.push(String(error)))
  .then(() => fetch("/found", { method: "POST", body: JSON.stringify(found) }));
</script>"""


class Page(html.parser.HTMLParser):
    """The links, the anchors, and what a page loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Keep what a tag links to."""
        found = dict(attributes)
        self.anchors |= {each for name in ("id", "name") if (each := found.get(name))}
        link = found.get("src") or (found.get("href") if tag in ("a", "link") else None)
        if link:
            self.links.append(link)
            if tag != "a" and (tag != "link" or found.get("rel") in ("stylesheet", "icon")):
                self.loaded.append(link)


def pages_of(site: Path) -> list[Path]:
    """Return the pages, without the templates of the theme."""
    return [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]


def wrong_address(url: str) -> str:
    """Return what is wrong with a link to another server, as far as its text shows it."""
    parts = urlsplit(url)
    if url.startswith(SOURCES):
        path = unquote(parts.path).removeprefix(urlsplit(SOURCES).path)
        return "" if (ROOT / path).exists() else "which the repository does not have"
    if parts.scheme != "https":
        return "which is not https"
    is_name = re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", parts.netloc)
    return "" if is_name and not re.search(r"\s", url) else "which is no address of a server"


def addresses(site: Path) -> list[str]:
    """Return the links to other servers."""
    links = {url for path in pages_of(site) for url in Page(path.read_text("utf-8")).links}
    return sorted(url for url in links if urlsplit(url).netloc and not url.startswith(SOURCES))


def weight_of(path: Path, page: Page) -> int:
    """Return the bytes of a page and of the files that it loads."""
    loaded = {(path.parent / unquote(urlsplit(url).path)).resolve() for url in page.loaded}
    return sum(each.stat().st_size for each in {path, *loaded} if each.is_file())


def wrong_files(site: Path) -> list[str]:
    """Return what is wrong with links, sizes and servers."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in pages_of(site)}
    found = []
    for path, page in pages.items():
        name = path.relative_to(site)
        if (size := weight_of(path, page)) > LARGEST_PAGE:
            found.append(f"{name}: {size:,} bytes, with the files that it loads")
        found += [f"{name}: loads {url}" for url in page.loaded if urlsplit(url).netloc]
        for url in page.links:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                if why := wrong_address(url):
                    found.append(f"{name}: links to {url}, {why}")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            anchors = pages[target].anchors if target in pages else None
            missing = anchors is not None and parts.fragment and parts.fragment not in anchors
            if not target.exists() or missing:
                found.append(f"{name}: links to {url}, which is not there")
    return found


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves the site, and the page that looks at it and sends what it found."""

    harness = b""
    found: queue.Queue[list[str]] = queue.Queue()

    def do_GET(self) -> None:
        """Answer a request."""
        if self.path != "/harness":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(self.harness)
        return None

    def do_POST(self) -> None:
        """Take what the page found."""
        self.found.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        """Print nothing for each request."""


class Server(http.server.ThreadingHTTPServer):
    """Serves a browser that leaves a page before it has read all of it."""

    def handle_error(self, *arguments: Any) -> None:
        """Print nothing: what is missing in a page is seen there."""


def told_by_browser(site: Path, browser: str, harness: str, *options: str) -> list[str]:
    """Return the list that a page sends to "/found"; the site is served beside it."""
    Quiet.harness, Quiet.found = harness.encode(), queue.Queue()
    handler = functools.partial(Quiet, directory=str(site))
    with Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/harness"
        run = subprocess.Popen([browser, *OPTIONS, *options, address], stderr=subprocess.DEVNULL)
        try:
            return Quiet.found.get(timeout=LONGEST_VISIT)
        except queue.Empty:
            return ["the browser did not come to an end"]
        finally:
            run.terminate()
            run.wait()
            server.shutdown()


def visits_of(site: Path, theme: str) -> list[tuple[str, int, bool]]:
    """Return the pages to look at in a theme, with a width, and whether axe seeks there.

    Pages that are made alike are searched by axe once, each at the next of the widths and themes.
    """
    found = []
    turns = itertools.cycle(itertools.product(THEMES, WIDTHS))
    for path in pages_of(site):
        page = path.relative_to(site).as_posix()
        turn = next(turns) if page.startswith(ALIKE) else None
        for width in WIDTHS:
            seeks = turn in (None, (theme, width))
            if seeks or theme == "light":
                found.append((page, width, seeks))
    return found


def wrong_in_browser(site: Path, browser: str, axe: str) -> list[str]:
    """Return what is wrong with pages that a browser shows, in each theme; axe is a script."""
    found = []
    for theme, options in THEMES.items():
        searches = SEARCHES if theme == "light" else {}
        values = {
            "VISITS": visits_of(site, theme),
            "SEARCHES": searches,
            "THEME": theme,
            "AXE": axe,
        }
        text = HARNESS
        for name, value in values.items():
            text = text.replace(name, json.dumps(value).replace("</", "<\\/"), 1)
        found += told_by_browser(site, browser, text, *options)
    return found


def main(folder: str, axe: str = "") -> int:
    """Print what is wrong; return 1 if anything is."""
    site = Path(folder).resolve()
    found = wrong_files(site)
    print("links to other servers, not followed:", *addresses(site), sep="\n  ")
    browser = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if axe == "files":
        print("not looked at in a browser")
    elif not browser:
        print("no Chromium here: pages were not looked at in a browser")
    else:
        if not axe:
            print("no axe-core here: no search for obstacles to people with disabilities")
        found += wrong_in_browser(site, browser, Path(axe).read_text("utf-8") if axe else "")
    print("\n".join(found) or "the site is whole")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
