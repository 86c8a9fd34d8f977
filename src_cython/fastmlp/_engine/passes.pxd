# Native epochs and the calls from native code to Python: signals, sums over processes, custom functions.
from libc.stdint cimport int64_t

from fastmlp._engine.buffers cimport ThreadContext
from fastmlp._engine.jobs cimport EpochJob, Run
from network cimport *


cdef class Signals:
    cdef object error
    cdef object add_up, summed  # the function that sums over processes, and its argument


cdef fm_poll poll_of_caller() except *
cdef bint describe_function(fm_function* c, function, dtype) except? True


cdef class Pass:
    cdef fm_network net
    cdef fm_task task
    cdef fm_report report
    cdef EpochJob job
    cdef Run run
    cdef fm_network measured  # the same network with the loss for held-out rows
    cdef ThreadContext context
    cdef object fresh  # the arena that receives the parameters of a successful epoch, or None
    cdef object references  # objects that the task points into
    cdef object held_buffers  # buffers for held-out rows
    cdef object add_up, summed  # see Signals; None with a single process

    cdef void hand(self, const fm_kernels* k, ThreadContext context, fresh, int64_t n_parameters, references)


cdef double run(Pass epoch, team) except? -1
cdef int run_many(list passes, team, int n_threads) except -1
