"""Schemas: files have the keys and tensors that they ever had, and every field is checked."""

import hashlib
import json

import hostile
import hostile_fields
import pytest
import stored

from fastmlp._models.codecs import values

# The digests of `facts`: a new field changes one, and so does a new order of the tensors.
DIGESTS = json.loads((stored.KEPT / "digests.json").read_text())


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


# Together they have every kind of field; most are tried where nobody waits.
CHECKED = (
    *("averaged", "legacy generator", "ensemble"),
    *("MLPClassifier schedule", "MLPClassifier callbacks", "checkpoint"),
    *("TabMLPClassifier words", "TabMLPRegressor weights", "TabMLPRegressor forms"),
)
OTHERS = {name for name in CHECKED if name not in ("checkpoint", "TabMLPClassifier words")}


def marks(name):
    return [pytest.mark.slow] * (name in OTHERS)


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in CHECKED])
def test_every_field_that_is_missing_or_wrong_is_refused_by_its_name(name):
    found = list(hostile_fields.refusals(name))
    for path, value, said in found:
        key = [key for key in path if isinstance(key, str) and key not in values.TAGS][-1]
        assert key in said or "nested more than" in said, (path, value, said)
        check_words(said)
    assert len(found) > 40


TENSORS = [(hostile_fields.refusals_of_tensors, name) for name in CHECKED]
RANGES = [
    (hostile_fields.refusals_of_ranges, name) for name in ("MLPClassifier words", *CHECKED[-3:])
]


@pytest.mark.parametrize(
    ("refusals", "name"), [pytest.param(*pair, marks=marks(pair[1])) for pair in TENSORS + RANGES]
)
def test_tensors_and_numbers_that_are_missing_or_wrong_are_refused_by_their_name(refusals, name):
    found = list(refusals(name))
    for tensor, value, said in found:
        assert tensor in said, (tensor, value, said)
        check_words(said)
    assert len(found) > 5


def check_words(said):
    assert len(said) < 800
    assert said.isprintable()
