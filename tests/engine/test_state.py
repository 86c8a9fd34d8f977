"""An engine's state in plain named arrays: to a file and back, from one engine to the other."""

import io

import cases
import numpy as np
import pytest

from fastmlp._engine.plan import Plan
from fastmlp._network import optimizers


def engine_of(kind, dtype, sizes=(5, 33, 9, 3)):
    network = cases.build(sizes, loss="cross_entropy", dtype=dtype)
    engine = cases.engine(kind, network)
    engine.set_parameters(*cases.parameters(network, np.random.default_rng(0)))
    return engine


def train(engine, optimizer, epoch):
    """One epoch of five steps, the last one shorter; parameters and state."""
    data = cases.data(engine.spec, 130, np.random.default_rng(epoch))
    plan = Plan(optimizer, 30, np.full(5, 1e-2), l2=0.01, clip_norm=0.5, step=5 * epoch)
    assert np.isfinite(engine.epoch(data, plan))
    return engine.state()


def saved(state):
    """Through a file, without pickle."""
    file = io.BytesIO()
    np.savez(file, **state)
    file.seek(0)
    return dict(np.load(file))


def textbook(state):
    """What the papers call by these names."""
    slots = optimizers.SLOTS[str(state["optimizer"])]
    return {
        key: state[key] * state[f"{name}.unit"]
        for name in slots
        for key in state
        if key.startswith(f"{name}.") and key != f"{name}.unit"
    }


def same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])


def near(a, b, dtype):
    tolerance = 1e-4 if dtype == "float32" else 1e-10
    for key in b:
        scale = np.abs(b[key]).max(initial=1e-6)
        np.testing.assert_allclose(a[key], b[key], rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("kind", cases.KINDS)
@pytest.mark.parametrize("optimizer", cases.OPTIMIZERS, ids=cases.optimizer_id)
def test_another_engine_goes_on_with_the_same_bits(optimizer, kind, dtype):
    engine, other = (engine_of(kind, dtype) for _ in range(2))
    engine.start(optimizer)
    state = train(engine, optimizer, 0)
    kept = saved(state)
    expected = train(engine, optimizer, 1)
    same(state, kept)  # what was given away does not change
    other.set_state(kept)
    assert other.can_go_on(5)
    assert not other.can_go_on(4)
    same(other.state(), kept)
    same(train(other, optimizer, 1), expected)
    engine.set_state(kept)  # back to what was
    same(train(engine, optimizer, 1), expected)
    same(kept, state)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("level", cases.KINDS[1:])
@pytest.mark.parametrize("optimizer", cases.OPTIMIZERS, ids=cases.optimizer_id)
def test_one_engine_goes_on_for_the_other(optimizer, level, dtype):
    """The same names, the same step, and the same numbers to rounding, in textbook units."""
    native, slow = (engine_of(kind, dtype) for kind in (level, "reference"))
    for engine in (native, slow):
        engine.start(optimizer)
    given, own = train(native, optimizer, 0), train(slow, optimizer, 0)
    assert given.keys() == own.keys()
    assert (int(given["step"]), str(given["optimizer"])) == (5, optimizer.native_row)
    near(textbook(given), textbook(own), dtype)
    assert all(own[f"{name}.unit"] == 1 for name in optimizers.SLOTS[optimizer.native_row])
    expected = train(native, optimizer, 1), train(slow, optimizer, 1)
    native.set_state(own)
    slow.set_state(given)
    for found, right in zip((train(slow, optimizer, 1), train(native, optimizer, 1)), expected,
                            strict=True):  # fmt: skip
        near(textbook(found), textbook(right), dtype)
        for key in (key for key in right if key.startswith(("weights", "biases"))):
            # A gradient of rounding noise is a step of Adam like any other.
            atol = 1e-2 if dtype == "float32" else 1e-8
            np.testing.assert_allclose(found[key], right[key], rtol=0, atol=atol)


@pytest.mark.parametrize("kind", cases.KINDS[:2])
def test_there_is_an_optimizer_if_it_can_go_on(kind):
    engine = engine_of(kind, "float32", sizes=(2, 2))
    names = {"weights.0", "biases.0"}
    assert set(engine.state()) == names
    engine.start(optimizers.Adam())
    with_optimizer = {f"{slot}.{name}" for slot in "mv" for name in names} | {"m.unit", "v.unit"}
    with_optimizer |= names | {"optimizer", "hyper", "step", "powers"}
    assert set(engine.state()) == with_optimizer
    assert set(engine.state(optimizer=False)) == names
    data = cases.data(engine.spec, 9, np.random.default_rng(0))
    bad = Plan(optimizers.Adam(), 3, np.array([0.1, np.inf, 0.1]))
    assert not np.isfinite(engine.epoch(data, bad))
    assert set(engine.state()) == names
    engine.set_state(engine.state())
    assert engine.optimizer_state() is None


def test_every_optimizer_has_slots():
    assert set(optimizers.SLOTS) == set(optimizers.NATIVE_OPTIMIZERS)


WRONG = {
    "optimizer": np.array("none"),
    "hyper": np.array([0.9]),
    "step": np.array(-1),
    "powers": np.ones(3),
    "m.unit": np.array(np.nan),
}


@pytest.mark.parametrize("kind", cases.KINDS[:2])
@pytest.mark.parametrize("name", [*WRONG, "of another network", "v.biases.2"])
def test_a_wrong_state_changes_nothing(kind, name):
    engine, other = engine_of(kind, "float64"), engine_of(kind, "float64", sizes=(5, 33, 8, 3))
    for each in (engine, other):
        each.start(optimizers.Adam())
    before, wrong = train(engine, optimizers.Adam(), 0), train(other, optimizers.Adam(), 0)
    missing = {key: value for key, value in before.items() if key != name}
    states = [before | {name: WRONG[name]}, missing] if name in WRONG else [missing]
    words = f"{name} of the state is" if name in WRONG else f"{name} .* missing"
    if name == "of another network":
        states, words = [wrong], r"weights.1 .*\(33, 8\)"
    for state in states[: 1 if name == "optimizer" else 2]:
        with pytest.raises(ValueError, match=words):
            engine.set_state(state)
        same(engine.state(), before)
