# The engine's own state, for predictor.pyx, and for probe.pyx, which looks at one kernel at a time.
cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t

from fastmlp._engine.buffers cimport Buffers
from fastmlp._engine.passes cimport Pass
from fastmlp._engine.shift cimport Shift
from fastmlp._engine.steps cimport Trained
from fastmlp._engine.jobs cimport RowsJob
from network cimport *


cdef double mean_loss(cnp.ndarray block_sums, data) except? -1


cdef class Engine(Trained):
    cdef int typenum
    cdef int64_t row_bytes
    cdef Shift shift
    cdef object groups, degree, table  # of the last epoch, see table_of
    cdef list call_buffers, call_shifts  # that calls from several threads at once take and give back

    cdef void describe(self, fm_data* c, data) except *
    cdef object table_of(self, groups, degree)
    cdef tuple set_dropout(self, fm_task* task, dropouts)
    cdef Shift shift_for(self, Shift last, int64_t batch, int n_threads, tuple drops, bint stores)
    cdef Pass begin(self, data, plan, int n_threads)
    cdef int share(self, Pass epoch, share) except -1
    cdef int end(self, Pass epoch, plan, bint is_good) except -1
    cdef Buffers borrow_buffers(self)
    cdef void divide_rows(self, RowsJob* job, team) except *
