"""Rows of a table as inputs: the bits of plain NumPy, in engines too, and what is refused."""

import pickle
from dataclasses import replace

import encoded_tables
import numpy as np
import pytest
import trials

import fastmlp
from fastmlp._engine import compiled
from fastmlp._engine.native import predict_each
from fastmlp._engine.numpy import numpy_engine
from fastmlp._engine.plan import Plan
from fastmlp._engine.protocol import Held
from fastmlp._engine.thread_pool import borrowed_team
from fastmlp._models.network import network_of
from fastmlp._network import losses, spec
from fastmlp._network.data import Data
from fastmlp.sklearn.fitted import fitted_of
from fastmlp.tabular import TabMLPClassifier, TabMLPRegressor
from fastmlp.tabular.outcome.targets import ClassTarget, MultiLabelTarget, NumericTarget
from fastmlp.tabular.table.columns import Column, Columns, Table
from fastmlp.tabular.table.encoding import Encoding, Layout, edges_of, quantiles
from fastmlp.tabular.table.rows import Joint, read_row, tempered

BINS = (0, 1, 2, 7, 16, 70, (3, 130, 0, 64))  # one number for all columns, or one for each
MANY = 90  # rows of the table that is measured
ROWS = (0, 1, 2, 53, MANY)  # tables of so many rows are encoded


PLAIN = frozenset({float, int, type(None)})


def test_cells_of_plain_types_are_read_and_others_left_to_others():
    others = []
    columns = (2, PLAIN, lambda cell: others.append(cell) or -7.0, None), (0, PLAIN, float, None)
    words = ((1, PLAIN | {str}, lambda cell: others.append(cell) or -1, {"a": 3, 1: 2, None: 0}),)
    for row in ([1.5, "a", 2.5], (1.5, 1.0, 2), [1.5, None, None]):
        numbers, codes = read_row(row, columns, words, 3)
        expected = [np.nan if cell is None else cell for cell in (row[2], row[0])]
        np.testing.assert_array_equal(numbers[:2], expected)
        assert (numbers.shape, codes.tolist()) == ((3,), [words[0][3][row[1]]])
    assert not others
    odd = [np.inf, -np.inf, "1", True, 10**400, np.float32(1), b""]
    for cell in odd:
        numbers, codes = read_row([1, cell, cell], columns, words, 2)
        assert (numbers.tolist(), codes.tolist()) == ([-7, 1], [-1])
    assert others == [cell for cell in odd for _ in range(2)]
    with pytest.raises(IndexError):
        read_row([1.0], columns, words, 2)
    with pytest.raises(ValueError, match="2 columns of numbers but at most 1 are expected"):
        read_row([1.0, "a", 2.0], columns, words, 1)
    # The first lacks its categories, the second its kinds.
    for wrong in ((0, PLAIN, float, None), (0, None, float, {})):
        with pytest.raises(TypeError, match="got NoneType"):
            read_row([1.0], (), (wrong,), 0)
    with pytest.raises(ValueError, match="there are no networks"):
        predict_each([], np.zeros((0, 3), np.float32))


MEMBERS_AND_ROWS = [(1, 1), (3, 1), (9, 5), (2, 0)]
TARGETS = {
    "one number": lambda y: NumericTarget.of(y[:, :1], "squared_error"),
    "two numbers": lambda y: NumericTarget.of(y[:, :2], "squared_error"),
    "variances": lambda y: NumericTarget.of(y[:, :2], "gaussian"),
    "levels": lambda y: NumericTarget.of(y[:, :1], "quantiles", losses.Quantiles((0.1, 0.5, 0.9))),
    "classes": lambda y: ClassTarget.of(np.arange(len(y)) % 5, np.arange(5)),
    "weighted classes": lambda y: ClassTarget.of(
        np.arange(len(y)) % 3, np.arange(3), class_weights=np.array([1.0, 0.2, 7.0])
    ),
    "labels": lambda y: MultiLabelTarget.of_labels((y > 0) * 1.0),
}


@pytest.mark.parametrize(("members", "n"), MEMBERS_AND_ROWS)
@pytest.mark.parametrize("name", TARGETS)
def test_the_joint_prediction_has_the_bits_of_plain_numpy(name, members, n):
    rng = np.random.default_rng(0)
    target = TARGETS[name](rng.normal(size=(50, 4)))
    scale = target.scale([rng.permutation(50)[:30] for _ in range(members)], None)
    columns = target.outputs * (1 + (name == "variances"))
    z = rng.uniform(size=(members, n, columns)).astype(np.float32)
    decoded, m = target.decode(scale, z), target.outputs
    expected = sum(decoded[1:], decoded[0]) / members
    if columns > m:
        expected[:, m:] += sum((part[:, :m] - expected[:, :m]) ** 2 for part in decoded) / members
    joint = Joint(scale, m, target.sums_to_one)
    before = z.copy()
    for outputs in (z, z.astype(np.float64), np.asfortranarray(z)):
        np.testing.assert_array_equal(joint(outputs), expected)
    for k in range(n):  # one row has no axis of rows
        np.testing.assert_array_equal(joint(z[:, k]), expected[k : k + 1])
    np.testing.assert_array_equal(z, before)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(joint))(z), expected)
    for wrong in (z[:0], np.concatenate([z, z, z], axis=2), z[..., :0]):
        with pytest.raises(ValueError, match="columns are expected"):
            joint(wrong)
    if scale:
        with pytest.raises(ValueError, match="members but"):
            joint(np.concatenate([z, z]))
        with pytest.raises(ValueError, match="a scale has the shape"):
            Joint([array[:, 1:] for array in scale], m, False)
        with pytest.raises(ValueError, match="a scale has 3 arrays"):
            Joint(scale[:3], m, False)


def test_tempered_probabilities_are_those_of_divided_logits():
    p = np.random.default_rng(0).dirichlet([0.1] * 4, 50)
    p[0], p[1] = [0, 0, 1, 0], [np.nan, 0.5, 0.2, 0.3]
    for temperature in (0.2, 1.0, 3.0):
        powers = np.exp(np.log(np.maximum(p, 1e-9)) / temperature)
        found = tempered(p, 1 / temperature, 1e-9)
        np.testing.assert_allclose(found, powers / powers.sum(axis=1, keepdims=True), rtol=1e-13)
    assert p[0, 0] == 0
    assert np.isnan(found[1]).all()


def columns_of_kinds(rng):
    """Return columns of `MANY` rows, of each kind that is told from others."""
    n = MANY
    rare = np.zeros(n)
    rare[0] = 1.0  # constant in most parts
    return {
        "numbers": rng.normal(size=n),
        "few values": rng.integers(0, 3, n) * 1.0,
        "wide, some missing": np.where(rng.random(n) < 0.3, np.nan, 1e308 * rng.uniform(-1, 1, n)),
        "a step": np.where(rng.random(n) < 0.5, 0.0, rng.exponential(size=n)),
        "constant in a part": rare,
        "single and whole": rng.integers(-3, 9, n).astype(np.float32) / 4,
        "integers": rng.integers(0, 2**40, n),
        "eighty words": np.array([f"{k % 80}" for k in range(n)], object),
        "two words": np.array([f"{k % 2}" for k in range(n)], object),
        "words and none": np.array([[None, "a", "b", "c"][k % 4] for k in range(n)], object),
    }


def table_of(*series):
    X = np.empty((MANY, len(series)), object)
    for k, values in enumerate(series):
        X[:, k] = values.tolist()
    columns = Columns.of(X)
    return columns, columns.read(X)


def tables(rng):
    """Return tables of each kind of column, of many, of all, and one without a used column."""
    kinds = columns_of_kinds(rng)
    each = [table_of(series) for series in kinds.values()]
    many = table_of(*rng.normal(size=(70, MANY)))
    return [*each, many, table_of(*kinds.values()), table_of(np.ones(MANY))]


def encoding_of(columns, table, rng, bins):
    """Return the encoding of three members, each by other rows of a table; one by a single row."""
    parts, n = [rng.permutation(MANY)[:k] for k in (MANY // 2, 61, 1)], table.numbers.shape[1]
    return Encoding.of(
        table, columns, parts, np.resize(bins, n), range(1, n, 3), raw=range(1, n, 6)
    )


def odd(table):
    """Return a table with numbers and codes that are seldom."""
    values = np.array([np.nan, 0.0, -0.0, 5e-324, 1e300, -1e300, 1.7e308, -1.7e308])
    numbers, codes = table.numbers.copy(), table.codes.copy()
    rows = np.arange(len(table))[::3]
    numbers[::3] = values[(rows[:, np.newaxis] + np.arange(numbers.shape[1])) % len(values)]
    codes[::5] = -1
    return Table(numbers, codes)


@pytest.mark.parametrize("bins", BINS)
def test_inputs_have_the_bits_of_plain_numpy(bins):
    rng = np.random.default_rng(bins)
    for columns, whole in tables(rng):
        encoding = encoding_of(columns, whole, rng, bins)
        encoder = encoding.encoder
        again = pickle.loads(pickle.dumps(encoder))
        for n in ROWS:
            table = odd(whole.take(rng.permutation(MANY)[:n]))
            right = [encoded_tables.inputs(encoding, table, m) for m in range(3)]
            for m, expected in enumerate(right):
                found = np.asarray(encoding.rows(table, m))
                assert (found.shape, found.dtype) == (expected.shape, np.float32)
                assert found.tobytes() == expected.tobytes()
                copied = np.asarray(again.rows(table.numbers, table.codes, m))
                assert copied.tobytes() == expected.tobytes()
            for k in range(n):
                row = np.stack([inputs[k] for inputs in right])
                assert encoder(table.numbers[k], table.codes[k]).tobytes() == row.tobytes()


def test_tables_of_any_strides_are_read():
    rng = np.random.default_rng(3)
    columns, table = tables(rng)[-2]
    encoding = encoding_of(columns, table, rng, 7)
    other = Table(np.asfortranarray(table.numbers), table.codes[:, ::-1][:, ::-1])
    found, expected = (np.asarray(encoding.rows(rows)) for rows in (other, table))
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("bins", BINS)
def test_what_is_measured_is_that_of_plain_numpy(bins):
    rng = np.random.default_rng(bins)
    for columns, table in tables(rng):
        for n in (1, 2, 3, 53, MANY):
            rows = rng.permutation(MANY)[:n]
            of_columns = np.resize(bins, table.numbers.shape[1])
            encoding = Encoding.of(table, columns, [rows], of_columns)
            right = encoded_tables.measured(table.numbers[rows], of_columns)
            for found, expected in zip(encoding.numbers, right, strict=True):
                np.testing.assert_array_equal(found[0], expected)
            for k, seen in enumerate(encoding.seen_by_column):
                np.testing.assert_array_equal(
                    np.flatnonzero(seen[0]), np.unique(table.codes[rows, k])
                )


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 97, 1000])
def test_quantiles_are_those_of_numpy(n):
    rng = np.random.default_rng(n)
    for values in (rng.normal(size=n), rng.integers(0, 3, n) * 1.0, rng.standard_cauchy(n) ** 9):
        for shares in (np.array([0.25, 0.5, 0.75]), np.linspace(0, 1, 9), rng.random(7)):
            found = quantiles(np.sort(values), shares)
            assert found.tobytes() == np.quantile(values, shares).tobytes()
        for bins in (1, 3, 8):
            right = encoded_tables.edges_of(values, bins)
            np.testing.assert_array_equal(edges_of(values[np.newaxis], bins)[0], right)


def test_of_two_zeros_the_one_is_measured():
    """Sorting leaves them in any order, another one on another machine."""
    rng = np.random.default_rng(4)
    zeros, others = rng.choice([-0.0, 0.0], 400), np.arange(-30.0, 31.0)
    table = Table(np.concatenate([zeros, others])[:, np.newaxis], np.empty((461, 0), np.int32))
    columns = Columns(((0, Column("zeros")),), (), {}, ("zeros",), False)
    rows = np.arange(461)
    for bins in (1, 6):
        centre, _, edges = Encoding.of(table, columns, [rows], bins).numbers
        assert 0.0 in centre
        assert 0.0 in edges or bins == 1
        assert not np.signbit(centre[centre == 0]).any()
        assert not np.signbit(edges[edges == 0]).any()


def test_an_encoder_looks_at_what_it_is_given():
    rng = np.random.default_rng(1)
    encoder = encoding_of(*tables(rng)[-2], rng, 7).encoder
    numbers, codes = np.zeros(7), np.zeros(3, np.int32)
    assert encoder(numbers, codes).shape[0] == 3
    sizes = np.diag([80, 2, 4]).astype(np.int32)  # codes are below the numbers of values
    beyond = [(numbers, size) for size in sizes]
    assert encoder(numbers, sizes.sum(axis=0, dtype=np.int32) - 1).shape[0] == 3
    for wrong in ((numbers[:2], codes), (numbers, codes[:2]), *beyond):
        with pytest.raises(ValueError, match="expected"):
            encoder(*wrong)
        with pytest.raises(ValueError, match="expected"):
            encoder.rows(wrong[0][np.newaxis], wrong[1][np.newaxis])
    with pytest.raises(ValueError, match="1 rows of codes but 2 are expected"):
        encoder.rows(np.zeros((2, 7)), codes[np.newaxis])
    for m in (-1, 3):
        with pytest.raises(ValueError, match="is expected below 3"):
            encoder.rows(numbers[np.newaxis], codes[np.newaxis], m)
    measured, bins, known, *rest = encoder.__reduce__()[1]
    centre, factor, middle, half = measured
    other_bins = (bins[1:], bins + 1, bins - 8, np.resize([-7, 21], 7))
    for given in (
        ((centre, factor[:, 1:], middle, half), bins),
        ((centre, factor, middle, half[:, 1:]), bins),
        *((measured, wrong) for wrong in other_bins),
    ):
        with pytest.raises(ValueError, match="of the same members and numbers"):
            type(encoder)(*given, known, *rest)
    with pytest.raises(ValueError, match="known has shape"):
        type(encoder)(measured, bins, known[:, 1:], *rest)
    with pytest.raises(ValueError, match=r"limits has shape \(2, 6\) but \(2, 7\) is expected"):
        type(encoder)(measured, bins, known, *rest[:2], rest[2][:, 1:], *rest[3:])
    with pytest.raises(ValueError, match="with_missing"):
        type(encoder)(measured, bins, known, rest[0], np.array([7]), *rest[2:])
    missing, bins = np.array([0, 3]), np.array(bins)
    layout = Layout.of(len(missing), rest[0], bins)
    copied = type(encoder)(measured, bins, known, rest[0], missing, rest[2], layout)
    row = np.arange(7.0)
    row[3] = np.nan
    before = copied(row, codes)
    missing[:], bins[:2] = 5, (6, 8)  # memory that anybody may change
    np.testing.assert_array_equal(copied(row, codes), before)


def encoded(rng):
    """Return encoded rows of a table, one of whose columns holds numbers near the smallest."""
    columns, table = tables(rng)[-2]
    table = odd(table)
    tiny = np.where(rng.random(MANY) < 0.2, 5e-310, 1e-299 * rng.normal(size=MANY))
    table = replace(table, numbers=np.c_[table.numbers, tiny])
    return encoding_of(columns, table, rng, 7).rows(table, 1)


def results(engine, x, y, team):
    """Return what an engine makes of inputs, in each way that it meets them."""
    order = np.random.default_rng(1).permutation(len(x))
    optimizer = fastmlp.Adam()
    plan = Plan(optimizer, 16, np.full(-(-len(x) // 16), 0.01), order)
    plan.team = team
    data = Data(x, y)
    engine.start(optimizer)
    found = [engine.epoch(data, plan), *engine.gradients(data)[1]]
    held = Held([data.part(order[:50])])
    found += engine.train_many([engine], [data], [plan], team, held=held)[2]
    found += [engine.predict(x, team), engine.predict(x[:1]), engine.evaluate(data, team)]
    found += [engine.frozen().jacobian(x), *engine.parameters()[0]]
    return [np.asarray(each).tobytes() for each in found]


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("make", [compiled, numpy_engine.Engine])
def test_engines_compute_rows_with_the_bits_of_their_array(make, n_threads):
    x = encoded(np.random.default_rng(6))
    array, y = np.asarray(x), np.arange(len(x), dtype=np.int32) % 3
    assert np.array_equal(array[::-7], np.asarray(x[::-7]))
    assert np.array_equal(array[y == 1][1:], np.asarray(x[y == 1][1:]))
    net = spec.build([x.shape[1], 33, 17, 3], "relu", fastmlp.CrossEntropy(), scale=True)
    first = fastmlp.MLP([x.shape[1], 33, 17, 3], loss="cross_entropy", scale=True, rng=0)
    with borrowed_team(n_threads) as team:
        both = []
        for inputs in (x, array):
            engine = make(net)
            engine.set_parameters(*network_of(first).engine.parameters())
            both.append(results(engine, inputs, y, team))
    assert both[0] == both[1]


def test_computed_rows_are_checked_like_an_array():
    x = encoded(np.random.default_rng(6))
    net = fastmlp.MLP([x.shape[1], 4, 1], dtype="float64", rng=0)
    assert net.predict(x).tobytes() == net.predict(np.asarray(x)).tobytes()
    for width, dtype in ((x.shape[1] + 1, "float32"), (x.shape[1] - 1, "float64")):
        with pytest.raises(ValueError, match=f"X has {x.shape[1]} features but this MLP expects"):
            fastmlp.MLP([width, 4, 1], dtype=dtype).fit(x, np.zeros(len(x)))
    with pytest.raises(ValueError, match="X has 0 rows"):
        fastmlp.MLP([x.shape[1], 4, 1]).fit(x[:0], np.zeros(0))


def fitted(cls):
    """Return an estimator of a table with missing values and categories, after a few epochs."""
    rng = np.random.default_rng(2)
    kinds = columns_of_kinds(rng)
    X = np.empty((MANY, len(kinds)), object)
    for k, values in enumerate(kinds.values()):
        X[:, k] = values.tolist()
    y = kinds["few values"] + (kinds["two words"] == "1") + rng.normal(size=MANY) / 9
    y = y if cls is TabMLPRegressor else (y > 1).astype(int)
    return cls(preset="fast", epochs=4, random_state=0).fit(X, y, rng.uniform(1, 2, MANY))


@pytest.mark.filterwarnings("ignore:column 7 is a category of 80 texts that are numbers")
@pytest.mark.parametrize("cls", [TabMLPRegressor, TabMLPClassifier])
def test_a_fit_has_the_bits_of_one_whose_inputs_are_arrays(cls, monkeypatch):
    def bits(model):
        nets = [net for group in fitted_of(model).blend.groups for net in group.networks]
        found = [array for net in nets for kind in net.engine.parameters() for array in kind]
        return [array.tobytes() for array in (*found, fitted_of(model).held_out.predictions)]

    found = bits(fitted(cls))
    rows = Encoding.rows
    monkeypatch.setattr(Encoding, "rows", lambda *given: np.asarray(rows(*given)))
    assert found == bits(fitted(cls))


def test_a_fit_never_holds_the_inputs_of_its_members():
    X = np.random.default_rng(0).normal(size=(8000, 20))
    model = TabMLPRegressor(preset="fast", epochs=1, width=16, random_state=0)
    model.fit(X[:99], X[:99, 0])  # imports, and what is kept for later calls
    peak, _ = trials.peak_of(lambda: model.fit(X, X[:, 0]))
    group = fitted_of(model).blend.groups[0]
    inputs = len(group) * len(X) * group.spec.layer_sizes[0] * 4
    assert peak < inputs / 2, (peak, inputs)
