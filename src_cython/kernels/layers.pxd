# The steps of a batch, layer by layer, on packed column panels: gather, forward, loss, backward.
#
# Each takes a range of batch rows (or one piece of weight panels), so that threads can divide the work
# without asking each other. B batch rows, I fan-in, O fan-out; z before and y after the activation;
# prefix d = gradient.
from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.string cimport memcpy, memset

from ctables cimport *
from network cimport *
from rounding cimport ceil_div, round_up


cdef inline const real* transposed_weights(const fm_network* net, const fm_layer* layer) noexcept nogil:
    """W^T in panels of the fan-in; a single column is its own."""
    if layer.n_out == 1:
        return <real*>net.parameters + layer.weight
    return <real*>net.transposed + layer.transposed


cdef inline double affine_work(const fm_network* net, int32_t l, int64_t rows) noexcept nogil:
    """Floating-point operations of a product of `rows` rows with the weights of a layer."""
    return 2.0 * rows * net.layers[l].n_in * net.layers[l].n_out


cdef inline void forward_block(const fm_network* net, const fm_buffers* buffers, int32_t l, int64_t first,
                               int64_t rows, const fm_draws* draws) noexcept nogil:
    """Set y[l] for rows that fit in the cache together."""
    cdef const fm_layer* layer = &net.layers[l]
    cdef const fm_activation* activation = &ACTIVATIONS[layer.activation]
    cdef int64_t panel_step = buffers.panel_step
    cdef const real* a = <real*>(buffers.x if l == 0 else buffers.y[l - 1]) + first * NR
    cdef const real* parameters = <real*>net.parameters
    cdef real* slope = <real*>buffers.slope[l] if draws != NULL else NULL
    cdef real* y
    cdef const real* w
    cdef const real* b
    cdef int64_t p, left
    cdef int nv
    cdef uint32_t key = 0
    cdef uint32_t threshold = 0
    cdef double drop = draws.dropout[l] if slope != NULL and draws.dropout != NULL else 0
    if drop > 0:
        key = dropout_key(draws.seed, draws.step, l)
        threshold = <uint32_t>(drop * 4294967296.0)
    for p in range(layer.panels):
        left = layer.n_out - p * NR
        nv = vectors(layer.n_out, p * NR)
        y = <real*>buffers.y[l] + p * panel_step + first * NR
        w = parameters + layer.weight + p * layer.rows * NR
        b = parameters + layer.bias + p * NR
        if layer.n_out == 1:
            dot_rows(a, panel_step, w, NR, layer.n_in, b[0], y, rows)
        elif slope == NULL and activation.fused == FUSED_RELU:
            panel_relu(a, panel_step, layer.n_in, w, b, y, y, rows, nv)
            continue
        else:
            panel_plain(a, panel_step, layer.n_in, w, b, y, y, rows, nv)
        if slope != NULL:
            activation.forward_keeping(y, slope + p * panel_step + first * NR, rows, nv)
            if drop > 0:
                dropout_panel(y, slope + p * panel_step + first * NR, rows, <int>min(left, NR), key,
                              draws.row + first, p * NR, threshold, <real>(1 / (1 - drop)))
        elif activation.fused != FUSED_IDENTITY:
            activation.forward(y, rows, nv)
        if left < nv * LANES:
            clear_padding(y, rows, left)


cdef inline void backward_input_block(const fm_network* net, const fm_buffers* buffers, int32_t l,
                                      int64_t first, int64_t rows) noexcept nogil:
    """Set dz[l-1] for rows that fit in the cache together."""
    cdef const fm_layer* layer = &net.layers[l]
    cdef const fm_layer* lower = &net.layers[l - 1]
    cdef const fm_activation* activation = &ACTIVATIONS[lower.activation]
    cdef int64_t panel_step = buffers.panel_step
    cdef const real* dz = <real*>buffers.dz[l] + first * NR
    cdef real* out
    cdef const real* y
    cdef const real* w_t
    cdef int64_t p, at
    cdef int nv
    for p in range(lower.panels):
        nv = vectors(lower.n_out, p * NR)
        at = p * panel_step + first * NR
        out = <real*>buffers.dz[l - 1] + at
        y = <real*>buffers.y[l - 1] + at
        w_t = transposed_weights(net, layer) + p * layer.t_rows * NR
        if buffers.slope[l - 1] != NULL:
            panel_plain(dz, panel_step, layer.n_out, w_t, NULL, y, out, rows, nv)
            multiply_block(<real*>buffers.slope[l - 1] + at, out, rows, nv)
        elif activation.fused == FUSED_RELU:
            panel_relu_slope(dz, panel_step, layer.n_out, w_t, NULL, y, out, rows, nv)
        else:
            panel_plain(dz, panel_step, layer.n_out, w_t, NULL, y, out, rows, nv)
            if activation.fused != FUSED_IDENTITY:
                activation.backward(y, out, rows, nv)


cdef inline void forward(const fm_network* net, const fm_buffers* buffers, int32_t l, int64_t first,
                         int64_t rows, const fm_draws* draws, fm_watch* watch) noexcept nogil:
    """Set y[l] = activation(y[l-1] @ W + b) for rows [first, first + rows); rows is padded."""
    cdef int64_t block = nn_rows(net.layers[l].n_in)
    cdef int64_t done = 0
    while done < rows and not fm_watch_stop(watch, affine_work(net, l, min(block, rows - done))):
        forward_block(net, buffers, l, first + done, min(block, rows - done), draws)
        done += block


cdef inline void forward_layers(const fm_network* net, const fm_buffers* buffers, int64_t first, int64_t end,
                                const fm_draws* draws, fm_watch* watch) noexcept nogil:
    """Take rows [first, end) from the gathered inputs to the outputs before their link."""
    cdef int64_t rows = round_up(end - first, ROW_MULTIPLE)
    cdef int32_t l
    for l in range(net.n_layers):
        forward(net, buffers, l, first, rows, draws, watch)


cdef inline void backward_input(const fm_network* net, const fm_buffers* buffers, int32_t l, int64_t first,
                                int64_t rows, fm_watch* watch) noexcept nogil:
    """Set dz[l-1] = (dz[l] @ W^T) * activation'(z[l-1]) for the rows."""
    cdef int64_t block = nn_rows(net.layers[l].n_out)
    cdef int64_t done = 0
    while done < rows and not fm_watch_stop(watch, affine_work(net, l, min(block, rows - done))):
        backward_input_block(net, buffers, l, first + done, min(block, rows - done))
        done += block


cdef inline void piece_gradient(const fm_network* net, const fm_buffers* buffers, const fm_piece* piece,
                                int64_t first, int64_t rows, void* g, fm_ahead* ahead) noexcept nogil:
    """Set g = rows [k_from, k_to) of y[l-1]^T @ dz[l], one panel wide, over `rows` batch rows."""
    cdef const fm_layer* layer = &net.layers[piece.layer]
    cdef const real* y = <real*>(buffers.x if piece.layer == 0 else buffers.y[piece.layer - 1]) + first * NR
    cdef int64_t panel_step = buffers.panel_step
    cdef const real* dz = <real*>buffers.dz[piece.layer] + piece.panel * panel_step + first * NR
    if layer.n_out == 1:
        column_tn(y, panel_step, piece.k_from, piece.k_to, dz, rows, <real*>g)
    else:
        block_tn(y, panel_step, piece.k_from, piece.k_to, dz, rows, <real*>g,
                 vectors(layer.n_out, piece.panel * NR), ahead)


cdef inline void clear_row(void* panels, int64_t r, int64_t panel_step, int64_t columns) noexcept nogil:
    cdef int64_t p
    for p in range(ceil_div(columns, NR)):
        memset(<real*>panels + p * panel_step + r * NR, 0, NR * sizeof(real))


cdef inline void forget_row(const fm_network* net, const fm_buffers* buffers, int64_t r) noexcept nogil:
    """Leave no trace of a row of weight 0: 0 times what overflowed in it would be NaN."""
    cdef int32_t l
    (<real*>buffers.row_loss)[r] = 0
    clear_row(buffers.x, r, buffers.panel_step, net.layers[0].n_in)
    for l in range(net.n_layers):
        clear_row(buffers.y[l], r, buffers.panel_step, net.layers[l].n_out)
        if buffers.slope[l] != NULL:
            clear_row(buffers.slope[l], r, buffers.panel_step, net.layers[l].n_out)


cdef inline void output_loss(const fm_network* net, const fm_buffers* buffers, int64_t first, int64_t last,
                             int32_t thread) noexcept nogil:
    """Set row_loss, and turn the outputs z of rows [first, last) into their gradient."""
    cdef fm_loss_call call
    cdef int64_t r
    cdef int32_t top = net.n_layers - 1
    call.targets = <real*>buffers.targets
    call.labels = buffers.labels
    call.loss_share = <real*>buffers.loss_share
    call.z = <real*>buffers.y[top]
    call.row_loss = <real*>buffers.row_loss
    call.scratch = <real*>buffers.scratch + thread * buffers.scratch_size
    call.panel_step = buffers.panel_step
    call.columns = net.layers[top].n_out
    call.width = net.targets_width
    call.target_stride = buffers.target_stride
    call.parameter = <real>net.loss_parameter
    LOSSES[net.loss].backward(&call, first, last)
    if any_zero(<real*>buffers.weight + first, last - first):
        for r in range(first, last):
            if (<real*>buffers.weight)[r] == 0:
                forget_row(net, buffers, r)


cdef inline int64_t row_of(const int64_t* order, int64_t i) noexcept nogil:
    return order[i] if order != NULL else i


cdef inline void gather(const fm_network* net, const fm_buffers* buffers, const fm_data* data,
                        const int64_t* order, int64_t start, int64_t first,
                        int64_t last) noexcept nogil:
    """Bring rows start + [first, last) of the data (through order, if any) into the batch."""
    cdef int64_t r
    cdef int64_t width = net.targets_width
    cdef real* weight = <real*>buffers.weight
    cdef real* targets = <real*>buffers.targets
    gather_rows(data, order, start, first, last, net.layers[0].n_in, buffers.panel_step, <real*>buffers.x)
    if data.labels != NULL:
        for r in range(first, last):
            buffers.labels[r] = data.labels[row_of(order, start + r)]
    elif data.targets != NULL and width == 1:
        for r in range(first, last):
            targets[r] = (<real*>data.targets)[row_of(order, start + r)]
    elif data.targets != NULL:
        for r in range(first, last):
            memcpy(targets + r * buffers.target_stride,
                   <real*>data.targets + row_of(order, start + r) * width, width * sizeof(real))
    for r in range(first, last):
        weight[r] = (<real*>data.weights)[row_of(order, start + r)] if data.weights != NULL else 1
