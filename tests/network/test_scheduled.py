"""Weight decay and dropout by schedule, in both engines: step by step, as the learning rate is."""

import copy
import itertools
import re
import warnings

import cases
import numpy as np
import pyarrow
import pytest
import test_bits
from models import X, Y, digest, network
from states import refused
from test_blocks import compare_training

import fastmlp
from fastmlp import Constant, Cosine, WarmUp
from fastmlp._models.network import network_of
from fastmlp._network.spec import BLOCK_ROWS

# Rows of the data and of a batch: odd; batches of several blocks.
ROWS = ((151, 32), (2 * BLOCK_ROWS + 7, BLOCK_ROWS + 300))
# Of three steps and two hidden layers: from none, to none, in one layer only.
DROPOUTS = (
    [[0.0, 0.5], [0.3, 0.25], [0.6, 0.0]],
    [[0.0, 0.2], [0.0, 0.0], [0.0, 0.9]],
    [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]],
)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("level", test_bits.LEVELS)
def test_training_is_that_of_the_reference_on_any_threads(level, dtype):
    optimizer = fastmlp.AdamW(weight_decay=Constant(9.0))  # the plan's numbers count
    for (n, batch_size), dropouts in itertools.product(ROWS, DROPOUTS):
        steps = -(-n // batch_size)
        given = np.resize(np.array(dropouts), (steps, 2)), np.linspace(0, 3, steps)
        options = dict(zip(("dropouts", "weight_decays"), given, strict=True))
        with cases.row((n, dropouts)):
            compare_training(level, dtype, 1, (n, batch_size, options), optimizer)


def fit(net, dropout, **options):
    net.fit(X, Y, epochs=3, batch_size=25, dropout=dropout, **options)
    return digest(net)


def test_what_a_fit_is_given_is_of_that_fit_only(mlp):
    """A workspace may live on from fit to fit; the bits do not depend on it."""
    pairs = (0.5, None), (None, 0.5), (0.3, 0.5)
    for activation, (first, second) in itertools.product(("relu", "tanh"), pairs):
        nets = [network(mlp, activation=activation) for _ in range(2)]
        fit(nets[0], first)
        assert nets[0].dropout == (0.0,)
        nets[1].weights, nets[1].biases = nets[0].weights, nets[0].biases
        network_of(nets[1]).rng.bit_generator.state = network_of(nets[0]).rng.bit_generator.state
        assert fit(nets[0], second) == fit(nets[1], second)
        net = network(mlp, activation=activation)
        net.partial_fit(X, Y, batch_size=25, dropout=first)
        twin = copy.deepcopy(net)  # goes on with a workspace of its own
        for each in (net, twin):
            each.partial_fit(X, Y, batch_size=25, dropout=second)
        assert digest(net) == digest(twin)


def test_passes_of_partial_fit_go_on_with_both(mlp):
    dropout = WarmUp(Cosine(0.5, n_steps=9), n_steps=4)
    optimizer = fastmlp.AdamW(0.02, weight_decay=lambda step: 0.1 * step)
    nets = [network(mlp, dtype="float64") for _ in range(2)]
    options = {"optimizer": optimizer, "batch_size": 30, "dropout": dropout}
    nets[0].fit(X, Y, epochs=3, shuffle=False, **options)
    for _ in range(3):
        nets[1].partial_fit(X, Y, **options)
    assert digest(nets[0]) == digest(nets[1])


def test_the_decay_is_that_of_each_step(mlp):
    """It is on in the last step of three only, and takes rate times decay of what was there."""
    net, other = (network(mlp, dtype="float64") for _ in range(2))
    groups = fastmlp.Groups(bias_decay=1.0)
    for model, decay in ((net, lambda step: 0.25 * (step == 2)), (other, 0.0)):
        optimizer = fastmlp.AdamW(0.5, weight_decay=decay)
        model.fit(X, Y, epochs=1, batch_size=30, shuffle=False, optimizer=optimizer, groups=groups)
    before = network(mlp, dtype="float64")
    optimizer = fastmlp.AdamW(0.5, weight_decay=0.0)
    before.fit(X[:60], Y[:60], epochs=1, batch_size=30, shuffle=False, optimizer=optimizer)
    for found, plain, old in zip(net.weights, other.weights, before.weights, strict=True):
        np.testing.assert_allclose(found, plain - 0.125 * old, rtol=1e-9, atol=1e-12)


def test_another_decay_keeps_the_moments(mlp):
    """As another learning rate does: neither is part of the state."""
    net = network(mlp)
    for decay in (0.1, 0.2, Constant(0.1)):
        net.partial_fit(X, Y, optimizer=fastmlp.AdamW(weight_decay=decay))
    assert network_of(net).resume_state.step == 3


# ---- schedules without n_steps -------------------------------------------------------------------

ROWS_OF_MEMBERS = [np.arange(90), np.arange(40), np.arange(25)]


def of_length(n_steps):
    """Return options of a fit with schedules of so many steps; None: those of the fit."""
    rate = WarmUp(fastmlp.OneCycle(0.02, n_steps), n_steps=3)
    optimizer = fastmlp.AdamW(rate, weight_decay=Cosine(0.1, n_steps))
    return {"optimizer": optimizer, "dropout": Cosine(0.3, n_steps), "batch_size": 25}


def blocks(x, y):
    return fastmlp.Blocks(x, y, rows=40)


def arrow_blocks(x, y):
    columns = {"y": y.ravel(), **{str(k): column for k, column in enumerate(x.T)}}
    return fastmlp.ArrowBlocks(pyarrow.table(columns), "y", rows=40)


@pytest.mark.parametrize("source", [blocks, arrow_blocks, None])
def test_schedules_take_the_steps_of_the_fit(mlp, source):
    y = Y.reshape(len(X), -1)[:, :1]
    data = (X, y) if source is None else (source(X, y),)
    nets = [mlp([X.shape[1], 8, 1], rng=0) for _ in range(2)]
    steps = 4 * -(-len(X) // 25)
    for net, n_steps in zip(nets, (None, steps), strict=True):
        net.fit(*data, epochs=4, **of_length(n_steps))
    assert digest(nets[0]) == digest(nets[1])
    rates = nets[0].history.learning_rate
    assert rates == nets[1].history.learning_rate
    assert 0 < rates[-1] < 0.1 * max(rates)


def test_each_member_has_the_length_of_its_own_rows(mlp):
    together, alone = ([network(mlp, rng=seed) for seed in range(3)] for _ in range(2))
    rows = ROWS_OF_MEMBERS
    fastmlp.Ensemble(together).fit(X, Y, rows=rows, epochs=10, **of_length(None))
    for net, own, chosen in zip(alone, together, rows, strict=True):
        net.fit(X[chosen], Y[chosen], epochs=10, **of_length(10 * -(-len(chosen) // 25)))
        assert own.history.learning_rate == net.history.learning_rate
        assert digest(own) == digest(net)


def test_a_resumed_fit_has_the_length_of_all_its_epochs(mlp):
    nets = [network(mlp) for _ in range(2)]
    nets[0].fit(X, Y, epochs=6, **of_length(None))
    nets[1].fit(X, Y, epochs=6, callbacks=[lambda state: state.epoch == 2], **of_length(None))
    nets[1].fit(X, Y, epochs=6, resume=True, **of_length(None))
    assert digest(nets[0]) == digest(nets[1])


@pytest.mark.parametrize("name", ["MLPRegressor", "MLPClassifier"])
def test_estimators_know_the_length_of_their_fits(name):
    y = np.ravel(Y)[: len(X)] > 0
    rates = []
    for options in (
        {"learning_rate": Cosine(0.01)},
        {"learning_rate": "cosine", "learning_rate_init": 0.01},
    ):
        model = getattr(fastmlp, name)(max_iter=5, n_iter_no_change=9, random_state=0, **options)
        with warnings.catch_warnings(action="ignore"):  # the epochs are few
            rates.append(model.fit(X, y).history_.learning_rate)
    assert rates[0] == rates[1]


WITHOUT_LENGTH = {
    "partial_fit": lambda net: net.partial_fit(X, Y, optimizer=fastmlp.Adam(Cosine(0.1))),
    "partial_fit, dropout": lambda net: net.partial_fit(X, Y, dropout=Cosine(0.1)),
    "partial_fit, decay": lambda net: net.partial_fit(
        X, Y, optimizer=fastmlp.AdamW(weight_decay=fastmlp.OneCycle(0.1))
    ),
    "a source": lambda net: net.fit(
        lambda: fastmlp.Blocks(X, Y, rows=40), optimizer=fastmlp.Adam(WarmUp(Cosine(0.1), 3))
    ),
    "a call": lambda net: Cosine(0.1)(3),
}


@pytest.mark.parametrize("name", WITHOUT_LENGTH)
def test_a_length_that_nobody_knows_is_asked_for(mlp, name):
    net = network(mlp)
    with refused(ValueError, "has no n_steps, and here .* is not known: pass n_steps", net):
        WITHOUT_LENGTH[name](net)


@pytest.mark.parametrize(
    ("rate", "is_short"),
    [
        *((Cosine(0.01), False), (Cosine(0.01, 9), False), (Cosine(0.01, 10), False)),
        *((Cosine(0.01, 8), True), (fastmlp.OneCycle(0.01, 2), True), (Constant(0.01), False)),
        *((WarmUp(Cosine(0.01, 8), 4), True), (WarmUp(Cosine(0.01), 4), False), (0.01, False)),
        *((lambda step: 0.01, False), (WarmUp(0.01, 2), False)),
    ],
)
def test_a_schedule_that_ends_early_is_mentioned(mlp, rate, is_short):
    """In fits of 18 steps, by the line of the fit; once, also by an ensemble."""
    nets = [network(mlp), fastmlp.Ensemble([network(mlp), network(mlp, rng=1)])]
    for net in nets:
        with warnings.catch_warnings(record=True, action="always") as found:
            net.fit(X[:90], Y[:90], epochs=6, batch_size=30, optimizer=fastmlp.Adam(rate))
        assert len(found) == is_short
        for each in found:
            words = f"stays at .* from step {rate._length()} of 18 on: leave n_steps out"
            assert re.search(words, str(each.message))
            assert each.filename == __file__
    nets[0].partial_fit(X, Y, optimizer=fastmlp.Adam(Cosine(0.01, 1)))


BAD = [
    ({"dropout": 1.0}, ValueError, "dropout is 1.0"),
    ({"dropout": [0.1, 0.2]}, ValueError, "dropout has 2 entries"),
    ({"dropout": "0.5"}, TypeError, "dropout is '0.5'"),
    ({"dropout": True}, TypeError, "dropout is True"),
    ({"dropout": Constant}, TypeError, "dropout is the class Constant"),
    ({"dropout": lambda step: 1.0}, ValueError, r"dropout of step [01] is 1.0.*\[0, 1\)"),
    ({"dropout": lambda step: -0.1}, ValueError, "dropout of step [01] is -0.1"),
    ({"dropout": lambda step: np.nan}, ValueError, "dropout of step [01] is nan.*finite"),
    ({"dropout": lambda step: None}, TypeError, "returned None at step [01]"),
    ({"decay": lambda step: -1.0}, ValueError, "weight decay of step 0 is -1.0"),
    ({"decay": lambda step: np.inf}, ValueError, "weight decay of step 0 is inf.*finite"),
    ({"decay": lambda step: "a"}, TypeError, "returned 'a' at step 0"),
]


@pytest.mark.parametrize(("options", "error", "words"), BAD)
def test_what_schedules_say_is_checked_before_anything_changes(mlp, options, error, words):
    net = network(mlp)
    net.partial_fit(X, Y)
    options = dict(options)
    if "decay" in options:
        options["optimizer"] = fastmlp.AdamW(weight_decay=options.pop("decay"))
    progress = network_of(net).resume_state
    for call in (net.fit, net.partial_fit):
        with refused(error, words, net):
            call(X, Y, **options)
        assert network_of(net).resume_state == progress


def test_a_schedule_that_goes_wrong_later_leaves_the_last_whole_epoch(mlp):
    nets = [network(mlp) for _ in range(2)]
    nets[1].fit(X, Y, epochs=2, batch_size=45, dropout=0.5)
    with pytest.raises(ValueError, match="dropout of step 5 is 2"):
        nets[0].fit(X, Y, epochs=9, batch_size=45, dropout=lambda step: 2 if step == 5 else 0.5)
    assert digest(nets[0]) == digest(nets[1])
    assert nets[0].history.loss == nets[1].history.loss
