"""Losses, optimizers, schedules and callbacks refuse wrong arguments when they are made."""

import math
from pathlib import Path

import numpy as np
import pytest

import fastmlp
from fastmlp._network import losses


class Focal(losses.BinaryCrossEntropy):
    """With a formula of its own, which no kernel would have called."""

    def value_and_gradient(self, z, t):
        raise AssertionError


REFUSED = [
    (lambda: losses.Huber(0), ValueError, "delta"),
    (lambda: losses.Huber(-1.0), ValueError, "delta"),
    (lambda: losses.Huber(math.nan), ValueError, "delta"),
    (lambda: losses.Huber(math.inf), ValueError, "delta"),
    (lambda: losses.Huber("1"), TypeError, "delta"),
    (lambda: losses.Huber(True), TypeError, "delta"),
    (lambda: losses.Quantile(0), ValueError, "quantile"),
    (lambda: losses.Quantile(1), ValueError, "quantile"),
    (lambda: losses.CrossEntropy(1.0), ValueError, "label_smoothing"),
    (lambda: losses.CrossEntropy(-0.1), ValueError, "label_smoothing"),
    (lambda: losses.resolve(losses.Huber), TypeError, "instance"),
    (lambda: losses.resolve(losses.Loss()), TypeError, r"\(Loss\).*losses\.Huber"),
    (lambda: losses.resolve(Focal()), TypeError, r"\(Focal\).*no subclass"),
    (lambda: fastmlp.MLP([2, 1], loss=Focal()), TypeError, r"\(Focal\).*no subclass"),
    (lambda: fastmlp.reference.MLP([2, 1], loss=Focal()), TypeError, "no subclass"),
    (lambda: fastmlp.MLP([2, 1], loss=np.subtract), TypeError, r"pass fastmlp.CustomLoss\(f\)"),
    (lambda: fastmlp.SGD(0), ValueError, "learning_rate"),
    (lambda: fastmlp.Adam(fastmlp.Cosine), TypeError, "schedule such as fastmlp.Constant"),
    (lambda: fastmlp.Adam("onecycle"), TypeError, "or a schedule such as fastmlp.Constant"),
    (lambda: fastmlp.SGD(momentum=1), ValueError, "momentum"),
    (lambda: fastmlp.SGD(nesterov=True), ValueError, "momentum=0.9"),
    (lambda: fastmlp.RMSprop(alpha=-0.1), ValueError, "alpha"),
    (lambda: fastmlp.RMSprop(epsilon=0), ValueError, "epsilon"),
    (lambda: fastmlp.Adam(beta_1=1.0), ValueError, "beta_1"),
    (lambda: fastmlp.Adam(beta_2=1.0), ValueError, "beta_2"),
    (lambda: fastmlp.Adam(epsilon=-1e-8), ValueError, "epsilon"),
    (lambda: fastmlp.AdamW(weight_decay=-1), ValueError, "weight_decay"),
    (lambda: fastmlp.AdamW(weight_decay=fastmlp.Cosine), TypeError, "weight_decay"),
    (lambda: fastmlp.Constant(0), ValueError, "learning_rate"),
    (lambda: fastmlp.Step(0.1, every=0), ValueError, "every"),
    (lambda: fastmlp.Step(0.1, every=2, factor=1), ValueError, "factor"),
    (lambda: fastmlp.Cosine(0.1, n_steps=0), ValueError, "n_steps"),
    (lambda: fastmlp.Cosine(0.1, n_steps=5, final=-1), ValueError, "final"),
    (lambda: fastmlp.OneCycle(0.1, 10, warm_fraction=0), ValueError, "warm_fraction"),
    (lambda: fastmlp.OneCycle(0.1, 10, start_divisor=0), ValueError, "start_divisor"),
    (lambda: fastmlp.InverseScaling(0.1, power=0), ValueError, "power"),
    (lambda: fastmlp.WarmUp(0, 5), ValueError, "schedule"),
    (lambda: fastmlp.WarmUp(0.1, True), TypeError, "n_steps"),
    (lambda: fastmlp.SWA(start=-1), ValueError, "start is -1 but must be an integer of at least 0"),
    (lambda: fastmlp.EMA(start=True), TypeError, "start is True"),
    (lambda: fastmlp.EMA(1.0), ValueError, "decay is 1.0"),
    (lambda: fastmlp.EMA(-0.1), ValueError, "decay is -0.1"),
    *(
        (lambda w=wrong: fastmlp.Groups(parametrization=w), error, "parametrization is .*, ntk")
        for wrong, error in (("NTK", ValueError), (None, TypeError), ("mup", ValueError))
    ),
    (lambda: fastmlp.Groups(layer_rates=2.0), TypeError, "layer_rates is 2.0"),
    (lambda: fastmlp.Groups(layer_rates=[1, True]), TypeError, r"layer_rates\[1\]"),
    (lambda: fastmlp.Groups(layer_rates=[]), ValueError, "layer_rates is empty"),
    (lambda: fastmlp.Groups(layer_decays=[-1.0, 1.0]), ValueError, r"layer_decays\[0\]"),
    (lambda: fastmlp.Groups(weight_rate=np.inf), ValueError, "weight_rate"),
    (lambda: fastmlp.Groups(bias_rate="1"), TypeError, "bias_rate"),
    (lambda: fastmlp.Groups(activation_rate=-1.0), ValueError, "activation_rate"),
    (lambda: fastmlp.EarlyStopping(monitor="accuracy"), ValueError, "monitor"),
    (lambda: fastmlp.EarlyStopping(patience=0), ValueError, "patience"),
    (lambda: fastmlp.EarlyStopping(min_delta=-1.0), ValueError, "min_delta"),
    (lambda: fastmlp.ReduceOnPlateau(factor=1.0), ValueError, "factor"),
    (lambda: fastmlp.ReduceOnPlateau(min_learning_rate=-1.0), ValueError, "min_learning_rate"),
    (lambda: fastmlp.ReduceOnPlateau(patience=-2), ValueError, "patience"),
    (lambda: fastmlp.Checkpoint("x", every=0), ValueError, "every is 0"),
    (lambda: fastmlp.Checkpoint("x", keep=1.5), TypeError, "keep is 1.5"),
    (lambda: fastmlp.Checkpoint("x", seconds=-1.0), ValueError, "seconds is -1.0"),
    (lambda: fastmlp.Checkpoint("x", monitor="accuracy"), ValueError, "monitor is 'accuracy'"),
    (lambda: fastmlp.Checkpoint("x", best=3), TypeError, r"best is 3 \(int\) but a path"),
    (lambda: fastmlp.Checkpoint("x", best=Path("a/../x")), ValueError, "the file of the last"),
    (lambda: fastmlp.Checkpoint(path=b"x"), TypeError, "path is b'x'"),
]


@pytest.mark.parametrize(("make", "error", "words"), REFUSED)
def test_wrong_arguments_are_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()
