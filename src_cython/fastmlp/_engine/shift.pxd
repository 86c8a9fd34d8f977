# Who trains, and where: for native.pyx.
from libc.stdint cimport int64_t

from fastmlp._engine.buffers cimport Buffers
from fastmlp._engine.memory cimport Memory
from network cimport *


cdef class Shift:
    cdef fm_shift c
    cdef fm_pace pace
    cdef Buffers buffers
    cdef Memory memory
    cdef tuple drops  # in which hidden layers values may drop out; (): in none
    cdef void* working  # the parameters that an epoch steps; NULL before the first
    cdef void* copies[COPIES]  # arenas of the copies of those
    cdef object copied  # the published arena that these are copies of, or None
    cdef fm_counter* done  # parts of a run of many epochs

    @staticmethod
    cdef Shift make(const fm_kernels* k, const fm_network* net, int64_t rows, int n_threads, tuple drops)
