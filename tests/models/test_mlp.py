"""The model as a user sees it: fit, predict, parameters, copies."""

import copy
import pickle
import re
import warnings

import cases
import numpy as np
import pytest
from models import X, Y, digest, network
from tolerances import assert_close

import fastmlp
from fastmlp._network.data import Data
from fastmlp._network.losses import LOSSES
from fastmlp._network.optimizers import OPTIMIZERS
from fastmlp._network.target_kinds import KINDS
from fastmlp._training import default_training

TARGETS = {
    **{kind: row.examples(Y) for kind, row in KINDS.items()},
    "class": (Y[:, 0] > 0).astype(int),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_loss_trains_and_predicts(mlp, loss, dtype):
    net = network(mlp, loss=loss, dtype=dtype)
    y = TARGETS[net.loss.target_kind]
    before = net.evaluate(X, y)
    history = net.fit(X, y, epochs=30, batch_size=16, validation_data=(X, y))
    assert len(history.loss) == len(history.val_loss) == len(history.seconds) == 30
    assert history.learning_rate == [1e-3] * 30
    assert history.stop_reason == ""
    assert all(s >= 0 for s in history.seconds)
    assert net.evaluate(X, y) == history.val_loss[-1] < before
    predicted = net.predict(X)
    parts = predicted if isinstance(predicted, tuple) else (predicted,)
    levels = net.loss.levels
    assert len(parts) == (1 if levels else net.loss.heads)
    for part in parts:
        assert part.shape == (90, 2, len(levels))[: 2 + bool(levels)]
        assert part.dtype == dtype
        assert np.isfinite(part).all()
    empty = net.predict(X[:0])
    for part in empty if isinstance(empty, tuple) else (empty,):
        assert part.shape == (0, *parts[0].shape[1:])
        assert part.dtype == dtype


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_outputs_before_the_link(mlp, loss, dtype, flat):
    flat &= loss != "cross_entropy"  # which needs two outputs
    net = mlp([3, 8, 1 if flat else 2], loss=loss, dtype=dtype, rng=0)
    if flat:
        net.partial_fit(X, TARGETS[net.loss.target_kind][:, 0])

    levels = net.loss.levels

    def columns(prediction):
        parts = prediction if isinstance(prediction, tuple) else (prediction,)
        assert all(part.ndim == 2 - flat + bool(levels) for part in parts)
        if levels and not flat:
            return cases.columns(prediction)
        return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)

    linked = columns(net.predict(X))
    outputs = columns(net.predict(X, link=False))
    assert_close(net.loss.link(outputs), linked, "elementwise", dtype)
    source = columns(net.predict(lambda: [X[:50], X[50:]], link=False))
    assert_close(source, outputs, "gradient", dtype)
    assert_close(columns(net.predict(X[:1], link=False)), outputs[:1], "gradient", dtype)
    predicted = net.predict(X)
    is_pair = isinstance(predicted, tuple)
    out = tuple(map(np.empty_like, predicted)) if is_pair else np.empty_like(predicted)
    assert_close(columns(net.predict(X, out=out, link=False)), outputs, "gradient", dtype)
    for bad in (None, 1, "no", np.array([True, False])):
        with pytest.raises(TypeError, match="link is .* but must be True or False"):
            net.predict(X, link=bad)
    with pytest.raises(
        TypeError, match="positional"
    ):  # predict(X, y) could be meant like evaluate(X, y)
        net.predict(X, outputs)


@pytest.mark.parametrize("shuffle", [True, False])
def test_same_seed_same_bits(mlp, shuffle):
    def run(rng, fits=1):
        net = network(mlp, rng=rng, dropout=0.2)
        for _ in range(fits):
            history = net.fit(X, Y, epochs=3, batch_size=16, shuffle=shuffle)
        return digest(net), history.loss

    assert run(3) == run(3) == run(np.random.default_rng(3)) == run(np.int64(3))
    assert run(3) != run(4)
    assert run(3, fits=2) == run(3, fits=2) != run(3)
    assert run(None) != run(None)
    for bits in (np.random.MT19937, np.random.Philox, np.random.SFC64):
        assert run(np.random.Generator(bits(5))) == run(np.random.Generator(bits(5)))


def test_a_generator_is_used_not_copied(mlp):
    rng = np.random.default_rng(0)
    first, second = network(mlp, rng=rng), network(mlp, rng=rng)
    assert digest(first) != digest(second)
    state = rng.bit_generator.state
    first.fit(X, Y, epochs=1)
    assert rng.bit_generator.state != state


def test_loss_and_penalty(mlp):
    net, dropping = network(mlp, dtype="float64"), network(mlp, dtype="float64", dropout=0.5)
    before, loss = digest(dropping), net.evaluate(X, Y)
    penalty = 0.5 * sum((w**2).sum() for w in net.weights)
    objective, weight_gradients, bias_gradients = net.gradients(X, Y, l2=0.3)
    assert objective == pytest.approx(loss + 0.3 * penalty, rel=1e-12)
    assert dropping.gradients(X, Y, l2=0.3)[0] == pytest.approx(objective, rel=1e-12)
    assert digest(dropping) == before
    assert [g.shape for g in weight_gradients] == [(3, 8), (8, 2)]
    assert [g.shape for g in bias_gradients] == [(8,), (2,)]
    first = net.fit(X, Y, epochs=1, batch_size=90, l2=0.3).loss[0]
    assert first == pytest.approx(objective, rel=1e-12)


def test_partial_fit_counts_steps_until_a_fit_or_an_error(mlp):
    net, seen = network(mlp, activation="relu"), []

    def schedule(step):
        seen.append(step)
        return 0.01 * (1 + step)

    optimizer = fastmlp.SGD(schedule)
    net.partial_fit(X, Y, optimizer=optimizer, batch_size=45)
    net.partial_fit(X, Y, optimizer=optimizer)
    net.fit(X, Y, epochs=1, optimizer=optimizer, batch_size=90)
    net.partial_fit(X, Y, optimizer=optimizer)
    assert net.fit(X, Y, epochs=2, optimizer=optimizer, batch_size=30).learning_rate == [0.03, 0.06]
    net.partial_fit(X, Y, optimizer=optimizer)
    with pytest.raises(fastmlp.DivergenceError):
        net.partial_fit(X * 1e30, Y, optimizer=optimizer)
    net.partial_fit(X, Y, optimizer=optimizer)
    assert seen == [0, 1, 2, 0, 0, *range(6), 0, 1, 0]


@pytest.mark.parametrize(("call", "momentum"), [("partial_fit", 0.8), ("fit", 0.9)])
def test_partial_fit_begins_anew_with_another_optimizer_or_after_a_fit(mlp, call, momentum):
    fresh, used = network(mlp), network(mlp)
    getattr(used, call)(X, Y, optimizer=fastmlp.SGD(0.2, momentum=momentum))
    used.weights, used.biases = list(fresh.weights), list(fresh.biases)
    used.partial_fit(X, Y, optimizer=fastmlp.SGD(0.2, momentum=0.9))
    fresh.partial_fit(X, Y, optimizer=fastmlp.SGD(0.2, momentum=0.9))
    assert digest(used) == digest(fresh)


def test_the_learning_rate_may_change_between_passes(mlp):
    at_once, changed = network(mlp), network(mlp)
    schedule = fastmlp.Adam(lambda step: 0.01 if step < 2 else 0.002)
    at_once.partial_fit(X, Y, optimizer=schedule, batch_size=45)
    at_once.partial_fit(X, Y, optimizer=schedule, batch_size=45)
    changed.partial_fit(X, Y, optimizer=fastmlp.Adam(0.01), batch_size=45)
    changed.partial_fit(X, Y, optimizer=fastmlp.Adam(0.002), batch_size=45)
    assert digest(at_once) == digest(changed)


def test_weights_are_a_checked_list(mlp):
    net = network(mlp)
    assert len(net.weights) == len(net.biases) == 2
    assert [w.shape for w in net.weights] == [(3, 8), (8, 2)]
    assert [b.shape for b in net.biases] == [(8,), (2,)]
    mine = np.ones((8, 2), np.float32)
    net.weights[-1] = mine
    mine[:] = 7  # copied in
    np.testing.assert_array_equal(net.weights[1], np.ones((8, 2)))
    net.biases = [np.arange(8), [0.5, -0.5]]
    np.testing.assert_array_equal(net.biases[0], np.arange(8))
    net.weights[:] = [2 * w for w in net.weights]
    np.testing.assert_array_equal(net.weights[1], np.full((8, 2), 2))
    assert len(net.weights[:1]) == 1
    with pytest.raises(ValueError, match="read-only"):
        net.weights[0][0, 0] = 1
    with pytest.raises(ValueError, match="has the length 1 but 2 is expected"):
        net.weights[:] = [net.weights[0]]
    assert "array(" in repr(net.biases)
    hidden = np.tanh(X @ net.weights[0] + net.biases[0])
    wanted = hidden @ net.weights[1] + net.biases[1]
    np.testing.assert_allclose(net.predict(X), wanted, rtol=1e-5, atol=1e-5)


def test_attributes(mlp):
    net = mlp([3, 8, 4, 2], activation=["relu", "gelu"], dropout=[0.0, 0.5], loss="huber", rng=0)
    assert net.layer_sizes == (3, 8, 4, 2)
    assert net.activations == ("relu", "gelu")
    assert net.dropout == (0.0, 0.5)
    assert net.loss == fastmlp.Huber()
    assert net.dtype == np.float32
    for part in ("MLP([3, 8, 4, 2]", "['relu', 'gelu']", "Huber(delta=1.0)", "'float32'", "0.5"):
        assert part in repr(net)
    for option in ("loss", "dtype", "dropout", "layer_sizes", "n_parameters"):
        before = getattr(net, option)
        with pytest.raises(AttributeError, match=f"{option} was assigned 3 .*: make a new MLP$"):
            setattr(net, option, 3)
        assert getattr(net, option) == before


COPIES = {"copy": copy.copy, "deepcopy": copy.deepcopy} | {
    f"pickle {protocol}": lambda net, p=protocol: pickle.loads(pickle.dumps(net, p))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
}


@pytest.mark.parametrize("how", COPIES)
def test_copies_are_equal_and_independent(mlp, how):
    net = network(mlp, loss=fastmlp.Quantile(quantile=0.3), dropout=0.1)
    net.fit(X, Y, epochs=2)
    other = COPIES[how](net)
    assert type(other) is mlp
    assert digest(other) == digest(net)
    np.testing.assert_array_equal(other.predict(X), net.predict(X))
    before = digest(net)
    other.fit(X, Y, epochs=2)
    assert digest(net) == before
    net.fit(X, Y, epochs=2)  # the copy has the same generator state, but its own
    assert digest(other) == digest(net)


class Named(fastmlp.MLP):
    """What a user may do."""

    def __init__(self, name):
        super().__init__([3, 4, 2], rng=0)
        self.name = name


def test_subclasses_keep_their_attributes():
    net = pickle.loads(pickle.dumps(Named("mine")))
    assert net.name == "mine"
    assert digest(net) == digest(Named("other"))


def test_jacobian_refuses_what_is_not_finite():
    net = fastmlp.MLP([2, 4, 1], rng=0)
    with pytest.raises(ValueError, match="NaN|nan"):
        net.jacobian([[np.nan, 1.0]])
    assert net.jacobian([0.5, 1.0]).shape == (1, 2)


def test_the_smallest_weights_count_as_any_others():
    net = fastmlp.MLP([1, 4, 1], rng=0)
    x = np.linspace(-1, 1, 40)[:, np.newaxis]
    weights = np.full(40, np.finfo(np.float32).tiny)
    assert net.evaluate(x, x, weights) == pytest.approx(net.evaluate(x, x))
    twin, batches = copy.deepcopy(net), {"epochs": 3, "batch_size": 4, "shuffle": False}
    net.fit(x, x, **batches)
    twin.fit(x, x, sample_weight=weights, **batches)
    np.testing.assert_allclose(twin.weights[0], net.weights[0], rtol=1e-5)


# ---- a fit without options -----------------------------------------------------------------------

SLOW = pytest.mark.slow  # they take thousands of steps, or have wide layers
RADIAL = np.random.default_rng(3).uniform(-1, 1, (300, 2))
BUMP = np.exp(-4 * np.sum(RADIAL**2, axis=1))
NOISE = np.random.default_rng(4).normal(size=300)
NOISE_OF_BUMP = default_training.NOISES[0]
NOISY, ODD = BUMP + 0.3 * NOISE, np.arange(300)[:, None] % 2


@pytest.mark.parametrize("mlp", [fastmlp.MLP, pytest.param(fastmlp.reference.MLP, marks=SLOW)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("loss", "epochs", "factor", "noise_power", "power", "limit"),
    [
        ("squared_error", 2667, 0.5, 1 / 3, 1 / 2, 2e-3),
        ("gaussian_nll", 2000, 1.86, 1 / 6, 1 / 3, -0.5),
        ("binary_cross_entropy", 2000, 1.86, 1 / 6, 1 / 3, 0.4),
    ],
)
def test_a_fit_without_options_learns(mlp, loss, epochs, factor, noise_power, power, limit, dtype):
    def net():
        return mlp([2, 16, 1], loss=loss, dtype=dtype, rng=0)

    train, test = (RADIAL[:150], BUMP[:150]), (RADIAL[150:], BUMP[150:])
    plain, chosen = net(), net()
    history = plain.fit(*train)
    assert plain.evaluate(*test) < limit
    assert len(history.loss) == epochs  # each has 3 steps
    spread = NOISE_OF_BUMP**noise_power * plain.n_parameters**power
    decay = factor * spread * 2**2 / 150
    optimizer = fastmlp.AdamW(fastmlp.OneCycle(0.03), weight_decay=float(f"{decay:.3g}"))
    chosen.fit(*train, epochs=epochs, optimizer=optimizer)
    assert digest(plain) == digest(chosen)


SUITED = [
    ([20, 1], {}, 1000, 0.03),  # an epoch has 8 steps
    ([2, 700, 700, 1], {}, 102, 0.03 * 400 / 1400),  # many parameters: few steps, a low rate
    ([2, 256, 256, 1], {"batch_size": 256}, 748, 0.03 * 400 / 512),  # so are large batches
]


@pytest.mark.parametrize(
    ("mlp", "layer_sizes", "options", "epochs", "rate"),
    [
        (fastmlp.MLP, *SUITED[0]),
        *(pytest.param(fastmlp.MLP, *row, marks=SLOW) for row in SUITED[1:]),
        (fastmlp.reference.MLP, *SUITED[0]),
        *(pytest.param(fastmlp.reference.MLP, *row, marks=SLOW) for row in SUITED[1:]),
    ],
)
def test_a_fit_without_options_suits_the_network(mlp, layer_sizes, options, epochs, rate):
    nets = [mlp(layer_sizes, rng=0) for _ in range(2)]
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(512, layer_sizes[0])), rng.normal(size=512)  # only noise
    stop = [lambda state: state.epoch == 1]
    nets[0].fit(x, y, callbacks=stop, **options)
    spread = 100 ** (1 / 3) * nets[0].n_parameters ** (1 / 2)
    decay = 0.5 * spread * min(layer_sizes[0], 10) ** 2 / 512
    decay = float(f"{min(decay, 1.5 * max(1, len(layer_sizes) - 2)):.3g}")
    optimizer = fastmlp.AdamW(fastmlp.OneCycle(rate), weight_decay=decay)
    nets[1].fit(x, y, epochs=epochs, optimizer=optimizer, callbacks=stop, **options)
    assert digest(nets[0]) == digest(nets[1])
    with pytest.raises(ValueError, match="pass both as before, or neither if that"):
        nets[0].fit(x, y, epochs=epochs, resume=True, **options)
    history = nets[0].fit(x, y, callbacks=stop, resume=True, **options)
    assert history.loss[0] == nets[1].history.loss[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("changes", "lowest", "highest"),
    [
        ({}, 1e-5, 1e-4),
        ({"targets": NOISY}, 0.03, 1),
        ({"targets": np.hstack([BUMP[:, None]] * 3)}, 1e-5, 1e-4),
        ({"targets": NOISE}, 10, 100),
        ({"targets": (BUMP > 0.2).astype(np.int32)}, 1e-5, 0.1),
        ({"targets": NOISY, "weights": np.arange(300) < 1}, 0.1, 0.1),  # one row: unknown
        ({"targets": BUMP + 9 * (np.arange(300) % 2), "weights": np.arange(300) % 2}, 1e-5, 1e-4),
        ({"targets": BUMP + np.where(np.arange(300) % 2, 0, 9), "output_weights": ODD}, 1e-5, 1e-4),
        (
            {"targets": np.stack([NOISY, NOISY], 1), "output_weights": np.hstack([ODD, 1 - ODD])},
            0.03,
            1,
        ),
        ({"x": np.tile(RADIAL, (2, 1)), "targets": np.tile(NOISY, 2)}, 0.03, 1),  # each row twice
        ({"x": fastmlp.SparseRows([0] * 301, [], np.zeros(0, "f4"), 2)}, 0.1, 0.1),
        ({"x": np.ones((300, 2))}, 0.1, 0.1),
        ({"targets": np.full(300, 0.1)}, 0.1, 0.1),
        ({"targets": NOISY, "x": RADIAL[:, :1]}, 0.3, 10),
        ({"x": RADIAL * 1e37, "targets": BUMP * 1e37}, 1e-5, 1e-4),
    ],
)
def test_the_noise_of_targets(changes, lowest, highest, dtype):
    columns = {"x": RADIAL, "targets": BUMP} | changes
    for name, values in columns.items():
        if isinstance(values, np.ndarray) and values.dtype != np.int32:
            values = values.astype(dtype)
            columns[name] = values[:, None] if name == "targets" and values.ndim == 1 else values
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        noise = default_training.noise(Data(**columns))
        # Another order of the rows is another rounding, which must not decide.
        turned = {k: v[::-1] if isinstance(v, np.ndarray) else v for k, v in columns.items()}
        assert default_training.noise(Data(**turned)) == noise
    assert lowest * 0.99 <= noise <= highest * 1.01


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (RADIAL * [1, 4000], BUMP, "X has columns with deviations from .*standardize=True"),
        (RADIAL + 20, BUMP, "X has columns far from 0"),
        (RADIAL / 100, 900 * BUMP, "X has columns with deviations .*, y has columns with"),
        (RADIAL, BUMP * 0 + 7e5, "y has columns far from 0"),
    ],
)
def test_a_first_fit_warns_of_other_units(mlp, x, y, words):
    stop = {"callbacks": [lambda state: True]}
    for options in ({}, {"epochs": 1, "optimizer": fastmlp.SGD(1e-30)}):
        for net in (mlp([2, 4, 1], rng=0), fastmlp.Ensemble([mlp([2, 4, 1], rng=0)])):
            with pytest.warns(UserWarning, match=words):
                net.fit(x, y, **stop, **options)
            net.fit(x, y, **stop, **options)  # pytest makes an error of a warning
    mlp([2, 4, 1], rng=0).partial_fit(x, y, optimizer=fastmlp.SGD(1e-30))
    mlp([2, 4, 1], loss="poisson_nll", rng=0).fit(25 * RADIAL, y, **stop)


SECONDS = 1.7e9 + np.arange(300.0)  # float32 tells three of them apart
GAPS = np.column_stack([np.where(np.arange(300) % 7, SECONDS, np.nan), BUMP])
SCALE = "X has columns (with deviations|far from 0)"


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (SECONDS[:, None], BUMP, r"X has a column \(0\) from 1700000000 to 1700000299, .* 64:"),
        (np.column_stack([BUMP, SECONDS]).tolist(), BUMP, r"X has a column \(1\)"),
        (SECONDS[:, None].astype(int), BUMP, "dtype='float64'"),
        (1e-50 * RADIAL, BUMP, "X has a column"),
        (RADIAL, -SECONDS, "y has a column"),
        (RADIAL, GAPS, r"y has a column \(0\)"),
        (RADIAL, GAPS % 300 + 100, ""),
        (SECONDS[:, None] * 128 // 16384 * 16384, BUMP, SCALE),  # whole numbers without rounding
        (np.full((300, 2), 1e9 + 0.1), BUMP * 0, SCALE),
        ((RADIAL + 1e4).astype(np.float32), BUMP.astype(np.float32) + 10_000, SCALE),
    ],
)
def test_a_first_fit_warns_where_float32_loses_what_columns_differ_in(mlp, x, y, words):
    sizes, options = [np.shape(x)[1], np.ndim(y)], {"epochs": 1, "optimizer": fastmlp.SGD(1e-30)}
    for net in (mlp(sizes, rng=0), fastmlp.Ensemble([mlp(sizes, rng=0)])):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(2):
                net.fit(x, y, **options)
        assert len(caught) == bool(words)
        assert all(re.search(words, str(each.message)) for each in caught)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mlp(sizes, dtype="float64", rng=0).fit(x, y, **options)
    assert not any("float32" in str(each.message) for each in caught)


def test_other_fits_without_epochs_have_twenty(mlp):
    fits = [
        lambda net, **options: net.fit(X, Y, optimizer="adam", **options),
        lambda net, **options: net.fit(fastmlp.Blocks(X, Y), shuffle=False, **options),
        lambda net, **options: fastmlp.Ensemble([net]).fit(X, Y, **options),
    ]
    for fit in fits:
        nets = [network(mlp) for _ in range(2)]
        assert len(fit(nets[0]).loss) == len(fit(nets[1], epochs=20).loss) == 20
        assert digest(nets[0]) == digest(nets[1])
    # Large batches leave few steps in an epoch, and many rows at least ten epochs.
    net = mlp([1, 1], rng=0)
    assert len(net.fit(np.ones((4100, 1)), np.ones(4100), batch_size=4).loss) == 10


# ---- names of optimizers, and what a network says of itself --------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_name_of_an_optimizer_is_the_optimizer_with_its_defaults(mlp, name):
    def trained(wrapped, optimizer):
        net = network(mlp)
        for model in wrapped(net):
            model.fit(X, Y, epochs=2, optimizer=optimizer)
            model.partial_fit(X, Y, optimizer=optimizer)
        return digest(net)

    for wrapped in (lambda net: [net], lambda net: [fastmlp.Ensemble([net])]):
        assert trained(wrapped, name) == trained(wrapped, OPTIMIZERS[name]())


SUMMARY = """\
layer  inputs  outputs  activation         options                                parameters
    0       3        4  relu               scale, layer_norm=before, dropout=0.5          27
    1       4        4  mine               skip from layer 1                              20
    2       4        4  mean_and_variance  linear_path                                    32
total                                                                                     79"""


def test_summary_and_number_of_parameters(mlp):
    def mine(z):
        return z, np.ones_like(z)

    options = {"layer_norm": ["before", None], "dropout": [0.5, 0], "skip": 1}
    activation = ["relu", fastmlp.CustomActivation(mine, name="mine")]
    options |= {"activation": activation, "loss": "gaussian_nll", "linear_path": True}
    net = mlp([3, 4, 4, 2], scale=True, **options)
    assert net.summary() == SUMMARY
    cells = re.findall(r"<td>(.*?)</td>", net._repr_html_())
    assert [cell for cell in cells if cell] == re.split(r"(?: {2,}|\n) *", SUMMARY)
    assert net.n_parameters == sum(each.size for each in net.state_dict().values()) == 79
    ensemble = fastmlp.Ensemble([net, copy.deepcopy(net)])
    assert ensemble.n_parameters == 158
    assert ensemble.summary() == f"2 members, 158 parameters; each member:\n{SUMMARY}"
    html = f"<p>2 members, 158 parameters; each member:</p>{net._repr_html_()}"
    assert ensemble._repr_html_() == html
