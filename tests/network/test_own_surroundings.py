"""Own functions among other things: readers, settings of the caller, copies, files, numba."""

import functools
import re
from pathlib import Path

import numpy as np
import own
import pytest
from models import X, Y, network

import fastmlp
from fastmlp import CustomActivation, CustomLoss

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
