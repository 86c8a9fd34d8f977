"""`fastmlp.LBFGS` in `MLP.fit`: minima, callbacks, interrupts, and options that it refuses."""

import numpy as np
import pytest
import scipy.optimize
from scipy.sparse import csr_array

import fastmlp
import fastmlp.reference

MODELS = [fastmlp.MLP, fastmlp.reference.MLP]
X = np.linspace(-1, 1, 40)[:, None]
Y = np.sin(3 * X)
WEIGHTS = 1.0 + np.arange(40) % 3


def network(mlp=fastmlp.MLP, dtype="float64", **options):
    return mlp([1, 8, 1], activation="tanh", dtype=dtype, rng=0, **options)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mlp", MODELS)
def test_an_iteration_is_an_epoch(mlp, dtype):
    net = network(mlp, dtype)
    history = net.fit(X, Y, epochs=25, optimizer=fastmlp.LBFGS(), validation_data=(X, Y))
    assert len(history.loss) == 25
    assert all(a >= b for a, b in zip(history.loss, history.loss[1:], strict=False))
    np.testing.assert_allclose(history.loss, history.val_loss, rtol=1e-2, atol=1e-6)
    assert net.evaluate(X, Y) == pytest.approx(history.loss[-1], rel=1e-2, abs=1e-6)
    assert history.loss[-1] < 0.05 * history.loss[0]


def test_the_name_is_the_optimizer_with_its_defaults():
    nets = [network(), network()]
    for net, optimizer in zip(nets, ["lbfgs", fastmlp.LBFGS()], strict=True):
        net.fit(X, Y, epochs=5, optimizer=optimizer)
    np.testing.assert_array_equal(nets[0].parameters_vector, nets[1].parameters_vector)


def test_it_is_scipys_minimum():
    net, other = network(), network()
    history = net.fit(X, Y, epochs=400, l2=1e-3, sample_weight=WEIGHTS, optimizer=fastmlp.LBFGS())

    def objective(vector):
        other.parameters_vector = vector
        value, *kinds = other.gradients(X, Y, WEIGHTS, l2=1e-3)
        return value, np.concatenate([g.ravel() for kind in kinds for g in kind])

    start = other.parameters_vector
    options = {"gtol": 1e-5, "ftol": 1e-12, "maxiter": 400}
    best = scipy.optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    assert history.loss[-1] == pytest.approx(best.fun, rel=1e-9)
    np.testing.assert_allclose(net.parameters_vector, best.x, rtol=1e-6)
    assert "CONVERGENCE" in history.stop_reason


def test_labels_sparse_rows_and_all_kinds_of_parameters():
    options = {"scale": True, "linear_path": True, "layer_norm": "before", "parametric": True}
    net = fastmlp.MLP([3, 6, 2], loss="cross_entropy", rng=0, **options)
    x = np.random.default_rng(0).normal(size=(50, 3)) * (np.arange(3) != 1)
    history = net.fit(csr_array(x), (x[:, 0] > 0).astype(int), epochs=20, optimizer=fastmlp.LBFGS())
    assert history.loss[-1] < 0.2 * history.loss[0]


@pytest.mark.parametrize("mlp", MODELS)
def test_gaps_and_weights_of_targets(mlp):
    y = np.column_stack([Y[:, 0], np.cos(X[:, 0])])
    y[::3, 1] = np.nan
    weights = np.where(np.isnan(y), 9.0, [1.0, 3.0])
    net = mlp([1, 8, 2], activation="tanh", dtype="float64", rng=0)
    history = net.fit(X, y, epochs=60, sample_weight=weights, optimizer=fastmlp.LBFGS())
    assert history.loss[-1] < 0.01 * history.loss[0]
    assert net.evaluate(X, y, sample_weight=weights) == pytest.approx(history.loss[-1], rel=1e-9)


def test_a_callback_ends_the_fit_and_an_error_keeps_the_last_iteration():
    net = network()
    history = net.fit(
        *(X, Y), epochs=25, optimizer=fastmlp.LBFGS(), callbacks=[lambda s: s.epoch == 4]
    )
    assert len(history.loss) == 5
    assert "returned True" in history.stop_reason
    weights = net.parameters_vector

    def fails(state):
        if state.epoch == 3:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y, epochs=25, optimizer=fastmlp.LBFGS(), callbacks=[fails])
    assert len(net.history.loss) == 4
    assert net.evaluate(X, Y) == pytest.approx(net.history.loss[-1])
    assert not np.array_equal(net.parameters_vector, weights)
    with pytest.raises(RuntimeError, match="a metric raised StopIteration"):
        net.fit(X, Y, epochs=2, optimizer="lbfgs", metrics=[lambda y, p: next(iter(()))])


@pytest.mark.filterwarnings("ignore:y has columns with deviations")
def test_a_diverged_fit_keeps_the_weights():
    net = network()
    before = net.parameters_vector
    with pytest.raises(fastmlp.DivergenceError, match="not finite in float64"):
        net.fit(X, 1e200 * Y, optimizer=fastmlp.LBFGS())
    np.testing.assert_array_equal(net.parameters_vector, before)
    x, net = np.random.default_rng(0).normal(size=(100, 3)), fastmlp.MLP([3, 8, 1], rng=0)
    with pytest.warns(UserWarning, match="ended without an iteration .* scale X and y"):
        assert net.fit(x, 1e30 * x[:, 0], optimizer=fastmlp.LBFGS()).loss == []


class OnBatch:
    def __call__(self, state):
        return False

    def on_batch(self, state, batch):
        return False


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"l1": 1e-3}, "has l1"),
        ({"clip_norm": 1.0}, "has clip_norm"),
        ({"dropout": 0.1}, "has dropout"),
        ({"averaging": fastmlp.EMA()}, "has averaging"),
        ({"groups": fastmlp.Groups(weight_rate=2.0)}, "has groups"),
        ({"resume": True}, "has resume"),
        ({"callbacks": [fastmlp.Checkpoint("never_written")]}, "has a Checkpoint"),
        ({"callbacks": [OnBatch()]}, "has on_batch but L-BFGS has no batches"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
def test_options_of_steps_are_refused(options, words):
    net = network()
    net.fit(X, Y, epochs=1, optimizer=fastmlp.SGD())
    before, history = net.parameters_vector, net.history
    with pytest.raises(ValueError, match=words):
        net.fit(X, Y, optimizer=fastmlp.LBFGS(), **options)
    np.testing.assert_array_equal(net.parameters_vector, before)
    assert net.history is history


@pytest.mark.parametrize(
    "call",
    [
        lambda: network().partial_fit(X, Y, optimizer=fastmlp.LBFGS()),
        lambda: fastmlp.Ensemble([network(), network()]).fit(X, Y, optimizer=fastmlp.LBFGS()),
        lambda: network().fit(lambda: [(X, Y)], optimizer=fastmlp.LBFGS()),
        lambda: network(dropout=0.1).fit(X, Y, optimizer=fastmlp.LBFGS()),
        lambda: network(dtype="float32", compute="bfloat16").fit(X, Y, optimizer=fastmlp.LBFGS()),
        lambda: fastmlp.LBFGS(tolerance=-1.0),
        lambda: fastmlp.LBFGS(max_evaluations=0),
    ],
)
def test_what_it_does_not_suit_is_refused(call):
    with pytest.raises(ValueError, match="optimizer is LBFGS|must be"):
        call()


@pytest.mark.parametrize(
    ("vector", "error"),
    [
        (np.zeros(24), ValueError),
        (np.zeros((25, 1)), ValueError),
        (np.full(25, np.nan), ValueError),
        (["a"] * 25, TypeError),
    ],
)
def test_a_vector_that_does_not_fit_is_refused(vector, error):
    net = network()
    before = net.parameters_vector
    with pytest.raises(error, match="parameters_vector"):
        net.parameters_vector = vector
    np.testing.assert_array_equal(net.parameters_vector, before)


def test_the_vector_has_the_order_of_the_gradients():
    net = fastmlp.MLP([3, 4, 2], scale=True, layer_norm="after", rng=0)
    kinds = net.weights, net.biases, net.gains, net.shifts, net.scales
    vector = np.concatenate([array.ravel() for kind in kinds for array in kind])
    np.testing.assert_array_equal(net.parameters_vector, vector)
    net.parameters_vector = vector[::-1]
    np.testing.assert_array_equal(net.parameters_vector, vector[::-1])
