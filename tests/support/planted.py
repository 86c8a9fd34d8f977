"""Mistakes on purpose, one a run: by them `.ci/sanitize` sees that its sanitizers are awake.

python tests/support/planted.py address|undefined|thread
"""

import ctypes
import sys
import threading

import numpy as np

import fastmlp
from fastmlp._engine import native, native_engine

ROW = 3000


def address():
    """A row is read past the end of its array."""
    short = np.zeros(ROW - 1, np.float32)
    longer = np.lib.stride_tricks.as_strided(short, (ROW,), short.strides)
    fastmlp.MLP([ROW, 2], rng=0).predictor()(longer)


def undefined():
    """A row is read that is not aligned."""
    predict = fastmlp.MLP([ROW, 2], rng=0).predictor()
    call = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p
    )(predict.function_address)
    row, out = np.ones(ROW + 1, np.float32), np.zeros(2, np.float32)
    call(predict.context_address, row.ctypes.data + 1, 1, out.ctypes.data)


def thread():
    """Two threads write into one array, again and again: one may be done when the other starts."""
    order = np.arange(10**6)
    for _ in range(50):
        calls = [
            threading.Thread(target=native.shuffle, args=(order, seed, native_engine.level()))
            for seed in (1, 2)
        ]
        for call in calls:
            call.start()
        for call in calls:
            call.join()


if __name__ == "__main__":
    {"address": address, "undefined": undefined, "thread": thread}[sys.argv[1]]()
