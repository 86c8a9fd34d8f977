"""Pickles that version 0.1.0 has made, of every class, load under the names of now."""

import json
import pickle
from pathlib import Path

import children
import numpy as np
import pytest

from fastmlp._core import old_names

FOLDER = Path(__file__).parents[1] / "saved" / "pickles-0.1.0"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
rng = np.random.default_rng(0)
X = rng.normal(size=(40, 3)).astype(np.float32)
TABLE = np.array([[*map(float, row), "uvwx"[k % 4]] for k, row in enumerate(X)], dtype=object)


def loaded(name):
    if "classifier" in name or "regressor" in name:
        pytest.importorskip("sklearn")
    return pickle.loads((FOLDER / f"{name}.pickle").read_bytes())


@pytest.mark.parametrize("name", sorted(EXPECTED.keys() - {"options"}))
def test_models_predict_as_they_did(name):
    model, x = loaded(name), TABLE if "table" in name else X
    predict = next(
        getattr(model, k) for k in ("predict_proba", "predict", "__call__") if hasattr(model, k)
    )
    # The level of this CPU may not be the one that made the file.
    np.testing.assert_allclose(np.ravel(predict(x))[:6], EXPECTED[name], rtol=1e-4, atol=1e-6)


def test_options_are_of_their_classes():
    assert [type(option).__name__ for option in loaded("options")] == EXPECTED["options"]


def test_every_old_name_is_found_in_a_fresh_process():
    """None of the new modules may have to be loaded before."""
    program = (
        "import importlib, fastmlp\n"
        "from fastmlp._core.old_names import MODULES, CLASSES\n"
        "for old, new in MODULES.items():\n"
        "    module = importlib.import_module('fastmlp.' + old)\n"
        "    for (home, was), name in CLASSES.items():\n"
        "        assert home != new or getattr(module, was).__name__ == name\n"
        "print(len(MODULES))"
    )
    assert int(children.printed(children.python("-c", program))) == len(old_names.MODULES)


def test_a_name_that_never_was_is_an_error():
    import fastmlp.training.records as records

    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = records.Nothing
    with pytest.raises(ModuleNotFoundError, match=r"fastmlp\.training\.nothing"):
        __import__("fastmlp.training.nothing")
