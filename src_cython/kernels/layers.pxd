# The steps of a batch on packed column panels: gather, forward, loss, backward, gradients.
#
# Each takes a range of batch rows (or one piece of a tensor), so that threads can divide the work
# independently.
# B batch rows; z before and y after the activation; prefix d = gradient.
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from ctables cimport *
from entries cimport *
from functions cimport *
from network cimport *
from operators cimport *
from rounded cimport *
from rounding cimport ceil_div, round_up


cdef inline double forward_work(const fm_network* net, int32_t l, int64_t rows) noexcept nogil:
    """Return the approximate floating-point operations of `rows` rows in an operator."""
    cdef const fm_tensor* weights = &net.operators[l].tensors[WEIGHTS]
    return 2.0 * rows * weights.n_rows * weights.n_columns


cdef inline int64_t block_rows(const fm_buffers* buffers, int64_t width, int64_t rows) noexcept nogil:
    """Return how many of the rows pass through an operator together."""
    cdef int64_t block = nn_rows(buffers.block_size, width, rows)
    return round_up(2 * block, FM_CHUNK) if unlikely(buffers.rounded != NULL) else block


cdef inline void forward(const fm_network* net, const fm_buffers* buffers, int32_t l, int64_t first,
                         int64_t rows, const fm_draws* draws, fm_interrupt_poll* interrupt) noexcept nogil:
    """Compute y[l] from y[l-1] for rows [first, first + rows); rows is padded."""
    cdef int64_t done = 0
    cdef int64_t block
    if reads_entries(net, buffers, l):
        if not fm_poll_stop(interrupt, forward_work(net, l, 1)):
            entries_forward(net, buffers, l, first, rows, draws)
        return
    block = block_rows(buffers, net.operators[l].n_in, rows)
    while done < rows and not fm_poll_stop(interrupt, forward_work(net, l, min(block, rows - done))):
        if unlikely(is_rounded(buffers, &net.operators[l])):
            rounded_forward(net, buffers, l, first + done, min(block, rows - done), draws)
        else:
            forward_block(net, buffers, l, first + done, min(block, rows - done), draws)
        done += block


cdef inline void forward_layers(const fm_network* net, const fm_buffers* buffers, int64_t first, int64_t end,
                                const fm_draws* draws, fm_interrupt_poll* interrupt) noexcept nogil:
    """Compute the outputs before the link for the gathered rows [first, end)."""
    cdef int64_t rows = round_up(end - first, ROW_MULTIPLE)
    cdef int32_t l
    for l in range(net.n_operators):
        forward(net, buffers, l, first, rows, draws, interrupt)
        if net.operators[l].function != NULL:
            apply_activation(net, buffers, l, first, end - first, draws, interrupt)


cdef inline void backward_input(const fm_network* net, const fm_buffers* buffers, int32_t l, int64_t first,
                                int64_t rows, fm_interrupt_poll* interrupt) noexcept nogil:
    """Compute dz[l-1] from dz[l] for the rows."""
    cdef int64_t block = block_rows(buffers, net.operators[l].n_out, rows)
    cdef int64_t done = 0
    if has_entries(net, buffers, l - 1):
        if not fm_poll_stop(interrupt, forward_work(net, l, 1)):
            entries_backward(net, buffers, l, first, rows)
        return
    while done < rows and not fm_poll_stop(interrupt, forward_work(net, l, min(block, rows - done))):
        if unlikely(is_rounded(buffers, &net.operators[l])):
            rounded_backward(net, buffers, l, first + done, min(block, rows - done))
        else:
            backward_block(net, buffers, l, first + done, min(block, rows - done))
        done += block


cdef inline int64_t chain_rows(const fm_buffers* buffers, int64_t rows) noexcept nogil:
    """Return the number of rows over which the gradient of a weight is a sum: with all tangents of `rows`."""
    if buffers.derivatives == NULL:
        return rows
    return (1 + buffers.derivatives.n_tangents) * round_up(rows, ROW_MULTIPLE)


cdef inline void piece_gradient(const fm_network* net, const fm_buffers* buffers, const fm_piece* piece,
                                int64_t first, int64_t rows, void* g, fm_prefetch* prefetch) noexcept nogil:
    """Compute the gradient g of a piece over `rows` batch rows."""
    cdef int32_t how = piece.tensor.gradient
    cdef int64_t panel_step = buffers.panel_step
    cdef int64_t chain = chain_rows(buffers, rows)
    cdef const real* y = inputs_of(net, buffers, piece.op) + first * NR
    cdef const real* dz = <real*>buffers.dz[piece.op] + piece.panel * panel_step + first * NR
    if reads_entries(net, buffers, piece.op) and how != SUMS:
        entries_gradient(net, buffers, piece, first, rows, <real*>g, prefetch)
    elif how == TILES:
        block_tn(y, panel_step, piece.k_from, piece.k_to, dz, chain, <real*>g,
                 vectors(piece.tensor.n_columns, piece.panel * NR), prefetch)
    elif how == BFLOAT16_TILES:
        rounded_gradient(net, buffers, piece, first, rows, <real*>g, prefetch)
    elif how == COLUMN:
        column_tn(y, panel_step, piece.k_from, piece.k_to, dz, chain, <real*>g)
    elif how == SUMS:
        column_sums(dz, rows, <real*>g)  # summands have no tangents
    elif how == PRODUCTS:
        product_sums(dz, y + piece.panel * panel_step, chain, <real*>g)
    else:
        normalized_sums(dz, y + piece.panel * panel_step, <real*>buffers.statistics[piece.op] + 2 * first,
                        chain, <real*>g)


cdef inline void clear_row(void* panels, int64_t r, int64_t panel_step, int64_t columns) noexcept nogil:
    cdef int64_t p
    for p in range(ceil_div(columns, NR)):
        memset(<real*>panels + p * panel_step + r * NR, 0, NR * sizeof(real))


cdef inline void forget_row(const fm_network* net, const fm_buffers* buffers, int64_t r) noexcept nogil:
    """Set all values of a row of weight 0 to 0: 0 times an overflow would be NaN."""
    cdef int32_t l
    (<real*>buffers.row_loss)[r] = 0
    clear_row(buffers.x, r, buffers.panel_step, buffers.n_dense)
    if buffers.entries != NULL:
        clear_entry_row(buffers.entries, r)
    for l in range(net.n_operators):
        clear_row(buffers.y[l], r, buffers.panel_step,
                  buffers.n_dense if has_entries(net, buffers, l) else net.operators[l].n_out)
        if buffers.slope[l] != NULL:
            clear_row(buffers.slope[l], r, buffers.panel_step, net.operators[l].n_out)
        if buffers.statistics[l] != NULL:
            memset(<real*>buffers.statistics[l] + 2 * r, 0, 2 * sizeof(real))


cdef inline void table_loss(const fm_network* net, const fm_buffers* buffers, int64_t first, int64_t last,
                            bint has_output_weights, int32_t thread) noexcept nogil:
    cdef fm_loss_call call
    cdef int32_t top = net.n_operators - 1
    call.targets = <real*>buffers.targets
    call.output_weights = <real*>buffers.output_weights if has_output_weights else NULL
    call.labels = buffers.labels
    call.loss_share = <real*>buffers.loss_share
    call.z = <real*>buffers.y[top]
    call.row_loss = <real*>buffers.row_loss
    call.scratch = <real*>buffers.scratch + thread * buffers.scratch_size
    call.panel_step = buffers.panel_step
    call.columns = net.operators[top].n_out
    call.width = net.targets_width
    call.target_stride = buffers.target_stride
    call.parameter = <real>net.loss_parameter
    call.levels = net.loss_levels
    LOSSES[net.loss].backward(&call, first, last)


cdef inline void output_loss(const fm_network* net, const fm_buffers* buffers, int64_t first, int64_t last,
                             const fm_data* data, int32_t thread,
                             fm_interrupt_poll* interrupt) noexcept nogil:
    """Compute row_loss, and replace the outputs z of rows [first, last) by their gradient."""
    cdef int64_t r
    if net.loss_function == NULL:
        table_loss(net, buffers, first, last, data.output_weights != NULL, thread)
    else:
        apply_loss(net, buffers, first, last - first, interrupt)
    if data.weights != NULL and any_zero(<real*>buffers.weight + first, last - first):
        for r in range(first, last):
            if (<real*>buffers.weight)[r] == 0:
                forget_row(net, buffers, r)


cdef inline int64_t row_of(const int64_t* order, int64_t i) noexcept nogil:
    return order[i] if order != NULL else i


cdef inline void gather_inputs(const fm_buffers* buffers, const fm_data* data, const int64_t* order,
                               int64_t start, int64_t first, int64_t last, int32_t thread) noexcept nogil:
    """Copy the inputs of rows start + [first, last) of the data (through order, if any) into the batch."""
    cdef real* row = <real*>buffers.scratch + thread * buffers.scratch_size
    if unlikely(buffers.entries != NULL):
        gather_entries(data, order, start, first, last, thread, buffers.entries, buffers.n_dense,
                       buffers.panel_step, row, <real*>buffers.x)
    else:
        gather_rows(data, order, start, first, last, buffers.n_dense, buffers.panel_step, row,
                    <real*>buffers.x)


cdef inline void gather(const fm_network* net, const fm_buffers* buffers, const fm_data* data,
                        const int64_t* order, int64_t start, int64_t first,
                        int64_t last, int32_t thread) noexcept nogil:
    """Copy rows start + [first, last) of the data, with targets and weights, into the batch."""
    gather_inputs(buffers, data, order, start, first, last, thread)
    gather_targets(data, order, start, first, last, net.targets_width, buffers.target_stride,
                   <real*>buffers.targets, <real*>buffers.output_weights, buffers.labels,
                   <real*>buffers.weight)
