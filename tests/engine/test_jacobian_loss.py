"""Training on derivatives by the inputs: gradients, fits, bits, doors and misuse."""

import copy

import cases
import numpy as np
import pytest
import ranks
from test_operators import check_gradients, every_norm, every_option, flat, widths
from test_predictor import every_dtype, every_level
from tolerances import assert_all_close, assert_close

import fastmlp
from fastmlp._engine import native_engine
from fastmlp._models.network import network_of
from fastmlp._network import optimizers
from fastmlp._network.layer_norm import POSITIONS
from fastmlp._network.spec import BLOCK_ROWS

# Inputs, units and outputs on both sides of panels.
SHAPES = ((3, 5, 5, 1), (17, 33, 33, 2), (1, 8, 8, 3), (33, 1, 1, 17), (2, 1))


def rows(n=120, outputs=1, seed=0):
    """Return x, y and derivatives of smooth functions of two numbers."""
    x = np.random.default_rng(seed).uniform(-1, 1, (n, 2))
    factors = 1 + np.arange(outputs)
    angle = x[:, :1] * factors
    y = np.sin(angle) * x[:, 1:]
    dy = np.stack([factors * np.cos(angle) * x[:, 1:], np.sin(angle)], axis=2)
    return x, y, dy


def made(mlp, outputs=1, **options):
    options = {"activation": "tanh", "dtype": "float64", "rng": 0} | options
    return mlp([2, 12, 12, outputs], **options)


def state(net):
    return flat(network_of(net).engine.parameters())


# ---- gradients -----------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [None, *POSITIONS])
@every_option
def test_gradients_by_central_differences(options, norm):
    sizes, activations = (3, *widths(options, 5, 4), 2), ["tanh", "gelu"]
    network = cases.build(sizes, activations, layer_norm=norm, dropout=[0.4, 0.3], **options)
    check_gradients(network, jacobians=True)


@every_level
@every_dtype
@every_norm
@every_option
@pytest.mark.parametrize("first", [0, 5])
def test_native_gradients_are_those_of_the_reference(first, options, norm, dtype, level):
    rng = np.random.default_rng(first)
    sizes, activations = (9, *widths(options, 35, 18), 2), cases.mixed_activations(2, first)
    network = cases.build(sizes, activations, dtype=dtype, layer_norm=norm, **options)
    native, reference = cases.engines(network, level, rng)
    data = cases.data(network, 37, rng, weighted=True, jacobians=True)
    data.x[1] = np.finfo(dtype).max  # its weight is 0
    (value, *got), (expected, *wanted) = (each.gradients(data, 0.1) for each in (native, reference))
    assert_close(value, expected, "loss", dtype)
    assert_all_close(flat(got), flat(wanted), "step", dtype)
    assert_close(native.evaluate(data), reference.evaluate(data), "loss", dtype)


@every_level
@every_dtype
@pytest.mark.parametrize("sizes", SHAPES, ids=str)
@pytest.mark.parametrize("loss", ["squared_error", "huber", "quantile"])
def test_epochs_are_those_of_the_reference_for_any_threads(loss, sizes, dtype, level):
    n_hidden = len(sizes) - 2
    network = cases.build(sizes, "tanh", loss, dtype, [0.3] * n_hidden, scale=n_hidden > 0)
    limit = BLOCK_ROWS // (1 + sizes[-1])  # rows of a block
    for n, batch in ((131, 64), (limit + 1, limit + 1), (1023, 500), (1025, 1025)):
        data = cases.data(network, n, np.random.default_rng(n), True, True, jacobians=True)
        results = []
        for kind, threads in (("reference", 1), (level, 1), (level, 2), (level, 3)):
            engine = cases.engine(kind, network)
            engine.set_parameters(*cases.parameters(network, np.random.default_rng(1)))
            results.append(cases.train(engine, data, batch, optimizers.Adam(), threads))
        (reference, parameters), one, *others = results
        assert_close(one[0], reference, "loss", dtype, scale=16)
        assert_close(one[1], parameters, "fit", dtype)
        for other in others:
            assert other[0] == one[0]
            np.testing.assert_array_equal(other[1], one[1])


@every_dtype
def test_levels_with_fused_multiply_add_have_the_same_bits(dtype):
    levels = [level for level in native_engine.available_levels() if level != "baseline"]
    for at, options in enumerate(({}, {"parametric": True, "skip": 1, "linear_path": True})):
        network = cases.build(
            (9, 33, 33, 2),
            cases.mixed_activations(2, at),
            dtype=dtype,
            layer_norm="after",
            **options,
        )
        data = cases.data(network, 200, np.random.default_rng(0), jacobians=True)
        results = []
        for level in levels:
            engine = cases.engine(level, network)
            engine.set_parameters(*cases.parameters(network, np.random.default_rng(1)))
            results.append(cases.train(engine, data, 64, optimizers.Adam(), clip_norm=1.0)[1])
        for result in results[1:]:
            np.testing.assert_array_equal(result, results[0])


# ---- fits ----------------------------------------------------------------------------------------


def test_derivatives_teach(mlp):
    x, y, dy = rows(40)
    errors = []
    new, values, _ = rows(500, seed=1)
    for derivatives in (None, dy[:, 0]):
        net = made(mlp)
        options = {"epochs": 100, "batch_size": 10, "optimizer": fastmlp.Adam(0.01)}
        net.fit(x, y, dy=derivatives, **options)
        errors.append(np.sqrt(np.mean((net.predict(new) - values) ** 2)))
    assert errors[1] < 0.5 * errors[0]


def test_the_loss_is_that_of_values_and_derivatives(mlp):
    x, y, dy = rows(outputs=2)
    weights = np.random.default_rng(0).uniform(0.5, 2, len(x))
    dy[::3, 0, 1] = np.nan
    net = made(mlp, 2)
    data = x, y, weights, dy
    seen = []
    history = net.fit(
        x,
        y,
        sample_weight=weights,
        dy=dy,
        dy_weight=0.3,
        epochs=3,
        validation_data=data,
        metrics=["r2"],
        callbacks=[lambda state: seen.append(copy.deepcopy(state.model))],
    )
    for model, val_loss in zip(seen, history.val_loss, strict=True):
        errors = np.nan_to_num(model.jacobian(x) - dy)
        more = 0.15 * np.average(np.sum(errors**2, axis=(1, 2)), weights=weights)
        assert abs(val_loss - model.evaluate(x, y, weights) - more) < 1e-9
        assert model.evaluate(x, y, weights, dy, 0.3) == val_loss
        objective, *_ = model.gradients(x, y, weights, dy=dy, dy_weight=0.3)
        assert abs(objective - val_loss) < 1e-12
    other = made(mlp, 2)  # validation rows without derivatives have the loss of the values
    twin = other.fit(x, y, dy=dy, epochs=1, validation_data=(x, y))
    assert abs(twin.val_loss[0] - other.evaluate(x, y)) < 1e-9


@pytest.mark.parametrize("outputs", [1, 2])
def test_rows_without_values_teach_derivatives(mlp, outputs):
    x, y, dy = rows(outputs=outputs)
    weights = np.random.default_rng(0).uniform(0.5, 2, len(x))
    y[1:, -1], y[5:], dy[:5] = np.nan, np.nan, np.nan
    y[-1], dy[-1] = np.nan, np.nan  # such a row does not count
    net = made(mlp, outputs)
    errors = np.nan_to_num(net.predict(x) - y), np.nan_to_num(net.jacobian(x) - dy)
    losses = 0.5 * np.sum(errors[0] ** 2, axis=1) + 0.15 * np.sum(errors[1] ** 2, axis=(1, 2))
    counts = np.where(np.arange(len(x)) < 5, np.mean(~np.isnan(y), axis=1), 1) * weights
    expected = np.sum(weights * losses) / np.sum(counts[:-1])
    assert abs(net.evaluate(x, y, weights, dy, 0.3) - expected) < 1e-12
    held = [np.arange(20)]  # validation of an ensemble is by values alone
    ensemble = fastmlp.Ensemble([made(mlp, outputs)])
    history = ensemble.fit(x, y, sample_weight=weights, dy=dy, epochs=2, validation_rows=held)
    part = np.flatnonzero(~np.isnan(y[:20]).all(axis=1))
    after = ensemble[0].predict(x[part]) - y[part]
    of_part = np.sum(weights[part] * 0.5 * np.nansum(after**2, axis=1)) / np.sum(counts[part])
    assert abs(history.val_loss[-1] - of_part) < 1e-9
    before = np.abs(net.jacobian(x) - dy)[5:-1].mean()
    net.fit(x, y, sample_weight=weights, dy=dy, epochs=200, optimizer=fastmlp.Adam(0.01))
    assert np.abs(net.jacobian(x) - dy)[5:-1].mean() < 0.2 * before
    with pytest.raises(ValueError, match=r"y(\[\d+, 0\] is nan| is NaN alone)"):
        net.fit(x, np.nan * y)


def test_unknown_derivatives_and_those_of_no_weight_change_nothing(mlp):
    x, y, dy = rows()
    nets = [made(mlp) for _ in range(3)]
    for net, options in zip(
        nets, ({}, {"dy": np.nan * dy}, {"dy": dy, "dy_weight": 0}), strict=True
    ):
        net.fit(x, y, epochs=2, **options)
        assert_all_close(state(net), state(nets[0]), "fit", "float64")


@pytest.mark.filterwarnings("ignore:some members have the same weights")
def test_every_door_gives_the_same_network(mlp):
    x, y, dy = rows(100)
    dy[7, 0], y[9] = np.nan, np.nan
    steps = {"batch_size": 16, "optimizer": fastmlp.Adam(0.01), "dy_weight": 0.4}
    fit = {"shuffle": False, "epochs": 4, **steps}
    net = made(mlp, dropout=0.2)
    expected = net.fit(x, y, dy=dy, validation_data=(x, y, None, dy), **fit)
    doors = [made(mlp, dropout=0.2) for _ in range(6)]
    blocks = fastmlp.Blocks(x, y, dy=dy, rows=30)
    history = doors[0].fit(blocks, validation_data=blocks, **fit)
    assert_close(history.val_loss, expected.val_loss, "loss", "float64")
    doors[1].fit(x, y, dy=dy, **fit | {"epochs": 2})
    doors[1] = copy.deepcopy(doors[1])
    doors[1].fit(x, y, dy=dy, **fit, resume=True)
    best = fastmlp.EarlyStopping("val_loss", patience=9)
    doors[2].fit(x, y, dy=dy, validation_data=(x, y, None, dy), callbacks=[best], **fit)
    assert best.best == min(expected.val_loss)
    ensemble = fastmlp.Ensemble(doors[3:5])
    ensemble.fit(x, y, dy=dy, validation_rows=[[0], [1]], **fit)
    ensemble.fit([x, x], [y, y], dy=[dy, dy], epochs=1)
    doors[3:5] = [made(mlp, dropout=0.2) for _ in range(2)]
    fastmlp.Ensemble(doors[3:5]).fit([x, x], [y, y], dy=[dy, dy], **fit)
    doors[5].fit(x, y, dy=dy, communicator=ranks.alone(), **fit)
    for door in doors:
        np.testing.assert_equal(state(door), state(net))


def test_partial_fit_goes_on(mlp):
    x, y, dy = rows(64)
    net, twin = made(mlp), made(mlp)
    for first in range(0, 64, 16):
        part = slice(first, first + 16)
        net.partial_fit(x[part], y[part], dy=dy[part])
    twin.partial_fit((x[k : k + 16], y[k : k + 16], None, dy[k : k + 16]) for k in range(0, 64, 16))
    np.testing.assert_equal(state(net), state(twin))
    fastmlp.Ensemble([net]).partial_fit(x, y, dy=dy)
    twin.partial_fit(x, y, dy=dy)
    assert_all_close(state(net), state(twin), "exact", "float64")


def test_lbfgs_learns_derivatives(mlp):
    x, y, dy = rows(60)
    net = made(mlp)
    history = net.fit(x, y, dy=dy, optimizer=fastmlp.LBFGS(), epochs=60)
    assert history.loss[-1] < 0.01 * history.loss[0]
    assert np.abs(net.jacobian(x) - dy).mean() < 0.1


X, Y, DY = rows(6, outputs=2)
MISUSE = {
    "outputs": (DY[:, 0], r"dy has shape \(6, 2\) but \(6, 2, 2\) is expected"),
    "rows": (DY[1:], r"dy has shape \(5, 2, 2\)"),
    "swapped": (DY[..., :1], r"dy has shape \(6, 2, 1\)"),
    "infinite": (np.where(DY > 0, np.inf, DY), r"dy\[.*\] is inf but finite numbers"),
    "text": (DY.astype(str), "dy holds strings"),
}


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_is_refused_and_changes_nothing(mlp, name):
    net = made(mlp, 2)
    before, (dy, words) = state(net), MISUSE[name]
    calls = (
        lambda: net.fit(X, Y, dy=dy),
        lambda: net.partial_fit(X, Y, dy=dy),
        lambda: net.fit(lambda: [(X, Y, None, dy)]),
        lambda: net.fit(X, Y, validation_data=(X, Y, None, dy)),
        lambda: fastmlp.Ensemble([net]).fit(X, Y, dy=dy),
    )
    for call in calls:
        with pytest.raises((TypeError, ValueError), match=words):
            call()
    with pytest.raises(TypeError, match="pass y, all NaN to learn dy alone"):
        net.fit(X, dy=DY)
    with pytest.raises(ValueError, match="dy_weight is -1"):
        net.fit(X, Y, dy=DY, dy_weight=-1)
    assert_all_close(state(net), before, "exact", "float64")
