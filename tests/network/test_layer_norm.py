"""Layer normalisation: formula, groups and what a user sees; more is in test_operators.py."""

import re

import numpy as np
import pytest
import test_house as house
import test_operators
from models import X, Y
from test_operators import everything

import fastmlp
from fastmlp._network.groups import Groups
from fastmlp._network.layer_norm import EPSILON, POSITIONS, layer_norm


def test_the_formula():
    z = np.random.default_rng(0).normal(3.0, 2.0, (7, 11))
    gain, shift = np.linspace(0.5, 2, 11), np.linspace(-1, 1, 11)
    for row, found in zip(z, layer_norm(z, gain, shift), strict=True):
        deviation = np.sqrt(np.mean((row - row.mean()) ** 2) + EPSILON)
        np.testing.assert_allclose(found, (row - row.mean()) / deviation * gain + shift, rtol=1e-13)


def test_a_constant_row_is_the_shift_and_a_common_part_costs_no_digits():
    shift = np.float32([1, 2, 3])
    constant = np.full((1, 3), 1e6, np.float32)
    np.testing.assert_array_equal(layer_norm(constant, np.ones(3, "f"), shift), [[1, 2, 3]])
    wide = np.float32(4096) + np.random.default_rng(0).integers(-9, 9, (1, 1000)).astype("f")
    exact = layer_norm(wide.astype(float), np.ones(1000), np.zeros(1000))
    found = layer_norm(wide, np.ones(1000, "f"), np.zeros(1000, "f"))
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-6 * np.abs(exact).max() + 3e-5)


def make(mlp, choice="before", **options):
    return test_operators.make(mlp, layer_norm=choice, **options)


@pytest.mark.parametrize("choice", POSITIONS)
def test_snapshots_hold_gains_and_shifts(mlp, choice):
    net = make(mlp, choice)
    kept = []

    def callback(state):
        if state.epoch == 0:
            kept.append((state.snapshot(), everything(net)))
        if state.epoch == 2:
            state.restore(kept[0][0])

    net.fit(X, Y, epochs=3, callbacks=[callback])
    for p, q in zip(everything(net), kept[0][1], strict=True):
        np.testing.assert_array_equal(p, q)


def test_decay_leaves_gains_and_shifts_alone_unless_told(mlp):
    for options in ({"l2": 1.0}, {"optimizer": fastmlp.AdamW(weight_decay=0.5)}):
        fits = []
        for norm_decay in (0.0, 1.0):
            for extra in (options, {**options, "clip_norm": 1e9}):
                net = make(mlp)
                groups = Groups(norm_decay=norm_decay)
                net.fit(X, Y, epochs=1, shuffle=False, groups=groups, **extra)
                fits.append(net)
        plain, stored, decayed, decayed_stored = fits
        np.testing.assert_allclose(plain.gains[0], stored.gains[0], rtol=1e-9)
        np.testing.assert_allclose(decayed.gains[0], decayed_stored.gains[0], rtol=1e-9)
        assert not np.allclose(plain.gains[0], decayed.gains[0], rtol=1e-9)


def test_the_number_of_the_header_is_that_of_python():
    header = (house.NATIVE / "c/panels/norm.h").read_text()
    assert float(re.search(r"#define NORM_EPSILON (\S+)", header)[1]) == EPSILON
