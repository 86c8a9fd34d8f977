# The engine's own state, for predictor.pyx, and for probe.pyx, which looks at one kernel at a time.
from libc.stdint cimport int32_t, int64_t

from fastmlp.engine.crew cimport Crew
from fastmlp.engine.steps cimport Trained
from fastmlp.engine.workspace cimport Space, Training
from fastmlp.engine.jobs cimport RowsJob
from network cimport *


cdef class Engine(Trained):
    cdef int typenum
    cdef int64_t row_bytes
    cdef Training training
    cdef list call_spaces, call_trainings  # that calls from several threads at once take and give back

    cdef void describe(self, fm_data* c, data) except *
    cdef int32_t row_of_loss(self, fm_data* data) except -1
    cdef tuple set_dropout(self, fm_epoch* e, dropouts)
    cdef Training workspace(self, Training last, int64_t batch, int n_threads, tuple drops, bint stores)
    cdef double run(self, fm_epoch* e, Training training, Crew crew, int n_threads) except? -1
    cdef Space borrow_space(self)
    cdef void share_rows(self, RowsJob* job, team) except *
