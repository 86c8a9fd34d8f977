# Native memory: aligned blocks, the buffers of a batch, and the threads and pieces of an epoch.
from libc.stdint cimport int64_t

from network cimport *


cdef class Memory:
    cdef list arrays
    cdef int64_t itemsize
    cdef void* take(self, int64_t count, int64_t itemsize=*) except NULL


cdef struct Inputs:  # of a batch
    int64_t n_dense, most_entries  # most entries of all its rows; -1: all inputs are dense


cdef class Buffers:
    cdef fm_buffers c
    cdef fm_entries entries
    cdef Inputs inputs
    cdef Memory memory
    cdef int take_output_weights(self, const fm_kernels* k, const fm_data* data) except -1

    @staticmethod
    cdef Buffers make(const fm_kernels* k, const fm_network* net, int64_t rows, int n_threads,
                      bint training, Inputs inputs, bint for_jacobian=*, tuple drops=*)


cdef class Derivatives:
    cdef fm_derivatives c
    cdef fm_network linear
    cdef Buffers points, tangents
    cdef Memory memory

    @staticmethod
    cdef Derivatives make(const fm_kernels* k, const fm_network* net, int64_t rows, int n_threads=*,
                          int64_t n_tangents=*, tuple drops=*, int64_t* copy_sizes=*)


cdef Inputs inputs_of(const fm_network* net, x, int64_t rows) except *
cdef bint fits(Buffers buffers, Inputs inputs)
cdef int64_t target_stride(const fm_kernels* k, const fm_network* net)


cdef class ThreadContext:
    cdef fm_thread_context c
    cdef fm_autotune autotune
    cdef Buffers buffers
    cdef Derivatives derivatives  # memory of training on derivatives by the inputs, or None
    cdef int64_t copy_sizes[COPIES]  # elements of the arenas of copies
    cdef Memory memory
    cdef tuple drops  # for each hidden layer, whether it may have dropout; (): none may
    cdef void* working  # arena of the parameters that an epoch updates; NULL before the first epoch
    cdef void* copies[COPIES]  # arenas of the copies of these parameters
    cdef object copied  # the published arena to which `working` and `copies` are equal, or None
    cdef fm_counter* done  # completed parts of a run of many epochs

    @staticmethod
    cdef ThreadContext make(const fm_kernels* k, const fm_network* net, int64_t rows, int n_threads,
                            tuple drops, Inputs inputs, int64_t n_tangents, const int64_t* copy_sizes)
