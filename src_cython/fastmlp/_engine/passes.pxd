# Epochs under way: for native.pyx, which prepares them and takes what they come to.
from libc.stdint cimport int64_t

from fastmlp._engine.jobs cimport EpochJob, Run
from fastmlp._engine.shift cimport Shift
from network cimport *


cdef class Signals:
    cdef object interrupt
    cdef object add_up, summed  # of many processes: what sums, and the gradients


cdef int poll(void* context) noexcept nogil
cdef fm_poll poll_of_caller() except *


cdef class Pass:
    cdef fm_network net
    cdef fm_task task
    cdef fm_report report
    cdef EpochJob job
    cdef Run many
    cdef fm_network measured  # the same network, with the loss for rows that are held out
    cdef Shift shift
    cdef object fresh  # the arena that a good end is copied to; None: nobody wants it
    cdef object kept  # what the task points into
    cdef object lent  # buffers for rows that are held out
    cdef object add_up, summed  # as Signals has them; None: there is one process

    cdef void hand(self, const fm_kernels* k, Shift shift, fresh, int64_t n_parameters, kept)


cdef double run(Pass epoch, team) except? -1
cdef int run_many(list passes, team, int n_threads) except -1
