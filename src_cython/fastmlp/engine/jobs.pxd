# What each thread of a team runs: a native function of the thread's index, without the interpreter.
from libc.stdint cimport int32_t, int64_t

from network cimport *


cdef enum:
    MAX_THREADS = 256  # no more than this, whatever was asked for
    CALL_ROWS = 64  # rows of a block in predict and evaluate; evaluate adds up block by block
    MOST_BLOCKS = 16  # that a thread takes at a time


cdef struct RowsJob:
    const fm_kernels* kernels
    const fm_network* net
    const fm_data* data
    int n_threads
    int64_t blocks  # that a thread takes at a time
    fm_counter* counter  # of what is taken
    const fm_buffers** buffers  # one a thread
    char* predictions
    double* block_losses  # NULL: predict, else evaluate
    int (*poll)(void*) noexcept nogil  # of the caller
    void* poll_context
    atomic_int stop


cdef struct EpochJob:
    const fm_kernels* kernels
    const fm_task* task
    fm_shift* shift
    fm_report* report


cdef inline void run_epoch(void* context, int32_t index) noexcept nogil:
    cdef EpochJob* job = <EpochJob*>context
    job.kernels.epoch(job.task, job.shift, job.report, index)


cdef inline void run_rows(void* context, int32_t index) noexcept nogil:
    """Predict or evaluate blocks of rows that nobody has taken, until there are none."""
    cdef RowsJob* job = <RowsJob*>context
    cdef const fm_kernels* k = job.kernels
    cdef int64_t row_bytes = job.net.operators[job.net.n_operators - 1].n_out * k.element_size
    cdef int64_t block, first, last
    cdef fm_watch watch
    fm_watch_start(&watch, job.poll if index == 0 else NULL, job.poll_context, &job.stop)
    while not fm_stopped(&watch):
        block = fm_counter_take(job.counter, job.n_threads > 1) * job.blocks
        first = block * CALL_ROWS
        if first >= job.data.n:
            return
        last = min(first + job.blocks * CALL_ROWS, job.data.n)
        if job.block_losses != NULL:
            k.evaluate(job.net, job.buffers[index], job.data, first, last, job.block_losses + block,
                       &watch)
        else:
            k.predict(job.net, job.buffers[index], job.data, first, last, job.predictions + first * row_bytes,
                      &watch)
