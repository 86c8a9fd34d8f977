"""MLPClassifier and MLPRegressor against scikit-learn's own: ``fit`` and ``predict``, in turns.

Both get the same data, parameters and ``random_state``, train for the same number of epochs, and
so end at the same weights: that is checked before anything is timed. They live in one process,
limited to as many CPUs as threads; the order of turns rotates.
"""

from __future__ import annotations

import argparse
import functools
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import harness
import numpy as np
from workers import available_cpus, limited

OURS, THEIRS = "fastmlp", "scikit-learn"

# Largest difference of the losses of a run, relative, and of its predictions, to the largest one.
# float32 with shuffled batches drifts, as any two summation orders do.
TOLERANCES = {"float64": 1e-6, "float32": 0.05}


@dataclass(frozen=True)
class Fit:
    """What is fitted: estimator, data, parameters; ``floor`` is the ratio that is promised."""

    estimator: str
    data: str
    dtype: str
    floor: float
    epochs: int
    options: dict[str, Any] = field(default_factory=dict)

    def arrays(self) -> tuple[Any, Any]:
        """Return X and y."""
        return DATA[self.data](self.dtype)

    def build(self, module: Any) -> Any:
        """Return the unfitted estimator of a library; nothing ends it before the last epoch."""
        endless = {"tol": 0.0, "n_iter_no_change": np.inf}
        options = {"max_iter": self.epochs, "random_state": 0, **endless, **self.options}
        return getattr(module, self.estimator)(**options)


def digits(dtype: str) -> tuple[Any, Any]:
    """Return the 1,797 digits of 8 by 8 pixels."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return (x / 16).astype(dtype), y


def regression(dtype: str, n: int = 10_000) -> tuple[Any, Any]:
    """Return n samples of 20 numbers and a smooth target."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 20))
    return x.astype(dtype), np.sin(x @ rng.normal(size=20)) + 0.1 * rng.normal(size=n)


def few(dtype: str) -> tuple[Any, Any]:
    """Return a hundred of them."""
    return regression(dtype, 100)


DATA: dict[str, Callable[[str], tuple[Any, Any]]] = {
    "digits": digits,
    "regression": regression,
    "few": few,
}
SMALL = {"batch_size": 32, "hidden_layer_sizes": (32, 32)}
WIDE = {"hidden_layer_sizes": (512, 512)}
FITS: dict[str, Fit] = {
    "digits": Fit("MLPClassifier", "digits", "float64", 3.5, 50),
    "digits, float32": Fit("MLPClassifier", "digits", "float32", 5.5, 50),
    "10,000 x 20": Fit("MLPRegressor", "regression", "float64", 7, 10),
    "10,000 x 20, float32": Fit("MLPRegressor", "regression", "float32", 12, 10),
    "batch 32": Fit("MLPRegressor", "regression", "float64", 20, 4, SMALL),
    "batch 32, float32": Fit("MLPRegressor", "regression", "float32", 20, 4, SMALL),
    "sgd": Fit("MLPClassifier", "digits", "float64", 1, 10, {"solver": "sgd"}),
    "early stopping": Fit("MLPClassifier", "digits", "float64", 1, 10, {"early_stopping": True}),
    "lbfgs": Fit("MLPClassifier", "digits", "float64", 1, 10, {"solver": "lbfgs", "tol": 1e-4}),
    "100 samples": Fit("MLPRegressor", "few", "float64", 1, 50),
    "1 epoch of 100 samples": Fit("MLPRegressor", "few", "float64", 1, 1),
    "512-512": Fit("MLPClassifier", "digits", "float64", 1, 2, WIDE),
    "512-512, float32": Fit("MLPClassifier", "digits", "float32", 1, 2, WIDE),
}
# Rows of a prediction, and the ratio that is promised.
PREDICTIONS = {1: 10.0, 100: 1.0, 10_000: 1.5}


def fitted(case: Fit) -> dict[str, Any]:
    """Fit both and return them, or complain that they are not the same."""
    import sklearn.neural_network

    import fastmlp

    x, y = case.arrays()
    nets = {OURS: case.build(fastmlp), THEIRS: case.build(sklearn.neural_network)}
    for net in nets.values():
        net.fit(x, y)
    ours, theirs = nets.values()
    tolerance = TOLERANCES[case.dtype]
    if ours.n_iter_ != theirs.n_iter_:
        raise AssertionError(f"{ours.n_iter_} epochs instead of {theirs.n_iter_}")
    np.testing.assert_allclose(ours.loss_, theirs.loss_, rtol=tolerance)
    method = "predict_proba" if case.estimator == "MLPClassifier" else "predict"
    mine, reference = (getattr(net, method)(x) for net in nets.values())
    scale = np.abs(reference).max()
    np.testing.assert_allclose(mine, reference, rtol=0, atol=tolerance * scale)
    return nets


def compare(
    name: str, candidates: dict[str, Callable[[], object]], floor: float, options: Any
) -> dict[str, Any]:
    """Time, print a line, and return it."""
    timings = harness.interleave(
        candidates, check=lambda: None, rounds=options.rounds, turn=options.turn
    )
    mine, reference = timings[OURS], timings[THEIRS]
    ratio = reference.median / mine.median
    print(
        f"  {name:<34}{mine.median * 1e3:>10.4f}{reference.median * 1e3:>10.4f}"
        f"{mine.spread:>8.0%}{reference.spread:>8.0%}{ratio:>8.1f}x"
        f"{'   at least' if floor > 1 else '':>11}{floor if floor > 1 else '':>5}",
        flush=True,
    )
    return {"milliseconds": timings, "ratio": ratio, "floor": floor}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Compare everything and return the rows."""
    warnings.simplefilter("ignore")  # ConvergenceWarning: the epochs are counted on purpose
    results = {}
    heading = f"{OURS:>10}{'sklearn':>10}{'spread':>16}{'ratio':>8}"
    print(f"  {'ms per fit':<34}{heading}")
    for name in options.cases:
        case = FITS[name]
        nets = fitted(case)
        x, y = case.arrays()
        fits = {who: functools.partial(net.fit, x, y) for who, net in nets.items()}
        label = f"{name}, {case.epochs} epochs"
        results[f"fit {name}"] = compare(label, fits, case.floor, options)
    print(f"\n  {'ms per predict':<34}{heading}")
    for name in [name for name in ("digits", "10,000 x 20", "batch 32") if name in options.cases]:
        nets = fitted(FITS[name])
        x, _ = FITS[name].arrays()
        for rows, floor in PREDICTIONS.items():
            part = np.resize(x, (rows, x.shape[1]))
            calls = {who: functools.partial(net.predict, part) for who, net in nets.items()}
            row = compare(f"{name}, {rows:,} rows", calls, floor, options)
            results[f"predict {name}, {rows} rows"] = row
    return results


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison; 1 if a promise is not kept."""
    parser = harness.command_line(__doc__ or "", rounds=9, turn=0.2)
    many = parser.add_argument
    many("--cases", nargs="+", choices=FITS, default=list(FITS), help="default: all")
    many(
        "--threads",
        type=harness.positive(int, available_cpus()),
        default=1,
        help="of both libraries (default 1)",
    )
    options = parser.parse_args(argv)
    with limited(options.threads):  # before NumPy's BLAS is used for the first time
        try:
            from threadpoolctl import threadpool_limits
        except ImportError:
            parser.error("needs scikit-learn: pip install 'fastmlp[sklearn]'")
        with threadpool_limits(options.threads):
            results = run(options)
    harness.write_json(options.json, results)
    late = [name for name, row in results.items() if row["ratio"] < row["floor"]]
    if late:
        print(f"\nslower than promised: {', '.join(late)}")
    return int(bool(late))


if __name__ == "__main__":
    sys.exit(main())
