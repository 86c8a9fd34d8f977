# Memory, workspace and division of work: for native.pyx, and for probe.pyx, which looks at one kernel.
from libc.stdint cimport int64_t

from network cimport *


cdef enum:
    QUICK_WEIGHTS = 30000  # below this much work, giving the interpreter lock back costs more


cdef const fm_kernels* load(str level, str dtype) except NULL


cdef class Memory:
    cdef list arrays
    cdef int64_t itemsize
    cdef void* take(self, int64_t count, int64_t itemsize=*) except NULL


cdef class Space:
    cdef fm_space c
    cdef Memory memory

    @staticmethod
    cdef Space make(const fm_kernels* k, const fm_network* net, int64_t rows, int n_threads,
                    bint training, bint for_jacobian=*, tuple drops=*)


cdef class Training:
    cdef Space space
    cdef Memory memory
    cdef fm_barrier* barrier
    cdef fm_pace pace
    cdef fm_unit* units
    cdef int64_t* unit_first
    cdef fm_counter* counters
    cdef double* column_squares
    cdef void* transposed
    cdef object transposed_of  # the arena of parameters whose transposed weights these are
    cdef void* gradients
    cdef double* sums
    cdef int n_threads
    cdef tuple drops  # in which hidden layers values may drop out; (): in none

    @staticmethod
    cdef Training make(const fm_kernels* k, const fm_network* net, int64_t rows, int n_threads, tuple drops)
