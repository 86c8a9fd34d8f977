"""Networks, ensembles and estimators that none can be: a change, and the words of the refusal."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from hostile_files import GONE, Row, changed, filled, model, network

MEAN, RAW = (f"progress.averaged.{of}.layers.0.weight" for of in ("mean", "raw"))
NAN, INFINITY = np.float32("nan"), np.array([0, np.inf], np.float32)
WORDS, OBJECTS = "MLPClassifier words", "MLPClassifier word objects"
SCHEDULE, PLAIN = "MLPClassifier schedule", "MLPRegressor plain"

loss = functools.partial(model, "network", "loss")
parameter = functools.partial(model, "parameters", name=WORDS)
labels = functools.partial(model, "fit", "labels", name=WORDS)
course = functools.partial(model, "fit", "course", name="checkpoint")
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
    (network("parametric", True), "network.parametric is True and no list"),
    (network("parametric", ["yes"]), "parametric is 'yes' but must be True"),
    (network("layer_norm", ["before"]), "is no tensor 'layers.0.gain'"),
    (network("skip", 0), "skip is 0 but must be an integer of at least 1"),
    (network("linear_path", 1), "linear_path is 1 but must be True or"),
    (loss(to="huber"), "network.loss is 'huber' but Loss belongs there"),
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
    (loss(to={"function": [[]]}), "a function is described by"),
    (model("history", "metrics", to=[]), "other names than numbers of epochs"),
    (model("history", to=None), "'history.loss' belongs to nothing"),
    (model("optimizer", "hyper", 1, to=1.0, name="fit"), "hyper has a memory of 1.0, not below 1"),
    (optimizer("units", to=[0.5]), r"units are \(0.5,\), which are those of no"),
    (optimizer(to=None), "progress goes on without an optimizer"),
    (progress("epochs", to=3, name="fit"), "3 epochs but the history 2"),
    (progress("shuffled", to=9), "shuffled is 9, more than there are"),
    (progress("callbacks", to=[{"class": "print"}]), "'print' but must be one"),
    (model("progress", "averaged", to=GONE, name="averaged"), "mean.*' belongs to nothing"),
    (filled("averaged", MEAN, np.array(np.nan)), r"mean.* has nan at \(0, 0"),
    (filled("averaged", MEAN, np.array(-1e39)), "progress.averaged: it has a mean beyond what"),
    (filled("averaged", RAW, np.array(np.inf, np.float32)), r"raw.layers.0.weight' has inf at"),
    (
        model("members", 1, "network", "activations", to=["relu"], name="ensemble"),
        r"members.1. is .* is expected: all need the same layers",
    ),
    (filled("ensemble", "members.1.layers.0.weight", NAN), r"'members.1.layers.0.weight' has nan"),
    (model("members", 0, "progress", "epochs", to=7, name="ensemble"), r"members.0: progress has"),
    (parameter("alpha", to=-1.0), "The 'alpha' parameter of MLPClassifier must"),
    (parameter("solver", to="exec"), "The 'solver' parameter of MLPCl"),
    (parameter("n_jobs", to="all"), "The 'n_jobs' parameter of MLPClassifier"),
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
    (model("fit", "scaling", to=None, name=WORDS), "'scaling.x_mean' belongs to noth"),
    (filled(WORDS, "scaling.x_scale", 0.0), "scaling.x_scale' has 0.0 but must be"),
    (filled(WORDS, "scaling.x_mean", np.nan), "'scaling.x_mean' has nan at"),
    (filled(WORDS, "scaling.x_scale", 5e-324), "a parameter is no longer finite"),
    (model("fit", "attributes", "n_features_in_", to=4, name=WORDS), "n_features_in_ is 4 but"),
    (model("fit", "attributes", "n_outputs_", to=GONE, name=WORDS), "n_outputs_ is None but the"),
    (
        changed("names of features", "fit.attributes.feature_names_in_", "shape", to=[1, 3]),
        r"there are names for \(1,\) of 3 features",
    ),
    (model("fit", "lists", "loss_curve_", to=5, name=WORDS), "loss_curve_ has 4 entries and not 5"),
    (run("rule", to="exec"), "the learning rate has the rule 'exec'"),
    (course("best", to=False), "'fit.course.layers.0.* belongs to noth"),
    (
        model("fit", "network", "loss", "object", "class", to="BinaryCrossEntropy", name=PLAIN),
        "the loss binary_cross_entropy or the labels",
    ),
]
