"""Descriptions of estimators of tables that none can be, and what is said about it."""

from __future__ import annotations

import functools

import numpy as np
from hostile_files import Row, changed, filled, model

WORDS, LABELS = "TabMLPClassifier words", "TabMLPClassifier labels"
WEIGHTS = "TabMLPRegressor weights"
TWO, GAUSSIAN = "TabMLPRegressor two outputs", "TabMLPRegressor loss gaussian"
TRUTHS = "TabMLPRegressor truths"

fit = functools.partial(model, "fit", name=TWO)
columns = functools.partial(model, "fit", "columns", name=TWO)
group = functools.partial(model, "fit", "groups", 0, name=TWO)
report = functools.partial(model, "fit", "report", name=TWO)
classes = functools.partial(model, "fit", name=WORDS)

NAN, HUGE = np.array(np.nan), np.array(2**62)

TABLES: list[Row] = [
    ("a preset of no name", model("parameters", "preset", to="x", name=TWO), "The 'preset' par"),
    (
        "a scoring of code",
        model("parameters", "scoring", to=["exec"], name=TWO),
        "The 'scoring' p",
    ),
    (
        "names that are numbers",
        columns("names", to={"array": "fit.columns.names"}),
        "uint32 and",
    ),
    (
        "a column too few",
        columns("names", to={"strings": "fit.columns.names"}),
        "is an array",
    ),
    ("a reason of none", columns("reasons", to={"string objects": "fit.columns.left_out"}), "said"),
    (
        "fewer reasons",
        changed(TWO, "fit.columns.reasons", "shape", to=lambda s: [1, s[0] * s[1]]),
        "columns: it has 1 reasons for 2",
    ),
    ("more numbers", columns("numbers", to=5), r"columns.numbers' is int64 of shape \(2,\) but"),
    ("numbers of 2**53", columns("numbers", to=2**53), r"of shape \(9007199254740992,\)"),
    (
        "a place behind all",
        filled(TWO, "fit.columns.numbers", [0, 7]),
        "numbers' has 0 to 7 but",
    ),
    (
        "a place before all",
        filled(TWO, "fit.columns.categories", [-1]),
        "categories' has -1 to 4 but must",
    ),
    ("a place twice", filled(TWO, "fit.columns.numbers", [0, 2]), "as numbers and as categories"),
    ("a category less", columns("categories", to=lambda c: c[:2]), r"is int64 of shape \(3,\) but"),
    ("a category of no list", columns("categories", 0, to=3), "categories.0.values is 3 and no"),
    ("a category of nothing", columns("categories", 1, to=[]), "categories.1.values are 0 categor"),
    ("missing twice", columns("categories", 1, to=[None, None]), "1.values are 2 categories, not"),
    ("a value of code", columns("categories", 1, to=[{"object": {"class": "eval"}}]), "'eval' but"),
    (
        "a category again",
        filled(TWO, "fit.columns.categories.0.values.1", np.array([0xE4, 0, 0, 0xE4], np.uint32)),
        "categories.0.values are 4 categories, not each once",
    ),
    (
        "a category NaN",
        filled(TWO, "fit.columns.categories.2.values.2", NAN),
        "categories.2.values are 5 categories, not each once",
    ),
    (
        "categories of another dtype",
        changed(TWO, "fit.columns.categories.2.values.2", "dtype", to="U64"),
        "categories.2.values.2 is uint64 of shape",
    ),
    ("members of 2**53", fit("members", to=2**53), r"centre' is .* but .* \(9007199254740992, 2"),
    ("fewer members", fit("members", to=2), r"groups.0.centre' is float64 of shape \(3, 2\) but"),
    ("missing of 2", fit("with_missing", to=2), r"fit.with_missing' is int64 of shape \(1,\) but"),
    (
        "missing elsewhere",
        filled(TWO, "fit.with_missing", [2]),
        "with_missing' has 2 to 2 but must",
    ),
    ("no groups", fit("groups", to=[]), "groups have shares of 0 and not of 1"),
    (
        "a group less",
        fit("groups", to=lambda g: g[:1]),
        "groups have shares of 0",
    ),
    ("a share of 2", group("share", to=2.0), "groups have shares of [23]"),
    (
        "other bins of no numbers",
        model("fit", "groups", 0, "bins", to=2, name=TRUTHS),
        r"groups.0.edges' is float64 of shape \(3, 0, 4\) but",
    ),
    ("other bins", group("bins", to=1), "groups.0: it has 19 inputs but 15 come of its table"),
    (
        "another loss of a group",
        group("network", "loss", to={"object": {"class": "AbsoluteError"}}),
        "the networks have the loss absolute_error but|groups have different outputs",
    ),
    (
        "a network of 2**42 weights",
        group("network", "layer_sizes", to=[2**21, 2**21, 2**21, 2]),
        "groups.0.network: .* parameters",
    ),
    (
        "weights of a member NaN",
        filled(TWO, "groups.0.members.1.layers.0.weight", np.array(np.nan, np.float32)),
        "groups.0.members.1.layers.0.weight' has nan at",
    ),
    ("an edge NaN", filled(TWO, "groups.0.edges", NAN), "groups.0.edges' has nan at"),
    (
        "a factor of 0",
        filled(TWO, "groups.0.scales", np.zeros(12)),
        "scales of the targets have a factor that is not above 0",
    ),
    ("more rows", fit("rows", to=61), r"fit.out_of_fold' is float64 of shape \(60, 2\) but"),
    ("rows of no fold", filled(TWO, "fit.out", HUGE), "fit.out' has 0 to 4611686018427"),
    ("rows before all", filled(TWO, "fit.out", np.array(-1)), "fit.out' has -1 to 59 but must"),
    ("no weights of rows", fit("weighted", to=True), "there is no tensor 'fit.weights'"),
    (
        "a row without a weight",
        filled(WEIGHTS, "fit.weights", np.zeros(2)),
        "weights' has 0.0 but must be above",
    ),
    (
        "a weight below 0",
        filled(WEIGHTS, "fit.weights", np.array(-1.0)),
        "weights' has -1.0 to .* but must",
    ),
    ("fewer counts", fit("out", to=[20, 40]), "fit.out has 2 entries but 3 belong there"),
    ("a count of 0", fit("out", 1, to=0), "fit.out.1 is 0 but must be from 1 to 60"),
    ("other counts", fit("out", to=[1, 1, 1]), r"fit.out' is int64 of shape \(60,\) but"),
    (
        "feature names of others",
        changed(TWO, "fit.feature_names", "shape", to=lambda s: [1, s[0] * s[1]]),
        r"there are names for \(1,\) of 7 columns",
    ),
    ("a target of another loss", fit("target", to="poisson"), "squared_error but the target that"),
    (
        "a unit of 0",
        filled(TWO, "fit.unit", np.array(0.0)),
        "unit' has 0.0 but must be above 0",
    ),
    ("judged by fewer", fit("judged", to=59), r"residuals.z' is float64 of shape \(2, 60\) but"),
    (
        "residuals out of order",
        filled(TWO, "fit.residuals.z", np.array(1e9)),
        "the residuals of output 0 are not in order",
    ),
    ("a residual NaN", filled(TWO, "fit.residuals.z", NAN), r"residuals.z' has nan at \(0, 0\)"),
    ("a weight of 0", filled(TWO, "fit.residuals.w", np.array(0.0)), "w' has 0.0 but must be abov"),
    ("weights of no row", filled(TWO, "fit.residuals.w", np.full(60, 1e-9)), "1 to 60 effective"),
    ("weights of more rows", filled(TWO, "fit.residuals.w", np.array(1e3)), "1 to 60 effective"),
    ("a size of residuals of 0", filled(TWO, "fit.residuals.sizes", np.array(0.0)), "sizes' has 0"),
    ("a freedom of 0", filled(TWO, "fit.residuals.freedom", np.array(0.0)), "from 2.2 to 200.0"),
    ("a huge freedom", filled(TWO, "fit.residuals.freedom", np.array(1e306)), "from 2.2 to 200.0"),
    ("more places", fit("places", to=[1, 2]), r"residuals.places' is float64 of shape \(2,\) but"),
    (
        "one head of two",
        model("fit", "target", to="squared_error", name=GAUSSIAN),
        "the networks have the loss gaussian",
    ),
    (
        "classes of tables out of order",
        filled(WORDS, "fit.classes", np.array([0x2000], np.uint32)),
        r"there are \(3,\) classes, not 3 in order",
    ),
    (
        "classes of labels fewer",
        changed(LABELS, "fit.classes", "shape", to=[1, 2]),
        r"there are \(1, 2\) classes, not 2 in order",
    ),
    (
        "labels of classes",
        classes("target", to="labels"),
        "cross_entropy but the target that of",
    ),
    ("notes in numbers", report("notes", to=[1]), "report.notes.0 is 1 and no string"),
    (
        "seconds in words",
        report("seconds", to={"dict": [["reading", "long"]]}),
        "seconds has 're",
    ),
    ("lines of numbers", report("more", to={"dict": [[1, "a"]]}), "report: more has 1 with 'a'"),
]
