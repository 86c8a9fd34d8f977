"""Estimators of tables as functions that shap explains."""

import copy

import numpy as np
import pytest
from models import saved
from sklearn.exceptions import NotFittedError
from tiny_tables import LABELS, X, Y, classifier, frame_of, regressor

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.mark.parametrize("make", [regressor, classifier])
def test_a_table_is_a_function_of_its_rows(make):
    y = Y if make is regressor else LABELS
    model = make().fit(frame_of(), y)
    method = model.predict if make is regressor else model.predict_proba
    np.testing.assert_array_equal(model(frame_of()), method(frame_of()))


def test_names_of_columns_can_be_forgotten(tmp_path):
    model = regressor().fit(frame_of(), Y)
    expected, again = model.predict(frame_of()), copy.deepcopy(model)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        np.testing.assert_array_equal(model.predict(X), expected)
    again.feature_names_in_ = None
    assert not hasattr(again, "feature_names_in_")
    np.testing.assert_array_equal(again.predict(X), expected)  # a warning would be an error
    assert not hasattr(saved(again, tmp_path / "model"), "feature_names_in_")
    assert list(model.feature_names_in_) == list("abc")
    with pytest.raises(ValueError, match="but only None, which forgets the names, is expected"):
        model.feature_names_in_ = ["x", "y", "z"]
    with pytest.raises(NotFittedError):
        regressor().feature_names_in_ = None


@pytest.mark.slow
@pytest.mark.parametrize("make", [regressor, classifier])
def test_shap_explains_a_fit_of_a_frame(make):
    shap, frame = pytest.importorskip("shap"), frame_of()
    model = make().fit(frame, Y if make is regressor else LABELS)
    predict = model.predict if make is regressor else model.predict_proba
    kernel = shap.KernelExplainer(predict, frame[:9], silent=True)
    first = np.asarray(kernel.shap_values(frame[:2], nsamples=30, silent=True))
    found = kernel.expected_value + first.sum(axis=1)
    np.testing.assert_allclose(found, predict(frame[:2]), atol=1e-4)
    values = shap.Explainer(model, frame)(frame[:2])
    found = values.base_values + values.values.sum(axis=1)
    np.testing.assert_allclose(found, predict(frame[:2]), atol=1e-4)
    assert list(model.feature_names_in_) == list("abc")
