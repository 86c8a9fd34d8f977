# The native engine: cimported by predictor.pyx and probe.pyx.
from libc.stdint cimport int64_t

from fastmlp._engine.jobs cimport RowsJob
from fastmlp._engine.kernels cimport Buffers, Pass, ThreadContext
from fastmlp._engine.parameters cimport Parameters
from network cimport *


cdef void describe(fm_data* c, data) except *


cdef class Engine(Parameters):
    cdef int typenum
    cdef int64_t row_bytes
    cdef ThreadContext context
    cdef object groups, degree, table  # the last epoch's; groups_table makes the table of the other two
    # free objects, which calls take and return
    cdef list call_buffers, sparse_buffers, call_contexts, call_derivatives, call_jacobians

    cdef Pass begin(self, data, plan, int n_threads)
    cdef int end(self, Pass epoch, plan, bint is_good) except -1
    cdef bint predict_row_into(self, const char* row, char* out) except -1
