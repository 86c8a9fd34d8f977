# Where a network's numbers lie: for native.pyx, predictor.pyx, and probe.pyx.
from libc.stdint cimport int64_t

from fastmlp.engine.memory cimport Memory
from network cimport *


cdef class Parameters:
    cdef readonly object spec
    cdef readonly str level
    cdef const fm_kernels* kernels
    cdef fm_network net  # as published
    cdef fm_layer* layers
    cdef dict losses  # row of each
    cdef double* dropout  # probability of each hidden layer
    cdef tuple fan_ins
    cdef tuple drops  # whether it is above 0
    cdef Memory memory
    cdef object published, spare  # arenas
    cdef int64_t n_parameters, n_transposed  # elements of the arenas, padding included
    cdef int64_t weight_count  # true weights

    cdef object empty_arena(self)
    cdef object read(self, fm_network* net)
    cdef object publish(self, parameters)
    cdef object to_work_on(self)
    cdef int keep_transposed(self) except -1
    cdef int pack(self, list weights, list biases, void* arena_start) except -1
    cdef tuple unpack(self, const void* arena_start)
