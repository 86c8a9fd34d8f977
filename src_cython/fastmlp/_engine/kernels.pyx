# Loading of kernel modules, their functions that need no network, and their memory.
cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t, uint64_t, uintptr_t

from network cimport *

import functools
import importlib
import time

import numpy as np

from fastmlp._engine.cpu_levels import kernel_module

cnp.import_array()

cdef int64_t SHUFFLE_MOST = 0xffffffff  # rows; a draw has 32 bits


ALIGNMENT = 64  # a cache line, and the widest vector


def allocate(n_bytes):
    """Return a zeroed array of at least `n_bytes` bytes; start and size are multiples of 64.

    All native memory comes from here: a lack of it is NumPy's MemoryError, and a test can put an
    inaccessible page behind every block.
    """
    size = -(-n_bytes // ALIGNMENT) * ALIGNMENT
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -<object><uintptr_t>cnp.PyArray_DATA(raw) % ALIGNMENT
    return raw[start:start + size]


cdef const fm_kernels* load(str level, str dtype) except NULL:
    """Return the kernel table of a level, which the CPU must support."""
    found = capsule(level, dtype)
    cdef const fm_kernels* kernels = <const fm_kernels*>PyCapsule_GetPointer(found, FM_CAPSULE)
    if kernels.abi != ABI:
        raise ImportError(f"{kernel_module(level, dtype)} has ABI {kernels.abi} but fastmlp expects {ABI}: "
                          "it is left over from another build, install fastmlp again")
    return kernels


@functools.cache
def capsule(str level, str dtype):
    """Import a kernel module and return its table; cached, because looking imports up is slow."""
    return importlib.import_module(kernel_module(level, dtype)).table


@functools.cache
def tables(str level, str dtype="float32"):
    """Return the names of the native (activations, losses, optimizers), in row order."""
    cdef const fm_kernels* k = load(level, dtype)
    cdef const char* name
    found = [], [], []
    for table, names in enumerate(found):
        while (name := k.row_name(table, len(names))) != NULL:
            names.append(name.decode())
    return tuple(map(tuple, found))


def compiler(str level, str dtype="float32"):
    """Return the compiler of a kernel module, and the level that it was built for."""
    cdef const fm_kernels* k = load(level, dtype)
    return k.compiler.decode(), k.level.decode()


def has_bfloat16(str level):
    """Return whether the compiler knew the instructions for products in bfloat16."""
    return bool(load(level, "float32").has_bfloat16)


def peak(str dtype, str level):
    """Return the multiply-add rate of one core in GFLOP/s, the best of several short loops."""
    cdef const fm_kernels* k = load(level, dtype)
    cdef double operations
    best = 0.0
    for _ in range(20):
        began = time.perf_counter()
        with nogil:
            operations = k.peak(200000)
        best = max(best, operations / (time.perf_counter() - began))
    return best / 1e9


def check_shuffle(int64_t n):
    """Raise ValueError if there are more rows than can be shuffled."""
    if n > SHUFFLE_MOST:
        raise ValueError(f"{n} rows cannot be shuffled but at most {SHUFFLE_MOST}: "
                         "pass shuffle=False, or fewer rows at a time to partial_fit")


def shuffle(cnp.ndarray[int64_t, ndim=1, mode="c"] order, uint64_t seed, str level):
    """Permute an index array in place; the seed alone determines the result."""
    cdef const fm_kernels* k = load(level, "float32")
    cdef int64_t* data = <int64_t*>cnp.PyArray_DATA(order)
    cdef int64_t n = order.shape[0]
    check_shuffle(n)
    with nogil:
        k.shuffle(data, n, seed)
