# The parameters in a step: gradient, optimizer, copies and norms, of one piece (some rows of one panel of a
# tensor) at a time, so that threads can divide them.
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from ctables cimport *
from entries cimport *
from layers cimport chain_rows, inputs_of, piece_gradient
from network cimport *
from rounding cimport round_up


cdef enum:
    CHAIN_ROWS = 256


cdef inline int64_t scalars_size(const fm_network* net) noexcept nogil:
    """Return the memory for the scalars of all groups, at most one per tensor, in elements."""
    return round_up(TENSORS * net.n_operators * <int64_t>sizeof(fm_scalars) // <int64_t>sizeof(real), 64)


cdef inline fm_scalars* scalars_of(const fm_task* task, int32_t thread) noexcept nogil:
    """Return a thread's copy of the scalars of the groups."""
    cdef const fm_buffers* buffers = task.buffers
    cdef real* end = <real*>buffers.scratch + (thread + 1) * buffers.scratch_size
    return <fm_scalars*>(end - scalars_size(task.net))


cdef inline const fm_group* group_of(const fm_task* task, const fm_tensor* tensor) noexcept nogil:
    return &task.groups[task.group_of[tensor.index]]


cdef inline bint moves(const fm_task* task, const fm_piece* piece) noexcept nogil:
    """Return whether the tensor of a piece is trained."""
    return group_of(task, piece.tensor).rate != 0


cdef inline int64_t own_end(const fm_thread_context* context, int32_t thread, int32_t active) noexcept nogil:
    """Return the end of a thread's own pieces; a single thread has all."""
    return context.piece_first[thread + 1 if active > 1 else context.n_threads]


cdef inline int64_t shared_piece(const fm_thread_context* context, int32_t* done, int32_t thread,
                                 int32_t active) noexcept nogil:
    """Take a piece of this thread, or else of another; return its number, or that of all if none is left.

    `done`, 0 at first, counts the threads without pieces left. Own pieces are the same in every step, so
    that their weights and slots stay in this core's cache.
    """
    cdef int32_t owner
    cdef int64_t i
    while done[0] < active:
        owner = thread + done[0]
        if owner >= active:
            owner -= active
        i = context.piece_first[owner] + fm_counter_take(&context.counters[owner])
        if i < own_end(context, owner, active):
            return i
        done[0] += 1
    return own_end(context, 0, 1)


cdef inline const fm_piece* next_piece(const fm_thread_context* context, int32_t* done, int32_t thread,
                                       int32_t active, int64_t rows,
                                       fm_interrupt_poll* interrupt) noexcept nogil:
    """Take a piece; NULL if none is left or the work must stop. A single thread counts them in `done`."""
    cdef int64_t i = done[0]
    if active == 1:
        done[0] += 1
    else:
        i = shared_piece(context, done, thread, active)
    if i >= own_end(context, 0, 1) or fm_poll_stop(interrupt, rows * context.pieces[i].work):
        return NULL
    return &context.pieces[i]


cdef inline void renew_piece(const fm_network* net, const fm_piece* piece, int32_t kinds) noexcept nogil:
    """Update the copies of a piece, of the first `kinds` kinds."""
    cdef const fm_tensor* tensor = piece.tensor
    cdef int32_t c
    for c in range(kinds):
        if tensor.copies[c].offset >= 0:
            COPY_KINDS[c].renew(tensor, <real*>net.parameters, net.copies[c], piece.panel, piece.k_from,
                                piece.k_to)


cdef inline void renew_trained_piece(const fm_network* net, const fm_piece* piece) noexcept nogil:
    """Update the copies that training reads."""
    renew_piece(net, piece, TRAINED if piece.tensor.gradient == BFLOAT16_TILES else TRANSPOSED + 1)


cdef inline void finish_piece(const fm_task* task, const fm_piece* piece) noexcept nogil:
    """Move parameters that a step has taken over their bounds back to them, and renew the copies."""
    cdef int64_t at = piece.offset
    if task.lower != NULL:
        keep_between(<real*>task.net.parameters + at, <const real*>task.lower + at,
                     <const real*>task.upper + at, piece.size)
    renew_trained_piece(task.net, piece)


cdef inline void update_piece(const fm_task* task, const fm_piece* piece, const real* g,
                              const fm_scalars* scalars) noexcept nogil:
    """Update the parameters of a piece and their copies."""
    cdef int64_t at = piece.offset
    OPTIMIZERS[task.optimizer].step(<real*>task.net.parameters + at, g, <real*>task.slots[0] + at,
                                    <real*>task.slots[1] + at, piece.size,
                                    &scalars[task.group_of[piece.tensor.index]])
    finish_piece(task, piece)


cdef inline void train_piece(const fm_task* task, const fm_piece* piece, int64_t rows, real* scratch,
                             const fm_scalars* scalars, fm_prefetch* prefetch) noexcept nogil:
    """Compute gradient and step of a piece, together if registers and rows are enough."""
    cdef const fm_buffers* buffers = task.buffers
    cdef int64_t at = piece.offset
    cdef int nv = vectors(piece.tensor.n_columns, piece.panel * NR)
    cdef bint is_sparse = reads_entries(task.net, buffers, piece.op)
    cdef const fm_scalars* s = &scalars[task.group_of[piece.tensor.index]]
    if (is_sparse and OPTIMIZERS[task.optimizer].rests and s.l2 == 0 and piece.tensor.gradient == TILES
            and piece.k_from >= buffers.n_dense):
        step_entries(task, piece, rows, scratch, s)
        finish_piece(task, piece)
        return
    if (is_sparse or piece.tensor.gradient != TILES or nv < NV_BESIDE or rows < 2 * ROW_MULTIPLE
            or OPTIMIZERS[task.optimizer].block == NULL):
        piece_gradient(task.net, buffers, piece, 0, rows, scratch, prefetch)
        update_piece(task, piece, scratch, scalars)
        return
    OPTIMIZERS[task.optimizer].block(
        inputs_of(task.net, buffers, piece.op), buffers.panel_step, piece.k_from, piece.k_to,
        <real*>buffers.dz[piece.op] + piece.panel * buffers.panel_step, chain_rows(buffers, rows), nv,
        <real*>task.net.parameters + at, scratch, <real*>task.slots[0] + at, <real*>task.slots[1] + at, s,
        prefetch)
    finish_piece(task, piece)


cdef inline void add_piece(const fm_task* task, const fm_piece* piece, int64_t rows, bint is_first,
                           real* scratch, fm_prefetch* prefetch) noexcept nogil:
    """Add a block's gradient of a piece to the sums of its batch, which are double.

    The dtype sums at most CHAIN_ROWS rows, so that rounding errors stay small.
    """
    cdef double* sums = task.buffers.sums + piece.offset
    cdef int64_t first = 0
    cdef int64_t size
    if is_first:
        memset(sums, 0, piece.size * sizeof(double))
    while first < rows:
        size = min(rows - first, <int64_t>CHAIN_ROWS) if task.buffers.derivatives == NULL else rows
        piece_gradient(task.net, task.buffers, piece, first, size, scratch, prefetch)
        add_to_sums(sums, scratch, piece.size)
        first += size


cdef inline void finish_gradient(const fm_task* task, const fm_piece* piece, bint is_whole, double rest,
                                 double l2) noexcept nogil:
    """Complete the gradient of a piece: take the sums over blocks, if any, and add those of the penalties."""
    cdef const double* sums = task.buffers.sums + piece.offset
    cdef real* gradients = <real*>task.buffers.gradients + piece.offset
    cdef const real* w = <real*>task.net.parameters + piece.offset
    cdef const fm_group* group = group_of(task, piece.tensor)
    if not is_whole:
        take_sums(gradients, sums, rest, piece.size)
    if l2 * group.l2 > 0:
        add_penalty(w, gradients, piece.size, <real>(l2 * group.l2))
    if unlikely(task.l1 * group.l1 > 0):
        add_signs(w, gradients, piece.size, <real>(task.l1 * group.l1))


cdef inline void sum_all(const fm_task* task, const real* arena, bint are_squares, int32_t thread,
                         int32_t active) noexcept nogil:
    """Sum the squares or absolute values of each column of an arena; the threads take panels in turn."""
    cdef int64_t p, turn = 0
    cdef double* sums = task.buffers.column_squares if are_squares else task.buffers.column_magnitudes
    cdef int64_t width, stride
    cdef const real* panel
    cdef int32_t l, t
    cdef const fm_tensor* tensor
    for l in range(task.net.n_operators):
        for t in range(TENSORS):
            tensor = &task.net.operators[l].tensors[t]
            for p in range(tensor.panels):
                if turn % active == thread:
                    panel = arena + tensor.offset + p * tensor.rows * NR
                    width, stride = min(NR, tensor.n_columns - p * NR), panel_stride(tensor, p * NR)
                    sum_columns(panel, tensor.rows, width, stride, are_squares, sums + p * NR)
                turn += 1
            sums += tensor.n_columns


cdef inline double l1_factor(const fm_group* group) noexcept nogil:
    return group.l1


cdef inline double l2_factor(const fm_group* group) noexcept nogil:
    return group.l2


cdef inline double norm_factor(const fm_group* group) noexcept nogil:
    return group.norm


cdef inline double total_of(const fm_task* task, const double* sums,
                            double (*factor)(const fm_group*) noexcept nogil) noexcept nogil:
    """Return the sum of all columns times the factors of their groups, by operator, then by column."""
    cdef double total = 0
    cdef double weights, biases
    cdef bint has_biases
    cdef int64_t j, n
    cdef int32_t l
    cdef const fm_operator* op
    for l in range(task.net.n_operators):
        op = &task.net.operators[l]
        n = op.tensors[WEIGHTS].n_columns
        if n == 0:
            continue
        weights = factor(group_of(task, &op.tensors[WEIGHTS]))
        has_biases = op.tensors[BIASES].n_columns > 0
        biases = factor(group_of(task, &op.tensors[BIASES])) if has_biases else 0
        for j in range(n):
            if weights > 0:
                total += weights * sums[j]
            if biases > 0:
                total += biases * sums[n + j]
        sums += n + op.tensors[BIASES].n_columns
    return total
