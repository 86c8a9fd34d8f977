"""Fitted estimators through other people's writers: skops, MLflow, joblib, cloudpickle, pickle."""

import functools
import importlib
import io
import pickle
import re
from pathlib import Path

import cloudpickle
import joblib
import numpy as np
import pandas
import pytest
from tiny_tables import LABELS, SMALL, X, Y, classifier, regressor

from fastmlp import MLPClassifier, MLPRegressor, TabMLPSurvival
from fastmlp.sklearn.fitted import fitted_of
from fastmlp.tabular.plan import presets
from fastmlp.tabular.plan.presets import Preset

PAGE = Path(__file__).resolve().parents[2] / "docs" / "saving.md"
TABLE = np.empty((len(X), 4), object)
TABLE[:, 0], TABLE[:, 1] = np.where(X[:, 1] > 1, np.nan, X[:, 0]), X[:, 1]
TABLE[:, 2], TABLE[:, 3] = np.resize(["red", "green", None, "blue"], len(X)), X[:, 2] > 0
THREE, MATRIX = np.digitize(Y, [-0.5, 0.5]), (X > 0).astype(int)
LOSSES = ("squared_error", "absolute_error", "quantile", "poisson", "gaussian")
BALANCED = {"class_weight": "balanced", "prior": "true"}
SHORT = {"max_iter": 9, "random_state": 0, "hidden_layer_sizes": (5,)}

ESTIMATORS = {
    **{
        f"MLPClassifier {solver}": (MLPClassifier(solver=solver, **SHORT), X, LABELS)
        for solver in ("adam", "sgd", "lbfgs")
    },
    "MLPClassifier three": (MLPClassifier(standardize=True, **SHORT), X, THREE),
    "MLPClassifier labels": (MLPClassifier(early_stopping=True, **SHORT), X, MATRIX),
    **{
        f"MLPRegressor {loss}": (MLPRegressor(loss=loss, standardize=True, **SHORT), X, np.exp(Y))
        for loss in LOSSES
    },
    "MLPRegressor huber": (MLPRegressor(loss="huber", **SHORT), X, Y),
    "TabMLPClassifier two": (classifier(), TABLE, LABELS),
    "TabMLPClassifier three": (classifier(scoring="accuracy", **BALANCED), X, THREE),
    "TabMLPClassifier labels": (classifier(), X, MATRIX),
    **{f"TabMLPRegressor {loss}": (regressor(loss=loss), TABLE, np.exp(Y)) for loss in LOSSES},
    "TabMLPRegressor two outputs": (regressor(recipes=[{"bins": 0, "width": 4}]), X, np.c_[Y, -Y]),
}


@functools.cache
def fitted(name):
    model, x, y = ESTIMATORS[name]
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        patch.setitem(presets.PRESETS, "fast", Preset(3, 2, 4, (SMALL,)))
        model.fit(x, y)
    if hasattr(model, "importance"):
        assert model.feature_importances_.shape == (x.shape[1],)
    return model


def trusted():
    """Return the types that the page says."""
    block = re.search(r"^TRUSTED = \[\n(.*?)^\]", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return re.findall(r'"([\w.]+)"', block.group(1))


def by_joblib(model, path):
    joblib.dump(model, path)
    return joblib.load(path)


def by_cloudpickle(model, path):
    return pickle.loads(cloudpickle.dumps(model))


def writer_of_skops():
    """Return the module; it imports all of scikit-learn, for which only its tests wait."""
    return importlib.import_module("skops.io")


def by_skops(model, path):
    skops = writer_of_skops()
    return skops.loads(skops.dumps(model), trusted=trusted())


def by_mlflow(model, path, serialization="skops"):
    pytest.importorskip("mlflow")
    mlflow = pytest.importorskip("mlflow.sklearn")
    options = {"skops_trusted_types": trusted()} if serialization == "skops" else {}
    options |= {"serialization_format": serialization, "pip_requirements": ["fastmlp"]}
    mlflow.save_model(model, str(path), **options)
    return mlflow.load_model(str(path))


WRITERS = {
    "pickle": lambda model, path: pickle.loads(pickle.dumps(model)),
    "joblib": by_joblib,
    "cloudpickle": by_cloudpickle,
    "skops": by_skops,
    "mlflow": by_mlflow,
    "mlflow cloudpickle": functools.partial(by_mlflow, serialization="cloudpickle"),
}


# MLflow calls the other writers, and those write pickles: one estimator of each class.
OFTEN = {f"MLP{kind}" for kind in ("Classifier adam", "Regressor squared_error")}
OFTEN |= {f"TabMLP{kind}" for kind in ("Classifier two", "Regressor squared_error")}
PAIRS = [(n, w) for n in ESTIMATORS for w in WRITERS if w in ("pickle", "skops") or n in OFTEN]


def said(model, x):
    """Return all that a fitted estimator predicts."""
    table = hasattr(model, "importance")
    found = [model.predict(x)]
    if hasattr(model, "predict_proba"):
        found += [model.predict_proba(x), model.classes_]
    elif table:
        found += [model.predict_interval(x), *model.predict(x, return_std=True)]
    if table:
        found += [model.oof_prediction_, model.feature_importances_, [model.predictor()(x[3])]]
    return found


@pytest.mark.filterwarnings("ignore")  # the fit is short, and MLflow warns of pickles
@pytest.mark.crossed
@pytest.mark.parametrize(("name", "writer"), PAIRS)
def test_an_estimator_comes_back_with_the_same_bits(name, writer, tmp_path):
    model, x = fitted(name), ESTIMATORS[name][1]
    again = WRITERS[writer](model, tmp_path / "model")
    assert type(again) is type(model)
    assert str(again.get_params()) == str(model.get_params())
    for one, other in zip(said(again, x), said(model, x), strict=True):
        np.testing.assert_array_equal(one, other)
    if hasattr(model, "report"):
        assert again.report() == model.report()
        assert repr(again.importance(x, ESTIMATORS[name][2])) == repr(model.importance())
    file = tmp_path / "again"
    again.save(file)  # what came back is whole
    assert file.stat().st_size > 1000


@pytest.mark.filterwarnings("ignore")
def test_types_that_skops_has_to_trust_are_those_of_the_page():
    models = [*map(fitted, ESTIMATORS)]
    models += [regressor(loss=loss).fit(X, np.exp(Y)) for loss in ("gamma", "tweedie")]
    models.append(regressor(loss="quantiles", quantile=[0.1, 0.9]).fit(X, Y))
    days = pandas.DataFrame(X, columns=list("abc")).assign(day=np.arange(len(X)).astype("M8[D]"))
    models.append(dated := regressor().fit(days, Y).partial_fit(days, Y))
    survival = TabMLPSurvival(preset="fast", random_state=0, epochs=2, members=2)
    models.append(survival.fit(X, time=np.exp(Y), event=Y > 0))
    skops = writer_of_skops()
    types = (skops.get_untrusted_types(data=skops.dumps(model)) for model in models)
    assert sorted({each for of_model in types for each in of_model}) == trusted()
    assert np.array_equal(by_skops(dated, None).predict(days), dated.predict(days))


def test_a_pickle_of_a_table_has_no_state_of_an_optimizer():
    """It would be twice the weights, and is of no use: no fit goes on with it."""
    model = fitted("TabMLPRegressor squared_error")
    (group,) = fitted_of(model).blend.groups
    weights = len(group) * group.spec.n_parameters
    with io.BytesIO() as file:
        pickle.dump(group.networks, file)
        assert file.tell() < 2 * 4 * weights + 20_000
    assert all(network.optimizer_state() is None for network in group.networks)
