"""Estimators as C: probabilities and labels of one row."""

import ctypes
import shutil

import exports
import numpy as np
import pytest
from test_c_export import TYPES, compiled, predict

pytest.importorskip("sklearn", reason="needs scikit-learn")

from test_onnx_estimators import MANY, OPTIONS, SCORE, TARGETS, X

from fastmlp import MLPClassifier, MLPRegressor

pytestmark = [
    pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc"),
    pytest.mark.filterwarnings("ignore:.*onverge"),
]
# How a program reads the names of the classes.
READ = {"i": ctypes.c_longlong, "b": ctypes.c_int, "f": ctypes.c_double}


def labels_of(library, y, name="net_labels"):
    """Return the classes that the file names, or 0, 1, ... if it names none."""
    classes = np.unique(y)
    try:
        kind = READ.get(y.dtype.kind, ctypes.c_char_p)
        found = list((kind * max(2, len(classes))).in_dll(library, name))
    except ValueError:
        return np.arange(len(classes))
    return np.array([each.decode() if isinstance(each, bytes) else each for each in found])


@pytest.mark.parametrize("dtype", exports.RELATIVE)
@pytest.mark.parametrize("target", [name for name in TARGETS if name != "each"])
def test_classes(target, dtype, tmp_path):
    y, x = TARGETS[target], X.astype(dtype)
    model = MLPClassifier((16, 8), standardize=True, **OPTIONS).fit(x, y)
    files = model.to_c(tmp_path / "net.c", X=x)
    assert files.labels_changed == 0
    library, p = compiled(tmp_path), model.predict_proba(x)
    found = predict(library, "net", x, p.shape[1], dtype)
    np.testing.assert_allclose(found, p, rtol=0, atol=exports.RELATIVE[dtype] * 50)
    function, pointer = library.net_class, ctypes.POINTER(TYPES[dtype])
    function.argtypes = [pointer]
    index = np.array([function(row.ctypes.data_as(pointer)) for row in x])
    top = np.sort(p, axis=1)
    exports.assert_same_labels(
        labels_of(library, y)[index], model.predict(x), top[:, -1] - top[:, -2] > 1e-4
    )


def test_several_labels(tmp_path):
    model = MLPClassifier((16,), standardize=True, **OPTIONS).fit(X, MANY)
    model.to_c(tmp_path / "net.c")
    library, found = compiled(tmp_path), np.zeros((len(X), 3), np.int32)
    real, integer = ctypes.POINTER(ctypes.c_double), ctypes.POINTER(ctypes.c_int)
    library.net_classes.argtypes = [real, integer]
    for x, row in zip(X, found, strict=True):
        library.net_classes(x.ctypes.data_as(real), row.ctypes.data_as(integer))
    assert np.array_equal(found, model.predict(X))


def test_int8_with_columns_of_all_sizes(tmp_path):
    x = X * [1e-3, 1, 1e4, 1, 1]
    model = MLPRegressor("gaussian", (32,), standardize=True, **OPTIONS).fit(x, SCORE[:, :2])
    files = model.to_c(tmp_path / "net.c", weights="int8", X=x)
    assert files.largest_error < 0.05
    found = predict(compiled(tmp_path), "net", x, 4, "int8")
    mean, deviation = model.predict(x, return_std=True)
    np.testing.assert_allclose(found[:, :2], mean, atol=0.05 * np.abs(mean).max())
    np.testing.assert_allclose(np.sqrt(found[:, 2:]), deviation, rtol=0.1)
