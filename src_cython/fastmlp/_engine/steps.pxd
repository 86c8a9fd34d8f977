# The state of an optimizer: for native.pyx.
from libc.stdint cimport int32_t, int64_t

from fastmlp._engine.parameters cimport Parameters
from fastmlp._engine.memory cimport Memory


cdef class Trained


cdef class Steps:
    cdef int32_t optimizer, n_slots  # its row, and what that has
    cdef double hyper[4]
    cdef Memory memory
    cdef int64_t size  # elements of a slot
    cdef void* slots[2]  # NULL: it has fewer
    cdef double powers[2]
    cdef int64_t taken  # steps of whole epochs
    cdef bint is_whole  # not in the middle of an epoch, nor left there

    @staticmethod
    cdef Steps make(Trained network, str row, int n_slots, hyper)

    @staticmethod
    cdef Steps of(Trained network, memory)
    cdef object remembered(self, Trained network)


cdef class Trained(Parameters):
    cdef Steps steps
    cdef tuple rows  # names of the native optimizers
