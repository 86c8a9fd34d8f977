"""The settings of the site: `.ci/docs` builds it, with warnings as errors."""

from __future__ import annotations

import inspect
import json
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import latex2mathml.converter
from docutils import nodes
from pygments.lexers import PythonLexer
from sphinx.application import Sphinx

import fastmlp
from fastmlp._core.keywords import MissingAttribute

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS / "course")]

import gallery  # noqa: E402
import notebooks  # noqa: E402
import pictures  # noqa: E402
import table_pictures  # noqa: E402
from check_site import REPOSITORY, SOURCES  # noqa: E402
from search import WORDS  # noqa: E402

project, author = "fastmlp", "fastmlp developers"
copyright = author  # noqa: A001 the name that Sphinx reads
version = release = fastmlp.__version__
extensions = ["sphinx.ext.autodoc", "numpydoc", "myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "html_image"]
myst_heading_anchors = 3

default_role = "py:obj"  # names in docstrings are links

# Signatures with types fill the screen; the docstrings say the types.
autodoc_typehints = "none"
numpydoc_show_class_members = False

html_theme = "pydata_sphinx_theme"
html_title = "fastmlp"
html_static_path, templates_path = ["_static"], ["_templates"]
html_css_files, html_js_files = ["site.css"], ["site.js"]
html_extra_path = ["playground"]
exclude_patterns = ["**.pyx", "_templates"]  # the first is the source of play.wasm
html_show_sourcelink = False
html_copy_source = False
html_context = {"repository": REPOSITORY, "sources": SOURCES}
html_theme_options = {
    "navbar_end": ["site-links.html", "theme-switcher"],
    "logo": {"text": f"fastmlp {version}"},
    "show_prev_next": True,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"index": [], "start/**": ["sidebar-nav-bs"]}
html_math_renderer = "mathml"
html_search_scorer = "scorer.js"

# The pages for people who change the library, which the search shows last.
(BUILDERS,) = re.findall(r"BUILDERS = (\[.*\]);", (DOCS / "scorer.js").read_text("utf-8"))
NAMES = sorted(set(re.findall(r"`(fastmlp\.[\w.]+)`", (DOCS / "api.md").read_text("utf-8"))))


def page_of(name: str) -> str:
    """Return the directives that document a public name from its docstring."""
    thing = fastmlp
    for part in name.split(".")[1:]:
        thing = getattr(thing, part, None) or import_module(f"{thing.__name__}.{part}")
    if inspect.isclass(thing):
        directive = f".. autoclass:: {name}\n   :members:\n   :inherited-members:"
    elif inspect.ismodule(thing):
        directive = f".. automodule:: {name}"
    elif callable(thing):
        directive = f".. autofunction:: {name}"
    else:
        directive = f".. autodata:: {name}"
    title = name.rpartition(".")[2] if "._" in name else name.removeprefix("fastmlp.")
    return f"{title}\n{'=' * len(title)}\n\n{directive}\n"


def write_reference(app: Sphinx) -> None:
    """Write one page for each public name; docs/api.md is the list."""
    folder = DOCS / "reference" / "names"
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        page, text = folder / f"{name}.rst", page_of(name)
        if not page.exists() or page.read_text("utf-8") != text:
            page.write_text(text, "utf-8")


DOORS = """<p class="doors"><a href="playground.html">Try it in the browser</a>
<a href="start/ten-minutes.html">Your first table</a></p>"""


def begin_with_readme(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the README, whose links begin in the root of the sources, in front of the first page."""
    if docname == "index":
        readme = DOCS.parent / "README.md"
        app.env.note_dependency(str(readme))
        text = readme.read_text("utf-8")
        links = re.sub(r"\]\((?!\w+:|#)", "](../", text).replace("](../docs/", "](")
        links = links.replace("\n\n- ", f"\n\n{DOORS}\n\n- ", 1)  # below the first sentence
        links = links.replace('src="docs/', 'src="')
        source[0] = f"{links}\n{source[0]}"


def link_names(app: Sphinx, docname: str, source: list[str]) -> None:
    """Link public names in code type to their pages, and files outside the site to the sources.

    Programs lose their last, empty line, which doctest needs.
    """
    if docname.startswith("reference/names"):
        return
    depth = docname.count("/")
    known = "|".join(re.escape(name.removeprefix("fastmlp.")) for name in NAMES)
    blocks = re.split(r"(^```.*?^```$)", source[0], flags=re.M | re.S)
    for k in range(0, len(blocks), 2):
        blocks[k] = re.sub(
            rf"(?<!\[)`(fastmlp\.(?:{known}))`(?!\])",
            lambda found: f"[`{found[1]}`](/reference/names/{found[1]}.rst)",
            blocks[k],
        )
        blocks[k] = re.sub(
            rf"\]\((?:\.\./){{{depth + 1}}}([\w./#-]+)\)", rf"]({SOURCES}\1)", blocks[k]
        )
    source[0] = "".join(blocks).replace("\n\n```\n", "\n```\n")


def add_words(app: Sphinx, docname: str, source: list[str]) -> None:
    """Add the words under which the search shall find a page, below its title, where it opens."""
    if docname in WORDS:
        entries = ", ".join(f"! {word}" for word in WORDS[docname].split(", "))
        title, _, text = source[0].partition("\n")
        source[0] = f"{title}\n\n```{{index}} {entries}\n```\n{text}"


def mark_for_builders(app: Sphinx, docname: str, source: list[str]) -> None:
    """Say below the title of a page whether it is for people who change the library."""
    if any(f"{docname}/".startswith(f"{name}/") for name in json.loads(BUILDERS)):
        title, _, text = source[0].partition("\n")
        source[0] = (
            f"{title}\n\n*For builders: how the library is made, not how to use it.*\n{text}"
        )


def link_notebook(app: Sphinx, docname: str, source: list[str]) -> None:
    """Offer a chapter as a notebook, below its title, without contents beside its programs."""
    folder, _, chapter = docname.partition("/")
    if folder == "course" and chapter in notebooks.CHAPTERS:
        title, _, text = source[0].partition("\n")
        link = f"{{download}}`As a notebook <notebooks/{chapter}.ipynb>`"
        wide = "---\nhtml_theme.sidebar_secondary.remove: true\n---\n"
        source[0] = f"{wide}{title}\n\n{link}\n{text}"


def prepare_pictures(app: Sphinx, tree: nodes.document) -> None:
    """Show the description of a chapter's picture below it."""
    for image in list(tree.findall(nodes.image)):
        if app.env.docname.startswith("course/"):
            figure = nodes.figure("", image.deepcopy(), nodes.caption("", image["alt"]))
            tree.set_id(figure)
            image.parent.replace_self(figure)


# Members by which losses, optimizers, sources and callbacks serve the rest of the library.
INTERNAL = re.compile(
    r"batches|caller|decay|facts|finish|for_features|heads|hyper|improved"
    r"|is_c|is_counted|is_linked|kind|levels|link_name|link_row|"
    r"n_slots|native_row|ordered|parameter|"
    r"predicts_variance|row_groups|shaped|start|target_kind|whole|with_fitted"
)


def leave_out(app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool:
    """Leave out internal members, names of other libraries, and what scikit-learn documents."""
    is_foreign = (getattr(thing, "__module__", None) or "").startswith("sklearn.")
    is_foreign |= isinstance(thing, MissingAttribute)
    return skip or bool(INTERNAL.fullmatch(name)) or is_foreign


def escape(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Keep powers and final underscores in docstrings, which would be read as markup."""
    for k, line in enumerate(lines):
        if "``" not in line and ">>>" not in line:
            line = re.sub(r"(?<=[\w)])\*\*(?=[\w(])", r"\\*\\*", line).replace(" *= ", r" \*= ")
            lines[k] = re.sub(r"(?<=\w)_(?=[,)])", r"\\_", line)


MANY_METHODS = 8
FIRST_METHODS = ("fit", "partial_fit", "predict", "predict_proba", "score", "evaluate", "predictor")


def begin_with_methods(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """List the methods of a large class with their first lines, in front of its parameters."""
    if what != "class":
        return
    methods = [
        each
        for each, method in inspect.getmembers(thing, inspect.isfunction)
        if each[0] != "_" and not leave_out(app, "method", each, method, False, options)
    ]
    if len(methods) < MANY_METHODS or ":Parameters:" not in lines:
        return
    order = {each: place for place, each in enumerate(FIRST_METHODS)}
    listed = [
        f"- :meth:`~{name}.{each}`: {(inspect.getdoc(getattr(thing, each)) or '').splitlines()[0]}"
        for each in sorted(methods, key=lambda each: (order.get(each, len(order)), each))
    ]
    at = lines.index(":Parameters:")
    lines[at:at] = ["What it can do:", "", *listed, ""]


def formula(translator: Any, node: Any) -> None:
    """Write a formula as MathML, which browsers draw without a script.

    The parts of a formula on a line of its own stand below each other on a phone.
    """
    if isinstance(node, nodes.math):
        translator.body.append(latex2mathml.converter.convert(node.astext()))
    else:
        parts = node.astext().split(r"\qquad")
        formulas = (latex2mathml.converter.convert(part, display="block") for part in parts)
        translator.body.append(f'<div class="formula">{"".join(formulas)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Connect the functions above with Sphinx."""
    app.connect("builder-inited", write_reference)
    for write in (pictures.draw, table_pictures.draw, notebooks.write, gallery.write):
        app.connect("builder-inited", lambda app, write=write: write())
    app.connect("source-read", begin_with_readme)
    app.connect("source-read", link_names)
    app.connect("source-read", add_words)
    app.connect("source-read", mark_for_builders)
    app.connect("source-read", link_notebook)
    app.connect("doctree-read", prepare_pictures)
    app.connect("autodoc-skip-member", leave_out)
    app.connect("autodoc-process-docstring", begin_with_methods, priority=800)  # after numpydoc
    app.connect("autodoc-process-docstring", escape, priority=900)
    app.add_html_math_renderer("mathml", (formula, None), (formula, None))
    app.add_lexer("numba", PythonLexer)  # blocks that need numba, which a test skips without it
