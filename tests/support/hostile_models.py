"""Descriptions that are no models, by hand: what is changed, and what is said about it."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from hostile_files import GONE, Row, changed, filled, model, network, renamed

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
    ("no class", model("class", to=GONE), "model has no 'class'"),
    ("a class of Python's", model("class", to="os.system"), "'os.system' but must be one of MLP, "),
    ("a class of fastmlp's", model("class", to="fastmlp.MLP"), "'fastmlp.MLP' but must"),
    ("a class that is a number", model("class", to=7), "model.class is 7 and no string"),
    ("no engine", model("engine", to=GONE), "model has no 'engine'"),
    ("another engine", model("engine", to="gpu"), "engine is 'gpu' but must be one of native, ref"),
    ("another class", model("class", to="Predictor"), "model has no 'n_threads'"),
    ("a key too many", model("path", to="/etc"), "model has 'path', unknown here"),
    ("a flat y of two outputs", model("flat_y", to=True), "flat_y is true but of several outputs"),
    ("a network that is a list", model("network", to=[]), r"network is \[\] and no object"),
    ("no network", model("network", to=GONE), "model has no 'network'"),
    ("no sizes", network("layer_sizes", GONE), "network has no 'layer_sizes'"),
    ("sizes that are a number", network("layer_sizes", 3), "layer_sizes is 3 and no list"),
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
    ("dtype float16", network("dtype", "float16"), "dtype is 'float16' but must be one of float32"),
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
    ("no weights", renamed("MLP", "layers.0.weight", "x"), "is no tensor 'layers.0.weight'"),
    ("no biases", renamed("MLP", "layers.1.bias", "x"), "is no tensor 'layers.1.bias'"),
    ("weights NaN", filled("MLP", "layers.0.weight", NAN), r"weight' has nan at \(0, 0\)"),
    ("weights infinite", filled("MLP", "layers.1.bias", INFINITY), r"1.bias' has inf at \(1,\)"),
    ("moments NaN", filled("MLP", "optimizer.b.layers.1.weight", NAN), "'optimizer.b.*has nan at"),
]

TRAINING: list[Row] = [
    ("no generator", model("rng", to=None), "rng is None but Generator belongs there"),
    ("a seed as generator", model("rng", to=0), "rng is 0 but Generator belongs there"),
    (
        "another generator",
        generator("class", to="os.urandom"),
        "'os.urandom' but must be one of PC",
    ),
    ("a class of another", generator("class", to="MT19937"), "is no tensor 'rng.state.key'"),
    ("no state", generator("state.inc", to=GONE), "rng has no 'state.inc'"),
    (
        "a state of 129 bits",
        generator("state.state", to=hex(2**128)),
        "state.state is '0x10+.* but",
    ),
    ("a state of words", generator("state.state", to="0xhello"), "state.state is '0xhello' but"),
    ("a state that is a float", generator("state.state", to=1.5), "state.state is 1.5 but must"),
    ("a bit of 2", generator("has_uint32", to=2), "has_uint32 is 2 but must be from 0 to 1"),
    ("a truth value as integer", generator("has_uint32", to=True), "has_uint32 is True but must"),
    ("a negative integer", generator("uinteger", to=-1), "uinteger is -1 but must be from 0"),
    ("33 bits", generator("uinteger", to=2**32), "uinteger is 4294967296 but must be from 0"),
    (
        "a position before the buffer",
        generator("buffer_pos", to=-1, name="generator"),
        "buffer_pos is -1 but must be from 0 to 4",
    ),
    (
        "a position behind the state",
        generator("state.pos", to=625, name="legacy generator"),
        "state.pos is 625 but must be from 0 to 624",
    ),
    (
        "a key of another dtype",
        changed("legacy generator", "rng.state.key", "dtype", to="I32"),
        "'rng.state.key' is int32 of shape",
    ),
    ("a history that is a list", model("history", to=[1]), r"history is \[1\] and no object"),
    ("no reason", model("history", "stop_reason", to=GONE), "history has no 'stop_reason'"),
    ("a reason that is a number", model("history", "stop_reason", to=1), "stop_reason is 1 and no"),
    ("metrics that are a string", model("history", "metrics", to="r2"), "metrics is 'r2' and no"),
    ("a metric that is a number", model("history", "metrics", to=[2]), r"metrics.0 is 2 and no"),
    (
        "metrics of no name",
        model("history", "metrics", to=[]),
        "other names than numbers of epochs",
    ),
    ("a metric without numbers", model("history", "metrics", to=["r2"]), "no tensor 'history.metr"),
    ("a history not told of", model("history", to=None), "'history.loss' belongs to nothing"),
    (
        "a history of two dimensions",
        changed("MLP", "history.loss", "shape", to=[2, 1]),
        r"'history.loss' is float64 of shape \(2, 1\) but a list",
    ),
    (
        "a history of integers",
        changed("MLP", "history.loss", "dtype", to="I64"),
        "'history.loss' is int64 of shape",
    ),
    (
        "an unknown optimizer",
        optimizer("row", to="adagrad"),
        "row is 'adagrad' but must be one of sgd, m",
    ),
    ("an optimizer of more slots", optimizer("row", to="adam"), "units has 1 entries but 2 belong"),
    ("an optimizer of fewer slots", optimizer("row", to="sgd"), "units has 1 entries but 0 belong"),
    (
        "another optimizer's slot",
        optimizer("row", to="rmsprop"),
        "no tensor 'optimizer.v.layers.0.w",
    ),
    ("three numbers", optimizer("hyper", to=[0.9, 0.0, 0.0]), "hyper has 3 entries but 4 belong"),
    ("a negative number", optimizer("hyper", to=[-1.0, 0, 0, 0]), "hyper.0 is -1.0 but must be a"),
    ("words as numbers", optimizer("hyper", to=["1", 0, 0, 0]), "hyper.0 is '1' but must be a num"),
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
    ("one power", optimizer("powers", to=[0.5]), "powers has 1 entries but 0 or 2 belong there"),
    (
        "an infinite power",
        optimizer("powers", to=[1, {"float": "inf"}]),
        "powers.1 is {'float': 'in",
    ),
    (
        "a step before the first",
        optimizer("step", to=-1),
        "optimizer.step is -1 but must be from 0",
    ),
    ("half a step", optimizer("step", to=1.5), "optimizer.step is 1.5 but must be from 0"),
    ("a state that is no object", optimizer(to="x"), "optimizer is 'x' and no object"),
    ("no optimizer", optimizer(to=None), "progress goes on without an optimizer"),
    (
        "a seed of 65 bits",
        progress("seed", to=hex(2**64)),
        "progress.seed is '0x10000000000000000'",
    ),
    ("a batch of none", progress("batch_size", to=hex(0), name="fit"), "batch_size is '0x0' but"),
    ("data in decimal", progress("data", to=12, name="fit"), "progress.data is 12 but must be"),
    ("rows of words", progress("rows", to="60"), "progress.rows is '60' but must be from 0"),
    ("epochs that were not", progress("epochs", to=3, name="fit"), "3 epochs but the history 2"),
    ("a negative scale", progress("scale", to=-0.5), "progress.scale is -0.5 but must be a number"),
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
    ("callbacks that are a number", progress("callbacks", to=1), "callbacks is 1 and no list"),
    (
        "weights of no callback",
        progress(
            "callbacks",
            to=[{"class": "ReduceOnPlateau", "best": 1.0, "wait": 0, "parameters": True}],
        ),
        "no tensor 'progress.callbacks.0.layers.0.weight'",
    ),
    (
        "shuffles of floats",
        changed("fit", "progress.shuffles", "dtype", to="F64"),
        "'progress.shuffles' is float64 of shape",
    ),
    ("another number of threads", model("n_threads", to=0, name="predictor"), "n_threads is 0 but"),
]

ESTIMATORS: list[Row] = [
    ("a parameter missing", parameter("alpha", to=GONE), "parameters has no 'alpha'"),
    ("a parameter too many", parameter("loss", to="x"), "parameters has 'loss', unknown here"),
    (
        "a negative alpha",
        parameter("alpha", to=-1.0),
        "The 'alpha' parameter of MLPClassifier must",
    ),
    ("a solver of another name", parameter("solver", to="exec"), "The 'solver' parameter of MLPCl"),
    ("jobs in words", parameter("n_jobs", to="all"), "The 'n_jobs' parameter of MLPClassifier"),
    ("jobs by truth", parameter("n_jobs", to=False), "n_jobs is False but a number of threads"),
    (
        "a schedule of code",
        model("parameters", "learning_rate", "object", "class", to="eval", name=SCHEDULE),
        "class is 'eval' but must be one of",
    ),
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
        "no gauss",
        model(
            *("parameters", "random_state", "random state", "gauss"),
            to="0",
            name="MLPClassifier callbacks",
        ),
        "gauss is '0' but must be a number from -inf on",
    ),
    (
        "no labels",
        model("fit", "labels", to=None, name=WORDS),
        "the labels are of another estimator",
    ),
    (
        "labels of another kind",
        labels("type", to="continuous"),
        "'continuous' but must be one of mul",
    ),
    (
        "labels of two classes",
        labels("type", to="binary"),
        r"\(3,\) classes, binary, for 3 outputs",
    ),
    ("labels for the loss", labels("type", to="multilabel-indicator"), "multilabel-indicator, for"),
    ("sparse in words", labels("sparse", to="no"), "sparse is 'no' and neither true nor false"),
    (
        "classes that are a list",
        labels("classes", to=[1, 2, 3]),
        "classes is .* but ndarray belongs",
    ),
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
        "two heads",
        model("fit", "scaling", "heads", to=2, name=WORDS),
        "heads is 2 but must be from 1",
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
        "another attribute",
        model("fit", "attributes", "__class__", to="x", name=WORDS),
        "attributes has '__class__', unknown here",
    ),
    (
        "a loss in words",
        model("fit", "attributes", "loss_", to="small", name=WORDS),
        "loss_ is 'small' but float or int or null belongs there",
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
    ("another curve", model("fit", "lists", "x", to=0, name=WORDS), "lists has 'x', unknown here"),
    ("no history", model("fit", "history", to=None, name=PLAIN), "history is None and no"),
    ("a rule of code", run("rule", to="exec"), "the learning rate has the rule 'exec'"),
    ("a negative rate", run("current", to=-1.0), "current is -1.0 but must be a number from 0 on"),
    ("an optimizer that is a loss", run("optimizer", to=huber(delta=1.0)), "but Optimizer belongs"),
    ("a course in words", course(to="straight"), "fit.course is 'straight' and no object"),
    (
        "a best that is not there",
        course("best", to=False),
        "'fit.course.layers.0.* belongs to noth",
    ),
    ("data in words", course("data", to="iris"), "course.data is 'iris' but must be from 1"),
    ("a lowest in words", course("lowest", to="low"), "lowest is 'low' but float belongs there"),
    (
        "a scale that is infinite",
        course("scale", to={"float": "inf"}),
        "course.scale is {'float': 'i",
    ),
    ("given in words", model("fit", "given", to="no", name=WORDS), "given is 'no' and neither"),
    ("a fit that is a list", model("fit", to=[0], name=WORDS), r"fit is \[0\] and no object"),
    (
        "a classifier's loss in a regressor",
        model("fit", "network", "loss", "object", "class", to="BinaryCrossEntropy", name=PLAIN),
        "the loss binary_cross_entropy or the labels",
    ),
]
