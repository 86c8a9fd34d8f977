# The training algorithm: one epoch of mini-batches on packed column panels.
#
# network.pxd has the structs of the task, the threads and the report; layers.pxd the steps of a batch;
# pieces.pxd those of the parameters. Each thread takes its rows of a block through all operators and back,
# then, after a barrier, pieces of the tensors (docs/architecture.md).
from libc.math cimport ilogb, isfinite, ldexp, sqrt
from libc.stdint cimport int32_t, int64_t

from ctables cimport *
from derivatives cimport jacobian_phase
from layers cimport *
from network cimport *
from rounding cimport ceil_div, round_up
from pieces cimport *


cdef enum:
    CACHED_BYTES = 262144  # inputs of this size stay in the second-level cache and are not prefetched


cdef inline double batch_weight(const fm_task* task, int64_t start, int64_t rows) noexcept nogil:
    """Return the divisor of a batch's loss, see `WeightSum` in data.py."""
    cdef double total = 0
    cdef double weight
    cdef int64_t r
    if task.totals != NULL:
        return task.totals[start // task.batch]
    if task.data.weights == NULL:
        return rows
    for r in range(start, start + rows):
        weight = (<real*>task.data.weights)[row_of(task.order, r)]
        total += weight if task.per_batch else <double>(weight != 0)
    return total if task.per_batch else total * task.mean_weight


cdef inline void meet(fm_thread_context* context, int32_t active) noexcept nogil:
    """Wait for the other active threads."""
    if active > 1:
        fm_barrier_wait(context.barrier)


cdef inline int64_t first_row(const fm_buffers* buffers, int64_t rows, int64_t part,
                              int64_t parts) noexcept nogil:
    """Return the first row of a part; the rows of a block are divided in groups."""
    cdef int64_t multiple = FM_CHUNK if unlikely(buffers.rounded != NULL) else ROW_MULTIPLE
    cdef int64_t groups = ceil_div(rows, multiple) * part
    if parts > 1:  # a single thread needs no division
        groups //= parts
    return groups * multiple


cdef inline double row_scale(double total, bint is_whole) noexcept nogil:
    """Return the factor on the sample weights of a batch.

    For a batch of several blocks it is the power of two near 1 / total, so that equal terms of many rows are
    summed without rounding; the remaining factor is applied at the end.
    """
    if total <= 0:
        return 0
    return 1 / total if is_whole else ldexp(1, -ilogb(total))


cdef inline void rows_phase(const fm_task* task, int64_t b, int64_t at, int64_t rows, double scale,
                            fm_interrupt_poll* interrupt, int32_t thread, int32_t active) noexcept nogil:
    """Gather this thread's rows of the block at row `at` of batch b; compute outputs, loss and every dz."""
    cdef const fm_network* net = task.net
    cdef const fm_buffers* buffers = task.buffers
    cdef int64_t first = first_row(buffers, rows, thread, active)
    cdef int64_t end = first_row(buffers, rows, thread + 1, active)
    cdef int64_t last = min(end, rows)
    cdef real* loss_share = <real*>buffers.loss_share
    cdef const real* weight = <real*>buffers.weight
    cdef fm_draws draws
    cdef int64_t r
    cdef int32_t l
    if buffers.entries != NULL and thread == 0:
        buffers.entries.active = active
    if first >= end:
        if buffers.entries != NULL:
            clear_entries(buffers.entries, thread)
        return
    draws.seed, draws.step, draws.row = task.seed, task.step + b, task.row + at
    draws.dropout = task.dropout + b * task.dropout_step
    gather(net, buffers, &task.data, task.order, b * task.batch + at, first, last, thread)
    for r in range(first, last):
        loss_share[r] = weight[r] * <real>scale
    if buffers.derivatives != NULL:
        jacobian_phase(task, b * task.batch + at, first, last, end - first, round_up(rows, ROW_MULTIPLE),
                       &draws, thread, interrupt)
        return
    forward_layers(net, buffers, first, last, &draws, interrupt)
    output_loss(net, buffers, first, last, &task.data, thread, interrupt)
    for l in range(net.n_operators - 1, task.first_trained, -1):
        backward_input(net, buffers, l, first, end - first, interrupt)
    if unlikely(buffers.rounded != NULL):
        for l in range(task.first_trained, net.n_operators):
            if is_rounded(buffers, &net.operators[l]):
                round_for_gradient(net, buffers, l, first, last)


cdef inline fm_prefetch next_rows(const fm_task* task, int64_t next, int32_t thread,
                                  int32_t active) noexcept nogil:
    """Describe this thread's rows of the next block, at row `next` of the order, for prefetch."""
    cdef const fm_buffers* buffers = task.buffers
    cdef fm_prefetch prefetch
    cdef int64_t rows = min(buffers.rows, task.data.n - next)
    prefetch.x = task.data.x
    prefetch.order = task.order
    prefetch.row_stride = task.data.x_row_stride
    prefetch.row_bytes = task.net.operators[0].n_in * sizeof(real)
    prefetch.row = prefetch.end = prefetch.at = 0
    if (task.order == NULL or task.data.x_column_stride != sizeof(real)
            or task.data.n * prefetch.row_bytes < CACHED_BYTES):
        return prefetch
    prefetch.row = next + first_row(buffers, rows, thread, active)
    prefetch.end = next + min(first_row(buffers, rows, thread + 1, active), rows)
    return prefetch


cdef inline void train_pieces(const fm_task* task, const fm_thread_context* context, int64_t next,
                              int64_t rows, const fm_scalars* scalars, fm_interrupt_poll* interrupt,
                              int32_t thread, int32_t active) noexcept nogil:
    """Take pieces: compute the gradient, step and copies of each. `next` is the start of the next batch."""
    cdef real* scratch = <real*>task.buffers.scratch + thread * task.buffers.scratch_size
    cdef fm_prefetch prefetch = next_rows(task, next, thread, active)
    cdef int32_t done = 0
    cdef const fm_piece* piece
    while True:
        piece = next_piece(context, &done, thread, active, rows, interrupt)
        if piece == NULL:
            break
        if moves(task, piece):
            train_piece(task, piece, rows, scratch, scalars, &prefetch)


cdef inline void store_gradients(const fm_task* task, const fm_thread_context* context, int64_t next,
                                 int64_t rows, bint is_first, bint is_last, double rest, double l2,
                                 fm_interrupt_poll* interrupt, int32_t thread, int32_t active) noexcept nogil:
    """Take pieces: add the gradients of a block to those of the batch's earlier blocks.

    After the last block they are multiplied by `rest`, the remaining scale, and those of the penalties are
    added. `next` is the start of the next block.
    """
    cdef bint is_whole = is_first and is_last
    cdef real* gradients = <real*>task.buffers.gradients
    cdef real* scratch = <real*>task.buffers.scratch + thread * task.buffers.scratch_size
    cdef fm_prefetch prefetch = next_rows(task, next, thread, active)
    cdef int32_t done = 0
    cdef const fm_piece* piece
    while True:
        piece = next_piece(context, &done, thread, active, rows, interrupt)
        if piece == NULL:
            break
        if moves(task, piece):
            if is_whole:
                piece_gradient(task.net, task.buffers, piece, 0, rows, gradients + piece.offset, &prefetch)
            else:
                add_piece(task, piece, rows, is_first, scratch, &prefetch)
            if is_last:
                finish_gradient(task, piece, is_whole, rest, l2)


cdef inline void stored_step(const fm_task* task, fm_thread_context* context, fm_scalars* scalars,
                             int32_t thread, int32_t active) noexcept nogil:
    """Update this thread's own pieces by the stored gradients, clipped to clip_norm."""
    cdef const real* gradients = <real*>task.buffers.gradients
    cdef const fm_piece* piece
    cdef double norm
    cdef double scale = 1
    cdef int64_t i
    meet(context, active)
    if task.clip_norm > 0:
        sum_all(task, gradients, True, thread, active)
        meet(context, active)
        norm = sqrt(total_of(task, task.buffers.column_squares, norm_factor))
        if norm > task.clip_norm:
            scale = task.clip_norm / norm
    for i in range(task.n_groups):
        scalars[i].l2 = 0  # the stored gradients include the penalty
        scalars[i].scale = <real>scale
    for i in range(context.piece_first[thread], own_end(context, thread, active)):
        piece = &context.pieces[i]
        if moves(task, piece):
            update_piece(task, piece, gradients + piece.offset, scalars)


cdef inline void report_block(const fm_task* task, fm_report* report, int64_t rows,
                              bint is_first) noexcept nogil:
    """Add the losses of a block to those of its batch. Thread 0 only."""
    cdef const real* row_loss = <real*>task.buffers.row_loss
    cdef const real* weight = <real*>task.buffers.weight
    cdef double total = 0 if is_first else report.objective
    cdef int64_t r
    for r in range(rows):
        total += <double>row_loss[r] * <double>weight[r]
    report.objective = total


cdef inline void report_batch(const fm_task* task, fm_report* report, double total,
                              double l2) noexcept nogil:
    """Add the objective of a batch to that of the epoch; detect divergence. Thread 0 only."""
    cdef double objective = report.objective / total if total > 0 else 0 * report.objective
    if l2 > 0:
        objective += 0.5 * l2 * total_of(task, task.buffers.column_squares, l2_factor)
    if unlikely(task.l1 > 0):
        objective += task.l1 * total_of(task, task.buffers.column_magnitudes, l1_factor)
    report.loss_sum += objective * total
    report.weight_sum += total
    if not isfinite(objective):
        report.status = DIVERGED


cdef inline void add_up(fm_thread_context* context, fm_report* report,
                        const fm_interrupt_poll* interrupt) noexcept nogil:
    """Sum the stored gradients over all processes. Thread 0 only, after a barrier."""
    cdef fm_fpenv native = fm_get_fpenv()
    cdef bint failed = report.status != RUNNING or fm_stopped(interrupt)
    fm_restore_fpenv(interrupt.fpenv)
    if context.add_up(context.poll_context, failed) and report.status == RUNNING:
        report.status = INTERRUPTED
    fm_restore_fpenv(native)


cdef inline void one_batch(const fm_task* task, fm_thread_context* context, fm_report* report, int64_t b,
                           double* powers, fm_scalars* scalars, fm_interrupt_poll* interrupt,
                           int32_t thread, int32_t active) noexcept nogil:
    """Do this thread's part of one step of training: the gradients, block by block, and the update.

    Every thread reaches every barrier, also after a stop, which only skips the work between. Thread 0 sets
    `status` before a barrier; the others read it after.
    """
    cdef int64_t start = b * task.batch
    cdef int64_t rows = min(task.batch, task.data.n - start)
    cdef double total = batch_weight(task, start, rows)
    cdef double scale = row_scale(total, rows <= task.buffers.rows)
    cdef double l2 = task.l2
    cdef const real* parameters = <real*>task.net.parameters
    cdef double rest, decay
    cdef int64_t at = 0
    cdef int64_t size
    cdef bint is_last
    if task.per_batch:
        l2 = task.l2 / total if total > 0 else 0
    if l2 > 0:
        sum_all(task, parameters, True, thread, active)
    if unlikely(task.l1 > 0):
        sum_all(task, parameters, False, thread, active)
    if task.optimizer >= 0:
        decay = task.hyper[3] if task.decays == NULL else task.decays[b]
        prepare_groups(task.optimizer, task.hyper, task.rates[b], decay, l2, powers, task.groups,
                       task.n_groups, scalars)
    while at < rows and report.status == RUNNING:
        size = min(task.buffers.rows, rows - at)
        is_last = at + size == rows
        fm_counter_reset(&context.counters[thread])
        rows_phase(task, b, at, size, scale, interrupt, thread, active)
        meet(context, active)
        if thread == 0:
            report_block(task, report, size, at == 0)
            if is_last:
                report_batch(task, report, total, l2)
                if active > 1 and fm_autotune_step(context.autotune):
                    context.alone_from = b + 1
        if not task.stores:
            train_pieces(task, context, start + size, size, scalars, interrupt, thread, active)
        else:
            rest = 1 / (total * scale) if scale > 0 else 0
            store_gradients(task, context, start + at + size, size, at == 0, is_last, rest, l2, interrupt,
                            thread, active)
            if is_last and task.optimizer >= 0:
                if context.add_up != NULL:
                    meet(context, active)
                    if thread == 0:
                        add_up(context, report, interrupt)
                stored_step(task, context, scalars, thread, active)
        if thread == 0 and fm_stopped(interrupt):
            report.status = INTERRUPTED
        meet(context, active)
        at += size


cdef inline void call_team(fm_thread_context* context, fm_report* report, int64_t b,
                           const double* powers) noexcept nogil:
    """Let the other threads join thread 0 at batch b."""
    context.next_batch = b
    report.powers[0] = powers[0]
    report.powers[1] = powers[1]
    fm_crew_open(context.crew, context.job, context.job_context)
    fm_barrier_wait(context.barrier)
    fm_autotune_resume(context.autotune)


cdef inline void epoch(const fm_task* task, fm_thread_context* context, fm_report* report,
                       int32_t thread) noexcept nogil:
    """Train on the batches of the data from the context's first to its end.

    Thread 0 runs from start to end and calls the others. They leave when it is faster alone
    (c/threads/autotune.h), and are called again for the next trial.
    """
    cdef fm_fpenv fpenv = fm_set_fpenv()
    cdef int32_t active = 1
    cdef int64_t b = context.first_batch
    cdef int64_t end = context.end_batch
    cdef double powers[2]
    cdef fm_scalars* scalars = scalars_of(task, thread)
    cdef fm_interrupt_poll interrupt
    fm_poll_start(&interrupt, context.poll if thread == 0 else NULL, context.poll_context, context.stop)
    interrupt.fpenv = fpenv
    if thread > 0:
        fm_barrier_wait(context.barrier)
        b = context.next_batch
        active = context.n_threads
    powers[0] = report.powers[0]
    powers[1] = report.powers[1]
    if thread == 0 and context.n_threads > 1:
        if context.autotune.alone:
            fm_autotune_resume(context.autotune)
        else:
            call_team(context, report, b, powers)
            active = context.n_threads
    while b < end and report.status == RUNNING:
        one_batch(task, context, report, b, powers, scalars, &interrupt, thread, active)
        b += 1
        if context.n_threads == 1:
            continue
        if active > 1 and context.alone_from == b:
            if thread > 0:
                break
            active = 1
        elif active == 1 and not fm_autotune_step(context.autotune) and b < end and report.status == RUNNING:
            call_team(context, report, b, powers)  # the next epoch calls them after the last batch
            active = context.n_threads
    if thread == 0:
        report.powers[0] = powers[0]
        report.powers[1] = powers[1]
    fm_restore_fpenv(fpenv)
