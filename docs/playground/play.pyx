# The playground's network: the kernels of the library in memory that this file lays out, without Python.
#
# `.ci/playground` translates it to C, and compiles that to WebAssembly. The linker drops the functions that
# need Python, because no exported function calls them. Nothing runs at import, where Cython would set the
# defaults of arguments: the kernels have none. There is one network at a time, in float32, with affine
# layers, and one thread. engine.js checks the arguments.
include "kernels.pyx"

from libc.stdint cimport uintptr_t
from libc.stdlib cimport abort, calloc, free
from libc.string cimport memcpy, memset, strcmp

from fastmlp._engine.jobs cimport *
from layout cimport lay_out
from rounding cimport ceil_div


cdef enum:
    MOST_LAYERS = 8
    MOST_BLOCKS_OF_MEMORY = 128
    MOST_BATCHES = 4096  # of an epoch
    ALIGNED = 64  # bytes


cdef fm_operator OPERATORS[MOST_LAYERS]
cdef fm_network NET
cdef fm_buffers BUFFERS
cdef fm_thread_context CONTEXT
cdef fm_task TASK
cdef fm_report REPORT
cdef fm_autotune AUTOTUNE
cdef fm_barrier BARRIER
cdef fm_counter COUNTER
cdef fm_group GROUPS[TENSORS]  # one for all weights, one for all biases
cdef atomic_int STOP
cdef EpochJob JOB
cdef int64_t PIECES_OF_THREAD[2]
cdef int32_t GROUP_OF[TENSORS * MOST_LAYERS]
cdef double DROPOUT[MOST_LAYERS]
cdef double RATES[MOST_BATCHES]
cdef void* TAKEN[MOST_BLOCKS_OF_MEMORY]
cdef int N_TAKEN
cdef int64_t N_PARAMETERS
cdef int64_t COPY_SIZES[COPIES]


cdef void* take(int64_t count, int64_t size) noexcept nogil:
    """Return zeroed, aligned memory, valid until the next network is made."""
    global N_TAKEN
    cdef void* start = calloc(max(count, 1) * size + 2 * ALIGNED, 1)
    if start == NULL:
        abort()  # an exception in JavaScript
    TAKEN[N_TAKEN] = start
    N_TAKEN += 1
    return <void*>((<uintptr_t>start + ALIGNED - 1) & ~<uintptr_t>(ALIGNED - 1))


cdef real* take_reals(int64_t count) noexcept nogil:
    return <real*>take(count, sizeof(real))


cdef int32_t row_of_name(int32_t table, const char* name) noexcept nogil:
    """Return the row of a name in a table of the kernels, or -1."""
    cdef int32_t row = 0
    while row_name(table, row) != NULL:
        if strcmp(row_name(table, row), name) == 0:
            return row
        row += 1
    return -1


cdef void forget() noexcept nogil:
    """Free the last network, and set every field to 0."""
    global N_TAKEN, N_PARAMETERS
    while N_TAKEN > 0:
        N_TAKEN -= 1
        free(TAKEN[N_TAKEN])
    N_PARAMETERS = 0
    memset(COPY_SIZES, 0, sizeof(COPY_SIZES))
    memset(OPERATORS, 0, sizeof(OPERATORS))
    memset(&NET, 0, sizeof(NET))
    memset(&BUFFERS, 0, sizeof(BUFFERS))
    memset(&CONTEXT, 0, sizeof(CONTEXT))
    memset(&TASK, 0, sizeof(TASK))
    # Python would set these when it imports the kernels.
    KERNELS.element_size, KERNELS.lanes, KERNELS.mr, KERNELS.nr = sizeof(real), LANES, MR, NR
    KERNELS.epoch, KERNELS.shuffle, KERNELS.finite = epoch, shuffle_indices, all_finite


cdef void make_operators(int32_t n, const int32_t* sizes, const int32_t* activations) noexcept nogil:
    """Describe n affine layers, and place their tensors."""
    cdef fm_operator* op
    cdef fm_tensor* tensor
    cdef int64_t width = sizes[0]
    cdef int32_t l, t
    cdef int32_t identity = row_of_name(0, b"identity")
    for l in range(n):
        op = &OPERATORS[l]
        op.kind, op.hidden, op.source = AFFINE, l, l - 1
        op.n_in, op.n_out = sizes[l], sizes[l + 1]
        op.panels = ceil_div(op.n_out, NR)
        op.ends = l < n - 1
        op.inner = identity
        op.activation = activations[l] if op.ends else identity
        width = max(width, op.n_out)
        for t in range(TENSORS):
            tensor = &op.tensors[t]
            tensor.index = t * n + l
            GROUP_OF[tensor.index] = t
            tensor.gradient = TILES if t == WEIGHTS else SUMS
            lay_out(&KERNELS, tensor, op.n_in if t == WEIGHTS else 1, op.n_out, t == WEIGHTS and l > 0,
                    &N_PARAMETERS, COPY_SIZES)
    # Predictions of single rows are not used: all buffers are of a batch.
    NET.row_at = -1
    NET.n_operators, NET.operators = n, OPERATORS
    NET.parameters = take_reals(N_PARAMETERS)
    NET.copies[TRANSPOSED] = take(COPY_SIZES[TRANSPOSED], COPY_KINDS[TRANSPOSED].element_size)


cdef void make_buffers(int64_t rows) noexcept nogil:
    """Allocate the memory of a batch."""
    cdef int64_t padded = (ceil_div(rows, ROW_MULTIPLE) | 1) * ROW_MULTIPLE
    cdef int64_t columns = 0
    cdef int32_t n = NET.n_operators
    cdef int32_t l
    cdef const fm_operator* op
    BUFFERS.rows, BUFFERS.panel_step = rows, padded * NR
    BUFFERS.n_dense = OPERATORS[0].n_in
    BUFFERS.x = take_reals(ceil_div(OPERATORS[0].n_in, NR) * BUFFERS.panel_step)
    BUFFERS.y = <void**>take(n + 1, sizeof(void*))
    BUFFERS.dz = <void**>take(n + 1, sizeof(void*))
    BUFFERS.y[0] = BUFFERS.dz[0] = BUFFERS.x
    BUFFERS.y += 1  # so that element -1 is the input
    BUFFERS.dz += 1
    BUFFERS.slope = <void**>take(n, sizeof(void*))
    BUFFERS.statistics = <void**>take(n, sizeof(void*))
    for l in range(n):
        op = &OPERATORS[l]
        columns += TENSORS * op.n_out
        BUFFERS.y[l] = take_reals(op.panels * BUFFERS.panel_step)
        BUFFERS.dz[l] = take_reals(op.panels * BUFFERS.panel_step) if op.ends else BUFFERS.y[l]
        if op.ends and (DROPOUT[l] > 0 or activation_keeps_slope(op.activation)):
            BUFFERS.slope[l] = take_reals(op.panels * BUFFERS.panel_step)
    BUFFERS.target_stride = round_up(NET.targets_width, LANES) if NET.targets_width > 1 else 1
    BUFFERS.targets = take_reals(padded * BUFFERS.target_stride)
    BUFFERS.labels = <int32_t*>take(padded, sizeof(int32_t))
    BUFFERS.loss_share = take_reals(padded)
    BUFFERS.weight = take_reals(padded)
    BUFFERS.row_loss = take_reals(padded)
    BUFFERS.scratch_size = scratch_size(&NET)
    BUFFERS.scratch = take_reals(BUFFERS.scratch_size)
    BUFFERS.gradients = take_reals(N_PARAMETERS)
    BUFFERS.column_squares = <double*>take(columns, sizeof(double))
    BUFFERS.column_magnitudes = <double*>take(columns, sizeof(double))


cdef void make_shift() noexcept nogil:
    """Give every panel of every tensor to the only thread, each as one piece or several."""
    cdef fm_piece* pieces
    cdef fm_piece* piece
    cdef const fm_tensor* tensor
    cdef int64_t p, k, rows, stride
    cdef int64_t most = 0
    cdef int64_t count = 0
    cdef int32_t l, t
    for l in range(NET.n_operators):
        for t in range(TENSORS):
            tensor = &OPERATORS[l].tensors[t]
            most += tensor.panels * ceil_div(tensor.rows, PIECE_ROWS)
    pieces = <fm_piece*>take(most, sizeof(fm_piece))
    for l in range(NET.n_operators):
        for p in range(OPERATORS[l].panels):
            for t in range(TENSORS):
                tensor = &OPERATORS[l].tensors[t]
                rows = round_up(tensor.n_rows, MR) if tensor.gradient == TILES else tensor.rows
                stride = round_up(min(tensor.n_columns - p * NR, NR), LANES) if tensor.n_columns > 1 else 1
                for k in range(ceil_div(rows, PIECE_ROWS)):
                    piece = &pieces[count]
                    piece.tensor, piece.op, piece.panel = tensor, l, p
                    piece.k_from, piece.k_to = k * PIECE_ROWS, min((k + 1) * PIECE_ROWS, rows)
                    piece.offset = tensor.offset + p * tensor.rows * NR + piece.k_from * stride
                    piece.size = (piece.k_to - piece.k_from) * stride
                    piece.work = 2.0 * NR * (piece.k_to - piece.k_from)
                    count += 1
    PIECES_OF_THREAD[1] = count
    CONTEXT.n_threads, CONTEXT.alone_from = 1, -1
    CONTEXT.pieces, CONTEXT.piece_first = pieces, PIECES_OF_THREAD
    CONTEXT.counters, CONTEXT.barrier, CONTEXT.autotune, CONTEXT.stop = &COUNTER, &BARRIER, &AUTOTUNE, &STOP
    fm_barrier_start(&BARRIER, 1)
    fm_stop_clear(&STOP)


cdef void start_optimizer() noexcept nogil:
    """Set the state of the optimizer to that before the first step."""
    cdef int s
    for s in range(2):
        memset(TASK.slots[s], 0, N_PARAMETERS * sizeof(real))
    memset(&REPORT, 0, sizeof(REPORT))
    REPORT.powers[0] = REPORT.powers[1] = 1


cdef fm_data rows_of(const real* x, const real* targets, int64_t n) noexcept nogil:
    """Describe contiguous rows."""
    cdef fm_data data
    memset(&data, 0, sizeof(data))
    data.x, data.targets, data.n = <const char*>x, targets, n
    data.x_column_stride, data.x_row_stride = sizeof(real), sizeof(real) * OPERATORS[0].n_in
    return data


cdef public int32_t play_row(int32_t table, const char* name) noexcept nogil:
    """Return the row of a name among activations (table 0), losses (1) or optimizers (2), or -1."""
    return row_of_name(table, name)


cdef public void play_make(int32_t n, const int32_t* sizes, const int32_t* activations, int32_t loss,
                           double loss_parameter, int32_t targets_width, int32_t optimizer,
                           const double* hyper, double l1, double l2, const double* dropout, int32_t batch,
                           uint64_t seed) noexcept nogil:
    """Make a network of n layers; activations and dropout are those of the hidden layers."""
    global JOB
    forget()
    NET.loss = NET.link = loss
    NET.targets_width, NET.loss_parameter = targets_width, loss_parameter
    memset(DROPOUT, 0, sizeof(DROPOUT))
    memcpy(DROPOUT, dropout, (n - 1) * sizeof(double))
    make_operators(n, sizes, activations)
    make_buffers(batch)
    make_shift()
    GROUPS[WEIGHTS] = fm_group(1, 1, 1, 1, 1, 1)
    GROUPS[BIASES] = fm_group(1, 1, 0, 0, 0, 1)  # no penalty
    TASK.net, TASK.buffers, TASK.batch, TASK.optimizer = &NET, &BUFFERS, batch, optimizer
    memcpy(TASK.hyper, hyper, sizeof(TASK.hyper))
    TASK.slots[0], TASK.slots[1] = take_reals(N_PARAMETERS), take_reals(N_PARAMETERS)
    TASK.groups, TASK.n_groups, TASK.group_of = GROUPS, TENSORS, GROUP_OF
    TASK.rates, TASK.dropout, TASK.seed = RATES, DROPOUT, seed
    TASK.l1, TASK.l2, TASK.stores = l1, l2, l1 > 0
    JOB = EpochJob(&KERNELS, &TASK, &CONTEXT, &REPORT, take_reals(N_PARAMETERS), N_PARAMETERS, NULL, 0)
    start_optimizer()


cdef public void play_set(int32_t layer, int32_t tensor, const real* plain) noexcept nogil:
    """Set the weights (tensor 0) or biases (1) of a layer."""
    copy_tensor(&OPERATORS[layer].tensors[tensor], 1, <void*>plain, NET.parameters)
    memcpy(JOB.fresh, NET.parameters, N_PARAMETERS * sizeof(real))
    renew_copies(&NET)


cdef public void play_get(int32_t layer, int32_t tensor, bint is_gradient, real* plain) noexcept nogil:
    """Copy the weights (tensor 0) or biases (1) of a layer, or their gradients by play_gradients."""
    cdef const void* arena = BUFFERS.gradients if is_gradient else NET.parameters
    copy_tensor(&OPERATORS[layer].tensors[tensor], 0, plain, <void*>arena)


cdef public void play_shuffle(int64_t* order, int32_t n, double seed) noexcept nogil:
    """Shuffle row numbers."""
    shuffle_indices(order, n, <uint64_t>seed)


cdef public double play_train(const real* x, const real* targets, const int64_t* order, int32_t n,
                              double rate) noexcept nogil:
    """Train on the n rows of `order` once; returns the mean objective, or the first that is not finite.

    After an objective or parameter that is not finite, the weights are those before the call.
    """
    cdef int64_t b
    TASK.data, TASK.order = rows_of(x, targets, n), order
    CONTEXT.first_batch, CONTEXT.end_batch = 0, ceil_div(n, TASK.batch)
    for b in range(min(ceil_div(n, TASK.batch), MOST_BATCHES)):
        RATES[b] = rate
    REPORT.loss_sum = REPORT.weight_sum = 0
    run_epoch(&JOB, 0)
    settle(&JOB)
    TASK.step += ceil_div(n, TASK.batch)
    cdef double objective = objective_of(&REPORT)
    if REPORT.status != RUNNING:
        memcpy(NET.parameters, JOB.fresh, N_PARAMETERS * sizeof(real))
        renew_copies(&NET)
        start_optimizer()
    return objective


cdef public void play_gradients(const real* x, const real* targets, const int64_t* order,
                                int32_t n) noexcept nogil:
    """Compute the gradients of one batch, with the dropout of the next step."""
    cdef fm_task task = TASK
    cdef fm_report report
    memset(&report, 0, sizeof(report))
    task.data, task.order = rows_of(x, targets, n), order
    task.optimizer, task.stores = -1, True
    CONTEXT.first_batch, CONTEXT.end_batch = 0, 1
    epoch(&task, &CONTEXT, &report, 0)


cdef public void play_neurons(int32_t layer, bint is_gradient, real* plain) noexcept nogil:
    """Copy the outputs of a hidden layer, or dz of any, of the first row of the last play_gradients."""
    cdef const real* panels = <real*>(BUFFERS.dz[layer] if is_gradient else BUFFERS.y[layer])
    row_from_panels(panels, BUFFERS.panel_step, OPERATORS[layer].n_out, plain)


cdef public double play_evaluate(const real* x, const real* targets, int32_t n) noexcept nogil:
    """Return the mean loss of n rows, without penalty and dropout."""
    cdef fm_data data = rows_of(x, targets, n)
    cdef fm_interrupt_poll interrupt
    cdef double total
    cdef double loss = 0
    cdef int64_t first = 0
    fm_poll_start(&interrupt, NULL, NULL, &STOP)
    while first < n:
        evaluate(&NET, &BUFFERS, &data, first, min(first + BUFFERS.rows, n), &total, NULL, &interrupt)
        loss += total
        first += BUFFERS.rows
    return loss / n


cdef public void play_predict(const real* x, int32_t n, int32_t layer, real* out) noexcept nogil:
    """Predict n rows; of a layer before the last, compute the outputs."""
    cdef fm_network net = NET
    cdef fm_data data = rows_of(x, NULL, n)
    cdef fm_interrupt_poll interrupt
    if layer + 1 < NET.n_operators:
        net.n_operators = layer + 1
        net.link = row_of_name(1, b"squared_error")  # its link is the identity
    fm_poll_start(&interrupt, NULL, NULL, &STOP)
    predict(&net, &BUFFERS, &data, 0, n, out, &interrupt)
