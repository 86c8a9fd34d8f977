"""The compiled engine against the reference: gradients of every kind, and whole fits as drawn.

float64 has to agree to the rounding. float32 may drift apart, step by step, so there the distance
of all parameters together is bounded.
"""

import cases
import hypothesis
import numpy as np
from hypothesis import strategies as st
from tolerances import assert_all_close, assert_close

from fastmlp._engine import native_engine
from fastmlp._engine.plan import Plan
from fastmlp._engine.thread_pool import borrowed_team
from fastmlp._network import optimizers
from fastmlp._network.activations import ACTIVATIONS

LEVELS = native_engine.available_levels()
DEPTHS = ([5, 3], [5, 9, 3], [4, 17, 6, 2], [3, 5, 34, 7, 4])


# ---- gradients -----------------------------------------------------------------------------------


# ---- whole fits ----------------------------------------------------------------------------------


def build_optimizer(draw, dtype):
    rate = draw(st.sampled_from([1e-3, 0.01, 0.05]))
    # In float32 rounding noise around a gradient of 0 would be blown up by a smaller epsilon.
    epsilon = 1e-8 if dtype == "float64" else 1e-2
    chosen = draw(st.sampled_from(optimizers.NATIVE_OPTIMIZERS))
    nesterov, with_rate = "nesterov" in chosen, "with_rate" in chosen
    momentum = draw(st.sampled_from([0.5, 0.9])) if nesterov or "momentum" in chosen else 0.0
    beta = {"beta_1": draw(st.sampled_from([0.0, 0.9])), "epsilon": epsilon}
    beta["epsilon_hat"] = "hat" in chosen
    if chosen.startswith("adamw"):
        return optimizers.AdamW(rate, weight_decay=0.1, **beta)
    if chosen.startswith("adam"):
        return optimizers.Adam(rate, beta_2=0.99, **beta)
    if chosen == "rmsprop":
        return optimizers.RMSprop(rate, alpha=0.9, epsilon=max(epsilon, 1e-4))
    return optimizers.SGD(rate, momentum=momentum, nesterov=nesterov, rate_in_velocity=with_rate)


@st.composite
def fits(draw, dtype):
    """A network, data and a plan."""
    size = st.integers(1, 30)
    case = draw(st.sampled_from(cases.LOSSES))
    hidden = draw(st.lists(size, max_size=3))
    smallest = 2 if case.loss.target_kind == "class" else 1
    names = [draw(st.sampled_from(list(ACTIVATIONS))) for _ in hidden]
    dropout = [draw(st.sampled_from([0.0, 0.0, 0.25, 0.9])) for _ in hidden]
    # Factors of 10 in several layers: an ulp of the inputs moved parameters by up to 1e-9.
    hypothesis.assume(dropout.count(0.9) < 2)
    sizes = [draw(size), *hidden, draw(st.integers(smallest, 30))]
    network = cases.build(sizes, names, case.loss, dtype, dropout)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(1, 80))
    data = cases.data(network, n, rng, case.labels, draw(st.booleans()))
    batch = draw(st.sampled_from([1, 3, 8, 16, 33, 80, 200]))
    hypothesis.assume(n <= 20 * batch)
    n_batches = -(-n // batch)
    optimizer = build_optimizer(draw, dtype)
    plan = Plan(
        optimizer,
        batch,
        optimizer.learning_rate * rng.uniform(0.5, 1, n_batches),
        draw(st.sampled_from([None, rng.permutation(n)])),
        l2=draw(st.sampled_from([0.0, 0.0, 0.05])),
        l2_per_batch=draw(st.booleans()),
        clip_norm=draw(st.sampled_from([0.0, 0.0, 0.05, 1.0, 1e9])),
        seed=draw(st.integers(0, 2**64 - 1)),
        step=draw(st.sampled_from([0, 7, 2**32 + 3])),
    )
    return network, data, plan, draw(st.sampled_from(LEVELS)), draw(st.sampled_from([1, 1, 2]))


def compare(fit, epochs):
    """Run a fit on both engines; return parameters and losses, native and reference."""
    network, data, plan, level, n_threads = fit
    pair = cases.engines(network, level, np.random.default_rng(plan.seed))
    results = []
    for engine in pair:
        engine.start(plan.optimizer)
        with borrowed_team(n_threads) as plan.team:
            history = [engine.epoch(data, plan) for _ in range(epochs)]
        parameters = [a.astype(np.float64) for arrays in engine.parameters() for a in arrays]
        results.append((parameters, np.array(history)))
    return pair, data, *results


def settled(history):
    """Whether the losses are ordinary: once they run away, differences prove nothing more."""
    return np.isfinite(history).all() and np.abs(history).max() < 1e4


SETTINGS = hypothesis.settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)


@hypothesis.settings(SETTINGS, max_examples=250)
@hypothesis.given(fits("float64"))
def test_whole_fits_in_float64(fit):
    pair, data, native, textbook = compare(fit, epochs=3)
    hypothesis.assume(settled(textbook[1]))
    assert_all_close(native[0], textbook[0], "fit", "float64", most=1.0)
    assert_close(native[1], textbook[1], "fit", "float64")
    assert_close(pair[0].evaluate(data), pair[1].evaluate(data), "fit", "float64")
    with np.errstate(over="ignore"):
        assert_close(pair[0].predict(data.x), pair[1].predict(data.x), "fit", "float64")


@hypothesis.settings(SETTINGS, max_examples=150)
@hypothesis.given(fits("float32"))
def test_whole_fits_in_float32(fit):
    _, _, native, textbook = compare(fit, epochs=2)
    hypothesis.assume(settled(textbook[1]))
    a, b = (np.concatenate([p.ravel() for p in result[0]]) for result in (native, textbook))
    assert np.linalg.norm(a - b) <= 1e-3 * np.linalg.norm(b)
    np.testing.assert_allclose(native[1], textbook[1], rtol=1e-3, atol=1e-3)
