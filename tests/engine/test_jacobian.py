"""Jacobians against central differences, known maps, and each other."""

import cases
import numpy as np
import odd
import pytest
from test_predictor import LOSSES, assert_same_bits, every_dtype, every_level, make, rows_of
from tolerances import assert_close, central_difference_step

import fastmlp
from fastmlp._engine.numpy import numpy_engine
from fastmlp._engine.predictor import Predictor
from fastmlp._network.activations import ACTIVATIONS

SIZES = ((4, 3), (5, 33, 3), (3, 9, 17, 2), (2, 1, 5), (6, 8, 1))


def sizes_for(loss):
    """Leave out what has no meaning: one class."""
    return SIZES[:-1] if loss.target_kind == "class" else SIZES


def differences(network, parameters, x):
    """Return the derivatives (n, C, I) by central differences of the NumPy engine."""
    engine = numpy_engine.Engine(network)
    engine.set_parameters(*parameters)
    h = central_difference_step()
    columns = []
    for i in range(x.shape[1]):
        step = np.zeros(x.shape[1])
        step[i] = h
        columns.append((engine.predict(x + step) - engine.predict(x - step)) / (2 * h))
    return np.stack(columns, axis=2)


@every_level
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.native_row(False))
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_central_differences(activation, loss, level):
    for sizes in sizes_for(loss):
        predictor = make(sizes, "float64", activation, loss, level)
        x = rows_of(5, predictor)
        wanted = differences(predictor.spec, predictor.parameters(), x)
        assert_close(predictor.jacobian(x), wanted, "central_difference", "float64")


@every_level
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.native_row(False))
def test_float32_against_float64(loss, level):
    for sizes in (*sizes_for(loss), (67, 130, 97, 33)):
        for first in (2, 7):
            activation = cases.mixed_activations(len(sizes) - 2, first)
            fine = make(sizes, "float32", activation, loss, level)
            network = cases.build(sizes, activation, loss, "float64")
            exact = Predictor(network, level, *fine.parameters())
            x = rows_of(9, fine)
            assert_close(fine.jacobian(x), exact.jacobian(x), "gradient", "float32")


@every_dtype
@every_level
@pytest.mark.parametrize("sizes", [(1, 1), (3, 70), (70, 3), (33, 1), (2, 67, 1), (40, 33, 17, 67)])
def test_the_jacobian_of_a_linear_map_is_its_matrix(sizes, level, dtype):
    rng = np.random.default_rng(0)
    network = cases.build(sizes, "identity", "squared_error", dtype)
    weights = [cases.small_integers(rng, shape, dtype, 2) for shape in network.shapes]
    biases = [cases.small_integers(rng, shape[1], dtype) for shape in network.shapes]
    predictor = Predictor(network, level, weights, biases)
    matrix = weights[0].astype(float)
    for w in weights[1:]:
        matrix = matrix @ w
    for n in (1, 7, 64, 65, 131):
        got = predictor.jacobian(rows_of(n, predictor))
        np.testing.assert_array_equal(got, np.broadcast_to(matrix.T, (n, *matrix.T.shape)))


@every_dtype
@every_level
def test_one_row_is_the_row_of_a_batch(level, dtype):
    for loss in LOSSES:
        for sizes in sizes_for(loss):
            predictor = make(sizes, dtype, "gelu", loss, level)
            x = rows_of(131, predictor)
            batch = predictor.jacobian(x)
            assert batch.shape == (131, predictor(x).shape[1], sizes[0])
            assert batch.dtype == dtype
            for row in (0, 1, 63, 64, 130):
                assert_same_bits(predictor.jacobian(x[row]), batch[row])
            assert_same_bits(predictor.jacobian(x[60:70]), batch[60:70])


@every_dtype
@every_level
def test_missing_values_stay_in_their_row(level, dtype):
    predictor = make((5, 33, 3), dtype, "tanh", level=level)
    x = rows_of(70, predictor)
    wanted = predictor.jacobian(x)
    x[3, 1] = np.nan
    got = predictor.jacobian(x)
    assert np.isnan(got[3]).all()
    others = np.arange(70) != 3
    assert_same_bits(got[others], wanted[others])


@every_dtype
@pytest.mark.parametrize("dropout", [0.5, [0.0, 0.9]])
def test_no_dropout(dropout, dtype):
    plain = fastmlp.MLP([5, 40, 20, 3], activation="gelu", dtype=dtype, rng=0)
    net = fastmlp.MLP([5, 40, 20, 3], activation="gelu", dtype=dtype, dropout=dropout, rng=0)
    x = rows_of(9, plain.predictor())
    assert_same_bits(net.predict(x), plain.predict(x))
    assert_same_bits(net.predictor()(x), plain.predictor()(x))
    assert_same_bits(net.jacobian(x), plain.jacobian(x))


@every_dtype
def test_two_heads_are_all_means_then_all_variances(dtype):
    net = fastmlp.MLP([4, 16, 3], activation="tanh", loss="gaussian_nll", dtype=dtype, rng=0)
    x = rows_of(6, net.predictor())
    slopes = net.jacobian(x)
    assert slopes.shape == (6, 6, 4)
    assert net.jacobian(x[0]).shape == (6, 4)
    h = 1e-2
    for i in range(4):
        step = np.zeros(4, dtype)
        step[i] = h
        sides = [np.concatenate(net.predict(x + s), axis=1) for s in (step, -step)]
        np.testing.assert_allclose((sides[0] - sides[1]) / (2 * h), slopes[:, :, i], atol=2e-3)


@every_dtype
def test_any_form_of_input(dtype):
    predictor = make((7, 33, 5), dtype, "silu")
    x = rows_of(70, predictor)
    wanted = predictor.jacobian(x)
    for name in (
        "F order",
        "byte-swapped",
        "misaligned",
        "negative strides",
        "lists",
        "longdouble",
    ):
        form = odd.SAME[name](x)
        assert_same_bits(predictor.jacobian(form), wanted)
        assert_same_bits(predictor.jacobian(form[5]), wanted[5])
    assert predictor.jacobian(x[:0]).shape == (0, 5, 7)


@every_dtype
def test_of_the_model_and_of_the_predictor(dtype):
    net = fastmlp.MLP([4, 16, 3], loss="cross_entropy", dtype=dtype, rng=0)
    predictor = net.predictor()
    x = rows_of(20, predictor)
    before = predictor.jacobian(x)
    assert_same_bits(net.jacobian(x), before)
    np.testing.assert_allclose(before.sum(axis=1), 0, atol=1e-6)  # probabilities keep their sum
    net.weights = [2 * w for w in net.weights]
    assert not np.array_equal(net.jacobian(x), before)
    assert_same_bits(predictor.jacobian(x), before)
    assert_same_bits(predictor(x), predictor(x))
