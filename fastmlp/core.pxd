# The engine's own state, for core.pyx and for probe.pyx, which looks at one kernel at a time.
from libc.stdint cimport int32_t, int64_t

from fastmlp.workspace cimport Memory, Space, Training
from jobs cimport RowsJob
from network cimport *


cdef class Engine:
    cdef readonly object spec
    cdef readonly str level
    cdef const fm_kernels* kernels
    cdef fm_network net
    cdef fm_layer* layers
    cdef Memory memory
    cdef object parameters_arena
    cdef int32_t optimizer  # its row, -1 before start
    cdef double hyper[4]
    cdef Memory slot_memory
    cdef void* slots[2]
    cdef double powers[2]
    cdef int64_t n_parameters  # elements of the arena, padding included
    cdef int64_t weight_count  # true weights
    cdef int typenum
    cdef int64_t row_bytes
    cdef Training training
    cdef list call_spaces
    cdef dict losses

    cdef tuple unpack(self, const void* arena_start)
    cdef void describe(self, fm_data* c, data) except *
    cdef fm_network network_for(self, fm_data* data)
    cdef double run(self, fm_epoch* e, Training training, team, int n_threads) except? -1
    cdef Space borrow_space(self)
    cdef void share_rows(self, RowsJob* job, team) except *
