"""The same results elsewhere: hash seeds, workers of joblib, subinterpreters; many classes."""

import sys

import children
import numpy as np
import pytest
from states import state

import fastmlp
from fastmlp import reference

TABLE = """
import numpy as np, pandas as pd
from fastmlp import TabMLPClassifier
rng = np.random.default_rng(0)
frame = pd.DataFrame({"size": rng.normal(size=60), "city": rng.choice(list("abcdef"), 60)})
labels = np.where(frame["city"] < "c", "low", "high")
model = TabMLPClassifier(preset="fast", random_state=0).fit(frame, labels)
print(model.predict_proba(frame).tobytes().hex())
"""
SUBINTERPRETER = """
import importlib
for name in ("_interpreters", "_xxsubinterpreters"):
    try:
        interpreters = importlib.import_module(name)
    except ImportError:
        continue
    break
import fastmlp
inner = '''
try:
    import fastmlp
    fastmlp.MLP([2, 1])
except ImportError as error:
    print("refused")
else:
    print("works")
'''
interpreters.run_string(interpreters.create(), inner)
print(fastmlp.MLP([2, 1], rng=0).predict([[0.0, 0.0]]).shape)
"""


def test_a_table_does_not_depend_on_the_hash_seed():
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    pytest.importorskip("pandas", reason="needs pandas")
    seeds = ("1", "2")
    found = [children.printed(children.python("-c", TABLE, PYTHONHASHSEED=s)) for s in seeds]
    assert found[0] == found[1]


@pytest.mark.filterwarnings("ignore:.*onverge")
def test_workers_of_loky_fit_the_same_estimators():
    joblib = pytest.importorskip("joblib", reason="needs scikit-learn")
    x = np.random.default_rng(0).normal(size=(50, 3))
    jobs = [
        fastmlp.MLPRegressor(hidden_layer_sizes=(5,), random_state=k, max_iter=5, solver=solver)
        for k, solver in enumerate(("sgd", "adam", "lbfgs"))
    ]
    workers = joblib.Parallel(n_jobs=2, backend="loky")
    fitted = workers(joblib.delayed(each.fit)(x, x[:, 0]) for each in jobs)
    assert [*map(state, fitted)] == [state(each.fit(x, x[:, 0])) for each in jobs]


def test_two_thousand_classes():
    rng, n = np.random.default_rng(0), 2000
    x, y = rng.normal(size=(n, 3)), rng.permutation(n)
    options = {"loss": "cross_entropy", "dtype": "float64", "rng": 0}
    nets = [kind([3, 4, n], **options) for kind in (fastmlp.MLP, reference.MLP)]
    losses = [net.fit(x, y, epochs=1).loss for net in nets]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-9)
    p = nets[0].predict(x)
    np.testing.assert_allclose(p, nets[1].predict(x), rtol=1e-6)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-12)


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="written for CPython")
def test_a_subinterpreter_is_refused_and_does_no_harm():
    refused, shape = children.printed(children.python("-c", SUBINTERPRETER)).splitlines()
    assert refused == "refused"
    assert shape == "(1, 1)"
