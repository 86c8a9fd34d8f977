"""A user's program for type checkers, see test_types.py: they complain of the marked lines alone.

It is read, never run.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import fastmlp
from fastmlp import MLP, MLPClassifier, MLPRegressor, TabMLPClassifier, TabMLPRegressor
from fastmlp.predictor import Predictor

X, y = np.zeros((100, 3)), np.zeros(100)
labels = np.zeros(100, np.int64)


def serve(predict: Predictor) -> float:
    return float(predict(X[0])[0])


def networks() -> float:
    net = MLP([3, 8, 8, 1], activation=["relu", "tanh"], loss="huber", dropout=[0.1, 0.0], rng=0)
    wide = MLP(net.layer_sizes, activation=net.activations, loss=fastmlp.Huber(delta=2.0))
    history = net.fit(
        X,
        y,
        epochs=3,
        optimizer=fastmlp.AdamW(fastmlp.Cosine(1e-2, n_steps=6), weight_decay=0.1),
        callbacks=[fastmlp.EarlyStopping(patience=3), lambda state: state.epoch > 2],
        validation_data=(X, y),
    )
    wide.partial_fit(X, y, optimizer="lion")
    prediction = net.predict(X)
    mean, variance = MLP([3, 8, 2], loss="gaussian_nll").predict(X)
    predict = net.predictor(n_threads=1)
    print(net.summary(), net.n_parameters, serve(predict), prediction.shape, mean, variance)
    net.predict(X).shap  # mistake: an array has no such attribute
    ensemble = fastmlp.Ensemble(MLP([3, 8, 1], rng=seed) for seed in range(3))
    ensemble.fit(X, y, optimizer="adam", averaging=fastmlp.EMA(decay=0.9))
    net.weights[0] = np.zeros((3, 8))
    first: float = history.loss[0] + ensemble.evaluate(X, y)
    MLP([3, 8, 1], activation="rellu")  # mistake: no such activation
    MLP([3, 8, 1], loss="mse")  # mistake: no such loss
    MLP([3, 8, 1], layers=3)  # mistake: no such argument
    MLP("3, 8, 1", dropout="high")  # mistake: text for numbers
    net.fit(X, y, optimizer=fastmlp.Adamm())  # mistake: no such name
    net.fit(X, y, optimizer="adamm")  # mistake: no such optimizer
    net.fit(X, y, batchsize=3)  # mistake: no such argument
    net.fitt(X, y)  # mistake: no such method
    history.loss.mean()  # mistake: a list has no mean
    return first


def estimators() -> None:
    classifier = MLPClassifier((16,), activation="relu", solver="adam", random_state=0)
    print(classifier.fit(X, labels).predict_proba(X).shape)
    regressor = MLPRegressor("huber", 16, activation=["gelu"], early_stopping=True)
    print(regressor.fit(X, y, X_val=X, y_val=y).predict(X))
    table = TabMLPRegressor(preset="fast", loss="gaussian", n_jobs=2).fit(X, y)
    low, high = table.predict_interval(X, coverage=0.9).T
    print(low, high, TabMLPClassifier(preset="best", time_limit=60.0).fit(X, labels))
    fastmlp.from_sklearn(object()).predict(X)
    print(table.predict(X).shape, fastmlp.distill(table, X, y).score(X, y) > 0.5)
    table.predict(X).shap  # mistake: an array has no such attribute
    MLPClassifier(solver="newton")  # mistake: no such solver
    MLPRegressor("mae")  # mistake: no such loss
    TabMLPClassifier(preset="slow")  # mistake: no such preset
    TabMLPRegressor(loss="poisson_nll")  # mistake: no loss of tables
    table.predict_interval(X, coverage="90 %")  # mistake: text for a number
    fastmlp.TabMLPRegresor()  # mistake: no such name


def files(path: Path) -> None:
    model = fastmlp.load(path, engine="native")
    if isinstance(model, MLP | fastmlp.Ensemble):
        print(model.predict(X))
        model.predict_proba(X)  # mistake: neither class has such a method
    elif isinstance(model, TabMLPRegressor):
        print(model.predict_interval(X), model.get_params()["loss"], model.score(X, y) > 0.5)
        model.score(X, y).upper()  # mistake: text of a number
    print(fastmlp.load_predictor(path)(X[0]).shape)
    fastmlp.load_predictor(path).fit(X)  # mistake: a predictor does not learn
    fastmlp.load(path, verified=False)  # mistake: no such argument
    model.predictt(X)  # mistake: no class that a file can hold has such a method
    fastmlp.reference.MPL([3, 1])  # mistake: no such name
    net: MLP = fastmlp.reference.MLP([3, 1])
    net.save(path, training=0.5)  # mistake: a number for a truth value
