"""Descriptions that are no models, by hand: what is changed, and what is said about it."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from hostile_files import GONE, Row, changed, filled, model, network

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


def generator(*path: Any, to: Any, name: str = "MLP") -> Any:
    return model("rng", "generator", *path, to=to, name=name)


def huber(**fields: Any) -> dict[str, Any]:
    return {"object": {"class": "Huber", **fields}}


NETWORKS: list[Row] = [
    ("a flat y of two outputs", model("flat_y", to=True), "flat_y is true but of several outputs"),
    ("sizes of floats", network("layer_sizes", [3.0, 8, 2]), r"layer_sizes\[0\] is 3.0 but must"),
    ("sizes of truth values", network("layer_sizes", [True, 8, 2]), r"layer_sizes\[0\] is True"),
    ("sizes of words", network("layer_sizes", ["3", 8, 2]), r"layer_sizes\[0\] is '3' but must"),
    ("a size of 0", network("layer_sizes", [3, 0, 2]), r"layer_sizes\[1\] is 0 but must be an"),
    ("a size of 2**31", network("layer_sizes", [3, 2**31, 2]), "2147483648 but must be below 2"),
    ("2**42 weights", network("layer_sizes", [2**21] * 3), "8,796,097,216,512 parameters"),
    ("one size", network("layer_sizes", [3]), "layer_sizes has 1 entries"),
    ("2,000 sizes", network("layer_sizes", [1] * 2000), "layer_sizes has 2000 entries"),
    ("other sizes", network("layer_sizes", [4, 8, 2]), r"\(3, 8\) but .* \(4, 8\) belongs"),
    ("more layers", network("layer_sizes", [3, 8, 2, 2]), "activation has 1 entries but this MLP"),
    ("another activation", network("activations", ["eval"]), "activation is 'eval' but no activat"),
    ("activations of numbers", network("activations", [1]), "activation is 1 but must be a name"),
    ("dropout of 1", network("dropout", [1.0]), r"dropout is 1.0 but must be a finite number in"),
    ("dropout of words", network("dropout", ["0"]), "dropout is '0' but must be a number in"),
    ("a norm of another place", network("layer_norm", ["within"]), "layer_norm is 'within' but th"),
    ("a scale of another kind", network("scale", 1), "scale is 1 but must be True or False"),
    ("a scale without its tensor", network("scale", True), "is no tensor 'layers.0.scale'"),
    ("one parametric", network("parametric", True), "network.parametric is True and no list"),
    ("parametric in words", network("parametric", ["yes"]), "parametric is 'yes' but must be True"),
    ("parametric without alphas", network("parametric", [True]), "is no tensor 'layers.0.alpha'"),
    ("parametric in more layers", network("parametric", [True] * 2), "parametric has 2 entries"),
    ("a norm without gains", network("layer_norm", ["before"]), "is no tensor 'layers.0.gain'"),
    ("blocks of truth", network("skip", True), "skip is True but must be an integer of at least"),
    ("blocks of none", network("skip", 0), "skip is 0 but must be an integer of at least 1"),
    ("blocks of 2**50", network("skip", 2**50), "no two hidden layers in a row have the same"),
    ("a path of a number", network("linear_path", 1), "linear_path is 1 but must be True or"),
    ("a path without weights", network("linear_path", True), "no tensor 'layers.0.linear_weig"),
    ("dtype float64", network("dtype", "float64"), "is float32 of .* but float64 of shape"),
    ("a loss by name", loss(to="huber"), "network.loss is 'huber' but Loss belongs there"),
    ("an unknown loss", loss("object", "class", to="Hinge"), "'Hinge' but must be one of Squared"),
    ("a loss of no class", loss("object", "class", to=GONE), "network.loss has no 'class'"),
    (
        "an optimizer as loss",
        loss(to={"object": {"class": "Constant", "learning_rate": 1.0}}),
        "Los",
    ),
    ("a loss without delta", loss(to=huber()), "network.loss has no 'delta'"),
    ("a loss with more", loss(to=huber(delta=1.0, gamma=1)), "network.loss has 'gamma', unknown"),
    ("a negative delta", loss(to=huber(delta=-1.0)), "delta is -1.0 but must be a finite number"),
    ("a delta of words", loss(to=huber(delta="1")), "delta is '1' but must be a number"),
    ("a value of two tags", loss(to={"tuple": [], "int": ""}), "keys .*, which are no value"),
    ("an unknown tag", loss(to={"pickle": "gASV"}), r"keys \['pickle'\], which are no value"),
    ("a tuple of a number", loss(to={"tuple": 3}), "network.loss is 3 and no list"),
    ("a dict of a number", loss(to={"dict": [3]}), "network.loss has 3 in place of key and value"),
    ("a dict with a list as key", loss(to={"dict": [[[], 3]]}), r"has the key \[\], again or of"),
    ("a dict with a key twice", loss(to={"dict": [[1, 3], [1, 4]]}), "has the key 1, again or of"),
    ("a float of digits", loss(to={"float": "1.5"}), "network.loss is the float '1.5'"),
    ("a float of a list", loss(to={"float": []}), r"network.loss is the float \[\]"),
    ("a small large integer", loss(to={"int": "0x5"}), "'0x5' and no large integer in hexadecimal"),
    ("a decimal large integer", loss(to={"int": "9" * 40}), "'999.* and no large integer in hex"),
    ("an array of another name", loss(to={"array": "layers.0.weight"}), "said to be the tensor"),
    ("weights NaN", filled("MLP", "layers.0.weight", NAN), r"weight' has nan at \(0, 0\)"),
    ("weights infinite", filled("MLP", "layers.1.bias", INFINITY), r"1.bias' has inf at \(1,\)"),
    ("moments NaN", filled("MLP", "optimizer.b.layers.1.weight", NAN), "'optimizer.b.*has nan at"),
]

TRAINING: list[Row] = [
    ("a class of another", generator("class", to="MT19937"), "is no tensor 'rng.state.key'"),
    ("metrics that are a string", model("history", "metrics", to="r2"), "metrics is 'r2' and no"),
    ("a metric that is a number", model("history", "metrics", to=[2]), r"metrics.0 is 2 and no"),
    (
        "metrics of no name",
        model("history", "metrics", to=[]),
        "other names than numbers of epochs",
    ),
    ("a metric without numbers", model("history", "metrics", to=["r2"]), "no tensor 'history.metr"),
    ("a history not told of", model("history", to=None), "'history.loss' belongs to nothing"),
    ("an optimizer of fewer slots", optimizer("row", to="sgd"), "units has 1 entries but 0 belong"),
    (
        "another optimizer's slot",
        optimizer("row", to="rmsprop"),
        "no tensor 'optimizer.v.layers.0.w",
    ),
    (
        "a memory of 1",
        model("optimizer", "hyper", 1, to=1.0, name="fit"),
        "hyper has a memory of 1.0, not below 1",
    ),
    (
        "units of no engine",
        optimizer("units", to=[0.5]),
        r"units are \(0.5,\), which are those of no",
    ),
    (
        "an infinite power",
        optimizer("powers", to=[1, {"float": "inf"}]),
        "powers.1 is {'float': 'in",
    ),
    ("no optimizer", optimizer(to=None), "progress goes on without an optimizer"),
    ("data in decimal", progress("data", to=12, name="fit"), "progress.data is 12 but must be"),
    ("epochs that were not", progress("epochs", to=3, name="fit"), "3 epochs but the history 2"),
    ("shuffles that were not", progress("shuffled", to=9), "shuffled is 9, more than there are"),
    (
        "a callback of Python's",
        progress("callbacks", to=[{"class": "print"}]),
        "'print' but must be one",
    ),
    (
        "a callback that remembers nothing",
        progress("callbacks", to=[{"class": "ReduceOnPlateau"}]),
        "progress.callbacks.0 has no 'best'",
    ),
    (
        "weights of no callback",
        progress(
            "callbacks",
            to=[{"class": "ReduceOnPlateau", "best": 1.0, "wait": 0, "parameters": True}],
        ),
        "no tensor 'progress.callbacks.0.layers.0.weight'",
    ),
    ("another number of threads", model("n_threads", to=0, name="predictor"), "n_threads is 0 but"),
]

ESTIMATORS: list[Row] = [
    (
        "a negative alpha",
        parameter("alpha", to=-1.0),
        "The 'alpha' parameter of MLPClassifier must",
    ),
    ("a solver of another name", parameter("solver", to="exec"), "The 'solver' parameter of MLPCl"),
    ("jobs in words", parameter("n_jobs", to="all"), "The 'n_jobs' parameter of MLPClassifier"),
    ("jobs by truth", parameter("n_jobs", to=False), "n_jobs is False but a number of threads"),
    (
        "a schedule of no length",
        model("parameters", "learning_rate", "object", "n_steps", to=0, name=SCHEDULE),
        "n_steps is 0 but must be an integer of at least 1",
    ),
    (
        "a callback of no patience",
        model(
            *("parameters", "callbacks", 0, "object", "patience"),
            to=0,
            name="MLPClassifier callbacks",
        ),
        "patience is 0 but must be an integer",
    ),
    (
        "no labels",
        model("fit", "labels", to=None, name=WORDS),
        "the labels are of another estimator",
    ),
    (
        "labels of two classes",
        labels("type", to="binary"),
        r"\(3,\) classes, binary, for 3 outputs",
    ),
    ("labels for the loss", labels("type", to="multilabel-indicator"), "multilabel-indicator, for"),
    (
        "classes out of order",
        filled(WORDS, "fit.labels.classes", np.array([0x2000], np.uint32)),
        "the classes are not in order, each once",
    ),
    (
        "a character beyond the last",
        filled(WORDS, "fit.labels.classes", np.array([0x110000], np.uint32)),
        "classes has a character that does not exist",
    ),
    (
        "half a character in a class",
        filled(OBJECTS, "fit.labels.classes", np.array([0xD800], np.uint32)),
        "has a character that does not exist",
    ),
    (
        "strings of another dtype",
        changed(WORDS, "fit.labels.classes", "dtype", to="I32"),
        r"classes is int32 of shape \(3, 3\) and no strings",
    ),
    (
        "classes of two dimensions",
        changed(SCHEDULE, "fit.labels.classes", "shape", to=[3, 1]),
        r"there are \(3, 1\) classes",
    ),
    (
        "no scaling",
        model("fit", "scaling", to=None, name=WORDS),
        "'scaling.x_mean' belongs to noth",
    ),
    (
        "a scale of 0",
        filled(WORDS, "scaling.x_scale", 0.0),
        "scaling.x_scale' has 0.0 but must be",
    ),
    ("a mean NaN", filled(WORDS, "scaling.x_mean", np.nan), "'scaling.x_mean' has nan at"),
    ("a tiny scale", filled(WORDS, "scaling.x_scale", 5e-324), "a parameter is no longer finite"),
    (
        "another number of features",
        model("fit", "attributes", "n_features_in_", to=4, name=WORDS),
        "n_features_in_ is 4 but the network has 3",
    ),
    (
        "another number of outputs",
        model("fit", "attributes", "n_outputs_", to=GONE, name=WORDS),
        "n_outputs_ is None but the network has 3",
    ),
    (
        "names for other features",
        changed("names of features", "fit.attributes.feature_names_in_", "shape", to=[1, 3]),
        r"there are names for \(1,\) of 3 features",
    ),
    (
        "a curve of another length",
        model("fit", "lists", "loss_curve_", to=5, name=WORDS),
        "loss_curve_ has 4 entries and not 5",
    ),
    ("a rule of code", run("rule", to="exec"), "the learning rate has the rule 'exec'"),
    (
        "a best that is not there",
        course("best", to=False),
        "'fit.course.layers.0.* belongs to noth",
    ),
    (
        "a classifier's loss in a regressor",
        model("fit", "network", "loss", "object", "class", to="BinaryCrossEntropy", name=PLAIN),
        "the loss binary_cross_entropy or the labels",
    ),
]
