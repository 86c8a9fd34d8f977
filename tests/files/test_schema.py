"""Schemas: files have the keys and tensors that they ever had, and every field is checked."""

import hashlib
import json

import hostile
import hostile_fields
import pytest

from fastmlp._models.codecs import values

# The digests of `facts`: a new field changes one, and so does a new order of the tensors.
DIGESTS = {
    "MLP": "4f5d2ca0bb47a8df",
    "MLP float64": "b5d58beea31480fd",
    "fit": "c3f44e182c0a0631",
    "reference": "d37b899db4317fad",
    "generator": "df1fa1e53e3a7773",
    "legacy generator": "e9184bfd58f7a909",
    "layer norm": "b3a15dffea350e4f",
    "averaged": "4707f456c6db3b43",
    "predictor": "0bc51321b4c7b211",
    "ensemble": "1423e556ac4c4559",
    "predictor of an ensemble": "8caba5e1d8a357e2",
    "reference ensemble": "bee20ee1e2a1dfe2",
    "MLPClassifier words": "8bfb419e721a38e3",
    "MLPClassifier word objects": "8bfb419e721a38e3",
    "MLPClassifier schedule": "9c17c3153bac6b70",
    "checkpoint": "a3ddd11200e2f8d4",
    "MLPClassifier callbacks": "a70b4a7741e8c321",
    "MLPRegressor plain": "4c06460eaa31d4b2",
    "MLPRegressor loss gaussian": "6316839555b4b47d",
    "names of features": "9c2e15e135313e57",
    "TabMLPClassifier words": "0248ca7705aef8cb",
    "TabMLPClassifier labels": "aa9581a7de97c560",
    "TabMLPRegressor two outputs": "79c8f5f588d9c1ef",
    "TabMLPRegressor loss gaussian": "f191e528ab385f4a",
    "TabMLPRegressor weights": "33497d60c753f2e9",
    "rows of numbers": "43a040051f2d80cb",
    "rows of words": "5cbf878d95219179",
    "TabMLPRegressor truths": "2c39d99a5415fcd1",
}


def facts(tree):
    """Return JSON without what arithmetic and the clock decide."""
    if isinstance(tree, dict):
        pairs = [(key, None if key.endswith("_") else value) for key, value in tree.items()]
        return [[key, facts(value)] for key, value in pairs if key != "report"]
    if isinstance(tree, list):
        return [facts(value) for value in tree]
    return "float" if isinstance(tree, float) else tree


def digest(name):
    header, _ = hostile.apart(hostile.valid(name))
    metadata = header.pop("__metadata__")
    text = json.dumps([facts(metadata["model"]), list(header.items())])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", hostile.VALID)
def test_a_file_has_the_same_keys_and_tensors_as_ever(name):
    assert digest(name) == DIGESTS[name]


# Together they have every kind of field.
CHECKED = (
    *("averaged", "legacy generator", "predictor", "ensemble", "predictor of an ensemble"),
    *("MLPClassifier schedule", "MLPClassifier callbacks", "checkpoint"),
    *("TabMLPClassifier words", "TabMLPRegressor weights", "rows of words"),
)


@pytest.mark.parametrize("name", CHECKED)
def test_every_field_that_is_missing_or_wrong_is_refused_by_its_name(name):
    found = list(hostile_fields.refusals(name))
    for path, value, said in found:
        key = [key for key in path if isinstance(key, str) and key not in values.TAGS][-1]
        assert key in said or "nested more than" in said, (path, value, said)
        check_words(said)
    assert len(found) > 40


@pytest.mark.parametrize("name", CHECKED)
def test_every_tensor_that_is_missing_or_wrong_is_refused_by_its_name(name):
    found = list(hostile_fields.refusals_of_tensors(name))
    for tensor, value, said in found:
        assert tensor in said, (tensor, value, said)
        check_words(said)
    assert len(found) > 10


def check_words(said):
    assert len(said) < 800
    assert said.isprintable()
