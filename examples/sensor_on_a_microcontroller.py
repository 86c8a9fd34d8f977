"""A sensor on a microcontroller: a thermistor's curve as one C file, with weights of one byte.

The voltage of a thermistor depends on the temperature in a way that a microcontroller should undo
without logarithms. A network of eight neurons learns it, `to_c` writes the function; without a C
compiler here, its rounded weights are tried by the predictor of the same rounding.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import fastmlp


def voltage(celsius: Any) -> Any:
    """Return what the converter reads, from -1 to 1, of a thermistor beside a resistor."""
    resistance = 10_000 * np.exp(3950 * (1 / (celsius + 273.15) - 1 / 298.15))
    return 2 * resistance / (resistance + 10_000) - 1


def main() -> dict[str, Any]:
    celsius = np.linspace(-20, 100, 1201)
    x = voltage(celsius)[:, None]
    net = fastmlp.MLP([1, 8, 1], activation="tanh", rng=0)
    net.fit(x, celsius / 100, epochs=500, optimizer=fastmlp.LBFGS())
    p = net.predictor(weights="int8", X=x)
    errors = {
        "float32": 100 * net.predict(x) - celsius,
        "int8": 100 * np.concatenate([p(row) for row in x.astype(np.float32)]) - celsius,
    }
    with tempfile.TemporaryDirectory() as folder:
        files = net.to_c(Path(folder) / "thermistor.c", weights="int8", X=x)
        lines = (Path(folder) / "thermistor.c").read_text().count("\n")
    for name, error in errors.items():
        print(f"{name:8} largest error {abs(error).max():.2f} degrees")
    print(f"thermistor.c: {lines} lines; {files.constant_bytes} bytes of constants, ", end="")
    print(f"{files.stack_bytes} bytes of stack")
    return {"celsius": celsius, "errors": errors, "bytes": files.constant_bytes}


if __name__ == "__main__":
    main()
