# Memory of the native side: for whatever takes some.
from libc.stdint cimport int64_t


cdef class Memory:
    cdef list arrays
    cdef int64_t itemsize
    cdef void* take(self, int64_t count, int64_t itemsize=*) except NULL
