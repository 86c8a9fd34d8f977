# The engine's own state, for predictor.pyx, and for probe.pyx, which looks at one kernel at a time.
from libc.stdint cimport int32_t, int64_t

from fastmlp.parameters cimport Parameters
from fastmlp.workspace cimport Memory, Space, Training
from jobs cimport RowsJob
from network cimport *


cdef class Engine(Parameters):
    cdef int32_t optimizer  # its row, -1 before start
    cdef double hyper[4]
    cdef Memory slot_memory
    cdef void* slots[2]
    cdef double powers[2]
    cdef int typenum
    cdef int64_t row_bytes
    cdef Training training
    cdef list call_spaces, call_trainings  # that calls from several threads at once take and give back

    cdef void describe(self, fm_data* c, data) except *
    cdef int32_t row_of_loss(self, fm_data* data) except -1
    cdef Training workspace(self, Training last, int64_t batch, int n_threads, bint stores)
    cdef double run(self, fm_epoch* e, Training training, team, int n_threads) except? -1
    cdef Space borrow_space(self)
    cdef void share_rows(self, RowsJob* job, team) except *
