# The jobs of threads, native functions of the thread's index, and the prediction of single rows.
from libc.math cimport isfinite, NAN
from libc.stdint cimport int32_t, int64_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from network cimport *
from rounding cimport ceil_div, round_up


cdef enum:
    MAX_THREADS = 256
    CALL_ROWS = 64  # rows of a block in predict and evaluate; the sums of evaluate are by block
    MOST_BLOCKS = 16  # most blocks that a thread takes at a time
    QUICK_WEIGHTS = 30000  # a call of fewer is so short that releasing the lock costs more
    STACK_BYTES = 10240  # row buffers above this size use the heap, as some threads have stacks of 64 KiB
    ALIGNMENT = 64  # a cache line, and the widest vector


cdef struct Watch:  # it looks for signals during a native call
    fm_poll poll  # the calling thread's
    void* context
    atomic_int stop


cdef struct RowsJob:
    const fm_kernels* kernels
    const fm_network* net
    const fm_data* data
    int n_threads
    int64_t blocks  # number that a thread takes at a time
    fm_counter* counter  # blocks taken
    const fm_buffers** buffers  # one a thread
    char* predictions
    double* block_losses  # NULL for a prediction; an evaluation writes its losses here
    Watch watch
    # of coalitions, whose inputs are the data: shares of columns of explained rows, (rows, columns, width),
    # and of the background
    const char* x
    const char* background
    const int64_t* chosen  # the rows of the background, one for each of n_background
    int64_t n_background, pairs, coalitions, n_parameters
    int64_t mask_step  # rows of the data from those of a row of the background to those of the next; or 0
    bint failed  # without memory


cdef struct DerivativesJob:
    const fm_kernels* kernels
    const fm_derivatives** memory  # one a thread, with the same arguments
    int64_t n
    fm_counter* counter  # blocks taken
    Watch watch


cdef struct EpochJob:
    const fm_kernels* kernels
    fm_task* task
    fm_thread_context* context
    fm_report* report
    void* fresh  # arena that receives the parameters if the epoch succeeds, or NULL
    int64_t n_parameters
    const int32_t* moved  # the inputs whose weights may differ from those in `fresh`; NULL: all may
    int64_t n_moved


cdef struct Run:  # consecutive epochs of one network
    EpochJob* job
    int64_t epochs
    int64_t* order
    int64_t n_order
    const uint64_t* seeds  # one an epoch, which begins with a shuffle; NULL: no shuffle
    double* losses  # one an epoch
    void** arenas  # which receive the parameters after each epoch; NULL: only those after the last are kept
    const fm_network* measured  # the network that is evaluated after each epoch, or NULL
    fm_data held  # the rows for that
    const fm_buffers* buffers
    char* predictions  # (epochs, rows, columns)
    double* block_losses  # (epochs, blocks)
    fm_counter* done  # parts completed


cdef struct ManyJob:
    Run** runs
    int64_t n, parts  # runs, and parts of each; a thread takes one part at a time
    fm_counter taken
    Watch watch


cdef inline void start_poll(fm_interrupt_poll* interrupt, Watch* watch, int32_t index) noexcept nogil:
    """Prepare a thread's polls: thread 0 lets Python handle signals, the others notice a stop."""
    fm_poll_start(interrupt, watch.poll if index == 0 else NULL, watch.context, &watch.stop)


cdef inline void run_epoch(void* context, int32_t index) noexcept nogil:
    cdef EpochJob* job = <EpochJob*>context
    job.kernels.epoch(job.task, job.context, job.report, index)


cdef inline void settle(EpochJob* job) noexcept nogil:
    """Copy the parameters of a successful epoch to the arena that will be published."""
    cdef const fm_network* net = job.task.net
    cdef int64_t nr = job.kernels.nr
    cdef const fm_tensor* weights
    cdef int64_t l, p, i, start, width
    cdef int64_t end = 0  # the end of what was copied
    cdef bint is_finite = True
    if job.fresh == NULL or job.report.status != RUNNING:
        return
    for l in range(net.n_operators if job.moved != NULL else 0):
        weights = &net.operators[l].tensors[WEIGHTS]
        if not are_inputs(net, net.operators[l].source) or weights.gradient != TILES:
            continue
        is_finite &= copy_parameters(job, end, weights.offset)
        for p in range(weights.panels):
            start = weights.offset + p * weights.rows * nr
            width = min(nr, round_up(weights.n_columns - p * nr, job.kernels.lanes))
            for i in range(job.n_moved):
                end = start + job.moved[i] * width
                is_finite &= copy_parameters(job, end, end + width)
            end = start + weights.rows * width
    is_finite &= copy_parameters(job, end, job.n_parameters)
    if not is_finite:
        job.report.status = DIVERGED


cdef inline bint copy_parameters(EpochJob* job, int64_t start, int64_t end) noexcept nogil:
    """Copy some parameters to the arena that will be published, or return that they are not finite."""
    cdef int64_t size = job.kernels.element_size
    cdef const char* parameters = <const char*>job.task.net.parameters + start * size
    if not job.kernels.finite(parameters, end - start):
        return False
    memcpy(<char*>job.fresh + start * size, parameters, (end - start) * size)
    return True


cdef inline double objective_of(const fm_report* report) noexcept nogil:
    """Return the mean objective of an epoch, or the first that is not finite; NaN for a parameter."""
    if report.status == DIVERGED:
        return report.loss_sum if not isfinite(report.loss_sum) else NAN
    return fm_quotient(report.loss_sum, report.weight_sum) if report.weight_sum > 0 else 0.0


cdef inline void measure(Run* run, int64_t epoch, fm_interrupt_poll* interrupt) noexcept nogil:
    """Predict and evaluate the held-out rows."""
    cdef const fm_kernels* k = run.job.kernels
    cdef int64_t n = run.held.n
    cdef int64_t columns = run.measured.operators[run.measured.n_operators - 1].n_out
    k.evaluate(run.measured, run.buffers, &run.held, 0, n, run.block_losses + epoch * ceil_div(n, CALL_ROWS),
               run.predictions + epoch * n * columns * k.element_size, interrupt)


cdef inline void run_part(Run* run, int64_t part, int64_t parts, fm_interrupt_poll* interrupt) noexcept nogil:
    """Run one part of the batches of a network's epochs; none after a failed epoch."""
    cdef EpochJob* job = run.job
    cdef fm_task* task = job.task
    cdef fm_thread_context* context = job.context
    cdef fm_report* report = job.report
    cdef int64_t n_batches = ceil_div(task.data.n, task.batch)
    cdef int64_t units = max(n_batches, 1)  # an epoch that drops its only batch has none
    cdef int64_t at = run.epochs * units * part // parts
    cdef int64_t end = run.epochs * units * (part + 1) // parts
    cdef int64_t e
    while at < end and report.status == RUNNING:
        e = at // units
        context.first_batch = at - e * units
        context.end_batch = min(context.first_batch + end - at, n_batches)
        at += max(context.end_batch - context.first_batch, 1)
        if context.first_batch == 0:
            if run.seeds != NULL:
                job.kernels.shuffle(run.order, run.n_order, run.seeds[e])
            report.loss_sum = report.weight_sum = 0
        run_epoch(job, 0)
        if context.end_batch < n_batches and report.status == RUNNING:
            return  # the next part goes on with this epoch
        if run.arenas != NULL:
            job.fresh = run.arenas[e]
        if run.arenas != NULL or e == run.epochs - 1:
            settle(job)
        run.losses[e] = objective_of(report)
        if run.measured != NULL and report.status == RUNNING:
            measure(run, e, interrupt)
        task.step += n_batches
        task.rates += n_batches
        if task.decays != NULL:
            task.decays += n_batches
        if task.dropout_step:
            task.dropout += n_batches * task.dropout_step


cdef inline void run_many_epochs(void* context, int32_t index) noexcept nogil:
    """Take parts of runs until none is left; wait if another thread still runs the part before.

    The calling thread polls for signals between its parts, and while it waits for the other threads.
    """
    cdef ManyJob* job = <ManyJob*>context
    cdef fm_poll asks = job.watch.poll if index == 0 else NULL
    cdef Run* run
    cdef fm_interrupt_poll interrupt
    cdef int64_t i
    start_poll(&interrupt, &job.watch, index)
    interrupt.fpenv = fm_get_fpenv()
    while not fm_poll_stop(&interrupt, POLL_WORK):
        i = fm_counter_take(&job.taken)
        if i >= job.n * job.parts:
            break
        run = job.runs[i % job.n]
        if not wait_for(run, i // job.n, &interrupt):
            return
        run.job.context.poll = asks
        run_part(run, i // job.n, job.parts, &interrupt)
        fm_counter_done(run.done)
    if index == 0:
        for i in range(job.n):
            wait_for(job.runs[i], job.parts, &interrupt)


cdef inline bint wait_for(Run* run, int64_t parts, fm_interrupt_poll* interrupt) noexcept nogil:
    """Wait until so many parts are done; false if the work must stop."""
    cdef int turn = 0
    while fm_counter_seen(run.done) < parts:
        if fm_poll_stop(interrupt, POLL_WORK):
            return False
        fm_wait_a_little(turn)
        turn += 1
    return True


cdef inline void run_rows(void* context, int32_t index) noexcept nogil:
    """Take blocks of rows and predict or evaluate them, until none is left."""
    cdef RowsJob* job = <RowsJob*>context
    cdef const fm_kernels* k = job.kernels
    cdef int64_t row_bytes = job.net.operators[job.net.n_operators - 1].n_out * k.element_size
    cdef int64_t block, first, last
    cdef fm_interrupt_poll interrupt
    start_poll(&interrupt, &job.watch, index)
    while not fm_stopped(&interrupt):
        block = fm_counter_take(job.counter) * job.blocks
        first = block * CALL_ROWS
        if first >= job.data.n:
            return
        last = min(first + job.blocks * CALL_ROWS, job.data.n)
        if job.block_losses != NULL:
            k.evaluate(job.net, job.buffers[index], job.data, first, last, job.block_losses + block,
                       NULL, &interrupt)
        else:
            k.predict(job.net, job.buffers[index], job.data, first, last, job.predictions + first * row_bytes,
                      &interrupt)


cdef inline void run_coalitions(void* context, int32_t index) noexcept nogil:
    """Take pairs of an explained row and one of the background, and predict coalitions, until none is left.

    The first weights of a column are its shares in both rows, of which the inputs choose one.
    """
    cdef RowsJob* job = <RowsJob*>context
    cdef const fm_kernels* k = job.kernels
    cdef fm_network net = job.net[0]
    cdef const fm_tensor* weights = &net.operators[0].tensors[WEIGHTS]
    cdef int64_t columns = weights.n_rows // 2
    cdef int64_t share = weights.n_columns * k.element_size
    cdef int64_t result = job.coalitions * net.operators[net.n_operators - 1].n_out * k.element_size
    cdef int64_t parameters = round_up(job.n_parameters * k.element_size, ALIGNMENT)
    cdef char* raw = <char*>malloc(parameters + 2 * columns * share + ALIGNMENT)
    cdef char* shares
    cdef int64_t pair, b, j
    cdef const char* beside
    cdef fm_interrupt_poll interrupt
    if raw == NULL:
        job.failed = True
        return
    net.parameters = <void*>((<uintptr_t>raw + ALIGNMENT - 1) & ~<uintptr_t>(ALIGNMENT - 1))
    memcpy(net.parameters, job.net.parameters, job.n_parameters * k.element_size)
    shares = <char*>net.parameters + parameters
    start_poll(&interrupt, &job.watch, index)
    while not fm_stopped(&interrupt):
        pair = fm_counter_take(job.counter)
        if pair >= job.pairs:
            break
        b = pair % job.n_background
        beside = job.background + job.chosen[b] * columns * share
        for j in range(columns):
            memcpy(shares + 2 * j * share, job.x + (pair // job.n_background * columns + j) * share, share)
            memcpy(shares + (2 * j + 1) * share, beside + j * share, share)
        k.copy_tensor(weights, True, shares, net.parameters)
        b *= job.mask_step
        k.predict(&net, job.buffers[index], job.data, b, b + job.coalitions,
                  job.predictions + pair * result, &interrupt)
    free(raw)


cdef inline void run_derivatives(void* context, int32_t index) noexcept nogil:
    """Take blocks of rows and differentiate them, until none is left."""
    cdef DerivativesJob* job = <DerivativesJob*>context
    cdef int64_t first
    cdef fm_interrupt_poll interrupt
    start_poll(&interrupt, &job.watch, index)
    while not fm_stopped(&interrupt):
        first = fm_counter_take(job.counter) * CALL_ROWS
        if first >= job.n:
            return
        job.kernels.differentiate(job.memory[index], first, min(first + CALL_ROWS, job.n), &interrupt)


cdef inline int predict_rows(const fm_kernels* k, const fm_network* net, int64_t scratch_bytes, const char* x,
                             int64_t n, char* out) noexcept nogil:
    """Predict contiguous rows one by one; -1 if the buffers of a wide network cannot be allocated."""
    cdef char stack[STACK_BYTES + ALIGNMENT]
    cdef char* raw = stack
    cdef char* scratch
    cdef int64_t i
    cdef int64_t row_bytes = net.operators[0].n_in * k.element_size
    cdef int64_t result_bytes = net.operators[net.n_operators - 1].n_out * k.element_size
    if scratch_bytes > STACK_BYTES:
        raw = <char*>malloc(scratch_bytes + ALIGNMENT)
        if raw == NULL:
            return -1
    scratch = <char*>((<uintptr_t>raw + ALIGNMENT - 1) & ~<uintptr_t>(ALIGNMENT - 1))
    for i in range(n):
        k.predict_row(net, x + i * row_bytes, scratch, out + i * result_bytes)
    if raw != stack:
        free(raw)
    return 0
