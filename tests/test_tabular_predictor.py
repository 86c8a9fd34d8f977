"""Estimators of tables as functions of one row."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import stored

pytest.importorskip("sklearn")

from sklearn.exceptions import NotFittedError

import fastmlp

TABLES = {name: make for name, make in stored.tables().items() if name != "unfitted table"}
ODD = [1e300, np.nan, "unknown", None, True, 1.0, 0.0]  # for the columns of stored.frame


def batch(model: Any) -> Any:
    """Return what predicts a table as its predictor does a row."""
    return getattr(model, "predict_proba", None) or model.predict


def rows_of(model: Any) -> list[tuple[list[Any], Any]]:
    """Return rows as lists, and as tables of one row."""
    if not hasattr(model, "feature_names_in_"):
        return [(row.tolist(), row[np.newaxis]) for row in np.round(stored.X)]
    frame = stored.frame()
    pairs = [(frame.iloc[k].tolist(), frame[k : k + 1]) for k in range(len(frame))]
    odd = __import__("pandas").DataFrame([ODD], columns=frame.columns)
    return [*pairs, (ODD, odd)]


@pytest.mark.parametrize("name", TABLES)
def test_a_row_has_the_bits_of_a_table_of_this_row(name: str) -> None:
    model = TABLES[name]()
    p, again = model.predictor(), pickle.loads(pickle.dumps(model.predictor()))
    for row, table in rows_of(model):
        found, expected = p(row), batch(model)(table)[0]
        assert np.shape(found) == np.shape(expected)
        assert np.asarray(found).tobytes() == np.asarray(expected).tobytes()
        assert np.array_equal(again(tuple(row)), found)


def test_categories_that_share_inputs_agree() -> None:
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(0, 200, 600), rng.normal(size=600)])
    model = fastmlp.TabMLPRegressor(preset="fast", random_state=0, categorical_features=[0])
    model.fit(X, X[:, 1] + X[:, 0] % 3)
    p = model.predictor()
    for row in [*X[:50], np.array([1e6, np.nan]), np.array([np.nan, 0.0])]:
        assert p(row) == model.predict(row[np.newaxis])[0]


def test_another_fit_does_not_change_it() -> None:
    model = TABLES["TabMLPClassifier array"]()
    p, row = model.predictor(), stored.X[0]
    before = p(row)
    with stored.short():
        model.fit(stored.X, stored.LABELS > 0)
    assert np.array_equal(p(row), before)
    assert model.predictor()(row).shape == (2,)


def test_what_is_no_row_is_refused() -> None:
    model = TABLES["TabMLPRegressor two outputs"]()
    p, (row, _) = model.predictor(), rows_of(model)[0]
    with pytest.raises(ValueError, match="the row has 6 values but 7 are expected"):
        p(row[:-1])
    with pytest.raises(ValueError, match="a was numbers at fit but cannot be read"):
        p(["much", *row[1:]])
    with pytest.raises(ValueError, match="a has such; leave values out"):
        p([np.inf, *row[1:]])
    with pytest.raises(NotFittedError):
        fastmlp.TabMLPRegressor().predictor()
