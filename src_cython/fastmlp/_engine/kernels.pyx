# Where kernel modules are loaded, and what can be asked of one without a network.
cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t, uint64_t

from network cimport *

import functools
import importlib
import time

from fastmlp._engine.cpu_levels import kernel_module

cnp.import_array()

cdef int64_t SHUFFLE_MOST = 0xffffffff  # rows: what a draw of 32 bits reaches


cdef const fm_kernels* load(str level, str dtype) except NULL:
    """The kernel table of a level. The caller has made sure that the CPU can run it."""
    found = capsule(level, dtype)
    cdef const fm_kernels* kernels = <const fm_kernels*>PyCapsule_GetPointer(found, FM_CAPSULE)
    if kernels.abi != ABI:
        raise ImportError(f"{kernel_module(level, dtype)} has ABI {kernels.abi} but fastmlp expects {ABI}: "
                          "it is left over from another build, install fastmlp again")
    return kernels


@functools.cache
def capsule(str level, str dtype):
    """What a kernel module has to give; it is imported once, as imports are looked up slowly."""
    return importlib.import_module(kernel_module(level, dtype)).table


@functools.cache
def tables(str level, str dtype="float32"):
    """Names of the native (activations, losses, optimizers), in row order."""
    cdef const fm_kernels* k = load(level, dtype)
    return (
        tuple(k.activation_name(i).decode() for i in range(k.n_activations)),
        tuple(k.loss_name(i).decode() for i in range(k.n_losses)),
        tuple(k.optimizer_name(i).decode() for i in range(k.n_optimizers)),
    )


def compiler(str level, str dtype="float32"):
    """Compiler of a kernel module, and the level it was built for."""
    cdef const fm_kernels* k = load(level, dtype)
    return k.compiler.decode(), k.level.decode()


def peak(str dtype, str level):
    """Multiply-adds of one core, in GFLOP/s: the best of several short loops of independent chains."""
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
    """Complain about more rows than can be shuffled."""
    if n > SHUFFLE_MOST:
        raise ValueError(f"{n} rows cannot be shuffled but at most {SHUFFLE_MOST}: "
                         "pass shuffle=False, or fewer rows at a time to partial_fit")


def shuffle(cnp.ndarray[int64_t, ndim=1, mode="c"] order, uint64_t seed, str level):
    """Permute an index array in place; the seed alone says how."""
    cdef const fm_kernels* k = load(level, "float32")
    cdef int64_t* data = <int64_t*>cnp.PyArray_DATA(order)
    cdef int64_t n = order.shape[0]
    check_shuffle(n)
    with nogil:
        k.shuffle(data, n, seed)
