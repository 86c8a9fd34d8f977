# The algorithm: one epoch of mini-batch training on packed column panels.
#
# What is to do, who does it and what came out are structs of network.pxd. The steps of a batch are in
# layers.pxd, those of the parameters in pieces.pxd. Threads: each takes its rows of a block of the batch
# through all operators and back, then, after a barrier, pieces of the tensors (docs/architecture.md).
from libc.math cimport ilogb, isfinite, ldexp, sqrt
from libc.stdint cimport int32_t, int64_t

from ctables cimport *
from layers cimport *
from network cimport *
from rounding cimport ceil_div
from pieces cimport *


cdef inline double batch_weight(const fm_task* task, int64_t start, int64_t rows) noexcept nogil:
    """Sum of the sample weights of a batch, in the order of its rows; other processes' included."""
    cdef double total = 0
    cdef int64_t r
    if task.totals != NULL:
        return task.totals[start // task.batch]
    if task.data.weights == NULL:
        return rows
    for r in range(start, start + rows):
        total += (<real*>task.data.weights)[row_of(task.order, r)]
    return total


cdef inline void meet(fm_shift* shift, int32_t active) noexcept nogil:
    """Wait for the other threads of this step."""
    if active > 1:
        fm_barrier_wait(shift.barrier)


cdef inline int64_t first_row(int64_t rows, int64_t part, int64_t parts) noexcept nogil:
    """First row of a part when the rows of a block are divided in whole groups of ROW_MULTIPLE."""
    cdef int64_t groups = ceil_div(rows, ROW_MULTIPLE) * part
    if parts > 1:  # alone no step has a division
        groups //= parts
    return groups * ROW_MULTIPLE


cdef inline double row_scale(double total, bint is_whole) noexcept nogil:
    """Factor on the sample weights of a batch. Where blocks are added up, only the power of two next to
    1 / total: what is equal in many rows is then summed without rounding, and the rest comes at the end."""
    if total <= 0:
        return 0
    return 1 / total if is_whole else ldexp(1, -ilogb(total))


cdef inline void rows_phase(const fm_task* task, int64_t b, int64_t at, int64_t rows, double scale,
                            fm_watch* watch, int32_t thread, int32_t active) noexcept nogil:
    """Take this thread's rows of a block, `at` rows into batch b, forward, through the loss, and back to
    every dz."""
    cdef const fm_network* net = task.net
    cdef const fm_buffers* buffers = task.buffers
    cdef int64_t first = first_row(rows, thread, active)
    cdef int64_t end = first_row(rows, thread + 1, active)
    cdef int64_t last = min(end, rows)
    cdef fm_draws draws
    cdef int64_t r
    cdef int32_t l
    if first >= end:
        return
    draws.seed, draws.step, draws.row = task.seed, task.step + b, task.row + at
    draws.dropout = task.dropout + b * task.dropout_step
    gather(net, buffers, &task.data, task.order, b * task.batch + at, first, last, thread)
    for r in range(first, last):
        (<real*>buffers.loss_share)[r] = (<real*>buffers.weight)[r] * <real>scale
    forward_layers(net, buffers, first, last, &draws, watch)
    output_loss(net, buffers, first, last, thread, task.data.weights != NULL, watch)
    for l in range(net.n_operators - 1, task.first_trained, -1):
        backward_input(net, buffers, l, first, end - first, watch)


cdef inline fm_ahead next_rows(const fm_task* task, int64_t next, int32_t thread,
                               int32_t active) noexcept nogil:
    """What to fetch ahead: this thread's rows of the block that starts at row `next` of the order."""
    cdef fm_ahead ahead
    cdef int64_t rows = min(task.buffers.rows, task.data.n - next)
    ahead.x = task.data.x
    ahead.order = task.order
    ahead.row_stride = task.data.x_row_stride
    ahead.row_bytes = task.net.operators[0].n_in * sizeof(real)
    ahead.at = 0
    ahead.row = next + first_row(rows, thread, active)
    ahead.end = next + min(first_row(rows, thread + 1, active), rows)
    if task.order == NULL or task.data.x_column_stride != sizeof(real):
        ahead.end = ahead.row
    return ahead


cdef inline void train_pieces(const fm_task* task, const fm_shift* shift, int64_t next, int64_t rows,
                              const fm_scalars* scalars, fm_watch* watch, int32_t thread,
                              int32_t active) noexcept nogil:
    """Take pieces: gradient and, while it is in the cache, step and copies. `next` is
    where the next batch starts."""
    cdef real* scratch = <real*>task.buffers.scratch + thread * task.buffers.scratch_size
    cdef fm_ahead ahead = next_rows(task, next, thread, active)
    cdef int32_t done = 0
    cdef const fm_piece* piece = next_piece(shift, &done, thread, active, rows, watch)
    while piece != NULL:
        if moves(task, piece):
            train_piece(task, piece, rows, scratch, scalars, &ahead)
        piece = next_piece(shift, &done, thread, active, rows, watch)


cdef inline void store_gradients(const fm_task* task, const fm_shift* shift, int64_t next, int64_t rows,
                                 bint is_first, bint is_last, double rest, double l2, fm_watch* watch,
                                 int32_t thread, int32_t active) noexcept nogil:
    """Take pieces: a block's gradients, added to those of the other blocks of the batch; after
    the last one `rest` of their scale and those of the penalties. `next` is where the next block starts."""
    cdef bint is_whole = is_first and is_last
    cdef real* gradients = <real*>task.buffers.gradients
    cdef real* scratch = <real*>task.buffers.scratch + thread * task.buffers.scratch_size
    cdef fm_ahead ahead = next_rows(task, next, thread, active)
    cdef int32_t done = 0
    cdef const fm_piece* piece = next_piece(shift, &done, thread, active, rows, watch)
    while piece != NULL:
        if moves(task, piece):
            if is_whole:
                piece_gradient(task.net, task.buffers, piece, 0, rows, gradients + piece.offset, &ahead)
            else:
                add_piece(task, piece, rows, is_first, scratch, &ahead)
            if is_last:
                finish_gradient(task, piece, is_whole, rest, l2)
        piece = next_piece(shift, &done, thread, active, rows, watch)


cdef inline void stored_step(const fm_task* task, fm_shift* shift, fm_scalars* scalars, int32_t thread,
                             int32_t active) noexcept nogil:
    """Step this thread's own pieces along the stored gradients, no longer than clip_norm."""
    cdef const real* gradients = <real*>task.buffers.gradients
    cdef const fm_piece* piece
    cdef double norm
    cdef double scale = 1
    cdef int64_t i
    meet(shift, active)
    if task.clip_norm > 0:
        sum_all(task, gradients, True, thread, active)
        meet(shift, active)
        norm = sqrt(total_of(task, task.buffers.column_squares, norm_factor))
        if norm > task.clip_norm:
            scale = task.clip_norm / norm
    for i in range(task.n_groups):
        scalars[i].l2 = 0  # is in the gradients
        scalars[i].scale = <real>scale
    for i in range(shift.piece_first[thread], own_end(shift, thread, active)):
        piece = &shift.pieces[i]
        if moves(task, piece):
            update_piece(task, piece, gradients + piece.offset, scalars)


cdef inline void report_block(const fm_task* task, fm_report* report, int64_t rows,
                              bint is_first) noexcept nogil:
    """Add a block's losses to the batch's. Thread 0 only."""
    cdef const real* row_loss = <real*>task.buffers.row_loss
    cdef const real* weight = <real*>task.buffers.weight
    cdef int64_t r
    if is_first:
        report.objective = 0
    for r in range(rows):
        report.objective += <double>row_loss[r] * <double>weight[r]


cdef inline void report_batch(const fm_task* task, fm_report* report, double total,
                              double l2) noexcept nogil:
    """Add the batch's objective to the epoch's; notice divergence. Thread 0 only."""
    cdef double objective = report.objective / total if total > 0 else 0 * report.objective
    if l2 > 0:
        objective += 0.5 * l2 * total_of(task, task.buffers.column_squares, l2_factor)
    if unlikely(task.l1 > 0):
        objective += task.l1 * total_of(task, task.buffers.column_magnitudes, l1_factor)
    report.loss_sum += objective * total
    report.weight_sum += total
    if not isfinite(objective):
        report.status = DIVERGED


cdef inline void add_up(fm_shift* shift, fm_report* report, const fm_watch* watch) noexcept nogil:
    """Sum the stored gradients of all processes. Thread 0 only, when all are there."""
    cdef fm_control own = fm_get_control()
    cdef bint failed = report.status != RUNNING or fm_stopped(watch)
    fm_restore_control(watch.control)
    if shift.add_up(shift.poll_context, failed) and report.status == RUNNING:
        report.status = INTERRUPTED
    fm_restore_control(own)


cdef inline void one_batch(const fm_task* task, fm_shift* shift, fm_report* report, int64_t b, double* powers,
                           fm_scalars* scalars, fm_watch* watch, int32_t thread,
                           int32_t active) noexcept nogil:
    """Take this thread's part in one step of training: gradients block by block, then the move.

    Everybody comes to every meeting; who finds the work stopped only leaves out what lies between. Thread 0
    says so in `status` before a meeting, and the others read it after.
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
    if task.l2_per_batch:
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
        fm_counter_reset(&shift.counters[thread])
        rows_phase(task, b, at, size, scale, watch, thread, active)
        meet(shift, active)
        if thread == 0:
            report_block(task, report, size, at == 0)
            if is_last:
                report_batch(task, report, total, l2)
                if active > 1 and fm_pace_step(shift.pace):
                    shift.alone_from = b + 1
        if not task.stores:
            train_pieces(task, shift, start + size, size, scalars, watch, thread, active)
        else:
            rest = 1 / (total * scale) if scale > 0 else 0
            store_gradients(task, shift, start + at + size, size, at == 0, is_last, rest, l2, watch, thread,
                            active)
            if is_last and task.optimizer >= 0:
                if shift.add_up != NULL:
                    meet(shift, active)
                    if thread == 0:
                        add_up(shift, report, watch)
                stored_step(task, shift, scalars, thread, active)
        if thread == 0 and fm_stopped(watch):
            report.status = INTERRUPTED
        meet(shift, active)
        at += size


cdef inline void call_team(fm_shift* shift, fm_report* report, int64_t b,
                           const double* powers) noexcept nogil:
    """Thread 0, alone so far, goes on with all the others at batch b."""
    shift.next_batch = b
    report.powers[0] = powers[0]
    report.powers[1] = powers[1]
    fm_crew_open(shift.crew, shift.job, shift.job_context)
    fm_barrier_wait(shift.barrier)
    fm_pace_resume(shift.pace)


cdef inline void epoch(const fm_task* task, fm_shift* shift, fm_report* report,
                       int32_t thread) noexcept nogil:
    """Train on every batch of the data once.

    Thread 0 is in it from start to end. It calls the others and they join it; when it finds out that it is
    faster alone (c/threads/pace.h), they leave, and are called again for the next trial: nobody waits for a
    thread that is of no use.
    """
    cdef fm_control control = fm_own_control()
    cdef int64_t n_batches = ceil_div(task.data.n, task.batch)
    cdef int32_t active = 1
    cdef int64_t b = 0
    cdef double powers[2]
    cdef fm_scalars* scalars = scalars_of(task, thread)
    cdef fm_watch watch
    fm_watch_start(&watch, shift.poll if thread == 0 else NULL, shift.poll_context, shift.stop)
    watch.control = control
    if thread > 0:
        fm_barrier_wait(shift.barrier)
        b = shift.next_batch
        active = shift.n_threads
    powers[0] = report.powers[0]
    powers[1] = report.powers[1]
    if thread == 0 and shift.n_threads > 1:
        if shift.pace.alone:
            fm_pace_resume(shift.pace)
        else:
            call_team(shift, report, b, powers)
            active = shift.n_threads
    while b < n_batches and report.status == RUNNING:
        one_batch(task, shift, report, b, powers, scalars, &watch, thread, active)
        b += 1
        if shift.n_threads == 1:
            continue
        if active > 1 and shift.alone_from == b:
            if thread > 0:
                break
            active = 1
        elif active == 1 and not fm_pace_step(shift.pace) and b < n_batches and report.status == RUNNING:
            call_team(shift, report, b, powers)  # after the last batch the next epoch does
            active = shift.n_threads
    if thread == 0:
        report.powers[0] = powers[0]
        report.powers[1] = powers[1]
    fm_restore_control(control)
