"""A controller for a pendulum, from measurements alone: learn how it moves, then keep it upright.

A network learns the next state from the state (angle, speed) and the torque of 2,000 random
moments. Its Jacobian at the upright position is the linear model for which a textbook's linear
quadratic regulator is computed; the regulator then holds the true pendulum.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import fastmlp

STEP = 0.02  # seconds
COSTS = np.diag([10.0, 1.0]), np.array([[0.1]])  # state and torque have one each


def move(state: Any, torque: Any) -> Any:
    """Move the true pendulum, whose angle is 0 when it stands upright, by one step."""
    angle, speed = state[..., 0], state[..., 1]
    speed = speed + STEP * (9.81 * np.sin(angle) - 0.1 * speed + torque)
    return np.stack([angle + STEP * speed, speed], axis=-1)


def learn() -> fastmlp.MLP:
    """Return a network that gives the change of the state in a second."""
    rng = np.random.default_rng(0)
    x = rng.uniform([-1.0, -3.0, -8.0], [1.0, 3.0, 8.0], size=(2000, 3))
    change = (move(x[:, :2], x[:, 2]) - x[:, :2]) / STEP
    net = fastmlp.MLP([3, 32, 2], activation="tanh", dtype="float64", rng=0)
    net.fit(x, change + 0.01 * rng.normal(size=change.shape))
    return net


def regulator(jacobian: Any) -> Any:
    """Return the torques by unit of angle and of speed that cost least in the long run."""
    a, b = np.eye(2) + STEP * jacobian[:, :2], STEP * jacobian[:, 2:]
    q, r = COSTS
    p, gain = q, np.zeros((1, 2))
    for _ in range(2000):
        gain = np.linalg.solve(r + b.T @ p @ b, b.T @ p @ a)
        p = q + a.T @ p @ (a - b @ gain)
    return gain[0]


def main() -> dict[str, Any]:
    gain = regulator(learn().jacobian(np.zeros((1, 3)))[0])
    angles: dict[str, list[float]] = {}
    for name, factor in ("without torque", 0.0), ("with the regulator", 1.0):
        state, angles[name] = np.array([0.3, 0.0]), []
        for _ in range(150):
            angles[name].append(float(np.degrees(state[0])))
            state = move(state, -factor * float(gain @ state))
    print(f"torque = -({gain[0]:.1f} angle + {gain[1]:.1f} speed)")
    for name, course in angles.items():
        print(f"{name:20}" + "".join(f"{a:8.1f}" for a in course[::30]))
    return {"gain": gain, "angles": angles}


if __name__ == "__main__":
    main()
