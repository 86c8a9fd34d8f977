"""Predictors of files, in programs that have NumPy alone."""

import functools
import json
import re

import children
import hostile
import hostile_models
import numpy as np
import pytest
import stored

import fastmlp

MODELS = {
    "MLP": stored.mlp,
    "reference MLP": lambda: stored.mlp(fastmlp.reference.MLP),
    "Ensemble": stored.ensemble,
    **{name: make for name, make in stored.estimators().items() if "unfitted" not in name},
    **{name: make for name, make in stored.tables().items() if "unfitted" not in name},
    "distilled": lambda: stored.tables()["TabMLPRegressor loss gaussian"]().distill(stored.frame()),
}
# Prints the results of each file's predictor for its rows, or the error of an import.
BLOCKED = """
import json, sys
ABSENT = ("sklearn", "scipy", "pandas", "polars", "pyarrow", "joblib", "narwhals")
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
import numpy as np
import fastmlp
results = []
for path, rows, options in json.loads(sys.argv[1]):
    predict = fastmlp.load_predictor(path, **options)
    results.append([np.asarray(predict(row)).tolist() for row in rows])
assert not {name.partition(".")[0] for name in sys.modules} & set(ABSENT)
print(json.dumps(results))
"""


def rows_of(model):
    """Return rows that a model's predictor takes, as JSON has them."""
    if isinstance(model, fastmlp.MLP | fastmlp.reference.MLP):
        return stored.X[:3, : model.layer_sizes[0]].tolist()
    if isinstance(model, fastmlp.Ensemble):
        return stored.X[:3, : model[0].layer_sizes[0]].tolist()
    if not hasattr(model, "distill"):
        return stored.X[:3, : model.n_features_in_].tolist()
    if not hasattr(model, "feature_names_in_"):
        return np.round(stored.X[:3]).tolist()
    frame = stored.frame()[list(model.feature_names_in_)].head(4)
    lists = json.loads(frame.to_json(orient="values"))
    return [*lists, dict(zip(frame.columns, lists[0], strict=True))]


def test_every_model_is_served_with_numpy_alone(tmp_path):
    tasks, expected = [], []
    for at, make in enumerate(MODELS.values()):
        model, path = make(), tmp_path / f"{at}"
        model.save(path)
        has_levels = hasattr(model, "predict_interval") and model.loss != "quantiles"
        options = {"levels": [0.3, 0.6]} if has_levels else {}
        tasks.append((str(path), rows_of(model), options))
        predict = model.predictor(**options)
        expected.append([np.asarray(predict(row)).tolist() for row in tasks[-1][1]])
    output = children.printed(children.python("-c", BLOCKED, json.dumps(tasks)))
    results = json.loads(output)
    for name, result, right in zip(MODELS, results, expected, strict=True):
        assert result == right, name


@pytest.mark.parametrize("name", ["TabMLPRegressor two outputs", "TabMLPRegressor loss gaussian"])
def test_a_predictor_of_levels_predicts_quantiles(name, tmp_path):
    model, frame = stored.tables()[name](), stored.frame()
    model.save(tmp_path / "model")
    for p in (model.predictor, functools.partial(fastmlp.load_predictor, tmp_path / "model")):
        right = model.predict_quantiles(frame[:1], [0.2, 0.7])[0]
        np.testing.assert_array_equal(p(levels=[0.2, 0.7])(frame[:1]), right)
        with pytest.raises(ValueError, match="levels is 2"):
            p(levels=[2.0])
    stored.tables()["TabMLPClassifier words"]().save(tmp_path / "words")
    with pytest.raises(ValueError, match="but a TabMLPClassifier predicts no quantiles"):
        fastmlp.load_predictor(tmp_path / "words", levels=[0.5])


def test_the_predictor_of_a_classifier_has_its_classes(tmp_path):
    model = stored.tables()["TabMLPClassifier words"]()
    model.save(tmp_path / "model")
    predict = fastmlp.load_predictor(tmp_path / "model")
    np.testing.assert_array_equal(predict.classes, model.classes_)
    frame = stored.frame()
    for row in (frame.iloc[0], frame[:1]):
        np.testing.assert_array_equal(predict(row), model.predict_proba(frame[:1])[0])


# Of the fit, beside its columns and networks.
NEEDED = {"TabMLPRegressor two outputs": "columns", "TabMLPClassifier words": "calibration"}


@pytest.mark.parametrize("name", NEEDED)
def test_a_predictor_reads_only_what_predictions_need(name, tmp_path):
    """Out-of-fold predictions, the history and residuals may be damaged."""
    header, payload = hostile.apart(hostile.valid(name))
    damaged = bytearray(payload)
    for tensor, entry in header.items():
        if re.match(f"fit\\.(?!columns|blend|{NEEDED[name]})", tensor):
            start, stop = entry["data_offsets"]
            damaged[start:stop] = bytes([0xFF]) * (stop - start)
    assert damaged != payload
    row = stored.frame()[:1]
    (tmp_path / "model").write_bytes(hostile.together(header, bytes(damaged)))
    with pytest.raises(fastmlp.ModelFormatError):
        fastmlp.load(tmp_path / "model")
    expected = hostile.load(hostile.valid(name)).predictor()(row)
    np.testing.assert_array_equal(fastmlp.load_predictor(tmp_path / "model")(row), expected)


@pytest.mark.parametrize("name", ["unfitted", "unfitted table"])
def test_an_estimator_that_was_not_fitted_has_no_predictor(name, tmp_path):
    make = (stored.estimators() | stored.tables())[name]
    make().save(tmp_path / "model")
    with pytest.raises(fastmlp.ModelFormatError, match="is not fitted: fit it, and save it again"):
        fastmlp.load_predictor(tmp_path / "model")


def test_hostile_files_are_refused_or_served(tmp_path):
    """A fault in a part that predictions do not need may go unnoticed; nothing else may happen."""
    refused, path = 0, tmp_path / "model"
    for make, _ in [*hostile_models.MODELS, *hostile_models.TABLES]:
        path.write_bytes(make())
        try:
            assert callable(fastmlp.load_predictor(path))
        except fastmlp.ModelFormatError:
            refused += 1
    assert refused > 70
