"""Training is that of PyTorch: losses, optimizers, activations, normalisation. Optional."""

import pytest
import trials

from fastmlp._engine import native_engine

pytest.importorskip("torch", reason="the comparison with PyTorch needs torch")

from torch_training import ACTIVATIONS, LOSSES, OPTIMIZERS, compare


@pytest.mark.parametrize("trial", trials.every("training against PyTorch"), ids=", ".join)
def test_trial(trial, check):
    check(trial)


DTYPES = pytest.mark.parametrize("dtype", native_engine.DTYPES)


@DTYPES
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_and_optimizers(dtype, loss, optimizer):
    compare(dtype, "tanh", loss, optimizer)


@DTYPES
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(dtype, name):
    compare(dtype, name, "squared_error", "momentum")


@DTYPES
@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_layer_norm(dtype, optimizer, position):
    compare(dtype, "gelu", "labels", optimizer, layer_norm=position)


@DTYPES
@pytest.mark.parametrize("position", [None, "before", "after"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_parametric_activations(dtype, name, position):
    compare(dtype, name, "squared_error", "adam", layer_norm=position, parametric=[True, False])


@DTYPES
def test_clipping(dtype):
    # PyTorch divides by norm + 1e-6, and so clips a little more.
    compare(dtype, "tanh", "labels", "sgd", clip_norm=0.3, slack=1e-6)
