"""Ensembles elsewhere: as a predictor, and as plain arrays."""

import cases
import exports
import numpy as np
import pytest
from states import state
from test_ensemble import X
from test_networks import ensemble

import fastmlp
from fastmlp import reference

KINDS = [fastmlp.MLP, reference.MLP]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("loss", exports.LOSSES, ids=str)
def test_a_predictor_has_the_bits_of_predict(kind, loss, dtype):
    nets = ensemble(loss, kind, dtype=dtype)
    predict, x = nets.predictor(), X.astype(dtype)
    expected = exports.joined(nets.predict(x))
    np.testing.assert_array_equal(predict(x), expected)
    for row, wanted in zip(x[:5], expected, strict=False):
        if kind is fastmlp.MLP:  # in NumPy a row's products may be others than in a batch
            np.testing.assert_array_equal(predict(row), wanted)
            np.testing.assert_array_equal(predict(row[np.newaxis]), wanted[np.newaxis])
        assert predict(row).shape == wanted.shape
    assert predict.spec == nets[0]._spec
    assert len(predict.members) == 3
    assert "of 3 x" in repr(predict)
    nets[0].biases = [b + 1 for b in nets[0].biases]
    np.testing.assert_array_equal(predict(x), expected)


def test_a_predictor_writes_where_it_is_told():
    nets = fastmlp.Ensemble([fastmlp.MLP([3, 4, 3], rng=k) for k in range(2)])
    predict, x = nets.predictor(), np.ones((4, 3), np.float32)
    expected = predict(x)
    assert predict(x, x) is x  # the second one reads it after the first one has written
    np.testing.assert_array_equal(x, expected)
    out = np.empty(3, np.float32)
    assert predict(np.ones(3, np.float32), out) is out
    np.testing.assert_array_equal(out, expected[0])
    with pytest.raises(ValueError, match="out is"):
        predict(x, np.empty((4, 2), np.float32))
    with pytest.raises(ValueError, match="x has shape"):
        predict(np.ones(4, np.float32))


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_go_out_and_in(kind):
    nets, others = (
        ensemble(kind=kind),
        fastmlp.Ensemble(
            [kind([5, 8, 8, 3], activation="tanh", dtype="float64") for _ in range(3)]
        ),
    )
    others.load_state_dict(nets.state_dict())
    for net, other in zip(nets, others, strict=True):
        for name, array in net.state_dict().items():
            np.testing.assert_array_equal(array, other.state_dict()[name])
    assert len(nets.state_dict()) == 18
    before = state(nets)
    wrong = nets.state_dict()
    wrong["members.0.layers.0.weight"] = wrong["members.0.layers.0.weight"] + 1
    with pytest.raises(ValueError, match="state has also x"):
        nets.load_state_dict({**wrong, "x": 1})
    wrong["members.2.layers.0.weight"] = np.zeros(3)
    with pytest.raises(ValueError, match="weights"):
        nets.load_state_dict(wrong)
    assert state(nets) == before
