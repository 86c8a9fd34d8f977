"""Faults by injection: each allocation of an array fails in turn, in NumPy and in fastmlp.

NumPy asks a handler for the memory of arrays, and a thread may have one of its own: here one that
fails. Whatever fails, the model is as before the call, or has whole epochs: then the fit goes on to
the bits of one that nothing has disturbed.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tiny_tables
import trials
from states import digest, state

import fastmlp
from fastmlp._models.network import network_of

_python = ctypes.pythonapi
_python.PyCapsule_GetPointer.restype = ctypes.c_void_p
_python.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
_python.PyCapsule_New.restype = ctypes.py_object
_python.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]

SET_HANDLER, GET_HANDLER = 304, 305  # places in NumPy's table of its C API
NAME = b"mem_handler"

# The least bytes of allocations that fail after the first one. NumPy keeps blocks of 32 bytes, in
# which a generator is put back; where there are not even those, generators may have moved on.
AFTER = {"once": math.inf, "but for small ones": 33, "for good": 0}

_SIZE = ctypes.c_size_t
ALLOCATIONS = {  # what gives memory, and its arguments after the context
    "malloc": (_SIZE,),
    "calloc": (_SIZE, _SIZE),
    "realloc": (ctypes.c_void_p, _SIZE),
}


class _Handler(ctypes.Structure):
    """PyDataMem_Handler, with the PyDataMemAllocator in it."""

    _fields_ = (
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        *((name, ctypes.c_void_p) for name in ("context", *ALLOCATIONS, "free")),
    )


def _api(at: int, *arguments: Any) -> Any:
    table = _python.PyCapsule_GetPointer(np._core._multiarray_umath._ARRAY_API, None)  # type: ignore[attr-defined]
    return ctypes.PYFUNCTYPE(ctypes.py_object, *arguments)(
        ctypes.cast(table, ctypes.POINTER(ctypes.c_void_p))[at]
    )


class Arrays:
    """NumPy's handler of memory, in whose place one can stand that counts, and fails."""

    def __init__(self) -> None:
        default = ctypes.cast(
            _python.PyCapsule_GetPointer(_api(GET_HANDLER)(), NAME), ctypes.POINTER(_Handler)
        ).contents
        self._handler = _Handler.from_buffer_copy(default)  # what it gives is freed by the default
        self._calls = []
        for name, arguments in ALLOCATIONS.items():
            types = ctypes.c_void_p, ctypes.c_void_p, *arguments
            call = ctypes.PYFUNCTYPE(*types)(getattr(default, name))  # keeps the interpreter lock
            self._calls.append(ctypes.CFUNCTYPE(*types)(self._or_none(call)))
            setattr(self._handler, name, ctypes.cast(self._calls[-1], ctypes.c_void_p).value)
        self._capsule = _python.PyCapsule_New(ctypes.addressof(self._handler), NAME, None)
        self.count, self.nth, self.least = 0, -1, math.inf
        self.current = _api(GET_HANDLER)()

    def _or_none(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def allocate(*arguments: Any) -> Any:
            at, self.count = self.count, self.count + 1
            again = at > self.nth and math.prod(arguments[1:]) >= self.least
            return None if at == self.nth or again else call(*arguments)

        return allocate

    @contextlib.contextmanager
    def failing(self, nth: int, least: float) -> Iterator[None]:
        """Have the nth allocation fail, from 0, and all later ones of at least so many bytes."""
        self.count, self.nth, self.least = 0, nth, least
        before, self.current = self.current, self._capsule
        _api(SET_HANDLER, ctypes.py_object)(self.current)
        try:
            yield
        finally:
            self.current = before
            _api(SET_HANDLER, ctypes.py_object)(before)

    @property
    def fired(self) -> bool:
        """Whether an allocation has failed."""
        return self.count > self.nth


ARRAYS = Arrays()

RNG = np.random.default_rng(5)
X = RNG.normal(size=(40, 3)).astype(np.float32)
Y = X[:, :1] * X[:, 1:2]
MOST = int(os.environ.get("FASTMLP_ALLOCATIONS", "10"))  # that fail in a turn of a trial


def source() -> Iterator[tuple[Any, Any]]:
    """Yield blocks; the thread that reads them has the failing handler, too."""
    _api(SET_HANDLER, ctypes.py_object)(ARRAYS.current)
    for rows in (slice(0, 15), slice(15, 40)):
        yield X[rows].copy(), Y[rows].copy()


def network(rng: int = 0) -> fastmlp.MLP:
    """Return a network that has learned before."""
    net = fastmlp.MLP([3, 5, 1], dropout=0.1, rng=rng)
    net.fit(X, Y, epochs=2, batch_size=16)
    return net


def ensemble() -> fastmlp.Ensemble:
    """Return networks that have learned together before; two share a generator."""
    rng = np.random.default_rng(0)
    nets = [fastmlp.MLP([3, 5, 1], dropout=0.1, rng=own) for own in (rng, 1, rng)]
    found = fastmlp.Ensemble(nets)
    found.fit(X, Y, epochs=2, batch_size=16)
    return found


def learned(model: Any) -> str:
    """Return a digest of parameters and histories."""
    each = model if isinstance(model, fastmlp.Ensemble) else [model]
    return digest([model.history, *((net.state_dict(), net.history) for net in each)])


def everything(model: Any) -> str:
    """Return a digest of that, of generators, and of all else with which training goes on."""
    if not isinstance(model, fastmlp.Ensemble | fastmlp.MLP):
        return digest([state(model), model.predict(tiny_tables.X)])
    each = model if isinstance(model, fastmlp.Ensemble) else [model]
    states = [network_of(net).state() for net in each]
    return digest([learned(model), state(model), *((s.engine, s.resume_state) for s in states)])


ADAM = fastmlp.Adam(0.01)
HELD = {"validation_rows": [range(9)] * 3, "rows": [range(9, 40)] * 3}
FITS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "MLP": (network, {"validation_data": (X, Y)}),
    "MLP, a mean": (network, {"averaging": fastmlp.EMA(), "l1": 0.01}),
    "MLP, a source": (network, {"X": source, "y": None}),
    "MLP, a file": (network, {"X": source, "y": None, "shuffle_folder": tempfile.gettempdir()}),
    "MLP, checkpoints": (network, {"validation_data": (X, Y), "path": True}),
    "MLP, a mean and checkpoints": (network, {"averaging": fastmlp.EMA(), "path": True}),
    "Ensemble": (ensemble, {}),
    "Ensemble, a mean": (ensemble, {"averaging": fastmlp.EMA(), "validation_data": (X, Y)}),
    "Ensemble, held rows": (ensemble, {**HELD, "scorer": lambda epoch, predictions: -epoch}),
    "Ensemble, checkpoints": (ensemble, {**HELD, "path": True}),
    "Ensemble, a mean and checkpoints": (ensemble, {"averaging": fastmlp.EMA(), "path": True}),
}


EPOCHS = 4


def fit(model: Any, options: dict[str, Any], path: str, **others: Any) -> None:
    """Fit for some epochs."""
    given = {"X": X, "y": Y, "epochs": EPOCHS, "batch_size": 16, "optimizer": ADAM}
    given |= options | others
    if given.pop("path", False):
        given["callbacks"] = [fastmlp.Checkpoint(path, keep=2, best=path + "-best")]
    model.fit(given.pop("X"), given.pop("y"), **given)


def positions(total: int, rng: np.random.Generator) -> list[int]:
    """Return which allocations are to fail: all, or so many that a turn does not take long."""
    return sorted(rng.choice(total, min(total, MOST), replace=False).tolist())


def of_a_fit(make: Callable[[], Any], options: dict[str, Any], least: float) -> trials.Trial:
    """Have allocations of a fit fail: whole epochs are left, with which it goes on, or nothing."""

    def trial(rng: np.random.Generator) -> Iterator[float]:
        with tempfile.TemporaryDirectory() as folder:
            before, model, ends = everything(make()), make(), {learned(make())}
            with ARRAYS.failing(sys.maxsize, least):
                fit(model, options, f"{folder}/whole")
            whole, total = everything(model), ARRAYS.count
            for epochs in range(1, EPOCHS + 1):
                fit(model := make(), options, f"{folder}/{epochs}", epochs=epochs)
                ends.add(learned(model))
            for nth in positions(total, rng):
                where, path, model = f"allocation {nth}", f"{folder}/net", make()
                with ARRAYS.failing(nth, least), contextlib.suppress(MemoryError):
                    fit(model, options, path)
                    assert not ARRAYS.fired or everything(model) == whole, f"{where} was not told"
                assert learned(model) in ends, f"{where} left no whole epoch"
                yield 0.0
                if Path(path).exists():
                    fit(again := make(), options, path, resume=path)
                    assert everything(again) == whole, f"{where}: the checkpoint is not whole"
                    Path(path).unlink()
                if least and goes_on(model, before, options, path):
                    assert everything(model) == whole, f"{where} had changed what goes on"

    return trial


def goes_on(model: Any, before: str, options: dict[str, Any], path: str) -> bool:
    """Fit to the end; return False if a failure within an epoch has cost the optimizer's state."""
    try:
        fit(model, options, path, resume=everything(model) != before)
    except ValueError as error:
        if "ended within an epoch" not in str(error):
            raise
        return False
    return True


def of_a_table(make: Callable[[], Any], y: Any, least: float) -> trials.Trial:
    """Have allocations of a second fit fail: the first one is left, and the next one is whole."""

    def trial(rng: np.random.Generator) -> Iterator[float]:
        old, new = (everything(make().fit(tiny_tables.X, each)) for each in (y, y[::-1]))
        model = make().fit(tiny_tables.X, y)
        with ARRAYS.failing(sys.maxsize, least):
            model.fit(tiny_tables.X, y[::-1])
        for nth in positions(ARRAYS.count, rng)[::2]:
            model.fit(tiny_tables.X, y)
            with ARRAYS.failing(nth, least), contextlib.suppress(MemoryError):
                model.fit(tiny_tables.X, y[::-1])
            assert everything(model) in (old, new), f"half changed when allocation {nth} failed"
            assert everything(model.fit(tiny_tables.X, y[::-1])) == new
            yield 0.0

    return trial


MEMORY: dict[str, trials.Trial] = {
    f"{name}, {how}": of_a_fit(make, options, least)
    for name, (make, options) in FITS.items()
    for how, least in AFTER.items()
}
TABLES = {"classifier": tiny_tables.LABELS, "regressor": tiny_tables.Y}
MEMORY |= {
    f"table, {name}, {how}": of_a_table(getattr(tiny_tables, name), y, least)
    for name, y in TABLES.items()
    for how, least in AFTER.items()
}
