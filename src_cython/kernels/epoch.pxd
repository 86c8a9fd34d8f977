# The algorithm: one epoch of mini-batch training on packed column panels.
#
# The steps of a batch are in layers.pxd, those of the weights in units.pxd. Threads: each takes its rows of
# a block of the batch through all layers and back, then, after a barrier, units of the weight panels
# (docs/architecture.md).
from libc.math cimport ilogb, isfinite, ldexp, sqrt
from libc.stdint cimport int32_t, int64_t

from ctables cimport *
from layers cimport *
from network cimport *
from rounding cimport ceil_div
from units cimport *


cdef inline double batch_weight(const fm_epoch* e, int64_t start, int64_t rows) noexcept nogil:
    """Sum of the sample weights of a batch, in the order of its rows."""
    cdef double total = 0
    cdef int64_t r
    if e.data.weights == NULL:
        return rows
    for r in range(start, start + rows):
        total += (<real*>e.data.weights)[row_of(e.order, r)]
    return total


cdef inline void meet(fm_epoch* e, int32_t active) noexcept nogil:
    """Wait for the other threads of this step."""
    if active > 1:
        fm_barrier_wait(e.barrier)


cdef inline int64_t row_share(int64_t rows, int64_t part, int64_t parts) noexcept nogil:
    """First row of a part when the rows of a batch are divided in whole groups of ROW_MULTIPLE."""
    return ceil_div(rows, ROW_MULTIPLE) * part // parts * ROW_MULTIPLE


cdef inline double row_scale(double total, bint is_whole) noexcept nogil:
    """Factor on the sample weights of a batch. Where blocks are added up, only the power of two next to
    1 / total: what is equal in many rows is then summed without rounding, and the rest comes at the end."""
    if total <= 0:
        return 0
    return 1 / total if is_whole else ldexp(1, -ilogb(total))


cdef inline void rows_phase(fm_epoch* e, int64_t start, int64_t at, int64_t rows, double scale,
                            fm_watch* watch, int32_t thread, int32_t active) noexcept nogil:
    """Take this thread's rows of a block, `at` rows into the batch, forward, through the loss, and back to
    every dz."""
    cdef const fm_network* net = e.net
    cdef const fm_space* space = e.space
    cdef int64_t first = row_share(rows, thread, active)
    cdef int64_t end = row_share(rows, thread + 1, active)
    cdef int64_t last = min(end, rows)
    cdef fm_draws draws
    cdef int64_t r
    cdef int32_t l
    fm_counter_reset(&e.counters[thread])
    if first >= end:
        return
    draws.seed, draws.step, draws.row = e.seed, e.step, at
    draws.dropout = e.dropout + start // e.batch * e.dropout_step
    gather(net, space, &e.data, e.order, start + at, first, last)
    for r in range(first, last):
        (<real*>space.share)[r] = (<real*>space.weight)[r] * <real>scale
    forward_layers(net, space, first, end, &draws, watch)
    output_loss(net, space, first, last, thread)
    for l in range(net.n_layers - 1, e.first_trained, -1):
        backward_input(net, space, l, first, end - first, watch)


cdef inline fm_ahead next_rows(const fm_epoch* e, int64_t next, int32_t thread,
                               int32_t active) noexcept nogil:
    """What to fetch ahead: this thread's rows of the block that starts at row `next` of the order."""
    cdef fm_ahead ahead
    cdef int64_t rows = min(e.block, e.data.n - next)
    ahead.x = e.data.x
    ahead.order = e.order
    ahead.row_stride = e.data.x_row_stride
    ahead.row_bytes = e.net.layers[0].n_in * sizeof(real)
    ahead.at = 0
    ahead.row = next + row_share(rows, thread, active)
    ahead.end = next + min(row_share(rows, thread + 1, active), rows)
    if e.order == NULL or e.data.x_column_stride != sizeof(real):
        ahead.end = ahead.row
    return ahead


cdef inline void train_panels(fm_epoch* e, int64_t start, int64_t rows, const fm_scalars* scalars,
                              fm_watch* watch, int32_t thread, int32_t active) noexcept nogil:
    """Take units of the weights: gradient and, while it is in the cache, step and transposed copy."""
    cdef real* scratch = <real*>e.space.scratch + thread * e.space.scratch_size
    cdef fm_ahead ahead = next_rows(e, start + rows, thread, active)
    cdef int32_t done = 0
    cdef const fm_unit* unit = next_unit(e, &done, thread, active, rows, watch)
    while unit != NULL:
        if moves_weights(e, unit):
            train_unit(e, unit, rows, scratch, scalars, &ahead)
        if moves_biases(e, unit):
            column_sums(panel_dz(e, unit), rows, scratch)
            update_bias(e, unit, scratch, scalars)
        unit = next_unit(e, &done, thread, active, rows, watch)


cdef inline void store_gradients(fm_epoch* e, int64_t next, int64_t rows, bint is_first, bint is_last,
                                 double rest, double l2, fm_watch* watch, int32_t thread,
                                 int32_t active) noexcept nogil:
    """Take units of the weights: a block's gradients, added to those of the other blocks of the batch; after
    the last one `rest` of their scale and the penalty's. `next` is where the next block starts."""
    cdef bint is_whole = is_first and is_last
    cdef real* gradients = <real*>e.gradients
    cdef real* scratch = <real*>e.space.scratch + thread * e.space.scratch_size
    cdef fm_ahead ahead = next_rows(e, next, thread, active)
    cdef int32_t done = 0
    cdef int64_t at, bias
    cdef const fm_layer* layer
    cdef const fm_unit* unit = next_unit(e, &done, thread, active, rows, watch)
    while unit != NULL:
        layer = &e.net.layers[unit.layer]
        at, bias = unit_offset(layer, unit), layer.bias + unit.panel * NR
        if not is_whole:
            add_unit(e, unit, rows, is_first, scratch, &ahead)
        if moves_weights(e, unit):
            if is_whole:
                unit_gradient(e.net, e.space, unit, 0, rows, gradients + at, &ahead)
            if is_last:
                finish_gradient(e, at, unit_size(layer, unit), is_whole, rest,
                                l2 * weight_group(e, unit.layer).l2)
        if moves_biases(e, unit):
            if is_whole:
                column_sums(panel_dz(e, unit), rows, gradients + bias)
            if is_last:
                finish_gradient(e, bias, NR, is_whole, rest, l2 * bias_group(e, unit.layer).l2)
        unit = next_unit(e, &done, thread, active, rows, watch)


cdef inline void stored_step(fm_epoch* e, fm_scalars* scalars, int32_t thread, int32_t active) noexcept nogil:
    """Step this thread's share of the weights along the stored gradients, no longer than clip_norm."""
    cdef const real* gradients = <real*>e.gradients
    cdef const fm_layer* layer
    cdef const fm_unit* unit
    cdef double norm
    cdef double scale = 1
    cdef int64_t i
    meet(e, active)
    if e.clip_norm > 0:
        square_all(e, gradients, thread, active)
        meet(e, active)
        norm = sqrt(sum_squares(e, gradients, norm_share))
        if norm > e.clip_norm:
            scale = e.clip_norm / norm
    for i in range(e.n_groups):
        scalars[i].l2 = 0  # is in the gradients
        scalars[i].scale = <real>scale
    for i in range(e.unit_first[thread], share_end(e, thread, active)):
        unit = &e.units[i]
        layer = &e.net.layers[unit.layer]
        if moves_weights(e, unit):
            update_unit(e, unit, gradients + unit_offset(layer, unit), scalars)
        if moves_biases(e, unit):
            update_bias(e, unit, gradients + layer.bias + unit.panel * NR, scalars)


cdef inline void report_block(fm_epoch* e, int64_t rows, bint is_first) noexcept nogil:
    """Add a block's losses to the batch's. Thread 0 only."""
    cdef int64_t r
    if is_first:
        e.objective = 0
    for r in range(rows):
        e.objective += <double>(<real*>e.space.row_loss)[r] * <double>(<real*>e.space.weight)[r]


cdef inline void report_batch(fm_epoch* e, double total, double l2) noexcept nogil:
    """Add the batch's objective to the epoch's; notice divergence. Thread 0 only."""
    cdef double objective = e.objective / total if total > 0 else 0 * e.objective
    if l2 > 0:
        objective += 0.5 * l2 * sum_squares(e, <real*>e.net.parameters, penalty_share)
    e.loss_sum += objective * total
    e.weight_sum += total
    if not isfinite(objective):
        e.status = FM_DIVERGED


cdef inline void one_batch(fm_epoch* e, int64_t b, double* powers, fm_scalars* scalars, fm_watch* watch,
                           int32_t thread, int32_t active) noexcept nogil:
    """Take this thread's part in one step of training: gradients block by block, then the move.

    Everybody comes to every meeting; who finds the work stopped only leaves out what lies between. Thread 0
    says so in `status` before a meeting, and the others read it after.
    """
    cdef int64_t start = b * e.batch
    cdef int64_t rows = min(e.batch, e.data.n - start)
    cdef double total = batch_weight(e, start, rows)
    cdef double scale = row_scale(total, rows <= e.block)
    cdef double l2 = e.l2
    cdef double rest, decay
    cdef int64_t at = 0
    cdef int64_t size
    cdef bint is_last
    if e.l2_per_batch:
        l2 = e.l2 / total if total > 0 else 0
    if l2 > 0:
        square_all(e, <real*>e.net.parameters, thread, active)
    if e.optimizer >= 0:
        decay = e.hyper[3] if e.decays == NULL else e.decays[b]
        prepare_groups(e.optimizer, e.hyper, e.rates[b], decay, l2, powers, e.groups, e.n_groups, scalars)
    while at < rows and e.status == FM_RUNNING:
        size = min(e.block, rows - at)
        is_last = at + size == rows
        rows_phase(e, start, at, size, scale, watch, thread, active)
        meet(e, active)
        if thread == 0:
            report_block(e, size, at == 0)
            if is_last:
                report_batch(e, total, l2)
                e.step += 1
                if active > 1 and fm_pace_step(e.pace):
                    e.alone_from = b + 1
        if e.gradients == NULL:
            train_panels(e, start, size, scalars, watch, thread, active)
        else:
            rest = 1 / (total * scale) if scale > 0 else 0
            store_gradients(e, start + at + size, size, at == 0, is_last, rest, l2, watch, thread, active)
            if is_last and e.optimizer >= 0:
                stored_step(e, scalars, thread, active)
        if thread == 0 and fm_stopped(watch):
            e.status = FM_INTERRUPTED
        meet(e, active)
        at += size


cdef inline void call_team(fm_epoch* e, int64_t b, const double* powers) noexcept nogil:
    """Thread 0, alone so far, goes on with all the others at batch b."""
    e.next_batch = b
    e.powers[0] = powers[0]
    e.powers[1] = powers[1]
    fm_crew_open(e.crew, e.job, e.job_context)
    fm_barrier_wait(e.barrier)
    fm_pace_resume(e.pace)


cdef inline void epoch(fm_epoch* e, int32_t thread) noexcept nogil:
    """Train on every batch of the data once.

    Thread 0 is in it from start to end. It calls the others and they join it; when it finds out that it is
    faster alone (c/threads/pace.h), they leave, and are called again for the next trial: nobody waits for a
    thread that is of no use.
    """
    cdef fm_control control = fm_own_control()
    cdef int64_t n_batches = ceil_div(e.data.n, e.batch)
    cdef int32_t active = 1
    cdef int64_t b = 0
    cdef double powers[2]
    cdef fm_scalars* scalars = scalars_of(e, thread)
    cdef fm_watch watch
    fm_watch_start(&watch, e.poll if thread == 0 else NULL, e.poll_context, e.stop)
    watch.control = control
    if thread > 0:
        fm_barrier_wait(e.barrier)
        b = e.next_batch
        active = e.n_threads
    powers[0] = e.powers[0]
    powers[1] = e.powers[1]
    if thread == 0 and e.n_threads > 1:
        if e.pace.alone:
            fm_pace_resume(e.pace)
        else:
            call_team(e, b, powers)
            active = e.n_threads
    while b < n_batches and e.status == FM_RUNNING:
        one_batch(e, b, powers, scalars, &watch, thread, active)
        b += 1
        if e.n_threads == 1:
            continue
        if active > 1 and e.alone_from == b:
            if thread > 0:
                break
            active = 1
        elif active == 1 and not fm_pace_step(e.pace) and b < n_batches and e.status == FM_RUNNING:
            call_team(e, b, powers)  # after the last batch the next epoch does
            active = e.n_threads
    if thread == 0:
        e.powers[0] = powers[0]
        e.powers[1] = powers[1]
    fm_restore_control(control)
