"""Unusual programs: thousands of classes, workers of joblib, hash seeds, more interpreters."""

import hashlib

import children
import joblib
import numpy as np
import pytest
from tolerances import assert_close

import fastmlp

CLASSES = 2000


def digest(*arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


def test_two_thousand_classes_are_those_of_the_reference():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2 * CLASSES, 6))
    y = np.arange(2 * CLASSES) % CLASSES
    options = {"loss": "cross_entropy", "dtype": "float64", "rng": 0}
    nets = [kind([6, 9, CLASSES], **options) for kind in (fastmlp.MLP, fastmlp.reference.MLP)]
    losses = [net.fit(X, y, epochs=2, batch_size=500).loss for net in nets]
    assert_close(*losses, "fit", "float64")
    for name, native in nets[0].state_dict().items():
        assert_close(native, nets[1].state_dict()[name], "fit", "float64")
    for p, q in zip(*([net.predict(X[:50])] for net in nets), strict=True):
        assert_close(p, q, "fit", "float64")
        assert_close(p.sum(axis=1), np.ones(50), "loss", "float64")
    with pytest.raises(ValueError, match=r"y\[0\] is 2000 but .* labels from 0 to 1999"):
        nets[0].fit(X, y + CLASSES)


def fitted(seed):
    """Return the bits of a fit; a worker of joblib calls it."""
    sklearn = pytest.importorskip("fastmlp.sklearn")
    rng = np.random.default_rng(seed)
    X, labels = rng.normal(size=(200, 5)), rng.choice(["up", "down", "left"], 200)
    model = sklearn.MLPClassifier((16,), random_state=seed, tol=1.0, n_iter_no_change=1).fit(
        X, labels
    )
    return digest(model.predict_proba(X), *model.coefs_)


@pytest.mark.parametrize("backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)])
def test_workers_of_joblib_compute_the_same_bits(backend):
    expected = [fitted(seed) for seed in range(4)]
    tasks = (joblib.delayed(fitted)(seed) for seed in range(4))
    assert joblib.Parallel(n_jobs=2, backend=backend)(tasks) == expected


SEEDS = """
import hashlib, pathlib, sys, warnings, numpy as np, pandas as pd, fastmlp
from fastmlp.tabular.plan import presets
from tiny_tables import TINY
warnings.simplefilter("ignore")
presets.PRESETS["fast"] = TINY
rng = np.random.default_rng(0)
frame = pd.DataFrame({"size": rng.normal(size=80), "town": rng.choice(["Ulm", "Jena", "Bonn"], 80)})
labels = rng.choice(["up", "down", "left"], 80)
X = frame[["size"]].to_numpy()
models = [
    fastmlp.MLPClassifier((8,), random_state=0, max_iter=3).fit(X, labels),
    fastmlp.TabMLPClassifier(preset="fast", random_state=0).fit(frame, labels),
]
for model, rows in zip(models, (X, frame)):
    model.save(sys.argv[1], training=False)
    saved = pathlib.Path(sys.argv[1]).read_bytes()
    arrays = saved[8 + int.from_bytes(saved[:8], "little") :]  # a table's report has seconds
    for data in model.predict_proba(rows).tobytes(), arrays:
        print(hashlib.sha256(data).hexdigest())
"""


@pytest.mark.slow
def test_hash_seeds_change_no_bit(tmp_path):
    given = "-c", SEEDS, tmp_path / "model"
    printed = {
        children.printed(children.python(*given, folders=children.FOLDERS, PYTHONHASHSEED=seed))
        for seed in ("0", "1")  # sets of the names have other orders then
    }
    assert len(printed) == 1


INTERPRETERS = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
import fastmlp
net = fastmlp.MLP([2, 3, 1], rng=0)
other = interpreters.create()
try:
    failure = interpreters.run_string(other, "import fastmlp; fastmlp.MLP([2, 3, 1])")
except Exception as error:
    failure = error
print("ImportError" in f"{failure} {failure!r}")
interpreters.destroy(other)
net.fit([[0.0, 1.0]], [1.0], epochs=2)
print(net.predict([[0.0, 1.0]]).shape)
"""


def test_a_second_interpreter_is_refused_and_the_first_one_goes_on():
    """NumPy is for one interpreter of a process; what matters is an error and no crash."""
    assert children.printed(children.python("-c", INTERPRETERS)).split() == ["True", "(1,)"]
