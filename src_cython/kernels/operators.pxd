# The operators of a network: y[l] from y[l-1], and the gradient back, for blocks of rows and for one row. An
# operator computes z from its inputs and its two tensors; activation and dropout follow, the same for all.
# functions.pxd has custom activations.
#
# Each kind of operator has {forward, backward, one row} here, and the gradients of its tensors in
# piece_gradient. The last three functions select by kind with branches, because calls through pointers could
# not be inlined.
# B batch rows, I fan-in, O fan-out; z before and y after the activation; prefix d = gradient.
from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.string cimport memset

from ctables cimport *
from network cimport *
from rounding cimport ceil_div


cdef inline const real* inputs_of(const fm_network* net, const fm_buffers* buffers, int32_t l) noexcept nogil:
    """Return the values that an operator's tensors multiply: the outputs of its source."""
    return <real*>buffers.y[net.operators[l].source]


cdef inline const real* tensor_at(const fm_network* net, const fm_operator* op, int which) noexcept nogil:
    """Return the first element of a tensor."""
    return <real*>net.parameters + op.tensors[which].offset


cdef inline const real* transposed(const fm_network* net, const fm_operator* op, int64_t p) noexcept nogil:
    """Return panel p of W^T, whose columns are the fan-in; a single column of W is its own transpose."""
    cdef const fm_copy* copy = &op.tensors[WEIGHTS].copies[TRANSPOSED]
    cdef const real* first
    if op.n_out == 1:
        first = tensor_at(net, op, WEIGHTS)
    else:
        first = <real*>net.copies[TRANSPOSED] + copy.offset
    return first + p * copy.rows * NR


# ---------------------------------------------------------------- activation and dropout


cdef inline real* kept_slope(const fm_operator* op, const fm_buffers* buffers, int32_t l, int64_t at,
                             const fm_draws* draws) noexcept nogil:
    """Return the memory for the derivative of a block; NULL if it is not stored here.

    A parametric activation stores the derivative of the operator before it.
    """
    if buffers.slope[l] == NULL or draws == NULL:
        return NULL
    if not op.ends and ACTIVATIONS[op.activation].fused == FUSED_IDENTITY:
        return NULL
    return <real*>buffers.slope[l] + at


cdef inline void drop_out(const fm_operator* op, real* y, real* slope, int64_t p, int64_t rows, int64_t first,
                          const fm_draws* draws) noexcept nogil:
    """Apply the dropout of the layer, if any, to a block of a panel and its derivative."""
    cdef double drop = draws.dropout[op.hidden] if op.ends and draws.dropout != NULL else 0
    if drop > 0:
        dropout_panel(y, slope, rows, vectors(op.n_out, p * NR),
                      dropout_key(draws.seed, draws.step, op.hidden), draws.row + first, p * NR,
                      <uint32_t>(drop * 4294967296.0), <real>(1 / (1 - drop)))


cdef inline void finish_panel(const fm_operator* op, real* y, real* slope, int64_t p, int64_t rows,
                              int64_t first, const fm_draws* draws) noexcept nogil:
    """Replace a block of z by y = dropout(activation(z)), and store the derivative if slope is not NULL."""
    cdef const fm_activation* activation = &ACTIVATIONS[op.activation]
    cdef int64_t left = op.n_out - p * NR
    cdef int nv = vectors(op.n_out, p * NR)
    if slope != NULL and op.function == NULL:
        activation.forward_keeping(y, slope, rows, nv)
        drop_out(op, y, slope, p, rows, first, draws)
    elif activation.fused != FUSED_IDENTITY:
        activation.forward(y, rows, nv)
    if left < nv * LANES:
        clear_padding(y, rows, left)


cdef inline void finish_panels(const fm_operator* op, const fm_buffers* buffers, int32_t l, int64_t first,
                               int64_t rows, const fm_draws* draws) noexcept nogil:
    """Apply activation and dropout to all panels."""
    cdef int64_t p, at
    for p in range(op.panels):
        at = p * buffers.panel_step + first * NR
        finish_panel(op, <real*>buffers.y[l] + at, kept_slope(op, buffers, l, at, draws), p, rows, first,
                     draws)


cdef inline void finish_row(const fm_operator* op, real* y) noexcept nogil:
    """Apply the activation to one row, panel after panel."""
    cdef const fm_activation* activation = &ACTIVATIONS[op.activation]
    cdef int64_t last = (op.n_out - 1) // NR
    cdef int64_t whole = op.n_out // NR
    if activation.fused == FUSED_IDENTITY:
        return
    if whole > 0:
        activation.forward(y, whole, NV)
    if whole <= last:
        activation.forward(y + last * NR, 1, vectors(op.n_out, last * NR))


cdef inline void add_readers_gradient(const fm_network* net, const fm_buffers* buffers, int32_t reader,
                                      int64_t p, int64_t first, int64_t rows, int nv,
                                      real* out) noexcept nogil:
    """Add the gradient from a later operator that reads the same values to a block of a panel."""
    cdef const fm_operator* op = &net.operators[reader]
    add_gradient(<real*>buffers.dz[reader] + first * NR, buffers.panel_step, op.n_out, p,
                 &op.tensors[WEIGHTS], transposed(net, op, p), rows, nv, out)


cdef inline void apply_slope(const fm_network* net, const fm_buffers* buffers, int32_t l, int64_t p,
                             int64_t first, int64_t rows) noexcept nogil:
    """Complete a block of a panel of dz[l], which holds the next operator's gradient of y."""
    cdef const fm_operator* op = &net.operators[l]
    cdef const fm_activation* activation = &ACTIVATIONS[op.activation]
    cdef int64_t at = p * buffers.panel_step + first * NR
    cdef real* dz = <real*>buffers.dz[l] + at
    cdef int nv = vectors(op.n_out, p * NR)
    if op.reader > 0:
        add_readers_gradient(net, buffers, op.reader, p, first, rows, nv, dz)
    if buffers.slope[l] != NULL:
        multiply_block(<real*>buffers.slope[l] + at, dz, dz, rows, nv)
    elif activation.fused != FUSED_IDENTITY:
        activation.backward(<real*>buffers.y[l] + at, dz, rows, nv)


# ---------------------------------------------------------------- affine: z = y W + b


cdef inline void affine_forward(const fm_network* net, const fm_buffers* buffers, int32_t l, int64_t first,
                                int64_t rows, const fm_draws* draws) noexcept nogil:
    cdef const fm_operator* op = &net.operators[l]
    cdef int64_t panel_step = buffers.panel_step
    cdef const real* a = inputs_of(net, buffers, l) + first * NR
    cdef const real* w = tensor_at(net, op, WEIGHTS)
    cdef const real* b = tensor_at(net, op, BIASES)
    cdef int64_t w_step = op.tensors[WEIGHTS].rows * NR
    cdef real* y
    cdef real* slope
    cdef int64_t p, at
    cdef int nv
    for p in range(op.panels):
        nv = vectors(op.n_out, p * NR)
        at = p * panel_step + first * NR
        y = <real*>buffers.y[l] + at
        slope = kept_slope(op, buffers, l, at, draws)
        if op.n_out == 1:
            dot_rows(a, panel_step, w, NR, op.n_in, b[0], y, rows)
            if slope == NULL and ACTIVATIONS[op.activation].fused == FUSED_IDENTITY:
                continue  # nothing has written to the padding
        elif (slope == NULL and ACTIVATIONS[op.activation].fused == FUSED_RELU
                and op.n_in <= <int64_t>NN_CHAIN):
            panel_relu(a, panel_step, op.n_in, w + p * w_step, b + p * NR, y, y, rows, nv)
            continue
        else:
            panel_chained(a, panel_step, op.n_in, w + p * w_step, b + p * NR, y, rows, nv)
        finish_panel(op, y, slope, p, rows, first, draws)


cdef inline void affine_backward(const fm_network* net, const fm_buffers* buffers, int32_t l, int64_t first,
                                 int64_t rows) noexcept nogil:
    cdef const fm_operator* op = &net.operators[l]
    cdef const fm_operator* lower = &net.operators[l - 1]
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
        w_t = transposed(net, op, p)
        if (buffers.slope[l - 1] == NULL and ACTIVATIONS[lower.activation].fused == FUSED_RELU
                and lower.reader == 0 and op.n_out <= <int64_t>NN_CHAIN):
            panel_relu_slope(dz, panel_step, op.n_out, w_t, NULL, y, out, rows, nv)
        else:
            panel_chained(dz, panel_step, op.n_out, w_t, NULL, out, rows, nv)
            apply_slope(net, buffers, l - 1, p, first, rows)


cdef inline void row_product(const fm_network* net, const fm_operator* op, const real* start, const real* a,
                             real* z) noexcept nogil:
    """Compute start + a W of one row, W from its narrow copy if there is one."""
    cdef const fm_tensor* weights = &op.tensors[WEIGHTS]
    if net.narrow > 0:
        COPY_KINDS[net.narrow].row(weights, start, a, net.copies[net.narrow], z)
    else:
        row_affine(weights, start, a, net.parameters, z)


cdef inline bint may_have_few(const fm_network* net, const fm_operator* op) noexcept nogil:
    """Return whether single rows of a layer are looked through for zeros: those of wide inputs."""
    return op.hidden == 0 and op.n_in >= WIDE_ROW and op.n_out > 1 and net.narrow == 0


cdef inline void affine_row(const fm_network* net, const fm_operator* op, const real* a,
                            real* z, real* few) noexcept nogil:
    if may_have_few(net, op) and row_of_few(&op.tensors[WEIGHTS], tensor_at(net, op, BIASES), a,
                                            <real*>net.parameters, few, z):
        return
    if op.n_out == 1:
        memset(z, 0, NR * sizeof(real))
        z[0] = dot_row(a, NR, tensor_at(net, op, WEIGHTS), NR, op.n_in, tensor_at(net, op, BIASES)[0])
    else:
        row_product(net, op, tensor_at(net, op, BIASES), a, z)


# ---------------------------------------------------------------- layer normalisation (c/panels/norm.h)


cdef inline void norm_forward(const fm_network* net, const fm_buffers* buffers, int32_t l, int64_t first,
                              int64_t rows, const fm_draws* draws) noexcept nogil:
    cdef const fm_operator* op = &net.operators[l]
    cdef real* statistics = <real*>buffers.statistics[l] + 2 * first if draws != NULL else NULL
    normalize_rows(inputs_of(net, buffers, l) + first * NR, buffers.panel_step, op.n_out,
                   tensor_at(net, op, WEIGHTS), tensor_at(net, op, BIASES), rows,
                   <real*>buffers.y[l] + first * NR, statistics)
    finish_panels(op, buffers, l, first, rows, draws)


cdef inline void norm_or_sum_backward(const fm_network* net, const fm_buffers* buffers, int32_t l,
                                      int64_t first, int64_t rows) noexcept nogil:
    """Backward pass of a normalisation, or of a sum's first term; apply_slope does the second term's."""
    cdef const fm_operator* op = &net.operators[l]
    cdef const real* dz = <real*>buffers.dz[l] + first * NR
    cdef real* out = <real*>buffers.dz[l - 1] + first * NR
    cdef int64_t p
    if op.kind == LAYER_NORM:
        derive_rows(False, dz, inputs_of(net, buffers, l) + first * NR, buffers.panel_step, op.n_out,
                    tensor_at(net, op, WEIGHTS), <real*>buffers.statistics[l] + 2 * first, rows, out)
    else:
        copy_panels(dz, buffers.panel_step, op.n_out, rows, out)
    for p in range(op.panels):
        apply_slope(net, buffers, l - 1, p, first, rows)


# ---------------------------------------------------------------- scale: z = s x (c/panels/scale.h)


cdef inline void scale_panels(const fm_network* net, const fm_operator* op, int64_t columns, const real* a,
                              int64_t panel_step, int64_t rows, real* out) noexcept nogil:
    """Multiply the first columns of rows in panels; for the forward and backward pass and for one row."""
    cdef int64_t p
    for p in range(ceil_div(columns, NR)):
        scale_block(a + p * panel_step, tensor_at(net, op, WEIGHTS) + p * NR, out + p * panel_step, rows,
                    vectors(columns, p * NR))


cdef inline void input_gradient(const fm_network* net, const fm_buffers* buffers, int64_t first,
                                int64_t rows) noexcept nogil:
    """Compute the gradient of the inputs in x from dz[0]; the first operator has transposed weights."""
    cdef const fm_operator* op = net.operators
    cdef const real* dz = <real*>buffers.dz[0] + first * NR
    cdef real* out = <real*>buffers.x + first * NR
    cdef int64_t p
    if op.kind == SCALE:
        scale_panels(net, op, op.n_out, dz, buffers.panel_step, rows, out)
        return
    for p in range(ceil_div(op.n_in, NR)):
        panel_plain(dz, buffers.panel_step, op.n_out, transposed(net, op, p), NULL, NULL, out, rows,
                    vectors(op.n_in, p * NR))
        if net.reader > 0:
            add_readers_gradient(net, buffers, net.reader, p, first, rows, vectors(op.n_in, p * NR), out)
        out += buffers.panel_step


# ------------------------------------------------------------- sums: y + a and y + a W (c/panels/residual.h)


cdef inline void sum_panels(const fm_network* net, const fm_operator* op, const real* y, const real* a,
                            int64_t panel_step, int64_t rows, real* out) noexcept nogil:
    """Add an earlier operator's outputs a, or a W, to the outputs y of the previous operator."""
    if op.kind == SKIP:
        add_panels(y, a, panel_step, op.n_out, rows, out)
    else:
        add_affine_panels(y, a, panel_step, &op.tensors[WEIGHTS], <real*>net.parameters, rows, out)


cdef inline void sum_row(const fm_network* net, const fm_operator* op, const real* y, const real* a,
                         real* z) noexcept nogil:
    if op.kind == SKIP or op.n_out == 1:
        sum_panels(net, op, y, a, NR, 1, z)
    else:
        row_product(net, op, y, a, z)


# ---------------------------------------------------------------- parametric: z = (1 - a) x + a f(x)


cdef inline void blend_panels(const fm_network* net, const fm_operator* op, real* x, int64_t panel_step,
                              int64_t rows, real* z, real* slope) noexcept nogil:
    """Forward pass of rows or of one row (c/panels/parametric.h).

    If slope is not NULL, it receives the derivative, and x the derivative by alpha, which PRODUCTS reads.
    """
    cdef const fm_activation* f = &ACTIVATIONS[op.inner]
    cdef const real* alpha
    cdef int64_t p, r, at, n
    cdef int nv
    for p in range(op.panels):
        nv = vectors(op.n_out, p * NR)
        alpha = tensor_at(net, op, WEIGHTS) + p * NR
        r = 0
        while r < rows:
            at = p * panel_step + r * NR
            n = min(rows - r, <int64_t>BLEND_ROWS)
            copy_block(x + at, z + at, n, nv)
            if slope != NULL:
                f.forward_keeping(z + at, slope + at, n, nv)
                blend_keeping(x + at, alpha, z + at, slope + at, n, nv)
            else:
                f.forward(z + at, n, nv)
                blend_block(x + at, alpha, z + at, n, nv)
            r += n


cdef inline void parametric_forward(const fm_network* net, const fm_buffers* buffers, int32_t l,
                                    int64_t first, int64_t rows, const fm_draws* draws) noexcept nogil:
    cdef const fm_operator* op = &net.operators[l]
    cdef real* slope = <real*>buffers.slope[l - 1] + first * NR if draws != NULL else NULL
    blend_panels(net, op, <real*>buffers.y[l - 1] + first * NR, buffers.panel_step, rows,
                 <real*>buffers.y[l] + first * NR, slope)
    finish_panels(op, buffers, l, first, rows, draws)


cdef inline void parametric_backward(const fm_network* net, const fm_buffers* buffers, int32_t l,
                                     int64_t first, int64_t rows) noexcept nogil:
    cdef const fm_operator* op = &net.operators[l]
    cdef int64_t p, at
    for p in range(op.panels):
        at = p * buffers.panel_step + first * NR
        multiply_block(<real*>buffers.slope[l - 1] + at, <real*>buffers.dz[l] + at,
                       <real*>buffers.dz[l - 1] + at, rows, vectors(op.n_out, p * NR))


# ---------------------------------------------------------------- all kinds


cdef inline void forward_block(const fm_network* net, const fm_buffers* buffers, int32_t l, int64_t first,
                               int64_t rows, const fm_draws* draws) noexcept nogil:
    """Compute y[l] for rows that fit in the cache together."""
    if net.operators[l].kind == AFFINE:
        affine_forward(net, buffers, l, first, rows, draws)
    elif net.operators[l].kind == PARAMETRIC:
        parametric_forward(net, buffers, l, first, rows, draws)
    elif net.operators[l].kind == LAYER_NORM:
        norm_forward(net, buffers, l, first, rows, draws)
    elif net.operators[l].kind == SCALE:
        scale_panels(net, &net.operators[l], net.operators[l].n_out, inputs_of(net, buffers, l) + first * NR,
                     buffers.panel_step, rows, <real*>buffers.y[l] + first * NR)
    else:
        sum_panels(net, &net.operators[l], <real*>buffers.y[l - 1] + first * NR,
                   inputs_of(net, buffers, l) + first * NR, buffers.panel_step, rows,
                   <real*>buffers.y[l] + first * NR)


cdef inline void backward_block(const fm_network* net, const fm_buffers* buffers, int32_t l, int64_t first,
                                int64_t rows) noexcept nogil:
    """Compute dz[l-1] for rows that fit in the cache together."""
    if net.operators[l].kind == AFFINE:
        affine_backward(net, buffers, l, first, rows)
    elif net.operators[l].kind == PARAMETRIC:
        parametric_backward(net, buffers, l, first, rows)
    else:
        norm_or_sum_backward(net, buffers, l, first, rows)


cdef inline void one_row(const fm_network* net, const fm_operator* op, const real* before, const real* a,
                         real* y, real* few) noexcept nogil:
    """Compute the outputs of one contiguous row, in whole vectors; their padding may have any value.

    `before` are the outputs of the operator before, `a` those of the source; `few` is scratch memory.
    """
    if op.kind == AFFINE:
        affine_row(net, op, a, y, few)
    elif op.kind == LAYER_NORM:
        normalize_rows(a, NR, op.n_out, tensor_at(net, op, WEIGHTS), tensor_at(net, op, BIASES), 1,
                       y, NULL)
    elif op.kind == SCALE:
        scale_panels(net, op, op.n_out, a, NR, 1, y)
    elif op.kind == PARAMETRIC:
        blend_panels(net, op, <real*>a, NR, 1, y, NULL)
    else:
        sum_row(net, op, before, a, y)
    finish_row(op, y)
