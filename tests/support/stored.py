"""Models to save: of every class, and of every kind of part that a file can have.

python tests/support/stored.py writes those of tests/saved: once for each version of the format.
"""

from __future__ import annotations

import contextlib
import copy
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import models
import numpy as np

import fastmlp
from fastmlp._files import safetensors, storage
from fastmlp._network import losses
from fastmlp._network.target_kinds import KINDS
from fastmlp.tabular.outcome.checked_survival import structured
from fastmlp.tabular.outcome.loss_rows import LOSSES

RNG = np.random.default_rng(11)
X = RNG.normal(size=(60, 3))
Y = np.column_stack([X[:, 0] * X[:, 1], np.sin(X[:, 2])])
LABELS = RNG.integers(0, 3, 60)


def same(a: Any, b: Any) -> bool:
    """Whether arrays, or lists and tuples of them, have the same bits."""
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())


def text_of(model: Any) -> bytes:
    """Return the bytes of a model's file."""
    return b"".join(safetensors.encoded(*storage.metadata_and_tensors(model)))


# What a loss is trained on here.
TARGETS = {
    **{kind: row.examples(Y) for kind, row in KINDS.items()},
    "class": LABELS % 2,
}


def mlp(
    kind: Any = None, passes: int = 1, metrics: Any = (), averaging: Any = None, **options: Any
) -> Any:
    """Return an MLP that has gone through a fit, and passes of partial_fit."""
    net = models.network(kind or fastmlp.MLP, **options)
    targets = TARGETS[net.loss.target_kind]
    held = X[:9], targets[:9]
    given = {"validation_data": held, "metrics": metrics, "averaging": averaging}
    net.fit(X, targets, epochs=2, batch_size=16, **given)
    for _ in range(passes):
        net.partial_fit(X, targets, batch_size=7, optimizer=fastmlp.SGD(0.01, momentum=0.9))
    return net


def ensemble(kind: Any = None, passes: int = 0, **options: Any) -> Any:
    """Return an ensemble that has gone through a fit, and passes of partial_fit."""
    rng = np.random.default_rng(5)
    seeds = [0, rng, rng]  # two have one generator
    nets = [models.network(kind or fastmlp.MLP, **{"rng": seed} | options) for seed in seeds]
    folds = np.array_split(np.arange(60), 3)
    found = fastmlp.Ensemble(nets)
    found.fit(X, Y, epochs=2, batch_size=16, validation_rows=folds, scorer=lambda epoch, _: epoch)
    for _ in range(passes):
        found.partial_fit(X, Y, batch_size=7, optimizer=fastmlp.SGD(0.01, momentum=0.9))
    return found


GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")

# Kinds of MLP beyond the plain one.
MLPS: dict[str, Callable[[Any], Any]] = {
    "plain": lambda kind: mlp(kind),
    "float64": lambda kind: mlp(kind, dtype="float64"),
    "untrained": lambda kind: models.network(kind),
    "no hidden layer": lambda kind: kind([3, 2], rng=0),
    "dropout and names": lambda kind: kind(
        [3, 5, 4, 2], activation=["gelu", "mish"], dropout=[0.0, 0.25], rng=1
    ),
    "metrics": lambda kind: mlp(kind, metrics=["r2", "mean_absolute_error"]),
    "residual blocks": lambda kind: mlp(kind, layer_sizes=[3, 5, 5, 5, 2], skip=2),
    "linear path": lambda kind: mlp(kind, linear_path=True, scale=True),
    "bfloat16": lambda kind: mlp(kind, compute="bfloat16"),
    "layer norm": lambda kind: mlp(kind, layer_norm="before", dropout=0.2),
    "scale, parametric": lambda kind: mlp(kind, scale=True, parametric=True),
    "averaged": lambda kind: mlp(kind, passes=0, averaging=fastmlp.EMA(0.5)),
    **{
        f"loss {name}": lambda kind, loss=loss: mlp(kind, loss=loss())
        for name, loss in losses.LOSSES.items()
    },
    **{
        f"generator {name}": lambda kind, name=name: mlp(
            kind, rng=np.random.Generator(getattr(np.random, name)(3))
        )
        for name in GENERATORS
    },
}


def fitted(estimator: Any, y: Any, X: Any = X, weights: Any = None) -> Any:
    """Return an estimator after a fit; those that need more epochs say so in vain.

    A copy is fitted: generators and callbacks of the tables here are as before for the next model.
    """
    estimator = copy.deepcopy(estimator)
    with warnings.catch_warnings(action="ignore"):
        return estimator.fit(X, y) if weights is None else estimator.fit(X, y, weights)


KINDS = {"native": fastmlp.MLP, "reference": fastmlp.reference.MLP}


def estimators() -> dict[str, Callable[[], Any]]:
    """Return fitted estimators of all kinds; scikit-learn is imported only here."""
    pandas = __import__("pandas")
    schedule = fastmlp.WarmUp(fastmlp.Cosine(0.01, 50), 5)
    words = np.array(["ä", "bee", "\U0001f600"])
    classifier = {
        "three classes": (LABELS, {}),
        "words": (words[LABELS], {"standardize": True}),
        "word objects": (words.astype(object)[LABELS], {"standardize": True}),
        "two classes": (LABELS > 0, {"early_stopping": True, "random_state": 3}),
        "one class": (np.zeros(60, np.uint8), {}),
        "labels": (np.column_stack([LABELS > 0, LABELS > 1]).astype(int), {}),
        "dates": (LABELS.astype("M8[D]"), {}),
        "floats": (LABELS.astype(np.float32), {"solver": "lbfgs"}),
        "weights": (LABELS, {"class_weight": {0: 1.0, 1: 2.0, 2: 0.5}, "label_smoothing": 0.1}),
        "schedule": (LABELS, {"learning_rate": schedule, "solver": "sgd"}),
        "adaptive": (LABELS, {"learning_rate": "adaptive", "solver": "sgd", "momentum": 1}),
        "rate by samples": (LABELS, {"learning_rate": "invscaling", "solver": "sgd"}),
        "schedule of the fit": (LABELS, {"learning_rate": fastmlp.Cosine(0.1), "solver": "sgd"}),
        "scaled rate": (
            LABELS,
            {"callbacks": [fastmlp.ReduceOnPlateau("loss", patience=1)], "learning_rate_init": 3.0},
        ),
        "lowered rate": (
            LABELS,
            {"learning_rate": "adaptive", "solver": "sgd", "n_iter_no_change": 1, "tol": 9.0},
        ),
        "callbacks": (
            LABELS,
            {"callbacks": [fastmlp.EarlyStopping("loss", 2)], "random_state": models_state()},
        ),
    }
    regressor = {
        "plain": (Y, {}),
        "float32": (Y[:, 0].astype(np.float32), {"standardize": True}),
        "one cycle": (Y, {"learning_rate": "one_cycle", "n_iter_no_change": np.inf}),
        **{
            f"loss {name}": (np.abs(Y), {"loss": name, "standardize": True})
            for name in ("poisson", "huber", "quantile", "gaussian", "absolute_error")
        },
    }
    table: dict[str, Callable[[], Any]] = {}
    for make, rows in ((fastmlp.MLPClassifier, classifier), (fastmlp.MLPRegressor, regressor)):
        for name, (y, options) in rows.items():
            options = {"hidden_layer_sizes": (4,), "max_iter": 4, "random_state": 0} | options
            table[f"{make.__name__} {name}"] = lambda make=make, y=y, options=options: fitted(
                make(**options), y
            )
    table["unfitted"] = lambda: fastmlp.MLPRegressor(alpha=0.5)
    frame = pandas.DataFrame(X, columns=["a", "b", "ü"])
    table["names of features"] = lambda: fitted(
        fastmlp.MLPClassifier((4,), max_iter=3, random_state=0), LABELS, frame
    )
    table["assigned weights"] = assigned
    return table


def frame() -> Any:
    """Return a table: numbers with missing ones, text, truth values, a mixture, one constant."""
    words = np.array(["ä", "bee", "\U0001f600", None], object)
    mixed = np.array([1, 2.5, "x", None, False], object)
    place = np.arange(len(X))
    columns = {
        "a": X[:, 0],
        "ü": np.where(place % 7 == 0, np.nan, X[:, 1]),
        "text": words[place % 4],
        "truth": X[:, 2] > 0,
        "mixed": mixed[place % 5],
        "same": np.ones(len(X)),
        "again": X[:, 0],
    }
    return __import__("pandas").DataFrame(columns)


def forms() -> Any:
    """Return a table of dates, as such and as text, text with gaps, and categories in order."""
    pandas, place = __import__("pandas"), np.arange(60)
    columns = {
        "date": (place * 7).astype("M8[D]").astype("M8[s]"),
        "text": (place**2).astype("M8[D]").astype(str),
        "word": frame()["text"],
        "size": pandas.Categorical(LABELS, ordered=True),
    }
    return pandas.DataFrame(columns)


@contextlib.contextmanager
def short() -> Iterator[None]:
    """Make a fit of tables a short one, of two groups."""
    from fastmlp.tabular.plan.presets import PRESETS, Preset, Recipe

    recipes = Recipe(bins=3, width=5, depth=2), Recipe(bins=0, width=4, depth=1, parametric=False)
    with mock.patch.dict(PRESETS, fast=Preset(3, 1, 4, recipes)):
        yield


def table(make: Any, y: Any, X: Any = None, weights: Any = None, **options: Any) -> Any:
    """Return a fitted estimator of tables."""
    given = {"preset": "fast", "random_state": 0, **options}
    with short():
        return fitted(make(**given), y, frame() if X is None else X, weights)


@contextlib.contextmanager
def trends(unclipped: list[int], raw: list[int]) -> Iterator[None]:
    """Make a fit some of whose numbers are not clipped, and whose predictions have no limits."""
    from fastmlp.tabular.outcome.targets import NumericTarget
    from fastmlp.tabular.table.encoding import Encoding

    of, scale = Encoding.of, NumericTarget.scale

    def growing(table: Any, columns: Any, learn: Any, bins: Any, *_: Any) -> Any:
        return of(table, columns, learn, bins, unclipped, raw)

    def unlimited(target: Any, *given: Any) -> Any:
        found = scale(target, *given)
        whole = np.full_like(found.low, np.inf)
        return found._replace(low=-whole, high=whole)

    with (
        mock.patch.object(Encoding, "of", growing),
        mock.patch.object(NumericTarget, "scale", unlimited),
    ):
        yield


def trending(make: Any, y: Any) -> Any:
    """Return a fitted estimator of tables that follows trends."""
    with trends(unclipped=[0, 1], raw=[1]):
        return table(make, y)


def tables() -> dict[str, Callable[[], Any]]:
    """Return fitted estimators of tables, of all kinds."""
    words = np.array(["ä", "bee", "\U0001f600"])[LABELS]
    classifier = {
        "words": (words, {"class_weight": {"ä": 1.0, "bee": 3.0}, "prior": "true"}),
        "word objects": (words.astype(object), {}),
        "two classes": (LABELS > 0, {"scoring": "accuracy"}),
        "differences": (LABELS.astype("m8[ns]"), {}),
        "labels": (np.column_stack([LABELS > 0, LABELS > 1]).astype(int), {}),
        "array": (LABELS.astype(np.float32), {"X": X, "random_state": models_state()}),
        "categories": (LABELS, {"X": np.round(X), "categorical_features": [0, 2]}),
    }
    regressor = {
        "one output": (Y[:, 0], {"time_limit": 60.0}),
        "weights": (Y[:, 0], {"weights": np.arange(60) % 7}),
        "two outputs": (Y, {"categorical_features": np.arange(7) == 5}),
        **{
            f"loss {name}": (np.abs(Y), {"loss": name, "quantile": 0.9})
            for name in sorted({*LOSSES} - {"squared_error", "quantiles"})
        },
    }
    found: dict[str, Callable[[], Any]] = {}
    for make, rows in (
        (fastmlp.TabMLPClassifier, classifier),
        (fastmlp.TabMLPRegressor, regressor),
        (fastmlp.TabMLPSurvival, {"times": (structured(np.exp(Y[:, 0]), LABELS > 0), {})}),
    ):
        for name, (y, options) in rows.items():
            found[f"{make.__name__} {name}"] = lambda make=make, y=y, options=options: table(
                make, y, **options
            )
    for make, y in ((fastmlp.TabMLPClassifier, words), (fastmlp.TabMLPRegressor, Y)):
        found[f"{make.__name__} updates"] = lambda make=make, y=y: table(make, y).partial_fit(
            frame(), y
        )
    found["TabMLPRegressor trends"] = lambda: trending(fastmlp.TabMLPRegressor, Y)
    found["unfitted table"] = lambda: fastmlp.TabMLPClassifier(preset="best", n_jobs=2)
    return found


def models_state() -> np.random.RandomState:
    """Return a legacy generator with half a pair of normal numbers left."""
    state = np.random.RandomState(5)
    state.normal()
    return state


def assigned() -> Any:
    """Return an estimator whose weights somebody has written since, behind a scaling."""
    options = {"hidden_layer_sizes": 4, "max_iter": 3, "standardize": True, "random_state": 0}
    net = fitted(fastmlp.MLPRegressor(**options), Y)
    net.coefs_[0][0, 0] = 0.5
    return net


def checkpoint() -> Any:
    """Return a network as it was saved within a fit, with the state of a callback."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model")
        callbacks = [fastmlp.Checkpoint(path), fastmlp.EarlyStopping("loss")]
        models.network(fastmlp.MLP).fit(X, Y, epochs=3, callbacks=callbacks)
        return fastmlp.load(path)


KEPT = Path(__file__).parents[1] / "saved"  # files of each version of the format, which stay


def keep(dtype: str) -> None:
    """Write the files that stay, of this version of the format and of one dtype, if not there."""
    x, X_, Y_ = X[:7].astype(dtype), X.astype(dtype), Y.astype(dtype)
    words = np.array(["ä", "bee", "\U0001f600"])[LABELS]
    options = {"hidden_layer_sizes": (5,), "max_iter": 3, "standardize": True, "random_state": 0}
    classifier = fitted(fastmlp.MLPClassifier(**options), words, X_).partial_fit(X_, words)
    regressor = fitted(fastmlp.MLPRegressor(**options, loss="huber"), Y_, X_).partial_fit(X_, Y_)
    net = mlp(dtype=dtype, dropout=0.2)
    kept = {
        "mlp": (net, net.predict),
        "classifier": (classifier, classifier.predict_proba),
        "regressor": (regressor, regressor.predict),
    }
    if dtype == "float64":  # which is what these predict
        few = {"X": X_.round(), "categorical_features": [2]}
        labels = table(fastmlp.TabMLPClassifier, words, **few)
        numbers = table(fastmlp.TabMLPRegressor, Y_, **few)
        kept["table-classifier"] = (labels, labels.predict_proba)
        kept["table-regressor"] = (numbers, numbers.predict)
    for name, (model, predict) in kept.items():
        path = KEPT / f"version-{storage.VERSION}-{name}-{dtype}.safetensors"
        if not path.exists():
            model.save(path)
            text = json.dumps({"x": x.tolist(), "expected": predict(x).tolist()})
            path.with_suffix(".json").write_text(text + "\n")


if __name__ == "__main__":
    for dtype in ("float32", "float64"):
        keep(dtype)
