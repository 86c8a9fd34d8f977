"""Odd but good input: the same result as from a clean array, no copy where none is needed."""

import contextlib
import fractions
import itertools
import math

import numpy as np
import odd
import pytest
from at_once import busy, repeating
from trials import peak_of

import fastmlp
from fastmlp._core.intervals import few_are_finite, first_non_finite, search_first_by
from fastmlp._engine import native
from fastmlp._models.network import network_of
from fastmlp._network import spec
from fastmlp._validation import check

N, FEATURES = 12, 4
X = np.random.default_rng(1).normal(size=(N, FEATURES)).astype(np.float32)
NAN, INF = math.nan, math.inf
REAL = np.linspace(-1, 1, N)
LABELS = np.arange(N) % 3


# Forms of the same values that the engine must get without a copy, and others.
UNCOPIED = (
    *("C order", "F order", "negative strides", "every other", "read-only", "subclass"),
    "memory-mapped",
)
COPIED = (
    *("misaligned", "byte-swapped", "longdouble", "objects", "lists", "decimals", "memoryview"),
    *("field of records", "float64", "fractions"),
)
FORMS = odd.SAME | {
    "float64": lambda x: x.astype(np.float64),
    "fractions": lambda x: [[fractions.Fraction(float(v)) for v in row] for row in x],
}


def network(mlp, loss="squared_error", outputs=1):
    return mlp([FEATURES, 5, outputs], loss=loss, rng=0)


@pytest.mark.parametrize("name", [*UNCOPIED, *COPIED])
def test_good_x_gives_the_same(mlp, name):
    value = FORMS[name](X)
    before = value.tobytes() if isinstance(value, np.ndarray) else repr(value)
    net, clean = network(mlp), network(mlp)
    assert net.fit(value, REAL, epochs=2, batch_size=5).loss == pytest.approx(
        clean.fit(X, REAL, epochs=2, batch_size=5).loss, rel=1e-5
    )
    # NumPy multiplies in an order that depends on the strides; the native engine does not.
    tolerance = 0 if mlp is fastmlp.MLP else 1e-5
    for got, wanted in [
        (net.weights[0], clean.weights[0]),
        (net.predict(value), clean.predict(X)),
        (net.gradients(value, REAL)[1][0], clean.gradients(X, REAL)[1][0]),
    ]:
        np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)
    assert (value.tobytes() if isinstance(value, np.ndarray) else repr(value)) == before
    given = check.inputs(value, network_of(net).spec)
    assert given.flags.aligned
    assert given.dtype == np.float32
    if name in UNCOPIED:
        assert np.shares_memory(given, value)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int64, np.uint64, np.float16])
def test_other_number_types(mlp, dtype):
    x = np.abs(3 * X).astype(dtype)
    net = network(mlp)
    np.testing.assert_array_equal(net.predict(x), net.predict(x.astype(np.float32)))


def test_good_targets(mlp):
    forms = {
        ("squared_error", 1): [REAL, REAL[:, np.newaxis], REAL.tolist(), REAL.astype(object)],
        ("cross_entropy", 3): [
            LABELS, LABELS.astype(np.uint8), LABELS.astype(float), LABELS.tolist(),
            LABELS.astype(">i8"), LABELS.astype(object), np.repeat(LABELS, 2)[::2],
            np.eye(3)[LABELS], np.asfortranarray(np.eye(3, dtype=int)[LABELS]),
        ],
        ("binary_cross_entropy", 1): [LABELS > 0, (LABELS > 0).astype(int)],
    }  # fmt: skip
    for (loss, outputs), values in forms.items():
        net = network(mlp, loss, outputs)
        losses = [net.evaluate(X, value) for value in values]
        assert losses == pytest.approx([losses[0]] * len(losses), rel=1e-6)


def test_labels_are_a_private_copy():
    labels = LABELS.astype(np.int32)
    made = check.targets(labels, spec.build([4, 3], loss="cross_entropy"), N)
    assert made.dtype == np.int32
    assert not np.shares_memory(made, labels)


def test_labels_that_change_meanwhile():
    """What another thread writes after the check must not become an index."""
    labels = np.zeros(200_000, np.int64)

    def rewrite():
        labels[:] = 10**6
        labels[:] = 0

    with busy(repeating(rewrite)):
        for _ in range(100):
            with contextlib.suppress(ValueError):
                made = check.targets(labels, spec.build([4, 3], loss="cross_entropy"), len(labels))
                assert made.max() < 3


def test_zero_weights_are_allowed_when_not_all(mlp):
    net = network(mlp)
    weights = np.zeros(N)
    weights[3] = 2
    alone = net.evaluate(X[3:4], REAL[3:4])
    assert net.evaluate(X, REAL, sample_weight=weights) == pytest.approx(alone, rel=1e-6)
    net.fit(X, REAL, sample_weight=weights, batch_size=2, epochs=1)


def test_one_row_and_one_feature(mlp):
    net = mlp([1, 3, 1], rng=0)
    history = net.fit([[1.0]], [2.0], epochs=3)
    assert len(history.loss) == 3
    assert net.predict([[1.0]]).shape == (1,)


@pytest.mark.parametrize("order", ["C", "F"])
def test_finiteness_needs_little_memory(order):
    x = np.ones((4000, 500), np.float32, order=order)
    expected = spec.build([500, 1])
    peak, checked = peak_of(lambda: check.inputs(x, expected))
    assert np.shares_memory(checked, x)
    assert peak < x.nbytes / 20
    x[3999, 499] = NAN
    with pytest.raises(ValueError, match=r"X\[3999, 499\] is nan"):
        check.inputs(x, expected)


@pytest.fixture(params=[few_are_finite, native.all_finite])
def is_finite(request):
    """Searches ask this function first: without the compiled engine, and with it."""
    search_first_by(request.param)
    yield request.param
    search_first_by(native.all_finite)


def test_what_is_asked_first_says_only_that_an_array_is_finite(is_finite):
    for dtype, n in itertools.product(["f4", "f8"], range(1, 70)):
        array = np.full(n, np.finfo(dtype).max, dtype)
        assert is_finite(array)
        for place, value in itertools.product({0, n // 2, n - 1}, [NAN, INF, -INF]):
            wrong = array.copy()
            wrong[place] = value
            assert not is_finite(wrong)
            assert first_non_finite(wrong) == (place,)
    for name in (*UNCOPIED, "misaligned", "byte-swapped", "longdouble"):
        wrong = X.copy()
        wrong[N - 1, 0] = NAN
        assert not is_finite(FORMS[name](wrong)), name
        assert first_non_finite(FORMS[name](wrong)) == (N - 1, 0), name
        assert first_non_finite(FORMS[name](X)) is None, name


def test_finiteness_of_extreme_values(is_finite):
    largest = np.full((100, 4), np.finfo(np.float32).max)
    assert first_non_finite(largest) is None  # although their sum is infinite
    for shape in [(7,), (7, 5), (70000,), (300, 400)]:
        for order, value in itertools.product("CF", [NAN, INF, -INF]):
            array = np.zeros(shape, np.float32, order=order)
            where = tuple(size - 2 for size in shape)
            array[where] = value
            assert first_non_finite(array) == where
            assert first_non_finite(array[::-1]) == (1, *where[1:])
