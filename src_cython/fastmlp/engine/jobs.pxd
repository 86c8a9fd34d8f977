# What each thread of a team runs: a native function of the thread's index, without the interpreter.
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy

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
    void* fresh  # arena for the parameters of a good end; NULL: nobody wants them
    int64_t n_parameters


cdef struct ManyJob:
    EpochJob** epochs  # each of one thread
    int64_t n
    fm_counter* taken
    fm_counter* done
    fm_poll poll  # of the caller
    void* poll_context
    atomic_int stop


cdef inline void run_epoch(void* context, int32_t index) noexcept nogil:
    cdef EpochJob* job = <EpochJob*>context
    job.kernels.epoch(job.task, job.shift, job.report, index)


cdef inline void settle(EpochJob* job) noexcept nogil:
    """Copy the parameters to where they will be published from, if the epoch has ended well."""
    cdef const fm_kernels* k = job.kernels
    if job.fresh == NULL or job.report.status != RUNNING:
        return
    if k.finite(job.task.net.parameters, job.n_parameters):
        memcpy(job.fresh, job.task.net.parameters, job.n_parameters * k.element_size)
    else:
        job.report.status = DIVERGED


cdef inline void run_whole_epochs(void* context, int32_t index) noexcept nogil:
    """Take epochs that nobody has taken, until there are none. The caller looks up in between, and while it
    waits for the others: a signal that comes then ends their work too."""
    cdef ManyJob* job = <ManyJob*>context
    cdef fm_poll asks = job.poll if index == 0 else NULL
    cdef EpochJob* epoch
    cdef fm_watch watch
    cdef int64_t i
    cdef int turn = 0
    fm_watch_start(&watch, asks, job.poll_context, &job.stop)
    watch.control = fm_get_control()
    while not fm_watch_stop(&watch, WATCH_WORK):
        i = fm_counter_take(job.taken, True)
        if i >= job.n:
            break
        epoch = job.epochs[i]
        epoch.shift.poll = asks
        run_epoch(epoch, 0)
        settle(epoch)
        fm_counter_take(job.done, True)
    while index == 0 and fm_counter_taken(job.done) < job.n and not fm_watch_stop(&watch, WATCH_WORK):
        fm_wait_a_little(turn)
        turn += 1


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
