"""Own functions with processes, with callbacks of batches, and with blended activations."""

import numpy as np
import own
import pytest
import ranks
from models import X, Y, digest, network
from test_own_failures import Failing, PlantedError, raises
from test_own_optimizer import RATE

import fastmlp
from fastmlp import CustomActivation, CustomLoss, CustomOptimizer


def test_many_processes_train_with_own_functions(mlp):
    def work(communicator):
        mine = ranks.share_of(communicator.rank, 2, 30, X, Y)
        options = {"activation": CustomActivation(own.softsign), "loss": CustomLoss(own.square)}
        net = network(mlp, dtype="float64", **options)
        given = {"epochs": 2, "batch_size": 15, "shuffle": False}
        return net, net.fit(*mine, communicator=communicator, **given).loss

    (one, losses), (other, same) = ranks.good(ranks.run(2, work))
    assert losses == same
    assert digest(one) == digest(other)
    alone = network(mlp, activation=CustomActivation(own.softsign), dtype="float64")
    wanted = alone.fit(X, Y, epochs=2, batch_size=30, shuffle=False).loss
    np.testing.assert_allclose(losses, wanted)  # a batch has the rows of two of theirs


@pytest.mark.parametrize("kind", ["activation", "loss"])
def test_a_failure_in_one_process_ends_all(mlp, kind):
    function = {"activation": own.softsign, "loss": own.square}[kind]
    wrap = {"activation": CustomActivation, "loss": CustomLoss}[kind]

    def work(communicator):
        failing = Failing(function, raises)
        if communicator.rank == 1:
            failing.left = 20
        options = {kind: wrap(failing, check=False, name="same")}
        net = network(mlp, **options)
        net.fit(X, Y, epochs=9, batch_size=15, communicator=communicator)

    errors = ranks.raised(ranks.run(2, work))
    assert isinstance(errors[1], PlantedError)
    assert isinstance(errors[0], fastmlp.RankError)
    assert "from inside" in str(errors[0])


def test_an_own_optimizer_is_of_one_process(mlp):
    def work(communicator):
        net = network(mlp)
        optimizer = CustomOptimizer(own.momentum, RATE)
        net.fit(X, Y, optimizer=optimizer, communicator=communicator)

    for error in ranks.raised(ranks.run(2, work)):
        assert isinstance(error, ValueError)
        assert "processes can sum gradients only for fastmlp's own" in str(error)


def test_callbacks_of_batches_see_an_own_optimizer(mlp):
    class Look:
        def __init__(self):
            self.seen, self.weights = [], []

        def __call__(self, state):
            return False

        def on_batch(self, state, batch):
            self.seen.append((batch.epoch, batch.index, batch.loss, batch.learning_rate))

    looks, nets = [Look(), Look()], [network(mlp, dtype="float64") for _ in range(2)]
    for optimizer, look, net in zip(
        (CustomOptimizer(own.momentum, RATE), fastmlp.SGD(RATE, momentum=0.9)),
        *(looks, nets),
        strict=True,
    ):
        net.fit(X, Y, epochs=2, batch_size=40, optimizer=optimizer, callbacks=[look])
    np.testing.assert_allclose(looks[0].seen, looks[1].seen, rtol=1e-6)
    assert len(looks[0].seen) == 6
    np.testing.assert_allclose(nets[0].weights[0], nets[1].weights[0], rtol=1e-6)


def test_blended_activations_are_by_name(mlp):
    with pytest.raises(ValueError, match=r"parametric is True for CustomActivation\('softsign'\)"):
        network(mlp, activation=CustomActivation(own.softsign), parametric=True)
    mixed = ["tanh", CustomActivation(own.softsign)]
    net = mlp([3, 8, 5, 2], activation=mixed, parametric=[True, False], dtype="float64", rng=0)
    losses = net.fit(X, Y, epochs=20, batch_size=20, optimizer=fastmlp.Adam(1e-2)).loss
    assert losses[-1] < 0.9 * losses[0]
    assert np.ptp(net.alphas[0]) > 0
    own_steps = CustomOptimizer(own.momentum, RATE)
    twin = mlp([3, 8, 5, 2], activation=mixed, parametric=[True, False], dtype="float64", rng=0)
    other = mlp([3, 8, 5, 2], activation=mixed, parametric=[True, False], dtype="float64", rng=0)
    twin.fit(X, Y, epochs=3, optimizer=own_steps)
    other.fit(X, Y, epochs=3, optimizer=fastmlp.SGD(RATE, momentum=0.9))
    np.testing.assert_allclose(twin.alphas[0], other.alphas[0], rtol=1e-8)


@own.needs_cc
@pytest.mark.parametrize("sizes", [(3, 8, 8, 2), (8, 8, 8, 8, 1), (1, 33, 33, 9, 9, 3)], ids=str)
def test_around_blocks_and_beside_a_linear_path(mlp, sizes):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(70, sizes[0])), rng.normal(size=(70, sizes[-1]))
    for at, own_activation in enumerate((own.activation("tanh"), own.c_tanh())):
        options = {"dtype": "float64", "skip": 1, "linear_path": True, "rng": 0, "scale": at > 0}
        options |= {"dropout": 0.2, "layer_norm": [None, "before", "after"][at]}
        net = mlp(sizes, activation=own_activation, **options)
        twin = mlp(sizes, activation="tanh", initializer="glorot_uniform", **options)
        twin.load_state_dict(net.state_dict())
        for each in (net, twin):
            each.fit(x, y, epochs=2, batch_size=20, n_threads=2, shuffle=False)
        np.testing.assert_allclose(net.predict(x), twin.predict(x), rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(net.jacobian(x), twin.jacobian(x), rtol=1e-8, atol=1e-10)
        predict = net.predictor()
        rows = np.stack([predict(row) for row in x])
        np.testing.assert_allclose(rows, net.predict(x), rtol=1e-12, atol=1e-14)


def test_means_of_weights_and_absolute_penalties_of_an_own_optimizer(mlp):
    nets = [network(mlp, dtype="float64") for _ in range(2)]
    optimizers = CustomOptimizer(own.momentum, RATE), fastmlp.SGD(RATE, momentum=0.9)
    for net, optimizer in zip(nets, optimizers, strict=True):
        options = {"averaging": fastmlp.EMA(decay=0.5), "l1": 0.01, "l2": 0.02}
        net.fit(X, Y, epochs=4, batch_size=40, optimizer=optimizer, **options)
    np.testing.assert_allclose(nets[0].history.loss, nets[1].history.loss, rtol=1e-8)
    np.testing.assert_allclose(nets[0].weights[0], nets[1].weights[0], rtol=1e-8)
