"""Jacobians against central differences, known maps, and each other."""

import cases
import numpy as np
import pytest
from test_predictor import LOSSES, assert_same_bits, every_dtype, every_level, make, rows_of

from fastmlp._engine.native import Predictor

SIZES = ((4, 3), (5, 33, 3), (3, 9, 17, 2), (2, 1, 5), (6, 8, 1))


def sizes_for(loss):
    """Leave out what has no meaning: one class."""
    return SIZES[:-1] if loss.target_kind == "class" else SIZES


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
                predictor.jacobian(np.full_like(x[:70], np.nan))  # the next call uses its memory
                assert_same_bits(predictor.jacobian(x[row]), batch[row])
            assert_same_bits(predictor.jacobian(x[60:70]), batch[60:70])
