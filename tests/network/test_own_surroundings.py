"""Own functions among other things: readers, settings of the caller, copies, files, numba."""

import copy
import functools
import pickle
import re
from pathlib import Path

import numpy as np
import own
import pytest
from models import X, Y, digest, network

import fastmlp
from fastmlp import CustomActivation, CustomLoss, CustomOptimizer

PAGE = Path(__file__).resolve().parents[2] / "docs" / "functions.md"
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])

QUICK = {
    "siren": lambda z: (np.sin(30 * z), 30 * np.cos(30 * z)),
    "a corner at one side": lambda z: (
        z * np.clip(z + 3, 0, 6) / 6,
        np.where(z < -3, 0, np.where(z > 3, 1, (2 * z + 3) / 6)),
    ),
}


@every_dtype
@pytest.mark.parametrize("name", QUICK)
def test_functions_that_turn_quickly_are_right(mlp, name, dtype):
    function = QUICK[name]
    assert mlp([3, 8, 2], activation=CustomActivation(function), dtype=dtype)

    def wrong(z):
        value, slope = function(z)
        return value, 1.1 * slope

    with pytest.raises(ValueError, match="says that its slope is"):
        mlp([3, 8, 2], activation=CustomActivation(wrong), dtype=dtype)


def test_a_loss_that_predicts_sees_the_last_whole_epoch(mlp):
    """In either engine, in every batch."""
    seen = []

    def look(z, t):
        if before is not None:
            seen.append(net.predict(X))
        return own.square(z, t)

    before = None
    net = network(mlp, loss=CustomLoss(look))
    before = net.predict(X)
    net.fit(X, Y, epochs=1, batch_size=20)
    assert len(seen) == 5
    for predictions in seen:
        np.testing.assert_array_equal(predictions, before)
    assert not np.array_equal(net.predict(X), before)


def test_what_underflows_on_its_way_to_the_model_is_zero(mlp):
    """Whatever the caller's settings: the function's float64 is rounded to a model of float32."""

    def tiny(z):
        z = z.astype(np.float64)
        return np.full_like(z, 1e-60), np.zeros_like(z)

    with np.errstate(all="raise"):
        net = network(mlp, activation=CustomActivation(tiny))
        net.fit(X, Y, epochs=1)
        assert np.ptp(net.predict(X), axis=0).max() == 0


def test_results_that_are_no_arrays(mlp):
    def ragged(z):
        return [[1.0], [1.0, 2.0]], z

    def masked(z):
        return np.ma.masked_array(z, z > 0), z

    with pytest.raises(ValueError, match="'ragged' returned a value that is no array .* of shape"):
        network(mlp, activation=CustomActivation(ragged))
    with pytest.raises(TypeError, match="'masked' returned a value that is a masked array"):
        network(mlp, activation=CustomActivation(masked))
    with pytest.raises(
        TypeError, match=r"link is \['exp'\] but must be a name: choose from identity"
    ):
        CustomLoss(own.square, link=["exp"])


class Momentum:
    """A function that is an object; one out of a pickle is not equal, but alike."""

    def __call__(self, *given):
        own.momentum(*given)


@pytest.mark.parametrize(
    "function", [Momentum(), Momentum().__call__, functools.partial(Momentum())]
)
def test_a_copy_goes_on_with_the_same_object(mlp, function):
    def optimizer():
        return CustomOptimizer(function, 0.1)

    whole, net = network(mlp), network(mlp)
    whole.fit(X, Y, epochs=4, optimizer=optimizer())
    net.fit(X, Y, epochs=2, optimizer=optimizer())
    twin = copy.deepcopy(net)
    twin.fit(X, Y, epochs=4, optimizer=optimizer(), resume=True)
    assert digest(twin) == digest(whole)
    one, many = network(mlp), network(mlp)
    for _ in range(3):
        one.partial_fit(X, Y, optimizer=optimizer())
        many = copy.deepcopy(many)
        many.partial_fit(X, Y, optimizer=optimizer())
    assert digest(one) == digest(many)
    other = pickle.loads(pickle.dumps(net))  # whose function is another object, but alike
    with pytest.raises(ValueError, match="optimizer is CustomOptimizer.*but was CustomOptimizer"):
        other.fit(X, Y, epochs=4, optimizer=CustomOptimizer(own.momentum, 0.1), resume=True)
    other.fit(X, Y, epochs=4, optimizer=optimizer(), resume=True)
    assert digest(other) == digest(whole)


def test_a_checkpoint_is_refused_before_an_epoch(mlp, tmp_path):
    net, epochs = network(mlp), []
    before = digest(net)
    hooks = [fastmlp.Checkpoint(tmp_path / "point"), lambda state: epochs.append(state.epoch)]
    with pytest.raises(TypeError, match="callbacks have a Checkpoint but"):
        net.fit(X, Y, optimizer=CustomOptimizer(own.momentum), callbacks=hooks)
    assert not epochs
    assert net.history is None
    assert digest(net) == before


def test_a_file_says_how_a_loss_was_made(mlp, tmp_path):
    path = tmp_path / "net.safetensors"
    loss = functools.partial(CustomLoss, own.square, name="mine")
    mlp([3, 8, 2], loss=loss(link="exp"), rng=0).save(path)
    assert fastmlp.load(path, functions={"mine": loss(link="exp")}).loss.link_name == "exp"
    for other, message in (({}, "'link' 'exp'"), ({"link": "exp", "targets": "count"}, "'real'")):
        with pytest.raises(fastmlp.ModelFormatError, match=f"with the .*{message}, but functions"):
            fastmlp.load(path, functions={"mine": loss(**other)})
    with pytest.raises(TypeError, match="functions is .* but a dictionary is expected"):
        fastmlp.load(path, functions=[loss()])


def test_the_program_in_numba():
    pytest.importorskip("numba")
    (program,) = re.findall(r"^```numba\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    names = {}
    exec(program, names)
    softsign = CustomActivation(names["softsign"], name="softsign")
    for dtype in ("float32", "float64"):
        nets = [
            fastmlp.MLP([3, 40, 40, 2], activation=each, dtype=dtype, rng=0)
            for each in (softsign, CustomActivation(own.softsign))
        ]
        losses = [net.fit(X, Y, epochs=3, n_threads=2).loss for net in nets]
        np.testing.assert_allclose(*losses, rtol=1e-5)
        predict = nets[0].predictor()
        rows = np.stack([predict(row) for row in X.astype(dtype)])
        np.testing.assert_array_equal(rows, nets[0].predict(X))
