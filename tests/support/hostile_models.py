"""Networks, estimators and tables that none can be: a change, and the words of the refusal."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from hostile_files import GONE, Row, changed, filled, model, network, swapped

MEAN, RAW = (f"progress.averaged.{of}.layers.0.weight" for of in ("mean", "raw"))
NAN, NAN64, INFINITY = np.float32("nan"), np.float64("nan"), np.array([0, np.inf], np.float32)
WORDS, OBJECTS = "MLPClassifier words", "MLPClassifier word objects"
SCHEDULE, PLAIN = "MLPClassifier schedule", "MLPRegressor plain"

loss = functools.partial(model, "network", "loss")
parameter = functools.partial(model, "parameters", name=WORDS)
labels = functools.partial(model, "fit", "labels", name=WORDS)
run = functools.partial(model, "fit", "run", name=SCHEDULE)
optimizer = functools.partial(model, "optimizer")
progress = functools.partial(model, "progress")


def huber(**fields: Any) -> dict[str, Any]:
    return {"object": {"class": "Huber", **fields}}


# One refusal of each option of a network; tests/network/test_spec.py has the others.
MODELS: list[Row] = [
    (model("flat_y", to=True), "flat_y is true but of several outputs"),
    (network("layer_sizes", [3.0, 8, 2]), r"layer_sizes\[0\] is 3.0 but must"),
    (network("layer_sizes", [2**21] * 3), "8,796,097,216,512 parameters"),
    (network("layer_sizes", [1] * 2000), "layer_sizes has 2000 entries"),
    (network("activations", ["eval"]), "activation is 'eval' but no activat"),
    (network("dropout", [1.0]), r"dropout is 1.0 but must be a finite number in"),
    (network("layer_norm", ["within"]), "layer_norm is 'within' but no"),
    (network("scale", 1), "scale is 1 but must be True or False"),
    (network("parametric", ["yes"]), "parametric is 'yes' but must be True"),
    (network("layer_norm", ["before"]), "is no tensor 'layers.0.gain'"),
    (network("skip", 0), "skip is 0 but must be an integer of at least 1"),
    (network("linear_path", 1), "linear_path is 1 but must be True or"),
    (loss(to={"object": {"class": "Constant", "learning_rate": 1.0}}), "Los"),
    (loss(to=huber(delta=-1.0)), "delta is -1.0 but must be a finite number"),
    (loss(to={"dict": [3]}), "network.loss has 3 in place of key and value"),
    (loss(to={"dict": [[[], 3]]}), r"has the key \[\], again or of"),
    (loss(to={"dict": [[1, 3], [1, 4]]}), "has the key 1, again or of"),
    (loss(to={"float": "1.5"}), "network.loss is the float '1.5'"),
    (loss(to={"float": []}), r"network.loss is the float \[\]"),
    (loss(to={"int": "0x5"}), "'0x5' and no large integer in hexadecimal"),
    (loss(to={"int": "9" * 40}), "'999.* and no large integer in hex"),
    (filled("MLP", "layers.0.weight", NAN), r"weight' has nan at \(0, 0\)"),
    (filled("MLP", "layers.1.bias", INFINITY), r"1.bias' has inf at \(1,\)"),
    (filled("MLP", "optimizer.b.layers.1.weight", NAN), "'optimizer.b.*has nan at"),
    (network("activations", [{"function": "f"}]), "needs the CustomActivation 'f'"),
    (network("activations", [{"function": 3}]), "a function is described"),
    (loss(to={"function": "f"}), "needs the CustomLoss 'f', which"),
    (model("history", "metrics", to=[]), "other names than numbers of epochs"),
    (model("history", to=None), "'history.loss' belongs to nothing"),
    (model("optimizer", "hyper", 1, to=1.0, name="fit"), "hyper has a memory of 1.0, not below 1"),
    (optimizer("units", to=[0.5]), r"units are \(0.5,\), which are those of no"),
    (optimizer(to=None), "progress goes on without an optimizer"),
    (progress("epochs", to=3, name="fit"), "3 epochs but the history 2"),
    (progress("shuffled", to=9), "shuffled is 9, more than there are"),
    (filled("averaged", MEAN, NAN64), r"mean.* has nan at \(0, 0"),
    (filled("averaged", MEAN, np.array(-1e39)), "progress.averaged: it has a mean beyond what"),
    (filled("averaged", RAW, np.array(np.inf, np.float32)), r"raw.layers.0.weight' has inf at"),
    (
        model("members", 1, "network", "activations", to=["relu"], name="ensemble"),
        r"members.1. is .* is expected: all need the same layers",
    ),
    (model("members", 0, "progress", "epochs", to=7, name="ensemble"), r"members.0: progress has"),
    (parameter("alpha", to=-1.0), "The 'alpha' parameter of MLPClassifier must"),
    (parameter("n_jobs", to=False), "n_jobs is False but a number of threads"),
    (
        model("parameters", "learning_rate", "object", "n_steps", to=0, name=SCHEDULE),
        "n_steps is 0 but must be an integer of at least 1",
    ),
    (
        model(
            *("parameters", "callbacks", 0, "object", "patience"),
            to=0,
            name="MLPClassifier callbacks",
        ),
        "patience is 0 but must be an integer",
    ),
    (model("fit", "labels", to=None, name=WORDS), "the labels are of another estimator"),
    (labels("classes", to={"times": "datetime64[D]"}), "is uint32 and no dates"),
    (labels("classes", to={"times": "<M8[x]"}), "is said to be an array of '<M8"),
    (labels("type", to="binary"), r"\(3,\) classes, binary, for 3 outputs"),
    (labels("type", to="multilabel-indicator"), "multilabel-indicator, for"),
    (filled(WORDS, "fit.labels.classes", np.array([0x2000], np.uint32)), "the classes are not in"),
    (filled(WORDS, "fit.labels.classes", np.array([0x110000], np.uint32)), "classes has a"),
    (filled(OBJECTS, "fit.labels.classes", np.array([0xD800], np.uint32)), "has a character that"),
    (changed(SCHEDULE, "fit.labels.classes", "shape", to=[3, 1]), r"there are \(3, 1\) classes"),
    (filled(WORDS, "scaling.x_scale", 5e-324), "a parameter is no longer finite"),
    (model("fit", "attributes", "n_features_in_", to=4, name=WORDS), "n_features_in_ is 4 but"),
    (model("fit", "attributes", "n_outputs_", to=GONE, name=WORDS), "n_outputs_ is None but the"),
    (
        changed("names of features", "fit.attributes.feature_names_in_", "shape", to=[1, 3]),
        r"there are names for \(1,\) of 3 features",
    ),
    (model("fit", "lists", "loss_curve_", to=5, name=WORDS), "loss_curve_ has 4 entries and not 5"),
    (run("rates", "rule", to="exec"), "the learning rate has the rule 'exec'"),
    (
        model("fit", "network", "loss", "object", "class", to="BinaryCrossEntropy", name=PLAIN),
        "the loss binary_cross_entropy or the labels",
    ),
]

TAB_WORDS, TAB_LABELS = "TabMLPClassifier words", "TabMLPClassifier labels"
WEIGHTS, FORMS = "TabMLPRegressor weights", "TabMLPRegressor forms"
UPDATES = "TabMLPClassifier updates"
TWO, GAUSSIAN = "TabMLPRegressor two outputs", "TabMLPRegressor loss gaussian"
TRENDS, TIMES = "TabMLPRegressor trends", "TabMLPSurvival times"

fit = functools.partial(model, "fit", name=TWO)
columns = functools.partial(model, "fit", "columns", name=TWO)
group = functools.partial(model, "fit", "blend", "groups", 0, name=TWO)
report = functools.partial(model, "fit", "facts", "report", name=TWO)
classes = functools.partial(model, "fit", name=TAB_WORDS)
residuals = functools.partial(model, "fit", "calibration", "residuals", name=TWO)
forms = functools.partial(model, "fit", "columns", "forms", name=FORMS)


def types(numbers: list[int]) -> Any:
    return filled(TWO, "fit.columns.types", np.array(numbers, np.uint8))


def values(text: bytes) -> Any:
    return filled(TWO, "fit.columns.values.bytes", np.frombuffer(text, np.uint8))


TABLES: list[Row] = [
    (model("parameters", "preset", to="x", name=TWO), "The 'preset' par"),
    (filled(TWO, "fit.columns.names.ends", [2, 1]), "names.ends' does not divide 26"),
    (filled(TWO, "fit.columns.reasons.ends", [8, 2**62]), "reasons.ends' does not divide 21"),
    (filled(TWO, "fit.columns.names.bytes", np.uint8(0xFF)), "names: 'utf-8' codec can't decode"),
    (swapped(TWO, "fit.columns.reasons", "fit.facts.report.notes"), "it has 0 reasons for 2"),
    (columns("numbers", to=2**53), r"of shape \(9007199254740992,\)"),
    (filled(TWO, "fit.columns.numbers", [0, 2]), "as numbers and as categories"),
    (filled(TWO, "fit.columns.frequent", [6]), "has 6 frequent values of"),
    (filled(TWO, "fit.columns.sizes", [5]), r"types' is uint8 of shape \(11,\) but"),
    (types([0, 2]), "invalid literal for int"),
    (types([0, 4]), "has the category b'bee', which is not of its type"),
    (swapped(TWO, "fit.columns.values", "fit.columns.names"), "has 7 categories of 11 types"),
    (values(b"bee\xc3\xa4\xf0\x9f\x98\x8000"), "'truth' has 2 categories, not each once"),
    (values(b"bee\xc3\xa4\xf0\x9f\x98\x80010nan"), "'mixed' has 5 categories, not each once"),
    (values(b"bee\xc3\xa4\xf0\x9f\x98\x80010.25"), r"it has the category b'\.25'"),
    (forms(to=[]), "forms has 0 entries but 2 belong there"),
    (forms(1, "missing", to=[1]), "forms.1.missing.0 is 1 and no string"),
    (forms(0, "cycles", to=["day"] * 999), r"0.bins. is .* \(22,\) but .* \(6010,\) belongs"),
    (filled(FORMS, "fit.columns.ordered", [True]), "'word' .* an order in which None is not the"),
    (filled(FORMS, "fit.columns.frequent", [4, 1]), "'size' .* has 1 frequent values of 3"),
    (fit("blend", "members", to=2**53), r"centre' is .* but .* \(9007199254740992, 2"),
    (fit("blend", "groups", to=[]), "groups have shares of 0 and not of 1"),
    (fit("blend", "groups", to=lambda g: g[:1]), "groups have shares of 0"),
    (group("share", to=2.0), "groups have shares of [23]"),
    (group("scale", to=None), "groups have, or lack, scales of their targets"),
    (filled(TWO, "groups.0.bins", 1), "groups.0: it has 19 inputs but 17 come of its table"),
    (filled(TWO, "groups.0.bins", 2**62), "groups.0.bins. has 3 to 4611686018427387904"),
    (group("network", "loss", to={"object": {"class": "AbsoluteError"}}), "have different outputs"),
    (group("network", "layer_sizes", to=[2**21, 2**21, 2**21, 2]), "0.network: .* parameters"),
    (
        filled(TWO, "groups.0.layers.0.weight", np.array(np.nan, np.float32)),
        "layers.0.weight' has nan",
    ),
    (filled(TWO, "groups.0.scale.factor", np.zeros(6)), "of the targets have a factor that is"),
    (filled(TWO, "groups.0.scale.low", np.full(6, 1e9)), "have limits in the wrong order"),
    (filled(TWO, "groups.0.scale.low", np.array(np.nan)), "scale.low. has nan to nan"),
    (filled(TRENDS, "groups.0.unclipped", [0, 7]), "groups.0.unclipped. has 0 to 7 but must"),
    (filled(TRENDS, "groups.0.unclipped", [1, 0]), "groups.0.unclipped. is not in order"),
    (fit("blend", "target", "kind", to="poisson"), "squared_error but the target that"),
    (filled(TWO, "fit.calibration.residuals.z", np.array(1e9)), "residuals of output 0 are not"),
    (filled(TWO, "fit.calibration.residuals.w", np.full(60, 1e-9)), "1 to 60 effective"),
    (filled(TWO, "fit.calibration.residuals.w", np.array(1e3)), "1 to 60 effective"),
    (model("fit", "blend", "target", "kind", to="squared_error", name=GAUSSIAN), "have the loss"),
    (
        filled(TAB_WORDS, "fit.calibration.classes", np.array([0x2000], np.uint32)),
        r"\(3,\) classes,",
    ),
    (changed(TAB_LABELS, "fit.calibration.classes", "shape", to=[1, 2]), r"\(1, 2\) classes, not"),
    (filled(TIMES, "fit.calibration.edges", [0.0, 1.0]), "edges. has 0.0 but must be above 0"),
    (filled(TIMES, "fit.calibration.edges", [2.0, 1.0]), "edges. is not in order"),
    (model("fit", "calibration", "temperature", to=9.0, name=TIMES), "temperature is 9.0 but must"),
    (model("fit", "blend", "target", "kind", to="labels", name=TIMES), "kind is 'labels'"),
    (residuals("z", to=61), "residuals.z is 61 but must be from 1 to 60"),
    (residuals("places", to=lambda n: [0, sum(n)]), r"places.0 is 0 but must be from 1 to 60"),
    (residuals("sizes", to=lambda n: [61, *n[1:]]), r"sizes.0 is 61 but must be from 1 to 60"),
    (fit("calibration", "lowest", to={"float": "nan"}), "lowest is nan but must be at most 0"),
    (filled(UPDATES, "fit.latest.targets", np.array(3.0)), "no integers from 0 to 2"),
    (classes("blend", "target", "kind", to="labels"), "cross_entropy but the target that of"),
    (report("seconds", to={"dict": [["reading", "long"]]}), "seconds has 're"),
    (report("more", to={"dict": [[1, "a"]]}), "report: more has 1 with 'a'"),
]
