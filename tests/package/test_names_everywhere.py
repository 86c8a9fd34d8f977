"""A name that stands in one table stands in all: whichever lacks it is named, all at once.

The sources in C are read as text, so that this is known before anything is compiled.
"""

import inspect
import re
from pathlib import Path
from typing import get_args

import formulas
import pytest

import fastmlp
from fastmlp._export import activations as exported
from fastmlp._files import inspection
from fastmlp._network import activations, losses, names, optimizers, schedules
from fastmlp.tabular.export import c_source
from fastmlp.tabular.outcome import loss_rows
from fastmlp.tabular.table import forms

ROOT = Path(__file__).resolve().parents[2]
C_TABLES = "src_cython/c/tables"
OPTIONS, API = "docs/reference/networks.md", "docs/api.md"
# The places of every public class.
PUBLIC = {
    "fastmlp/__init__.py": {*fastmlp.__all__},
    API: {*re.findall(r"`fastmlp\.(\w+)`", (ROOT / API).read_text("utf-8"))},
}


def rows_of_c(name, pattern):
    """Return the names of the rows of a table, the last thing that a header has."""
    text = (ROOT / C_TABLES / f"{name}.h").read_text("utf-8")
    return re.findall(pattern, text.rpartition(f" {name.upper()}[] = {{")[2].partition("};")[0])


def words(text):
    """Return the names that a text may mention."""
    return {*re.findall(r"\w+", text)}


def of_page(page, row):
    """Return the names in a row of a table of a page."""
    return words(re.search(rf"^\| {row} \|.*$", (ROOT / page).read_text("utf-8"), re.M)[0])


def of_parameter(cls, name):
    """Return the names in what the docstring of a class says of a parameter."""
    text = inspect.getdoc(cls)
    return words(re.search(rf"^{name} : .*\n((?: .*\n|\n(?= ))+)", text, re.M)[1])


# Of each kind: tables, whose names are the same, and texts, which mention these among others.
KINDS = {
    "activation": (
        {
            f"{C_TABLES}/activations.h": rows_of_c("activations", r"ROW_[YZ]\((\w+)"),
            "fastmlp/_network/activations.py": activations.ACTIVATIONS,
            "fastmlp/_network/activations.py, ActivationName": get_args(activations.ActivationName),
            "fastmlp/_export/activations.py": exported.ACTIVATIONS,
            "tests/support/formulas.py": formulas.ACTIVATIONS,
        },
        {
            "tests/support/formulas.py, ULPS": formulas.ULPS,
            "the docstring of fastmlp/_models/mlp.py": of_parameter(fastmlp.MLP, "activation"),
            OPTIONS: of_page(OPTIONS, "`activation`"),
        },
    ),
    "loss": (
        {
            "fastmlp/_network/losses.py, LOSSES": losses.LOSSES,
            "fastmlp/_network/losses.py, LossName": get_args(losses.LossName),
        },
        {},
    ),
    "class of a loss": (
        {
            "fastmlp/_network/losses.py, LOSSES": [row.__name__ for row in losses.LOSSES.values()],
            "fastmlp/_network/losses.py, __all__": {*losses.__all__} - {"Loss"},
        },
        PUBLIC,
    ),
    "row of a loss": (
        {
            f"{C_TABLES}/losses.h": rows_of_c("losses", r'\{"(\w+)"'),
            "fastmlp/_network/losses.py, NATIVE_LOSSES": losses.NATIVE_LOSSES,
        },
        {},
    ),
    "loss of tables": (
        {
            "fastmlp/tabular/outcome/loss_rows.py": loss_rows.LOSSES,
            "fastmlp/_network/names.py, TableLossName": get_args(names.TableLossName),
        },
        {"the docstring of TabMLPRegressor": of_parameter(fastmlp.TabMLPRegressor, "loss")},
    ),
    "kind of numbers of tables": (
        {
            "fastmlp/tabular/table/forms.py": {*forms.KINDS} - {"number"},
            "fastmlp/tabular/export/c_source.py": c_source.UNITS,
            "fastmlp/_files/inspection.py": inspection.KINDS,
        },
        {},
    ),
    "row of an optimizer": (
        {
            f"{C_TABLES}/optimizers.h": rows_of_c("optimizers", r'\{"(\w+)"'),
            "fastmlp/_network/optimizers.py, NATIVE_OPTIMIZERS": optimizers.NATIVE_OPTIMIZERS,
        },
        {},
    ),
    "optimizer": (
        {"fastmlp/_network/optimizers.py": [o.__name__ for o in optimizers.OPTIMIZERS.values()]},
        PUBLIC,
    ),
    "schedule": (
        {"fastmlp/_network/schedules.py": {*schedules.__all__} - {"Schedule"}},
        PUBLIC,
    ),
}


def missing(kind):
    """Return a sentence for each name that a place lacks."""
    tables, texts = KINDS[kind]
    first = {name: place for place, found in reversed([*tables.items()]) for name in found}
    return [
        f"{place} lacks {name}, which {first[name]} has"
        for place, found in (tables | texts).items()
        for name in first
        if name not in found
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_stands_in_all_of_its_places(kind):
    found = missing(kind)
    assert not found, "\n".join(found)


def test_what_a_place_lacks_is_named(monkeypatch):
    monkeypatch.setitem(activations.ACTIVATIONS, "new", None)
    found = [text for text in missing("activation") if " lacks new, " in text]
    assert len(found) == sum(map(len, KINDS["activation"])) - 1  # all but the place that has it
    first = f"{C_TABLES}/activations.h lacks new, which fastmlp/_network/activations.py has"
    assert found[0] == first
