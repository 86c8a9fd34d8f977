# The buffers of one batch: for native.pyx, and for probe.pyx, which looks at one kernel.
from libc.stdint cimport int64_t

from fastmlp._engine.memory cimport Memory
from network cimport *


cdef class Buffers:
    cdef fm_buffers c
    cdef Memory memory

    @staticmethod
    cdef Buffers make(const fm_kernels* k, const fm_network* net, int64_t rows, int n_threads,
                      bint training, bint for_jacobian=*, tuple drops=*)
