"""Callbacks that look at each batch: what they are told, the bits of a fit without, and an end."""

import copy

import cases
import numpy as np
import pytest
from models import Watch, X, Y, digest, network, saved
from states import same
from test_resume import refused

import fastmlp

OPTIONS = {"epochs": 3, "batch_size": 32}  # 90 rows: the last batch is shorter


@pytest.mark.parametrize("optimizer", cases.OPTIMIZERS, ids=cases.optimizer_id)
def test_the_bits_with_schedules_and_blocks(mlp, optimizer):
    options = {**OPTIONS, "optimizer": optimizer, "dropout": fastmlp.Cosine(0.5, n_steps=8)}
    nets = [network(mlp) for _ in range(4)]
    for net, source, callbacks in zip(
        nets, (False, False, True, True), ([], [Watch()], [], [Watch()]), strict=True
    ):
        blocks = [(X[:11], Y[:11]), (X[11:70], Y[11:70]), (X[70:], Y[70:])]
        data = (lambda blocks=blocks: blocks,) if source else (X, Y)
        net.fit(*data, callbacks=callbacks, **options)
    same(nets[0], nets[1])
    same(nets[2], nets[3])


def test_what_they_are_told(mlp):
    """The loss is the objective of the batch under the weights before it."""
    watch, rate = Watch(), fastmlp.Cosine(0.1, n_steps=9)
    net, twin = (network(mlp, dtype="float64") for _ in range(2))
    weights = np.resize([0.5, 1.5], len(X))  # their mean is the same in every batch
    options = {"sample_weight": weights, "shuffle": False, "l2": 0.01}
    optimizer = fastmlp.SGD(rate)
    history = net.fit(X, Y, optimizer=optimizer, callbacks=[watch], **OPTIONS, **options)
    assert [each if isinstance(each, int) else "batch" for each in watch.seen] == [
        *("batch",) * 3, 0, *("batch",) * 3, 1, *("batch",) * 3, 2
    ]  # fmt: skip
    for step, batch in enumerate(watch.batches):
        rows = slice(32 * (step % 3), 32 * (step % 3 + 1))
        assert (batch.epoch, batch.index, batch.step) == (step // 3, step % 3, step)
        assert batch.learning_rate == rate(step)
        given = {"sample_weight": weights[rows], "l2": 0.01}
        objective = twin.partial_fit(X[rows], Y[rows], optimizer=fastmlp.SGD(rate(step)), **given)
        assert batch.loss == pytest.approx(objective, rel=1e-12)
    assert history.learning_rate == [rate(2), rate(5), rate(8)]


@pytest.mark.parametrize("targets", ["whole", "gaps"])
@pytest.mark.parametrize("size", [1, 5, 30, 90])
def test_steps_follow_the_weighted_mean_for_any_batch_size(mlp, size, targets):
    """Rare rows of large weight count as much in small batches, with `on_batch` and in members."""
    weights = np.where(np.arange(90) % 30, 1.0, 49.0)
    y = Y if targets == "whole" else np.column_stack([Y[:, 0], np.where(weights > 1, np.nan, 0)])
    nets = [network(mlp, layer_sizes=[3, 5, y.shape[1]], dtype="float64") for _ in range(3)]
    gradient, *before = nets[0].gradients(X, y, sample_weight=weights)[1], *nets[0].weights
    rate, steps = 1e-6, 90 // size
    options = {"sample_weight": weights, "batch_size": size, "epochs": 1}
    options |= {"optimizer": fastmlp.SGD(rate)}
    nets[0].fit(X, y, **options)
    nets[1].fit(X, y, **options, callbacks=[Watch()])
    apart = [np.append(a, a[:2], axis=0) for a in (X, y, weights)]  # two more rows, not learned
    apart[2][-2:] = 1e300
    options["sample_weight"] = apart[2]
    fastmlp.Ensemble([nets[2]]).fit(*apart[:2], rows=[np.arange(90)], **options)
    for old, new, expected in zip(before, nets[0].weights, gradient, strict=True):
        np.testing.assert_allclose((old - new) / (rate * steps), expected, rtol=1e-3, atol=1e-5)
    assert digest(nets[1]) == digest(nets[0]) == digest(nets[2])


def test_a_batch_of_no_weight_has_no_loss(mlp):
    watch, weights = Watch(), np.where(np.arange(90) < 32, 0.0, 1.0)
    network(mlp).fit(X, Y, sample_weight=weights, shuffle=False, callbacks=[watch], **OPTIONS)
    assert [batch.loss == 0 for batch in watch.batches[:3]] == [True, False, False]


def test_rows_of_weight_0_inside_batches_are_absent(mlp):
    """Nine rows of which three have no weight are a batch of six, with penalties too."""
    weights = np.where(np.arange(90) % 3 == 1, 0.0, np.arange(90) % 4 + 0.5)
    kept, nets = weights > 0, [network(mlp, dtype="float64") for _ in range(2)]
    options = {"epochs": 3, "shuffle": False, "optimizer": fastmlp.SGD(0.1), "l2": 0.3, "l1": 0.01}
    X_wild = np.where(kept[:, np.newaxis], X, 1e6)
    given = nets[0].fit(X_wild, Y, sample_weight=weights, batch_size=9, **options)
    alone = nets[1].fit(X[kept], Y[kept], sample_weight=weights[kept], batch_size=6, **options)
    np.testing.assert_allclose(given.loss, alone.loss, rtol=1e-9)
    ours, theirs = (net.parameters_vector for net in nets)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("step", [0, 1, 3, 5, 8])
def test_true_ends_the_fit_at_the_last_whole_epoch(mlp, step):
    net, whole = network(mlp), network(mlp)
    watch = Watch(step)
    history = net.fit(X, Y, callbacks=[watch], **OPTIONS)
    assert watch.batches[-1].step == step
    assert history is net.history
    assert (len(history.loss), history.stop_reason) == (step // 3, "Watch returned True")
    if step >= 3:
        whole.fit(X, Y, **{**OPTIONS, "epochs": step // 3})
    assert digest(net) == digest(whole)
    refused(net, "ended within an epoch" if step >= 3 else "no fit to resume")
    net.fit(X, Y, **OPTIONS)


def test_weights_of_a_batch_can_be_kept(mlp):
    class Keep(Watch):
        def on_batch(self, state, batch):
            if batch.step == 4:
                self.kept, self.digest = state.snapshot(), digest(state.model)
            return batch.step == 4

        def finish(self, state):
            state.restore(self.kept)

    net, keep = network(mlp), Keep()
    net.fit(X, Y, callbacks=[keep], **OPTIONS)
    assert digest(net) == keep.digest


def test_an_error_leaves_the_last_whole_epoch(mlp):
    class Fail(Watch):
        def on_batch(self, state, batch):
            if batch.step == 4:
                raise ZeroDivisionError

    net, whole = network(mlp), network(mlp)
    with pytest.raises(ZeroDivisionError):
        net.fit(X, Y, callbacks=[Fail()], **OPTIONS)
    whole.fit(X, Y, **{**OPTIONS, "epochs": 1})
    assert digest(net) == digest(whole)
    assert len(net.history.loss) == 1


def test_a_divergence_is_that_of_its_batch(mlp):
    watch, net = Watch(), network(mlp)
    rate = fastmlp.SGD(lambda step: 0.1 if step < 4 else 1e38)
    with pytest.raises(fastmlp.DivergenceError, match="in epoch 1 "):
        net.fit(X, Y, callbacks=[watch], **OPTIONS, optimizer=rate)
    assert watch.batches[-1].step in (3, 4)


def test_weights_may_be_assigned_and_the_model_saved(mlp, tmp_path):
    class Assign(Watch):
        def on_batch(self, state, batch):
            net = state.model
            net.biases = [np.full_like(b, batch.step) for b in net.biases]
            if batch.step == 4:
                self.copies = copy.deepcopy(net), saved(net, tmp_path / "net.safetensors")

    nets, assign = [network(mlp) for _ in range(2)], Assign()
    nets[0].fit(X, Y, callbacks=[assign], shuffle=False, **OPTIONS)
    for made in assign.copies:
        assert (made.biases[0] == 4).all()
        assert digest(made) == digest(assign.copies[0])
        refused(made, "ended within an epoch")
    for step in range(9):
        first = 32 * (step % 3)
        rows = slice(first, first + 32)
        nets[1].partial_fit(X[rows], Y[rows], optimizer=fastmlp.Adam())
        nets[1].biases = [np.full_like(b, step) for b in nets[1].biases]
    assert digest(nets[0]) == digest(nets[1])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("options", [{}, {"standardize": True}, {"early_stopping": True}])
def test_estimators(solver, options):
    options = {"solver": solver, "random_state": 0, "max_iter": 3, "batch_size": 32} | options
    y, watch = np.abs(Y), Watch()
    without = fastmlp.MLPRegressor(**options, loss="poisson").fit(X, y)
    model = fastmlp.MLPRegressor(**options, loss="poisson", callbacks=[watch]).fit(X, y)
    np.testing.assert_equal(model.coefs_, without.coefs_)
    assert model.loss_curve_ == without.loss_curve_
    assert len(watch.batches) == 3 * model.n_iter_
    sizes = [32, 32, 26] if "early_stopping" not in options else [32, 32, 17]
    losses = np.array([batch.loss for batch in watch.batches]).reshape(-1, 3)
    np.testing.assert_allclose(losses @ sizes / np.sum(sizes), model.loss_curve_, rtol=1e-6)

    stopped = fastmlp.MLPRegressor(**options, loss="poisson", callbacks=[Watch(4)]).fit(X, y)
    assert (stopped.n_iter_, len(stopped.loss_curve_)) == (1, 1)
    assert stopped.history_.stop_reason == "Watch returned True"
    one = fastmlp.MLPRegressor(**{**options, "max_iter": 1}, loss="poisson").fit(X, y)
    np.testing.assert_array_equal(stopped.predict(X), one.predict(X))
