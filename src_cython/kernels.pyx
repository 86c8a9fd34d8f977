# The algorithm: one epoch of mini-batch training on packed column panels.
#
# Built once for each CPU level and dtype. Pointers in, nothing out but numbers: no Python object, no
# allocation, no globals. The register tiles, activations, losses and optimizers are rows of the tables
# in c/; the steps of a batch are in layers.pxd, those of the weights in units.pxd, prediction is in
# inference.pxd. Threads: each takes its rows of the batch through all layers and back, then, after a
# barrier, units of the weight panels (docs/architecture.md).
from cpython.pycapsule cimport PyCapsule_New
from libc.math cimport isfinite, sqrt
from libc.stdint cimport int32_t, int64_t, uint64_t

from ctables cimport *
from inference cimport *
from layers cimport *
from network cimport *
from rounding cimport ceil_div, round_up
from units cimport *


cdef extern from *:
    """
    #ifdef __clang__
    #define FM_COMPILER "clang " __clang_version__
    #else
    #define FM_COMPILER "gcc " __VERSION__
    #endif
    enum { UNIT_ROWS = 4 * NR };
    """
    const char* FM_COMPILER
    const char* FM_LEVEL_NAME
    enum:
        UNIT_ROWS


cdef double batch_weight(const fm_epoch* e, int64_t start, int64_t rows) noexcept nogil:
    """Sum of the sample weights of a batch, in the order of its rows."""
    cdef double total = 0
    cdef int64_t r
    if e.data.weights == NULL:
        return rows
    for r in range(start, start + rows):
        total += (<real*>e.data.weights)[row_of(e.order, r)]
    return total


# ---------------------------------------------------------------- one batch, one epoch

cdef inline void meet(fm_epoch* e, int32_t active) noexcept nogil:
    """Wait for the other threads of this step."""
    if active > 1:
        fm_barrier_wait(e.barrier)


cdef inline int64_t row_share(int64_t rows, int64_t part, int64_t parts) noexcept nogil:
    """First row of a part when the rows of a batch are divided in whole groups of ROW_MULTIPLE."""
    return ceil_div(rows, ROW_MULTIPLE) * part // parts * ROW_MULTIPLE


cdef void rows_phase(fm_epoch* e, int64_t start, int64_t rows, double total,
                     int32_t thread, int32_t active) noexcept nogil:
    """Take this thread's rows of the batch forward, through the loss, and back to every dz."""
    cdef const fm_network* net = e.net
    cdef const fm_space* space = e.space
    cdef int64_t first = row_share(rows, thread, active)
    cdef int64_t end = row_share(rows, thread + 1, active)
    cdef int64_t last = min(end, rows)
    cdef real scale = <real>(1 / total) if total > 0 else 0
    cdef int64_t r
    cdef int32_t l
    if first >= end:
        return
    gather(net, space, &e.data, e.order, start, first, last)
    for r in range(first, last):
        (<real*>space.share)[r] = (<real*>space.weight)[r] * scale
    forward_layers(net, space, first, end, e)
    output_loss(net, space, first, last, thread)
    for l in range(net.n_layers - 1, 0, -1):
        backward_input(net, space, l, first, end - first)


cdef fm_ahead next_rows(const fm_epoch* e, int64_t next, int32_t thread, int32_t active) noexcept nogil:
    """What to fetch ahead: this thread's rows of the batch that starts at row `next` of the order."""
    cdef fm_ahead ahead
    cdef int64_t rows = min(e.batch, e.data.n - next)
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


cdef void train_panels(fm_epoch* e, int64_t start, int64_t rows, const fm_scalars* scalars, int32_t thread,
                       int32_t active) noexcept nogil:
    """Take units of the weights: gradient and, while it is in the cache, step and transposed copy."""
    cdef real* scratch = <real*>e.space.scratch + thread * e.space.scratch_size
    cdef fm_ahead ahead = next_rows(e, start + rows, thread, active)
    cdef int32_t done = 0
    cdef const fm_unit* unit = next_unit(e, &done, thread, active)
    while unit != NULL:
        train_unit(e, unit, rows, scratch, scalars, &ahead)
        if unit.k_from == 0:
            column_sums(panel_dz(e, unit), rows, scratch)
            update_bias(e, unit, scratch, scalars)
        unit = next_unit(e, &done, thread, active)


cdef void store_gradients(fm_epoch* e, int64_t start, int64_t rows, double l2, int32_t thread,
                          int32_t active) noexcept nogil:
    """Take units of the weights: gradients into their arena, with the penalty's."""
    cdef real* gradients = <real*>e.gradients
    cdef fm_ahead ahead = next_rows(e, start + rows, thread, active)
    cdef int32_t done = 0
    cdef int64_t at
    cdef const fm_layer* layer
    cdef const fm_unit* unit = next_unit(e, &done, thread, active)
    while unit != NULL:
        layer = &e.net.layers[unit.layer]
        at = unit_offset(layer, unit)
        unit_gradient(e.net, e.space, unit, rows, gradients + at, &ahead)
        add_penalty(<real*>e.net.parameters + at, gradients + at, unit_size(layer, unit), <real>l2)
        if unit.k_from == 0:
            column_sums(panel_dz(e, unit), rows, gradients + layer.bias + unit.panel * NR)
        unit = next_unit(e, &done, thread, active)


cdef void clipped_step(fm_epoch* e, fm_scalars* scalars, int32_t thread, int32_t active) noexcept nogil:
    """Step this thread's share of the weights along the stored gradients, no longer than clip_norm."""
    cdef const real* gradients = <real*>e.gradients
    cdef const fm_layer* layer
    cdef const fm_unit* unit
    cdef double norm
    cdef int64_t i
    meet(e, active)
    square_all(e, gradients, thread, active)
    meet(e, active)
    norm = sqrt(sum_squares(e, gradients))
    scalars.l2 = 0
    if norm > e.clip_norm:
        scalars.scale = <real>(e.clip_norm / norm)
    for i in range(e.unit_first[thread], share_end(e, thread, active)):
        unit = &e.units[i]
        layer = &e.net.layers[unit.layer]
        update_unit(e, unit, gradients + unit_offset(layer, unit), scalars)
        if unit.k_from == 0:
            update_bias(e, unit, gradients + layer.bias + unit.panel * NR, scalars)


cdef void report_batch(fm_epoch* e, int64_t rows, double total, double l2,
                       int64_t batch_index) noexcept nogil:
    """Add the batch's objective to the epoch's; notice divergence and signals. Thread 0 only."""
    cdef double objective = 0
    cdef int64_t r
    for r in range(rows):
        objective += <double>(<real*>e.space.row_loss)[r] * <double>(<real*>e.space.weight)[r]
    objective = objective / total if total > 0 else 0 * objective
    if l2 > 0:
        objective += 0.5 * l2 * sum_squares(e, NULL)
    e.loss_sum += objective * total
    e.weight_sum += total
    if not isfinite(objective):
        e.status = FM_DIVERGED
    elif e.poll != NULL and batch_index % e.poll_every == e.poll_every - 1 and e.poll(e.poll_context):
        e.status = FM_INTERRUPTED


cdef void one_batch(fm_epoch* e, int64_t b, double* powers, int32_t thread,
                    int32_t active) noexcept nogil:
    """Take this thread's part in one step of training."""
    cdef int64_t start = b * e.batch
    cdef int64_t rows = min(e.batch, e.data.n - start)
    cdef double total = batch_weight(e, start, rows)
    cdef double l2 = e.l2
    cdef fm_scalars scalars
    if e.l2_per_batch:
        l2 = e.l2 / total if total > 0 else 0
    fm_counter_reset(&e.counters[thread])
    rows_phase(e, start, rows, total, thread, active)
    if l2 > 0:
        square_all(e, <real*>e.net.parameters, thread, active)
    if e.optimizer >= 0:
        OPTIMIZERS[e.optimizer].prepare(e.hyper, e.rates[b], powers, &scalars)
        scalars.l2 = <real>l2
        scalars.scale = 1
    meet(e, active)
    if thread == 0:
        report_batch(e, rows, total, l2, b)
        e.step += 1
        if active > 1 and fm_pace_step(e.pace):
            e.alone_from = b + 1
    if e.gradients == NULL:
        train_panels(e, start, rows, &scalars, thread, active)
    else:
        store_gradients(e, start, rows, l2, thread, active)
        if e.optimizer >= 0:
            clipped_step(e, &scalars, thread, active)
    meet(e, active)


cdef void call_team(fm_epoch* e, int64_t b, const double* powers) noexcept nogil:
    """Thread 0, alone so far, goes on with all the others at batch b."""
    e.next_batch = b
    e.powers[0] = powers[0]
    e.powers[1] = powers[1]
    fm_crew_open(e.crew, e.job, e.job_context)
    fm_barrier_wait(e.barrier)
    fm_pace_resume(e.pace)


cdef void epoch(fm_epoch* e, int32_t thread) noexcept nogil:
    """Train on every batch of the data once.

    Thread 0 is in it from start to end. It calls the others and they join it; when it finds out that it is
    faster alone (c/pace.h), they leave, and are called again for the next trial: nobody waits for a thread
    that is of no use.
    """
    cdef fm_control control = fm_own_control()
    cdef int64_t n_batches = ceil_div(e.data.n, e.batch)
    cdef int32_t active = 1
    cdef int64_t b = 0
    cdef double powers[2]
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
        one_batch(e, b, powers, thread, active)
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


# ---------------------------------------------------------------- the table this module exports

cdef int64_t scratch_size(const fm_network* net) noexcept nogil:
    return round_up(max(FM_LOSS_SCRATCH(net.layers[net.n_layers - 1].n_out), UNIT_ROWS * NR), 64) + 64


cdef void pack(const fm_layer* layer, const void* w, const void* b, void* parameters) noexcept nogil:
    pack_layer(layer, <real*>w, <real*>b, <real*>parameters)


cdef void unpack(const fm_layer* layer, const void* parameters, void* w, void* b) noexcept nogil:
    unpack_layer(layer, <real*>parameters, <real*>w, <real*>b)


cdef void transpose(const fm_network* net) noexcept nogil:
    cdef const fm_layer* layer
    cdef int32_t l
    cdef int64_t p
    for l in range(net.n_layers):
        layer = &net.layers[l]
        if layer.transposed < 0:
            continue
        for p in range(layer.panels):
            transpose_rows(layer, <real*>net.parameters, <real*>net.transposed, p, 0,
                           round_up(layer.n_in, MR))


cdef int32_t finite(const void* arena, int64_t n) noexcept nogil:
    return all_finite(<real*>arena, n)


cdef int32_t finite_row(const void* x, int64_t n) noexcept nogil:
    return row_finite(<real*>x, n)


cdef void shuffle(int64_t* order, int64_t n, uint64_t seed) noexcept nogil:
    shuffle_indices(order, n, seed)


cdef double peak(int64_t rounds) noexcept nogil:
    return fma_peak(rounds)


cdef void bias_gradient(const void* dz, int64_t batch, void* g) noexcept nogil:
    column_sums(<real*>dz, batch, <real*>g)


cdef void step(int32_t optimizer, const double* hyper, double rate, double* powers, double l2,
               double scale, void* w, const void* g, void* s0, void* s1, int64_t n) noexcept nogil:
    cdef fm_scalars scalars
    OPTIMIZERS[optimizer].prepare(hyper, rate, powers, &scalars)
    scalars.l2 = <real>l2
    scalars.scale = <real>scale
    OPTIMIZERS[optimizer].step(<real*>w, <real*>g, <real*>s0, <real*>s1, n, &scalars)


cdef int32_t activation_needs_aux(int32_t row) noexcept nogil:
    return ACTIVATIONS[row].backward == NULL


cdef const char* activation_name(int32_t row) noexcept nogil:
    return ACTIVATIONS[row].name


cdef const char* loss_name(int32_t row) noexcept nogil:
    return LOSSES[row].name


cdef const char* optimizer_name(int32_t row) noexcept nogil:
    return OPTIMIZERS[row].name


cdef fm_kernels KERNELS
KERNELS.abi = FM_ABI
KERNELS.element_size = sizeof(real)
KERNELS.lanes = LANES
KERNELS.mr = MR
KERNELS.nr = NR
KERNELS.row_multiple = ROW_MULTIPLE
KERNELS.unit_rows = UNIT_ROWS
KERNELS.level = FM_LEVEL_NAME
KERNELS.compiler = FM_COMPILER
KERNELS.n_activations = FM_COUNT(ACTIVATIONS)
KERNELS.n_losses = FM_COUNT(LOSSES)
KERNELS.n_optimizers = FM_COUNT(OPTIMIZERS)
KERNELS.activation_name = activation_name
KERNELS.loss_name = loss_name
KERNELS.optimizer_name = optimizer_name
KERNELS.activation_needs_aux = activation_needs_aux
KERNELS.scratch_size = scratch_size
KERNELS.pack = pack
KERNELS.unpack = unpack
KERNELS.transpose = transpose
KERNELS.epoch = epoch
KERNELS.predict = predict
KERNELS.predict_row = predict_row
KERNELS.row_scratch_size = row_scratch_size
KERNELS.jacobian = jacobian
KERNELS.evaluate = evaluate
KERNELS.finite = finite
KERNELS.finite_row = finite_row
KERNELS.shuffle = shuffle
KERNELS.peak = peak
KERNELS.gather = gather
KERNELS.forward = forward
KERNELS.output_loss = output_loss
KERNELS.backward_input = backward_input
KERNELS.unit_gradient = unit_gradient
KERNELS.bias_gradient = bias_gradient
KERNELS.step = step

table = PyCapsule_New(&KERNELS, FM_CAPSULE, NULL)
