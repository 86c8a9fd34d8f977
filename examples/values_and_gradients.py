"""Learn from gradients: the same rows teach more where derivatives of a function are known, too.

An adjoint solver gives the derivatives of a simulation by all inputs for the price of another run,
and a program for molecules gives forces beside the energy. Three functions are learned from few
rows, by their values alone and by values and derivatives, `fit(X, y, dy=D)`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import fastmlp

Learned = tuple[np.ndarray, np.ndarray]  # values (n,), derivatives (n, inputs)


def branin(u: np.ndarray) -> Learned:
    """Return Branin's function of optimisation, with three valleys, on the unit square."""
    x, z = 15 * u[:, 0] - 5, 15 * u[:, 1]
    a = z - 5.1 / (4 * np.pi**2) * x**2 + 5 / np.pi * x - 6
    t = 10 - 10 / (8 * np.pi)
    dx = 2 * a * (5 / np.pi - 5.1 / (2 * np.pi**2) * x) - t * np.sin(x)
    return a**2 + t * np.cos(x) + 10, 15 * np.stack([dx, 2 * a], axis=1)


def wing_weight(u: np.ndarray) -> Learned:
    """Return the weight of a wing (Forrester, Sobester and Keane 2008), a function of six inputs.

    They are area, aspect ratio, taper, thickness, load factor and weight of the flying aircraft.
    """
    low = np.array([150, 6, 0.5, 0.08, 2.5, 1700])
    width = np.array([200, 10, 1, 0.18, 6, 2500]) - low
    powers = np.array([0.758, 0.6, 0.04, -0.3, 0.49, 0.49])
    x = low + width * u
    weight = 0.036 * 300**0.0035 * 30**0.006 * 100**-0.3 * np.prod(x**powers, axis=1)
    return weight, weight[:, None] * powers * width / x


def pair_potential(u: np.ndarray) -> Learned:
    """Return the energy of three atoms in a plane, by Morse's potential of each pair."""
    at = np.array([[0, 0], [1, 0], [0.5, np.sqrt(0.75)]]) + 0.3 * (u.reshape(-1, 3, 2) - 0.5)
    energy, slopes = np.zeros(len(u)), np.zeros_like(at)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        between = at[:, i] - at[:, j]
        r = np.sqrt(np.sum(between**2, axis=1))
        e = np.exp(2 - 2 * r)
        energy += e**2 - 2 * e
        slope = (4 * (e - e**2) / r)[:, None] * between
        slopes[:, i] += slope
        slopes[:, j] -= slope
    return energy, 0.3 * slopes.reshape(u.shape)


# The inputs are uniform from 0 to 1: function, their number, rows.
TASKS: dict[str, tuple[Callable[[np.ndarray], Learned], int, int]] = {
    "Branin": (branin, 2, 40),
    "wing weight": (wing_weight, 6, 40),
    "pair potential": (pair_potential, 6, 100),
}


def error(name: str, seed: int, with_derivatives: bool) -> float:
    """Return the root mean squared error at new rows, in standard deviations of the function."""
    function, n_inputs, n = TASKS[name]
    rng = np.random.default_rng(seed)
    u, new = rng.random((n, n_inputs)), rng.random((2000, n_inputs))
    (y, dy), (truth, _) = function(u), function(new)
    deviation = y.std()
    net = fastmlp.MLP([n_inputs, 32, 32, 1], activation="silu", rng=seed)
    net.fit(
        2 * u - 1,
        (y - y.mean()) / deviation,
        dy=dy / (2 * deviation) if with_derivatives else None,
        epochs=2000,
        batch_size=10,
        optimizer=fastmlp.AdamW(fastmlp.OneCycle(0.01), weight_decay=0.0),
    )
    predicted = y.mean() + deviation * net.predict(2 * new - 1)
    return float(np.sqrt(np.mean((predicted - truth) ** 2)) / truth.std())


def main(seeds: int = 3) -> dict[str, tuple[float, float]]:
    errors = {}
    print("error, in standard deviations:   values  values and derivatives")
    for name, (_, n_inputs, n) in TASKS.items():
        each = [[error(name, seed, taught) for seed in range(seeds)] for taught in (False, True)]
        alone, both = np.median(each, axis=1)
        errors[name] = float(alone), float(both)
        text = f"{name}, {n_inputs} inputs, {n} rows"
        print(f"{text:<33}{alone:6.3f}{both:8.3f}: {alone / both:.1f} times less")
    return errors


if __name__ == "__main__":
    main()
