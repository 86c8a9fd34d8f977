"""Descriptions of estimators of tables that none can be, and what is said about it."""

from __future__ import annotations

import functools

import numpy as np
from hostile_files import Row, changed, filled, model

WORDS, LABELS = "TabMLPClassifier words", "TabMLPClassifier labels"
WEIGHTS = "TabMLPRegressor weights"
TWO, GAUSSIAN = "TabMLPRegressor two outputs", "TabMLPRegressor loss gaussian"

fit = functools.partial(model, "fit", name=TWO)
columns = functools.partial(model, "fit", "columns", name=TWO)
group = functools.partial(model, "fit", "groups", 0, name=TWO)
report = functools.partial(model, "fit", "report", name=TWO)
classes = functools.partial(model, "fit", name=WORDS)

NAN, HUGE = np.array(np.nan), np.array(2**62)

TABLES: list[Row] = [
    (model("parameters", "preset", to="x", name=TWO), "The 'preset' par"),
    (model("parameters", "scoring", to=["exec"], name=TWO), "The 'scoring' p"),
    (columns("names", to={"array": "fit.columns.names"}), "uint32 and"),
    (columns("names", to={"strings": "fit.columns.names"}), "is an array"),
    (
        changed(TWO, "fit.columns.reasons", "shape", to=lambda s: [1, s[0] * s[1]]),
        "columns: it has 1 reasons for 2",
    ),
    (columns("numbers", to=2**53), r"of shape \(9007199254740992,\)"),
    (filled(TWO, "fit.columns.numbers", [0, 7]), "numbers' has 0 to 7 but"),
    (filled(TWO, "fit.columns.categories", [-1]), "categories' has -1 to 4 but must"),
    (filled(TWO, "fit.columns.numbers", [0, 2]), "as numbers and as categories"),
    (columns("categories", 1, to=[]), "categories.1.values are 0 categor"),
    (columns("categories", 1, to=[None, None]), "1.values are 2 categories, not"),
    (columns("categories", 1, to=[{"object": {"class": "eval"}}]), "'eval' but"),
    (
        filled(TWO, "fit.columns.categories.0.values.1", np.array([0xE4, 0, 0, 0xE4], np.uint32)),
        "categories.0.values are 4 categories, not each once",
    ),
    (filled(TWO, "fit.columns.categories.2.values.2", NAN), "categories.2.values are 5"),
    (
        changed(TWO, "fit.columns.categories.2.values.2", "dtype", to="U64"),
        "categories.2.values.2 is uint64 of shape",
    ),
    (fit("members", to=2**53), r"centre' is .* but .* \(9007199254740992, 2"),
    (filled(TWO, "fit.with_missing", [2]), "with_missing' has 2 to 2 but must"),
    (fit("groups", to=[]), "groups have shares of 0 and not of 1"),
    (fit("groups", to=lambda g: g[:1]), "groups have shares of 0"),
    (group("share", to=2.0), "groups have shares of [23]"),
    (group("bins", to=1), "groups.0: it has 19 inputs but 15 come of its table"),
    (
        group("network", "loss", to={"object": {"class": "AbsoluteError"}}),
        "the networks have the loss absolute_error but|groups have different outputs",
    ),
    (group("network", "layer_sizes", to=[2**21, 2**21, 2**21, 2]), "0.network: .* parameters"),
    (
        filled(TWO, "groups.0.members.1.layers.0.weight", np.array(np.nan, np.float32)),
        "groups.0.members.1.layers.0.weight' has nan at",
    ),
    (filled(TWO, "groups.0.edges", NAN), "groups.0.edges' has nan at"),
    (filled(TWO, "groups.0.scales", np.zeros(12)), "scales of the targets have a factor that is"),
    (filled(TWO, "fit.out", HUGE), "fit.out' has 0 to 4611686018427"),
    (filled(TWO, "fit.out", np.array(-1)), "fit.out' has -1 to 59 but must"),
    (filled(WEIGHTS, "fit.weights", np.zeros(2)), "weights' has 0.0 but must be above"),
    (filled(WEIGHTS, "fit.weights", np.array(-1.0)), "weights' has -1.0 to .* but must"),
    (
        changed(TWO, "fit.feature_names", "shape", to=lambda s: [1, s[0] * s[1]]),
        r"there are names for \(1,\) of 7 columns",
    ),
    (fit("target", to="poisson"), "squared_error but the target that"),
    (filled(TWO, "fit.unit", np.array(0.0)), "unit' has 0.0 but must be above 0"),
    (filled(TWO, "fit.residuals.z", np.array(1e9)), "the residuals of output 0 are not in order"),
    (filled(TWO, "fit.residuals.z", NAN), r"residuals.z' has nan at \(0, 0\)"),
    (filled(TWO, "fit.residuals.w", np.array(0.0)), "w' has 0.0 but must be abov"),
    (filled(TWO, "fit.residuals.w", np.full(60, 1e-9)), "1 to 60 effective"),
    (filled(TWO, "fit.residuals.w", np.array(1e3)), "1 to 60 effective"),
    (filled(TWO, "fit.residuals.sizes", np.array(0.0)), "sizes' has 0"),
    (filled(TWO, "fit.residuals.freedom", np.array(0.0)), "from 2.2 to 200.0"),
    (filled(TWO, "fit.residuals.freedom", np.array(1e306)), "from 2.2 to 200.0"),
    (model("fit", "target", to="squared_error", name=GAUSSIAN), "the networks have the loss"),
    (filled(WORDS, "fit.classes", np.array([0x2000], np.uint32)), r"there are \(3,\) classes,"),
    (changed(LABELS, "fit.classes", "shape", to=[1, 2]), r"there are \(1, 2\) classes, not 2 in"),
    (classes("target", to="labels"), "cross_entropy but the target that of"),
    (model("fit", "temperature", to=None, name="rows of words"), "those of the target classes"),
    (model("fit", "temperature", to=2.0, name="rows of numbers"), "those of the target gaussian"),
    (model("fit", "target", to="poisson", name="rows of words"), "those of the target poisson"),
    (report("seconds", to={"dict": [["reading", "long"]]}), "seconds has 're"),
    (report("more", to={"dict": [[1, "a"]]}), "report: more has 1 with 'a'"),
]
