"""Options that ask for nothing change no bit of a fit, on any level and threads."""

import cases
import numpy as np
import pytest
import test_bits
from models import Watch

import fastmlp
from fastmlp import Constant, Groups


def factors_of_1(n, model, options):
    return model, {"groups": Groups(layer_rates=[1] * n, layer_decays=np.ones(n), weight_rate=1)}


def decays_of_nothing(n, model, options):
    """The decays differ, and nothing decays: where something does, they are of 1."""
    decays = "l2" in options or isinstance(options.get("optimizer"), fastmlp.AdamW)
    factors = {} if decays else {"layer_decays": range(n), "bias_decay": 7.0}
    return model, {"groups": Groups(**factors)}


def constant_schedules(n, model, options):
    """Dropout is given to the fit instead of the model, and all by schedule."""
    dropout = np.broadcast_to(model.get("dropout", 0.0), n - 1).tolist()
    changed = {"dropout": [Constant(p) if p else (lambda step: 0) for p in dropout]}
    if isinstance(options.get("optimizer"), fastmlp.AdamW):
        changed["optimizer"] = fastmlp.AdamW(0.01, weight_decay=Constant(0.01))
    return model | {"dropout": 0.4}, changed


CHANGES = {
    "l1 of 0": lambda n, model, options: (model, {"l1": 0.0}),
    "callbacks of batches": lambda n, model, options: (model, {"callbacks": [Watch()]}),
    "factors of 1": factors_of_1,
    "decays of nothing": decays_of_nothing,
    "constant schedules": constant_schedules,
}


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("level", test_bits.LEVELS)
@pytest.mark.parametrize("name", test_bits.FITS)
@pytest.mark.parametrize("change", CHANGES)
def test_what_asks_for_nothing_changes_no_bit(change, name, level, dtype, monkeypatch):
    sizes, model, options = test_bits.FITS[name]
    wanted = test_bits.digest(name, level, dtype)
    model, changed = CHANGES[change](len(sizes) - 1, model, options)
    monkeypatch.setitem(test_bits.FITS, name, (sizes, model, options | changed))
    assert {test_bits.digest(name, level, dtype, threads) for threads in (1, 3)} == {wanted}
