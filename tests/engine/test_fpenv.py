"""The caller's floating-point control: it changes no result, and comes back as it was.

Each case runs in a process of its own, as a program: ``python test_fpenv.py MODE THREADS``.
"""

import ctypes
import hashlib
import platform
import signal
import sys

import children
import numpy as np
import pytest
import test_bits

import fastmlp
from fastmlp._engine import native_engine
from fastmlp._engine.native import Predictor
from fastmlp._models.network import network_of

LIBM = ctypes.CDLL(None)
X86 = ("x86_64", "amd64"), {"nearest": 0, "down": 0x400, "up": 0x800, "to zero": 0xC00}
ARM = ("aarch64", "arm64"), {"nearest": 0, "up": 0x400000, "down": 0x800000, "to zero": 0xC00000}
MODES = next((m for names, m in (X86, ARM) if platform.machine().lower() in names), {})
# fenv.h of glibc on x86-64: those that ordinary Python code does not raise.
TRAPS = {"divide": 0x4, "overflow": 0x8, "underflow": 0x10}
FITS = ("relu, dropout", "gelu, clipping, l2", "deep, everything", "two heads")

pytestmark = pytest.mark.skipif(
    not MODES or not hasattr(LIBM, "fesetround"), reason="no rounding modes that are known here"
)


def control():
    """Return what shows it: the mode, what is rounded in it, and a denormal number."""
    small, one, three = (float(number) for number in ("1e-320", "1", "3"))
    return LIBM.fegetround(), one / three, -one / three, small * 2


def digest(name, level, dtype, mode, n_threads):
    """Return a digest of everything that is computed in a rounding mode."""
    sizes, _, options = test_bits.FITS[name]
    net = test_bits.model(name, level, dtype)
    x, t, weights = test_bits.data(sizes, net.loss, 257)
    x, weights = x.astype(dtype), weights.astype(dtype)
    options = {**options, "sample_weight": weights, "n_threads": n_threads}
    assert LIBM.fesetround(MODES[mode]) == 0
    before = control()
    try:
        history = net.fit(x, t, epochs=2, **options)
        predict = Predictor(network_of(net).spec, level, *network_of(net).engine.parameters())
        results = [
            *net.weights,
            *net.biases,
            np.array(history.loss),
            network_of(net).engine.predict(x),
        ]
        results += [predict(x[0]), predict(x[:3]), predict(x), predict.jacobian(x[:9])]
        results += [np.array(net.evaluate(x, t, weights)), np.array(net.evaluate(x, t))]
        objective, dws, dbs = net.gradients(x, t, weights)
        results += [np.array(objective), *dws, *dbs]
        assert control() == before
    finally:
        LIBM.fesetround(MODES["nearest"])
    found = hashlib.sha256()
    for array in results:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def compare(mode, n_threads):
    """Compare everything with what it is when the mode is the usual one."""
    for level in native_engine.available_levels():
        for dtype in native_engine.DTYPES:
            for name in FITS:
                case = name, level, dtype
                assert digest(*case, mode, n_threads) == digest(*case, "nearest", n_threads), case


def trap():
    """Compute what overflows, underflows and divides by zero, with those exceptions unmasked."""
    net = fastmlp.MLP([1, 30, 2], activation="gelu", loss=fastmlp.GaussianNLL(False), rng=0)
    rate = fastmlp.MLP([1, 2], loss="poisson_nll", rng=0)
    x, y = np.linspace(-9, 9, 300, dtype=np.float32)[:, np.newaxis], np.ones((300, 2), np.float32)
    predict, far = rate.predictor(), np.full((300, 1), 1e30, np.float32)
    LIBM.feenableexcept(sum(TRAPS.values()))
    net.fit(x, y, epochs=2, n_threads=2)
    rate.gradients(x, y)
    predict(far)
    predict(far[0])
    assert LIBM.fegetexcept() == sum(TRAPS.values())
    LIBM.fedisableexcept(sum(TRAPS.values()))


def interrupt():
    """Look at the control from a signal handler that runs within a native call."""
    seen = []

    def handler(*_):
        small, one, three = (float(number) for number in ("1e-320", "1", "3"))
        seen.append((small * 2 > 0, one / three))

    net = fastmlp.MLP([200, 500, 500, 1], rng=0)
    x, y = np.ones((3000, 200), np.float32), np.ones((3000, 1), np.float32)
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    LIBM.fesetround(MODES["up"])
    for n_threads in (1, 2):
        net.fit(x, y, epochs=1, batch_size=50, n_threads=n_threads)
    signal.setitimer(signal.ITIMER_REAL, 0)
    LIBM.fesetround(MODES["nearest"])
    assert set(seen) == {(True, np.nextafter(1 / 3, 1))}, seen


def run(*arguments):
    options = {"folders": children.FOLDERS, "timeout": 300}
    children.printed(children.python(__file__, *arguments, **options))


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize(
    "mode",
    [
        pytest.param(mode, marks=[pytest.mark.slow] * (mode != "up"))
        for mode in MODES
        if mode != "nearest"
    ],
)
def test_rounding_modes_change_nothing(mode, n_threads):
    run(mode, n_threads)


def test_signal_handlers_have_the_control_of_the_caller():
    run("interrupt", 1)


@pytest.mark.skipif(
    not hasattr(LIBM, "feenableexcept") or "x86" not in platform.machine(),
    reason="needs glibc, on a processor that traps",
)
def test_unmasked_exceptions_do_not_trap():
    run("trap", 1)


if __name__ == "__main__":
    if sys.argv[1] in MODES:
        compare(sys.argv[1], int(sys.argv[2]))
    else:
        {"trap": trap, "interrupt": interrupt}[sys.argv[1]]()
