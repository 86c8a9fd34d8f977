# Memory of the native side: blocks kept alive together, the workspace of one batch, and the division of the
# weight panels among threads. Also where kernel modules are loaded. Offsets only, no arithmetic on data.
cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int32_t, int64_t, uint64_t

from network cimport *
from rounding cimport ceil_div, round_up

import importlib
import time

import numpy as np

from fastmlp.engine import arena
from fastmlp.engine.levels import kernel_module

cnp.import_array()


cdef const fm_kernels* load(str level, str dtype) except NULL:
    """The kernel table of a level. The caller has made sure that the CPU can run it."""
    name = kernel_module(level, dtype)
    capsule = importlib.import_module(name).table
    cdef const fm_kernels* kernels = <const fm_kernels*>PyCapsule_GetPointer(capsule, FM_CAPSULE)
    if kernels.abi != FM_ABI:
        raise ImportError(f"{name} has ABI {kernels.abi} but fastmlp expects {FM_ABI}: "
                          "it is left over from another build, install fastmlp again")
    return kernels


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


def shuffle(cnp.ndarray[int64_t, ndim=1, mode="c"] order, uint64_t seed, str level):
    """Permute an index array in place; the seed alone says how."""
    cdef const fm_kernels* k = load(level, "float32")
    cdef int64_t* data = <int64_t*>cnp.PyArray_DATA(order)
    cdef int64_t n = order.shape[0]
    if n > FM_SHUFFLE_MOST:
        raise ValueError(f"{n} rows cannot be shuffled but at most {FM_SHUFFLE_MOST}: "
                         "pass shuffle=False, or fewer rows at a time to partial_fit")
    with nogil:
        k.shuffle(data, n, seed)


cdef class Memory:
    """Zeroed arrays of one dtype, kept alive together."""

    def __init__(self, int64_t itemsize):
        self.arrays = []
        self.itemsize = itemsize

    cdef void* take(self, int64_t count, int64_t itemsize=0) except NULL:
        array = arena.allocate(max(count, 1) * (itemsize or self.itemsize))
        self.arrays.append(array)
        return cnp.PyArray_DATA(array)


cdef class Space:
    """Workspace of one batch: see fm_space."""

    @staticmethod
    cdef Space make(const fm_kernels* k, const fm_network* net, int64_t rows, int n_threads,
                    bint training, bint for_jacobian=False, tuple drops=()):
        cdef Space self = Space.__new__(Space)
        cdef Memory memory = Memory(k.element_size)
        cdef fm_space* c = &self.c
        cdef const fm_layer* layer
        # An odd number of row groups: panels a power of two apart would share a few sets of the cache.
        cdef int64_t padded = (ceil_div(rows, k.row_multiple) | 1) * k.row_multiple
        cdef int32_t n = net.n_layers
        cdef int32_t l
        self.memory = memory
        c.rows = rows
        c.panel = padded * k.nr
        c.x = memory.take(ceil_div(net.layers[0].n_in, k.nr) * c.panel)
        c.y = <void**>memory.take(n, sizeof(void*))
        c.dz = <void**>memory.take(n, sizeof(void*))
        c.aux = <void**>memory.take(n, sizeof(void*))
        for l in range(n):
            layer = &net.layers[l]
            c.y[l] = memory.take(layer.panels * c.panel)
            if not training:
                continue
            c.dz[l] = memory.take(layer.panels * c.panel) if l < n - 1 else c.y[l]
            if l < n - 1 and ((drops and drops[l]) or k.activation_needs_aux(layer.activation)):
                c.aux[l] = memory.take(layer.panels * c.panel)
        # Losses read whole vectors: none may reach into the next row, which another thread may be writing.
        c.target_stride = round_up(net.targets_width, k.lanes) if net.targets_width > 1 else 1
        c.targets = memory.take(padded * c.target_stride)
        c.labels = <int32_t*>memory.take(padded, sizeof(int32_t))
        c.share = memory.take(padded)
        c.weight = memory.take(padded)
        c.row_loss = memory.take(padded)
        c.predictions = memory.take(rows * net.layers[n - 1].n_out) if for_jacobian else NULL
        c.scratch_size = k.scratch_size(net)
        c.scratch = memory.take(c.scratch_size * n_threads)
        return self


cdef enum:
    LONG_UNITS = 16  # for each thread, at least: or the units are half as long


cdef class Training:
    """What fits of one shape share: workspace, barrier, and the division of the weight panels."""

    @staticmethod
    cdef Training make(const fm_kernels* k, const fm_network* net, int64_t rows, int n_threads, tuple drops):
        cdef Training self = Training.__new__(Training)
        cdef Memory memory = Memory(k.element_size)
        self.memory, self.n_threads, self.drops = memory, n_threads, drops
        self.space = Space.make(k, net, rows, n_threads, True, False, drops)
        self.column_squares = <double*>memory.take(
            sum(net.layers[l].n_out for l in range(net.n_layers)), sizeof(double))
        # A long unit has fewer ends, where no tile hides the step of the one before; short ones are divided
        # more evenly.
        weights = sum(net.layers[l].n_in * net.layers[l].n_out for l in range(net.n_layers))
        is_large = weights >= LONG_UNITS * n_threads * k.unit_rows * k.nr
        unit_rows = k.unit_rows if is_large else k.unit_rows // 2
        units, costs = [], []
        for l in range(net.n_layers):
            n_in = net.layers[l].rows if net.layers[l].n_out == 1 else round_up(net.layers[l].n_in, k.mr)
            for p in range(net.layers[l].panels):
                left = min(net.layers[l].n_out - p * k.nr, k.nr)
                width = round_up(left, k.lanes) // k.lanes
                for k_from in range(0, n_in, unit_rows):
                    k_to = min(k_from + unit_rows, n_in)
                    units.append((l, p, k_from, k_to))
                    # a narrow tile costs more than its share: loads are not shared
                    costs.append((k_to - k_from) * (0.5 + width))
        self.units = <fm_unit*>memory.take(len(units), sizeof(fm_unit))
        for i, (l, p, k_from, k_to) in enumerate(units):
            self.units[i] = fm_unit(l, p, k_from, k_to)
        self.barrier = <fm_barrier*>memory.take(1, sizeof(fm_barrier))
        self.counters = <fm_counter*>memory.take(n_threads, sizeof(fm_counter))
        self.unit_first = <int64_t*>memory.take(n_threads + 1, sizeof(int64_t))
        ends = np.cumsum(costs)
        total = sum(costs)
        for t in range(1, n_threads):
            self.unit_first[t] = np.searchsorted(ends, total * t / n_threads)
        self.unit_first[n_threads] = len(units)
        return self
