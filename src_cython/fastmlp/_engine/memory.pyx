# Memory of the native side: blocks of the arena that are kept alive together.
cimport numpy as cnp
from libc.stdint cimport int64_t

from fastmlp._engine import arena

cnp.import_array()


cdef class Memory:
    """Zeroed arrays of one dtype, kept alive together."""

    def __init__(self, int64_t itemsize):
        self.arrays = []
        self.itemsize = itemsize

    cdef void* take(self, int64_t count, int64_t itemsize=0) except NULL:
        array = arena.allocate(max(count, 1) * (itemsize or self.itemsize))
        self.arrays.append(array)
        return cnp.PyArray_DATA(array)
