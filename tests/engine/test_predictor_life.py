"""Predictors over time: frozen, copied, called from many threads, and frugal with memory."""

import copy
import mmap
import pickle
import sys
import time

import cases
import children
import numpy as np
import pytest
from at_once import busy, repeating
from hypothesis import given, settings, strategies as st
from test_predictor import assert_same_bits, both, every_dtype, every_level, make, rows_of
from trials import peak_of

import fastmlp
from fastmlp._engine import native_engine
from fastmlp._network.activations import ACTIVATIONS

MIB = 2**20
MAP_NORESERVE = 0x4000  # Linux; the mmap module has it from Python 3.12 on


def bound_net(mlp=fastmlp.MLP, **options):
    net = mlp([4, 8, 3], rng=0, **options)
    return net, net.predictor(), np.random.default_rng(2).normal(size=(40, 4)).astype(net.dtype)


# ---- NaN -----------------------------------------------------------------------------------------


@every_dtype
@every_level
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_row(value, level, dtype):
    bad, others = [0, 3, 64, 99], np.delete(np.arange(100), [0, 3, 64, 99])
    for activation in ACTIVATIONS:
        predictor, ours = both((5, 33, 3), dtype, activation, level=level)
        x = rows_of(100, predictor)
        wanted = predictor(x), ours(x), predictor.jacobian(x)
        x[bad, [0, 3, 4, 4]] = value
        with np.errstate(invalid="ignore", over="ignore"):
            found = predictor(x), ours(x), predictor.jacobian(x)
        for got, right in zip(found, wanted, strict=True):
            assert_same_bits(got[others], right[others])
        if np.isnan(value):
            assert all(np.isnan(got[bad]).all() for got in found[:2])
            assert activation != "tanh" or np.isnan(found[2][bad]).all()


# ---- frozen, and copied --------------------------------------------------------------------------


@every_dtype
def test_later_changes_of_the_model_do_not_matter(mlp, dtype):
    net, predictor, x = bound_net(mlp, loss="cross_entropy", dropout=0.5, dtype=dtype)
    row, batch, slopes = predictor(x[0]), predictor(x), predictor.jacobian(x)
    assert_same_bits(net.predict(x), batch)
    assert_same_bits(net.jacobian(x), slopes)
    np.testing.assert_allclose(slopes.sum(axis=1), 0, atol=1e-6)  # probabilities keep their sum
    net.fit(x, np.arange(40) % 3, epochs=2)
    net.weights = [2 * w for w in net.weights]
    net.biases[0] = np.ones(8)
    assert not np.array_equal(net.predict(x), batch)
    assert not np.array_equal(net.jacobian(x), slopes)
    del net
    assert_same_bits(predictor(x[0]), row)
    assert_same_bits(predictor(x), batch)
    assert_same_bits(predictor.jacobian(x), slopes)


def test_results_are_new_arrays():
    _, predictor, x = bound_net()
    for value in (x[0], x[:1], x[:3], x):
        first = predictor(value)
        kept = first.copy()
        second = predictor(value)
        assert not np.shares_memory(first, second)
        assert not np.shares_memory(first, x)
        assert first.flags.owndata
        assert first.flags.c_contiguous
        second[...] = 7
        assert_same_bits(first, kept)


@every_dtype
@pytest.mark.parametrize("protocol", [*range(2, pickle.HIGHEST_PROTOCOL + 1), "copy", "deepcopy"])
def test_copies_predict_the_same(protocol, dtype):
    for predictor in both((7, 33, 5), dtype, "gelu", n_threads=3):
        if isinstance(protocol, str):
            twin = getattr(copy, protocol)(predictor)
        else:
            twin = pickle.loads(pickle.dumps(predictor, protocol))
        x = rows_of(100, predictor)
        for value in (x[0], x):
            assert_same_bits(twin(value), predictor(value))
        assert_same_bits(twin.jacobian(x), predictor.jacobian(x))
        assert (twin.level, twin.n_threads, twin.spec) == (predictor.level, 3, predictor.spec)


def test_a_pickle_runs_on_the_level_of_the_process_that_loads_it(tmp_path):
    """The machine that loads it may lack the instructions of the one that wrote it."""
    levels, predictor = native_engine.available_levels(), make((7, 33, 5))
    (tmp_path / "p").write_bytes(pickle.dumps(make((7, 33, 5), level=levels[0])))
    program = (
        "import pickle, sys, pathlib, numpy as np\n"
        "p = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "print(p.level, float(p(np.ones(7, np.float32))[0]))"
    )
    found = children.python("-c", program, tmp_path / "p", FASTMLP_CPU=levels[-1])
    level, value = children.printed(found).split()
    assert level == levels[-1]
    assert float(value) == pytest.approx(float(predictor(np.ones(7, np.float32))[0]), rel=1e-5)


# ---- threads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["one row", "two rows", "batch", "jacobian"])
def test_long_work_does_not_hold_the_interpreter_lock(what):
    sizes, rows = {"one row": ((3000, 3000, 1), 1), "two rows": ((3000, 3000, 1), 2)}.get(
        what, ((300, 400, 30), 1000)
    )
    predictor = make(sizes, n_threads=1)
    x = rows_of(rows, predictor)
    call = predictor.jacobian if what == "jacobian" else predictor
    call(x)
    stamps, inside = [], 0

    def watch():
        stamps.append(time.perf_counter())
        time.sleep(1e-4)

    with busy(repeating(watch)):
        deadline = time.perf_counter() + 20
        while inside < 3 and time.perf_counter() < deadline:
            began = time.perf_counter()
            call(x)
            ended = time.perf_counter()
            # Not at the edges: there the lock changes hands between two lines of this loop.
            margin = (ended - began) / 10
            inside += sum(began + margin < stamp < ended - margin for stamp in stamps)
            stamps.clear()
    assert inside >= 3


# ---- memory --------------------------------------------------------------------------------------


LAYOUTS = {
    "rows": lambda file, n, m: np.memmap(file, np.float32, "r", shape=(n, m)),
    "columns": lambda file, n, m: np.memmap(file, np.float32, "r", shape=(n, m), order="F"),
    "every other row": lambda file, n, m: np.memmap(file, np.float32, "r", shape=(n, m))[::2],
    "part of the columns": lambda file, n, m: np.memmap(file, np.float32, "r", shape=(n, m))[:, :8],
    "reversed": lambda file, n, m: np.memmap(file, np.float32, "r", shape=(n, m))[::-1, ::-1],
}


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_large_mapped_file_is_not_copied(layout, n_threads, tmp_path):
    n, m = 200_000, 16
    np.random.default_rng(0).random(n * m, np.float32).tofile(tmp_path / "x")  # 13 MB
    x = LAYOUTS[layout](tmp_path / "x", n, m)
    net = fastmlp.MLP([x.shape[1], 8, 2], rng=0)
    predictor = net.predictor(n_threads)
    predictor(x[:100])
    for call in (predictor, net.predict):
        peak, result = peak_of(lambda call=call: call(x))
        assert peak - result.nbytes < 2 * MIB
        assert_same_bits(result[::9999], predictor(np.array(x[::9999])))


def test_more_elements_than_32_bits_count():
    predictor = make((513, 1))
    row = rows_of(1, predictor)[0]
    x = np.broadcast_to(row, (2**22, 513))
    assert x.size > 2**31
    assert (predictor(x) == predictor(row)).all()


@pytest.mark.skipif(sys.platform != "linux", reason="needs a mapping that reserves no memory")
@pytest.mark.parametrize("reverse", [False, True])
def test_rows_further_apart_than_32_bits(reverse):
    predictor = make((4, 8, 3))
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
    n, stride = 70, 2**27  # bytes: 9 GB of addresses, of which a page a row is used
    pages = mmap.mmap(-1, n * stride, flags=flags)
    x = np.ndarray((n, 4), np.float32, pages, strides=(stride, 4))
    x[...] = rows_of(n, predictor)
    plain = x.copy()
    if reverse:
        x, plain = x[::-1], plain[::-1]
    assert_same_bits(predictor(x), predictor(plain))
    columns = np.ndarray((4, n), np.float32, pages, strides=(4, stride))
    wide = make((n, 3))
    assert_same_bits(wide(columns), wide(columns.copy()))
    assert_same_bits(wide(columns[1]), wide(columns[1].copy()))


@every_dtype
@every_level
@pytest.mark.parametrize("sizes", [(3, 9001, 2), (9001, 3), (3, 9001), (9001, 1), (1, 9001, 1)])
def test_layers_wider_than_the_stack_has_room_for(sizes, level, dtype):
    predictor = make(sizes, dtype, "tanh", level=level)
    x = rows_of(9, predictor)
    wanted = predictor(x)
    for i in range(9):
        assert_same_bits(predictor(x[i]), wanted[i])
    assert_same_bits(predictor(x[:3]), wanted[:3])
    net = fastmlp.MLP(list(sizes), dtype=dtype, rng=0)
    assert_same_bits(net.predict(x[:1]), net.predictor()(x[:1]))


# ---- anything ------------------------------------------------------------------------------------


@st.composite
def calls(draw):
    """Return a predictor and an x of any number type, strides and offset that fits it."""
    sizes = draw(st.lists(st.integers(1, 40), min_size=2, max_size=5))
    predictor = make(
        tuple(sizes),
        draw(st.sampled_from(cases.DTYPES)),
        draw(st.sampled_from(list(ACTIVATIONS))),
        level=draw(st.sampled_from(native_engine.available_levels())),
    )
    n, m = draw(st.integers(0, 80)), sizes[0]
    kind = draw(
        st.sampled_from(["f4", "f8", ">f4", ">f8", "f2", "i1", "u2", ">i4", "i8", "u8", "?", "g"])
    )
    order = draw(st.sampled_from("CF"))
    step = draw(st.tuples(*[st.sampled_from([1, 2, 3, -1, -2])] * 2))
    shape = [max(1, length * abs(s)) for length, s in zip((n, m), step, strict=True)]
    offset = draw(st.integers(0, 17))
    raw = np.zeros(offset + np.prod(shape) * np.dtype(kind).itemsize, np.uint8)
    base = raw[offset:].view(kind).reshape(shape, order=order)
    values = np.random.default_rng(draw(st.integers(0, 99))).normal(size=shape) * 3
    base[...] = np.abs(values) if "u" in kind else values
    x = base[:: step[0], :: step[1]][:n, :m]
    return predictor, x[draw(st.integers(0, n - 1))] if n and draw(st.booleans()) else x


@given(calls())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_anything_that_fits(call):
    predictor, x = call
    plain = np.array(x, predictor.spec.dtype, order="C")
    wanted = np.array([predictor(row) for row in np.atleast_2d(plain)]).reshape(
        *x.shape[:-1], predictor.spec.n_outputs
    )
    assert_same_bits(predictor(x), wanted.astype(plain.dtype))
    out = np.empty_like(predictor(x))
    assert predictor(x, out=out) is out
    assert_same_bits(out, predictor(x))
