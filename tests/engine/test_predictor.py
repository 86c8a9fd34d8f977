"""Predictors: the bits of a batch row by row, any input, any misuse of out; the reference's too."""

import functools

import cases
import numpy as np
import odd
import pytest
from tolerances import assert_close

import fastmlp
from fastmlp._engine import native_engine, thread_count
from fastmlp._engine.native import Predictor
from fastmlp._engine.numpy import numpy_engine
from fastmlp._network.activations import ACTIVATIONS

LEVELS = native_engine.available_levels()
LOSSES = tuple({case.loss.native_row(False): case.loss for case in cases.LOSSES}.values())
N = 67  # one more than a block of 64 with a partial tile after it
NAN, INF = np.nan, np.inf

every_level = pytest.mark.parametrize("level", LEVELS)
every_dtype = pytest.mark.parametrize("dtype", cases.DTYPES)


def make(
    sizes, dtype="float32", activation="relu", loss="squared_error", level=None, n_threads=None
):
    network = cases.build(sizes, activation, loss, dtype)
    parameters = cases.parameters(network, np.random.default_rng(sum(sizes)))
    return Predictor(network, level or native_engine.level(), *parameters, n_threads=n_threads)


def both(sizes, dtype="float32", activation="tanh", loss="squared_error", **options):
    """Return a native and a reference predictor with the same weights."""
    native = make(sizes, dtype, activation, loss, **options)
    engine = numpy_engine.Engine(native.spec)
    engine.set_parameters(*native.parameters())
    return native, engine.predictor(options.get("n_threads"))


def rows_of(n, predictor, seed=1):
    network = predictor.spec
    shape = n, network.layer_sizes[0]
    return np.random.default_rng(seed).normal(size=shape).astype(network.dtype)


def assert_same_bits(got, wanted):
    """Compare everything but which NaN a NaN is."""
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
    nan = np.isnan(wanted)
    np.testing.assert_array_equal(np.isnan(got), nan)
    assert np.where(nan, 0, got).tobytes() == np.where(nan, 0, wanted).tobytes()


# ---- a row alone is the row in a batch -----------------------------------------------------------


def check_rows(predictor, n=N):
    x = rows_of(n, predictor)
    # Large, tiny, overflowing, infinite and missing values: each in a row of its own.
    for row, value in enumerate((1e4, 1e-40, 3e38, INF, -INF, NAN)):
        x[row % n, row % x.shape[1]] = value
    batch = predictor(x)
    assert_same_bits(np.array([predictor(row) for row in x]), batch)
    assert_same_bits(np.concatenate([predictor(row[np.newaxis]) for row in x]), batch)
    for first, last in ((0, 2), (1, 5), (3, 12), (n // 3, n), (0, n - 1)):
        assert_same_bits(predictor(x[first:last]), batch[first:last])
    assert np.isfinite(batch[6:]).all()


@every_dtype
@every_level
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_rows_equal_the_batch_for_every_activation_and_loss(activation, level, dtype):
    for loss in LOSSES:
        for sizes in ((5, 33, 3), (1, 9, 17, 2)):
            check_rows(make(sizes, dtype, activation, loss, level))


WIDE = ((1, 1), (5, 1), (1, 1, 1, 1), (5, 1, 97, 1), (130, 257, 129, 67), (513, 2), (2, 131))


@every_dtype
@every_level
@pytest.mark.parametrize("sizes", [*cases.NETWORKS, *WIDE], ids=lambda s: "-".join(map(str, s)))
def test_rows_equal_the_batch_for_every_shape(sizes, level, dtype):
    for first in (2, 7):
        activation = cases.mixed_activations(len(sizes) - 2, first)
        check_rows(make(sizes, dtype, activation, level=level))


@every_dtype
@every_level
def test_infinite_sums_are_the_same_alone(level, dtype):
    """0 * infinity is NaN: in the padding of a layer it must not reach a single output."""
    largest = np.finfo(dtype).max
    for sizes in ((1, 2, 1), (1, 2, 2, 1), (1, 9, 1)):
        network = cases.build(sizes, "identity", "squared_error", dtype)
        weights = [np.full(shape, 2, dtype) for shape in network.shapes]
        biases = [np.zeros(shape[1], dtype) for shape in network.shapes]
        predictor = Predictor(network, level, weights, biases)
        for value in (INF, -INF, largest):
            x = np.full((9, 1), value, dtype)
            np.testing.assert_array_equal(predictor(x), np.full((9, 1), np.copysign(INF, value)))
            np.testing.assert_array_equal(predictor(x[0]), predictor(x)[0])


@every_dtype
@every_level
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_values_and_jacobians_are_those_of_the_reference(activation, level, dtype):
    for case in cases.LOSSES:
        native, ours = both((6, 17, 9, 3), dtype, activation, case.loss, level=level)
        x = rows_of(9, native)
        for rows in (x, x[:1], x[0], x[:0]):
            assert ours(rows).dtype == ours.jacobian(rows).dtype == np.dtype(dtype)
            assert_close(native(rows), ours(rows), "gradient", dtype)
            assert_close(native.jacobian(rows), ours.jacobian(rows), "gradient", dtype)
            assert_same_bits(native.hessian(rows), native.derivatives(rows)[2])
        for rows in (x[0], x[:0]):  # the reference takes the same way for any number of rows
            assert_same_bits(ours.hessian(rows), ours.derivatives(rows)[2])


@every_dtype
@every_level
@pytest.mark.parametrize("n", [5, 127, 128, 129, 1000])
def test_any_number_of_threads(n, level, dtype, monkeypatch):
    monkeypatch.setattr(thread_count, "CALL_SECONDS", 0.0)
    sizes = []
    lend = thread_count.borrowed_team
    monkeypatch.setattr(thread_count, "borrowed_team", lambda n, limit: sizes.append(n) or lend(n))
    alone = make((7, 33, 5), dtype, level=level, n_threads=1)
    x = rows_of(n, alone)
    wanted = alone(x)
    for n_threads in (2, 3, 7):
        assert_same_bits(make((7, 33, 5), dtype, level=level, n_threads=n_threads)(x), wanted)
    most = n // thread_count.CALL_ROWS
    assert sizes == [min(n_threads, most) if most >= 2 else 1 for n_threads in (1, 2, 3, 7)]


@every_dtype
@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_net_predict_is_the_same(n_threads, dtype, monkeypatch):
    monkeypatch.setattr(thread_count, "CALL_SECONDS", 0.0)
    monkeypatch.setenv("FASTMLP_NUM_THREADS", str(n_threads))
    for loss in LOSSES:
        net = fastmlp.MLP([6, 17, 4], loss=loss, dtype=dtype, rng=0)
        predictor = net.predictor()
        x = rows_of(200, predictor)
        wanted = predictor(x)
        for rows in (slice(0, 1), slice(0, 3), slice(0, 200)):
            assert_same_bits(cases.columns(net.predict(x[rows])), wanted[rows])


# ---- inputs --------------------------------------------------------------------------------------


ARRAYS = (
    *("C order", "F order", "negative strides", "every other", "field of records", "read-only"),
    *("misaligned", "byte-swapped", "subclass", "memory-mapped", "longdouble", "objects", "lists"),
    "memoryview",
)
FORMS = {
    "every other row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "rows reversed": lambda x: x[::-1].copy()[::-1],
    **{name: odd.SAME[name] for name in ARRAYS},
}


@every_dtype
@pytest.mark.parametrize("form", FORMS)
def test_any_form_of_input(form, dtype):
    predictor, ours = both((7, 33, 5), dtype)
    x = rows_of(100, predictor)
    wanted, slopes = predictor(x), predictor.jacobian(x)
    for rows in (slice(0, 1), slice(0, 4), slice(0, 5), slice(0, 100), 3):
        value = FORMS[form](x[rows])
        before = repr(value)
        outs = [np.full(wanted[rows].shape, NAN, dtype) for _ in range(2)]
        assert predictor(value, out=outs[0]) is outs[0]
        for got in (predictor(value), outs[0]):
            assert_same_bits(got, wanted[rows])
        assert_same_bits(predictor.jacobian(value), slopes[rows])
        assert ours(value, out=outs[1]) is outs[1]
        for got in (ours(value), outs[1]):
            assert_close(got, wanted[rows], "gradient", dtype)
        assert repr(value) == before


def test_out_in_a_mapped_file(tmp_path):
    for each in both((7, 33, 5)):
        x = rows_of(100, each)
        out = np.memmap(tmp_path / "out", np.float32, "w+", shape=(100, 5))
        assert each(x, out=out) is out
        assert_same_bits(np.array(out), each(x))


X = np.ones((6, 4), np.float32)
BAD_INPUTS = {
    "no array": (None, TypeError),
    "a scalar": (1.0, ValueError),
    "0-D": (np.float32(1), ValueError),
    "3-D": (X[np.newaxis], ValueError),
    "one column short": (X[:, :3], ValueError),
    "one row short": (X[0, :3], ValueError),
    "a column": (X[:, :1], ValueError),
    "transposed": (X.T, ValueError),
    "0 columns": (X[:, :0], ValueError),
    "an empty list": ([], ValueError),
    "ragged": ([[1, 2, 3, 4], [1]], ValueError),
    "text": ("abcd", TypeError),
    "texts": (["1"] * 4, TypeError),
    "complex": (X.astype(complex), TypeError),
    "dates": (np.zeros(4, "M8[s]"), TypeError),
    "records": (np.zeros(4, [("a", "f4")]), TypeError),
    "masked": (np.ma.masked_array(X, X > 0), TypeError),
    "objects": ([object()] * 4, TypeError),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input_raises_the_same(name):
    value, error = BAD_INPUTS[name]
    messages = set()
    for predictor in both((4, 8, 3)):
        for call in (predictor, predictor.jacobian):
            with pytest.raises(error, match=r"^x (is|holds|has) ") as caught:
                call(value)
            messages.add(str(caught.value))
    assert len(messages) == 1


def test_no_rows():
    for predictor in both((4, 8, 3)):
        assert predictor(X[:0]).shape == (0, 3)
        assert predictor.jacobian(X[:0]).shape == (0, 3, 4)
        out = np.empty((0, 3), np.float32)
        assert predictor(X[:0], out) is out


# ---- ways to call --------------------------------------------------------------------------------

# With both arguments; the last two go another way through Python's C API than the others.
WAYS = {
    "by position": lambda p, x, out: p(x, out),
    "out by name": lambda p, x, out: p(x, out=out),
    "both by name": lambda p, x, out: p(out=out, x=x),
    "from a tuple": lambda p, x, out: p(*(x, out)),
    "from a dictionary": lambda p, x, out: p(x, **{"out": out}),
    "a name that was made": lambda p, x, out: p(x, **{"".join("tuo"[::-1]): out}),
    "partial": lambda p, x, out: functools.partial(p, out=out)(x),
    "of the class": lambda p, x, out: type(p).__call__(p, x, out=out),
    "bound": lambda p, x, out: p.__call__(x, out=out),
}
WRONG_WAYS = (
    *(lambda p, x: p(), lambda p, x: p(out=x), lambda p, x: p(x, x, x), lambda p, x: p(x, y=x)),
    *(lambda p, x: p(x, x, out=x), lambda p, x: p(x, x=x), lambda p, x: p(x, **{"o": x})),
)


@every_dtype
@pytest.mark.parametrize("name", WAYS)
def test_every_way_to_call_has_the_same_result(name, dtype):
    class Doubled(Predictor):
        def __call__(self, *values, **named):
            return 2 * super().__call__(*values, **named)

    for predictor in both((5, 9, 3), dtype):
        for x in (rows_of(1, predictor)[0], rows_of(7, predictor)):
            wanted, out = predictor(x), np.empty((*x.shape[:-1], 3), dtype)
            assert WAYS[name](predictor, x, out) is out
            assert_same_bits(out, wanted)
            assert_same_bits(WAYS[name](predictor, x, None), wanted)
            assert_same_bits(predictor(x=x), wanted)
    native = both((5, 9, 3), dtype)[0]
    x = rows_of(1, native)[0]
    doubled = Doubled(native.spec, native.level, *native.parameters())
    assert_same_bits(WAYS[name](doubled, x, None), 2 * native(x))


def test_predictors_say_what_they_take_and_have_predict():
    words = "call it with rows of 5 values; 3 predictions of 5-9-3, SquaredError()"
    for predictor in both((5, 9, 3), "float32"):
        assert repr(predictor) == f"<Predictor: {words}>"
        x = rows_of(2, predictor)
        assert_same_bits(predictor.predict(x), predictor(x))
        out = np.empty((2, 3), np.float32)
        assert predictor.predict(x, out=out) is out
    nets = [fastmlp.MLP([5, 9, 1], loss="gaussian_nll", rng=k) for k in range(2)]
    together = fastmlp.Ensemble(nets).predictor()
    title = "call it with rows of 5 values; 2 predictions of 5-9-1, GaussianNLL("
    assert repr(together).startswith(f"<EnsemblePredictor: {title}")
    assert repr(together).endswith("); 2 networks>")
    assert_same_bits(together.predict(x), together(x))


@pytest.mark.parametrize("wrong", WRONG_WAYS)
def test_wrong_ways_to_call_are_type_errors(wrong):
    for predictor in both((5, 9, 5)):
        with pytest.raises(TypeError, match=r"__call__\(\)"):
            wrong(predictor, rows_of(1, predictor)[0])


# ---- out -----------------------------------------------------------------------------------------

BAD_OUTS = {
    "a list": lambda shape: np.zeros(shape, "f4").tolist(),
    "a number": lambda shape: 1.0,
    "other dtype": lambda shape: np.zeros(shape, "f8"),
    "integers": lambda shape: np.zeros(shape, "i4"),
    "byte-swapped": lambda shape: np.zeros(shape, np.dtype("f4").newbyteorder()),
    "one column more": lambda shape: np.zeros((*shape[:-1], shape[-1] + 1), "f4"),
    "one column less": lambda shape: np.zeros((*shape[:-1], shape[-1] - 1), "f4"),
    "one row more": lambda shape: np.zeros((shape[0] + 1, shape[-1]), "f4"),
    "no rows": lambda shape: np.zeros((0, shape[-1]), "f4"),
    "3-D": lambda shape: np.zeros((1, 1, *shape)[-3:], "f4"),
    "0-D": lambda shape: np.zeros((), "f4"),
    "read-only": lambda shape: odd.read_only(np.zeros(shape, "f4")),
    "misaligned": lambda shape: odd.misaligned(np.zeros(shape, "f4")),
    "with gaps": lambda shape: np.zeros((*shape[:-1], 2 * shape[-1]), "f4")[..., ::2],
    "reversed": lambda shape: np.zeros(shape, "f4")[..., ::-1],
    "one number": lambda shape: np.broadcast_to(np.zeros(1, "f4"), shape),
    "subclass": lambda shape: np.zeros(shape, "f4").view(odd.Plain),
}


@pytest.mark.parametrize("name", BAD_OUTS)
def test_bad_out_raises_the_same_and_stays(name):
    for x in (X[0], X[:1], X[:2], X):
        out, messages = BAD_OUTS[name]((*x.shape[:-1], 3)), set()
        before = repr(out)
        for predictor in both((4, 8, 3)):
            for form in (x, x.astype("f8"), x.tolist()):
                with pytest.raises(ValueError, match="^out ") as caught:
                    predictor(form, out)
                messages.add(str(caught.value))
        assert len(messages) == 1
        assert repr(out) == before
        (message,) = messages
        assert ("read-only" in message) == (name in ("read-only", "one number"))
        assert ", not C-contiguous" in message or name not in ("with gaps", "reversed")


@every_dtype
def test_out_that_overlaps_the_input(dtype):
    """The result is that of the input from before the call, wherever the two lie."""
    predictor, ours = both((5, 17, 5), dtype)
    for n in (1, 3, 4, 5, 64, 150):
        x = rows_of(n, predictor)
        wanted = predictor(x)
        for shift in (-7, -5, -1, 0, 1, 5, 7):
            for each in (predictor, ours):
                memory = np.zeros(x.size + 20, dtype)
                own = memory[10 : 10 + x.size].reshape(x.shape)
                own[...] = x
                out = memory[10 + shift : 10 + shift + x.size].reshape(x.shape)
                assert each(own, out) is out
                assert_close(out, wanted, "exact" if each is predictor else "gradient", dtype)
    memory = np.asfortranarray(x)
    assert_same_bits(predictor(memory, memory.T.reshape(x.shape)), wanted)
    row = x[0].copy()
    assert_same_bits(predictor(row[::-1].copy()[::-1], row), wanted[0])


ADDRESSES = ["function_address", "derivatives_address", "context_address", "capsule"]


@pytest.mark.parametrize("name", ADDRESSES)
def test_the_reference_has_no_address(name):
    native, ours = both((4, 8, 3))
    assert hasattr(native, name)
    with pytest.raises(AttributeError, match=r"no address.* use the predictor of a fastmlp\.MLP"):
        getattr(ours, name)


def test_calls_that_are_wrong():
    with pytest.raises(TypeError):
        make((4, 8, 3)).jacobian()
    for wrong in (0, -1, 1.5, "2", True):
        with pytest.raises((TypeError, ValueError), match="n_threads"):
            fastmlp.MLP([4, 3]).predictor(n_threads=wrong)
