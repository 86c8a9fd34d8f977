# The playground's network: the kernels of the library in memory that this file lays out, without Python.
#
# `.ci/playground` translates it to C, and compiles that to WebAssembly. The linker drops the functions that
# need Python, because no exported function calls them. There is one network at a time, in float32, with
# affine layers, one activation for all hidden layers, and one thread. play.js checks the arguments.
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
cdef fm_shift SHIFT
cdef fm_task TASK
cdef fm_report REPORT
cdef fm_pace PACE
cdef fm_barrier BARRIER
cdef fm_counter COUNTER
cdef fm_group GROUP
cdef atomic_int STOP
cdef EpochJob JOB
cdef int64_t PIECES_OF_THREAD[2]
cdef int32_t GROUP_OF[TENSORS * MOST_LAYERS]
cdef double NO_DROPOUT[MOST_LAYERS]
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
    memset(&SHIFT, 0, sizeof(SHIFT))
    memset(&TASK, 0, sizeof(TASK))
    # Python would set these when it imports the kernels.
    KERNELS.element_size, KERNELS.lanes, KERNELS.mr, KERNELS.nr = sizeof(real), LANES, MR, NR
    KERNELS.epoch, KERNELS.shuffle, KERNELS.finite = epoch, shuffle_indices, all_finite


cdef void make_operators(int32_t n, const int32_t* sizes, int32_t activation) noexcept nogil:
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
        op.activation = activation if op.ends else identity
        width = max(width, op.n_out)
        for t in range(TENSORS):
            tensor = &op.tensors[t]
            tensor.index = t * n + l
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
        if op.ends and activation_keeps_slope(op.activation):
            BUFFERS.slope[l] = take_reals(op.panels * BUFFERS.panel_step)
    BUFFERS.target_stride = round_up(NET.targets_width, LANES) if NET.targets_width > 1 else 1
    BUFFERS.targets = take_reals(padded * BUFFERS.target_stride)
    BUFFERS.labels = <int32_t*>take(padded, sizeof(int32_t))
    BUFFERS.loss_share = take_reals(padded)
    BUFFERS.weight = take_reals(padded)
    BUFFERS.row_loss = take_reals(padded)
    BUFFERS.scratch_size = scratch_size(&NET)
    BUFFERS.scratch = take_reals(BUFFERS.scratch_size)
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
    SHIFT.n_threads, SHIFT.alone_from = 1, -1
    SHIFT.pieces, SHIFT.piece_first = pieces, PIECES_OF_THREAD
    SHIFT.counters, SHIFT.barrier, SHIFT.pace, SHIFT.stop = &COUNTER, &BARRIER, &PACE, &STOP
    fm_barrier_start(&BARRIER, 1)
    fm_stop_clear(&STOP)


cdef void start_optimizer() noexcept nogil:
    """Set the state of the optimizer to that before the first step."""
    cdef int s
    for s in range(2):
        memset(TASK.slots[s], 0, N_PARAMETERS * sizeof(real))
    memset(&REPORT, 0, sizeof(REPORT))
    REPORT.powers[0] = REPORT.powers[1] = 1


cdef public int play_make(int32_t n, const int32_t* sizes, const char* activation, const char* loss,
                          const char* optimizer, const double* hyper, int32_t batch) noexcept nogil:
    """Make a network of n layers; returns 0, or -1 if it has too many or a name is unknown."""
    global GROUP, JOB
    cdef int32_t rows[3]
    rows[0], rows[1], rows[2] = row_of_name(0, activation), row_of_name(1, loss), row_of_name(2, optimizer)
    if n < 1 or n > MOST_LAYERS or min(rows[0], rows[1], rows[2]) < 0:
        return -1
    forget()
    NET.loss = NET.link = rows[1]
    NET.targets_width, NET.loss_parameter = sizes[n], 1
    make_operators(n, sizes, rows[0])
    make_buffers(batch)
    make_shift()
    GROUP = fm_group(1, 1, 1, 1, 1, 1)
    TASK.net, TASK.buffers, TASK.batch, TASK.optimizer = &NET, &BUFFERS, batch, rows[2]
    memcpy(TASK.hyper, hyper, sizeof(TASK.hyper))
    TASK.slots[0], TASK.slots[1] = take_reals(N_PARAMETERS), take_reals(N_PARAMETERS)
    TASK.groups, TASK.n_groups, TASK.group_of = &GROUP, 1, GROUP_OF
    TASK.rates, TASK.dropout = RATES, NO_DROPOUT
    JOB = EpochJob(&KERNELS, &TASK, &SHIFT, &REPORT, take_reals(N_PARAMETERS), N_PARAMETERS)
    start_optimizer()
    return 0


cdef public void play_set(int32_t layer, int32_t tensor, const real* plain) noexcept nogil:
    """Set the weights (tensor 0) or biases (1) of a layer."""
    pack_tensor(&OPERATORS[layer].tensors[tensor], plain, NET.parameters)
    memcpy(JOB.fresh, NET.parameters, N_PARAMETERS * sizeof(real))
    renew_copies(&NET)


cdef public void play_get(int32_t layer, int32_t tensor, real* plain) noexcept nogil:
    """Copy the weights (tensor 0) or biases (1) of a layer."""
    unpack_tensor(&OPERATORS[layer].tensors[tensor], NET.parameters, plain)


cdef public double play_train(const real* x, const real* targets, int64_t* order, int32_t n, double rate,
                              double seed) noexcept nogil:
    """Train on n rows once, in another order; returns the mean loss, or the first that is not finite.

    After a loss or parameter that is not finite, the weights are those before the epoch.
    """
    cdef int64_t b
    TASK.data.x, TASK.data.n, TASK.data.targets = <const char*>x, n, targets
    TASK.data.x_column_stride, TASK.data.x_row_stride = sizeof(real), sizeof(real) * OPERATORS[0].n_in
    TASK.order = order
    for b in range(min(ceil_div(n, TASK.batch), MOST_BATCHES)):
        RATES[b] = rate
    shuffle_indices(order, n, <uint64_t>seed)
    REPORT.loss_sum = REPORT.weight_sum = 0
    run_epoch(&JOB, 0)
    settle(&JOB)
    cdef double loss = objective_of(&REPORT)
    if REPORT.status != RUNNING:
        memcpy(NET.parameters, JOB.fresh, N_PARAMETERS * sizeof(real))
        renew_copies(&NET)
        start_optimizer()
    return loss


cdef public void play_predict(const real* x, int32_t n, real* out) noexcept nogil:
    """Predict n rows."""
    cdef fm_data data
    cdef fm_watch watch
    cdef int64_t last
    cdef int64_t first = 0
    memset(&data, 0, sizeof(data))
    data.x, data.n = <const char*>x, n
    data.x_column_stride, data.x_row_stride = sizeof(real), sizeof(real) * OPERATORS[0].n_in
    fm_watch_start(&watch, NULL, NULL, &STOP)
    while first < n:
        last = min(first + BUFFERS.rows, n)
        predict(&NET, &BUFFERS, &data, first, last, out + first * NET.targets_width, &watch)
        first = last
