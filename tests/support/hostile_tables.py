"""Descriptions of estimators of tables that none can be, and what is said about it."""

from __future__ import annotations

import functools

import numpy as np
from hostile_files import GONE, Row, changed, filled, model

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
    ("a fit of tables in words", fit(to="good"), "model.fit is 'good' and no object"),
    ("no columns", fit("columns", to=GONE), "fit has no 'columns'"),
    ("names of columns in a list", columns("names", to=["a"]), "names is .* but ndarray belongs"),
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
    ("named in words", columns("named", to="yes"), "named is 'yes' and neither true nor false"),
    ("numeric in words", columns("numeric", to=1), "numeric is 1 and neither true nor false"),
    ("a reason of none", columns("reasons", to={"string objects": "fit.columns.left_out"}), "said"),
    (
        "fewer reasons",
        changed(TWO, "fit.columns.reasons", "shape", to=lambda s: [1, s[0] * s[1]]),
        "columns: it has 1 reasons for 2",
    ),
    ("more numbers", columns("numbers", to=5), r"columns.numbers' is int64 of shape \(2,\) but"),
    ("numbers of 2**53", columns("numbers", to=2**53), r"of shape \(9007199254740992,\)"),
    ("numbers of -1", columns("numbers", to=-1), "columns.numbers is -1 but must be from 0 to"),
    ("a place behind all", filled(TWO, "fit.columns.numbers", [0, 7]), "numbers' has other places"),
    ("a place before all", filled(TWO, "fit.columns.categories", [-1]), "categories' has other pl"),
    ("a place twice", filled(TWO, "fit.columns.numbers", [0, 2]), "as numbers and as categories"),
    (
        "categories in words",
        columns("categories", to="all"),
        "columns.categories is 'all' and",
    ),
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
    ("tables without members", fit("members", to=0), "fit.members is 0 but must be from 1"),
    ("members of 2**53", fit("members", to=2**53), r"centre' is .* but .* \(9007199254740992, 2"),
    ("fewer members", fit("members", to=2), r"groups.0.centre' is float64 of shape \(3, 2\) but"),
    ("missing of 2", fit("with_missing", to=2), r"fit.with_missing' is int64 of shape \(1,\) but"),
    ("missing elsewhere", filled(TWO, "fit.with_missing", [2]), "with_missing' has other places"),
    ("no groups", fit("groups", to=[]), "groups have shares of 0 and not of 1"),
    ("groups in words", fit("groups", to="two"), "fit.groups is 'two' and no list"),
    ("a group of nothing", group(to={}), "groups.0 has no 'share'"),
    (
        "a group less",
        fit("groups", to=lambda g: g[:1]),
        "groups have shares of 0",
    ),
    ("a share of 2", group("share", to=2.0), "groups have shares of [23]"),
    ("a share of -1", group("share", to=-1.0), "groups.0.share is -1.0 but must be a number from"),
    (
        "bins of no numbers of 2**40",
        model("fit", "groups", 0, "bins", to=2**40, name=TRUTHS),
        "groups.0.bins is 1099511627776 but must be from 0 to 65536",
    ),
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
    ("a centre in float32", changed(TWO, "groups.0.centre", "dtype", to="I64"), "centre' is int64"),
    (
        "known in integers",
        changed(TWO, "groups.0.known", "dtype", to="I8"),
        "groups.0.known' is int8 of shape",
    ),
    (
        "a factor of 0",
        filled(TWO, "groups.0.scales", np.zeros(12)),
        "groups.0.scales' has a factor that is no scale",
    ),
    ("no rows", fit("rows", to=0), "fit.rows is 0 but must be from 1"),
    ("more rows", fit("rows", to=61), r"fit.out_of_fold' is float64 of shape \(60, 2\) but"),
    ("rows of no fold", filled(TWO, "fit.out", HUGE), "fit.out' has rows from 0 to 4611686018427"),
    ("rows before all", filled(TWO, "fit.out", np.array(-1)), "fit.out' has rows from -1 to 59"),
    ("counts in words", fit("out", to="all"), "fit.out is 'all' and no list"),
    ("no weights of rows", fit("weighted", to=True), "there is no tensor 'fit.weights'"),
    (
        "a row without a weight",
        filled(WEIGHTS, "fit.weights", np.zeros(2)),
        "weights' has 0.0 but must not be bel",
    ),
    (
        "a weight below 0",
        filled(WEIGHTS, "fit.weights", np.array(-1.0)),
        "weights' has -1.0 but must not",
    ),
    ("fewer counts", fit("out", to=[20, 40]), "fit.out has 2 entries but 3 belong there"),
    ("a count of 0", fit("out", 1, to=0), "fit.out.1 is 0 but must be from 1 to 60"),
    ("other counts", fit("out", to=[1, 1, 1]), r"fit.out' is int64 of shape \(60,\) but"),
    ("no history of tables", fit("history", to=[]), r"fit.history is \[\] and no object"),
    (
        "a curve of floats",
        changed(TWO, "fit.curve.0", "dtype", to="F64"),
        "fit.curve.0' is float64 of shape",
    ),
    ("an epoch in words", fit("best_epoch_", to="last"), "fit.best_epoch_ is 'last' but must be"),
    ("another attribute of tables", fit("__class__", to="x"), "fit has '__class__', unknown here"),
    (
        "names of fewer",
        fit("feature_names", to="abc"),
        "feature_names is 'abc' but ndarray or",
    ),
    (
        "feature names of others",
        changed(TWO, "fit.feature_names", "shape", to=lambda s: [1, s[0] * s[1]]),
        r"there are names for \(1,\) of 7 columns",
    ),
    (
        "a target of no name",
        fit("target", to="hinge"),
        "fit.target is 'hinge' but must be one",
    ),
    ("a target of another loss", fit("target", to="poisson"), "squared_error but the target that"),
    (
        "a target of classes",
        fit("target", to="labels"),
        "fit.target is 'labels' but must be",
    ),
    (
        "a unit of 0",
        filled(TWO, "fit.unit", np.array(0.0)),
        "unit' has 0.0 but must be above 0",
    ),
    ("judged by none", fit("judged", to=0), "fit.judged is 0 but must be from 1 to"),
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
    ("no places", fit("places", to=[0, 2]), "fit.places.0 is 0 but must be from 1 to"),
    ("a trust of 2", fit("trust", to=2.0), "the trust in predicted sizes is 2.0 but at most 1"),
    ("a trust in words", fit("trust", to="much"), "fit.trust is 'much' but must be a number"),
    (
        "one head of two",
        model("fit", "target", to="squared_error", name=GAUSSIAN),
        "the networks have the loss gaussian",
    ),
    ("a temperature of 0", classes("temperature", to=0.0), "the temperature is 0 but from 0.135"),
    ("a temperature of 1e300", classes("temperature", to=1e300), "the temperature is 1e.300 but"),
    ("a temperature in words", classes("temperature", to="hot"), "fit.temperature is 'hot' but"),
    ("classes in a list", classes("classes", to=["a"]), "fit.classes is .* but ndarray belongs"),
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
    (
        "residuals of classes",
        model("class", to="TabMLPRegressor", name=WORDS),
        "parameters has no 'loss'",
    ),
    ("no report", report(to=None), "fit.report is None and no object"),
    ("a report of more", report("path", to="/etc"), "fit.report has 'path', unknown here"),
    ("notes in numbers", report("notes", to=[1]), "report.notes.0 is 1 and no string"),
    (
        "seconds in words",
        report("seconds", to={"dict": [["reading", "long"]]}),
        "seconds has 're",
    ),
    ("seconds in a list", report("seconds", to=[]), "report.seconds is .* but dict belongs there"),
    ("lines of numbers", report("more", to={"dict": [[1, "a"]]}), "report: more has 1 with 'a'"),
    ("a score in words", report("alone", to="good"), "report.alone is 'good' but float belongs"),
]
