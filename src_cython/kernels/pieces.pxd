# What happens to the weights in a step: gradient, optimizer, transposed copy and norms, of one piece (some
# rows of one weight panel) at a time, so that threads can share them out.
from libc.stdint cimport int32_t, int64_t

from ctables cimport *
from layers cimport piece_gradient
from network cimport *
from rounding cimport round_up


cdef enum:
    CHAIN_ROWS = 256


cdef inline int64_t scalars_size(const fm_network* net) noexcept nogil:
    """Room for the scalars of every group, at most one a tensor, in elements."""
    return round_up(2 * net.n_layers * <int64_t>sizeof(fm_scalars) // <int64_t>sizeof(real), 64)


cdef inline fm_scalars* scalars_of(const fm_task* task, int32_t thread) noexcept nogil:
    """A thread's copy of the scalars of the groups."""
    cdef const fm_buffers* buffers = task.buffers
    cdef real* end = <real*>buffers.scratch + (thread + 1) * buffers.scratch_size
    return <fm_scalars*>(end - scalars_size(task.net))


cdef inline const fm_group* weight_group(const fm_task* task, int32_t layer) noexcept nogil:
    return &task.groups[task.group_of[2 * layer]]


cdef inline const fm_group* bias_group(const fm_task* task, int32_t layer) noexcept nogil:
    return &task.groups[task.group_of[2 * layer + 1]]


cdef inline bint moves_weights(const fm_task* task, const fm_piece* piece) noexcept nogil:
    return weight_group(task, piece.layer).rate != 0


cdef inline bint moves_biases(const fm_task* task, const fm_piece* piece) noexcept nogil:
    """The first piece of a panel does its biases too."""
    return piece.k_from == 0 and bias_group(task, piece.layer).rate != 0


cdef inline int64_t own_end(const fm_shift* shift, int32_t thread, int32_t active) noexcept nogil:
    """The piece after the last of a thread's own; alone it has all."""
    return shift.piece_first[thread + 1 if active > 1 else shift.n_threads]


cdef inline double piece_work(const fm_piece* piece, int64_t rows) noexcept nogil:
    """Floating-point operations of the gradient of a piece."""
    return 2.0 * rows * NR * (piece.k_to - piece.k_from)


cdef inline const fm_piece* next_piece(const fm_shift* shift, int32_t* done, int32_t thread, int32_t active,
                                       int64_t rows, fm_watch* watch) noexcept nogil:
    """A piece that nobody has taken: of the thread's own, or else of another's. NULL: there is none, or
    the work is to be left.

    `done` counts the threads whose pieces are used up, 0 at first. Own pieces are the same in every step:
    their weights and slots are in this core's cache.
    """
    cdef int32_t owner
    cdef int64_t i
    while done[0] < active:
        owner = (thread + done[0]) % active
        i = shift.piece_first[owner] + fm_counter_take(&shift.counters[owner], active > 1)
        if i < own_end(shift, owner, active):
            if fm_watch_stop(watch, piece_work(&shift.pieces[i], rows)):
                return NULL
            return &shift.pieces[i]
        done[0] += 1
    return NULL


cdef inline int64_t piece_offset(const fm_layer* layer, const fm_piece* piece) noexcept nogil:
    """Where the weights of a piece start in the parameter arena."""
    return (layer.weight + piece.panel * layer.rows * NR
            + piece.k_from * panel_stride(layer, piece.panel * NR))


cdef inline int64_t piece_size(const fm_layer* layer, const fm_piece* piece) noexcept nogil:
    return (piece.k_to - piece.k_from) * panel_stride(layer, piece.panel * NR)


cdef inline const real* panel_dz(const fm_task* task, const fm_piece* piece) noexcept nogil:
    """The gradient of the panel of outputs that a piece belongs to."""
    return <real*>task.buffers.dz[piece.layer] + piece.panel * task.buffers.panel_step


cdef inline void transpose_piece(const fm_network* net, const fm_piece* piece) noexcept nogil:
    """Renew the transposed copy of a piece's weights, if one is kept."""
    cdef const fm_layer* layer = &net.layers[piece.layer]
    if layer.transposed >= 0:
        transpose_rows(layer, <real*>net.parameters, <real*>net.transposed, piece.panel, piece.k_from,
                       piece.k_to)


cdef inline void update_piece(const fm_task* task, const fm_piece* piece, const real* g,
                              const fm_scalars* scalars) noexcept nogil:
    """Step the weights of a piece and renew their transposed copy."""
    cdef const fm_layer* layer = &task.net.layers[piece.layer]
    cdef int64_t at = piece_offset(layer, piece)
    OPTIMIZERS[task.optimizer].step(<real*>task.net.parameters + at, g, <real*>task.slots[0] + at,
                                    <real*>task.slots[1] + at, piece_size(layer, piece),
                                    &scalars[task.group_of[2 * piece.layer]])
    transpose_piece(task.net, piece)


cdef inline void train_piece(const fm_task* task, const fm_piece* piece, int64_t rows, real* scratch,
                             const fm_scalars* scalars, fm_ahead* ahead) noexcept nogil:
    """Gradient and step of a piece, at once where the level has registers for both."""
    cdef const fm_layer* layer = &task.net.layers[piece.layer]
    cdef const fm_buffers* buffers = task.buffers
    cdef int64_t at = piece_offset(layer, piece)
    if OPTIMIZERS[task.optimizer].block == NULL or layer.n_out == 1:
        piece_gradient(task.net, buffers, piece, 0, rows, scratch, ahead)
        update_piece(task, piece, scratch, scalars)
        return
    OPTIMIZERS[task.optimizer].block(
        <real*>(buffers.x if piece.layer == 0 else buffers.y[piece.layer - 1]), buffers.panel_step,
        piece.k_from, piece.k_to, panel_dz(task, piece), rows, vectors(layer.n_out, piece.panel * NR),
        <real*>task.net.parameters + at, scratch, <real*>task.slots[0] + at, <real*>task.slots[1] + at,
        &scalars[task.group_of[2 * piece.layer]], ahead)
    transpose_piece(task.net, piece)


cdef inline void update_bias(const fm_task* task, const fm_piece* piece, const real* g,
                             const fm_scalars* scalars) noexcept nogil:
    """Step the biases of a panel."""
    cdef int64_t at = task.net.layers[piece.layer].bias + piece.panel * NR
    OPTIMIZERS[task.optimizer].step(<real*>task.net.parameters + at, g, <real*>task.slots[0] + at,
                                    <real*>task.slots[1] + at, NR,
                                    &scalars[task.group_of[2 * piece.layer + 1]])


cdef inline void add_to_sums(double* sums, const real* g, int64_t n, bint is_first) noexcept nogil:
    cdef int64_t i
    if is_first:
        for i in range(n):
            sums[i] = g[i]
    else:
        for i in range(n):
            sums[i] += g[i]


cdef inline void add_piece(const fm_task* task, const fm_piece* piece, int64_t rows, bint is_first,
                           real* scratch, fm_ahead* ahead) noexcept nogil:
    """Add a block's gradient of a piece to the sums of its batch: in the dtype over CHAIN_ROWS rows, so that
    rounding stays small, in double from there on."""
    cdef const fm_layer* layer = &task.net.layers[piece.layer]
    cdef double* sums = task.buffers.sums + piece_offset(layer, piece)
    cdef double* bias_sums = task.buffers.sums + layer.bias + piece.panel * NR
    cdef int64_t first = 0
    cdef int64_t size
    while first < rows:
        size = min(rows - first, <int64_t>CHAIN_ROWS)
        if moves_weights(task, piece):
            piece_gradient(task.net, task.buffers, piece, first, size, scratch, ahead)
            add_to_sums(sums, scratch, piece_size(layer, piece), is_first and first == 0)
        if moves_biases(task, piece):
            column_sums(panel_dz(task, piece) + first * NR, size, scratch)
            add_to_sums(bias_sums, scratch, NR, is_first and first == 0)
        first += size


cdef inline void finish_gradient(const fm_task* task, int64_t at, int64_t n, bint is_whole, double rest,
                                 double l2) noexcept nogil:
    """Make a gradient of sums, if it is one, with what is left of their scale, and add the penalty's."""
    cdef const double* sums = task.buffers.sums + at
    cdef real* gradients = <real*>task.buffers.gradients + at
    cdef int64_t i
    if not is_whole:
        for i in range(n):
            gradients[i] = <real>(rest * sums[i])
    if l2 > 0:
        add_penalty(<real*>task.net.parameters + at, gradients, n, <real>l2)


cdef inline void square_all(const fm_task* task, const real* arena, int32_t thread,
                            int32_t active) noexcept nogil:
    """Sums of squares of the columns of all weights in an arena, panels dealt to the threads in turn."""
    cdef int64_t p, turn = 0
    cdef int64_t column = 0
    cdef int32_t l
    cdef const fm_layer* layer
    for l in range(task.net.n_layers):
        layer = &task.net.layers[l]
        for p in range(layer.panels):
            if turn % active == thread:
                square_columns(arena + layer.weight + p * layer.rows * NR, layer.rows,
                               min(NR, layer.n_out - p * NR), panel_stride(layer, p * NR),
                               task.buffers.column_squares + column + p * NR)
            turn += 1
        column += layer.n_out


cdef inline double penalty_factor(const fm_group* group) noexcept nogil:
    return group.l2


cdef inline double norm_factor(const fm_group* group) noexcept nogil:
    return group.norm


cdef inline double sum_squares(const fm_task* task, const real* arena,
                               double (*factor)(const fm_group*) noexcept nogil) noexcept nogil:
    """Total of column_squares and of the squares of the biases in an arena, each group's times its factor."""
    cdef double total = 0
    cdef double weights, biases, b
    cdef int64_t j, column = 0
    cdef int32_t l
    for l in range(task.net.n_layers):
        weights, biases = factor(weight_group(task, l)), factor(bias_group(task, l))
        for j in range(task.net.layers[l].n_out):
            if weights > 0:
                total += weights * task.buffers.column_squares[column + j]
            if biases > 0:
                b = arena[task.net.layers[l].bias + j]
                total += biases * (b * b)
        column += task.net.layers[l].n_out
    return total
