# The first layer of sparse rows: its operators on the entries of a block (c/panels/entries.h). Panels hold
# the inputs before the first sparse column, if any; all other operators are those of dense rows.
from libc.stdint cimport int32_t, int64_t

from ctables cimport *
from network cimport *
from operators cimport *
from rounding cimport ceil_div, round_up


cdef inline bint has_entries(const fm_network* net, const fm_buffers* buffers, int32_t l) noexcept nogil:
    """Return whether the outputs of an operator are partly entries: the inputs, -1, or the scaled inputs."""
    return unlikely(buffers.entries != NULL) and are_inputs(net, l)


cdef inline bint reads_entries(const fm_network* net, const fm_buffers* buffers, int32_t l) noexcept nogil:
    return has_entries(net, buffers, net.operators[l].source)


cdef inline const real* values_of(const fm_buffers* buffers, int32_t source) noexcept nogil:
    """Return the values of the entries: those of the inputs, -1, or of the scaled inputs."""
    return <real*>buffers.entries.x if source < 0 else <real*>buffers.entries.y


cdef inline void entries_product(const fm_network* net, const fm_buffers* buffers, int32_t l, int64_t p,
                                 int64_t first, int64_t rows, const real* start, int64_t start_step,
                                 real* out) noexcept nogil:
    """Compute panel p of start + a W for the rows, a the inputs of an operator."""
    cdef const fm_operator* op = &net.operators[l]
    cdef const fm_tensor* weights = &op.tensors[WEIGHTS]
    cdef const real* values = values_of(buffers, op.source)
    cdef const real* a = inputs_of(net, buffers, l) + first * NR
    cdef const real* w = tensor_at(net, op, WEIGHTS) + p * weights.rows * NR
    cdef int64_t n_dense = buffers.n_dense
    cdef int nv = vectors(op.n_out, p * NR)
    if op.n_out == 1:
        entry_dots(buffers.entries, values, a, buffers.panel_step, n_dense, first, rows, w, start, start_step,
                   out)
        return
    if n_dense > 0:
        if start_step == 0:
            panel_chained(a, buffers.panel_step, n_dense, w, start, out, rows, nv)
        else:
            panel_added(a, buffers.panel_step, n_dense, w, NULL, start, out, rows, nv)
        start, start_step = out, NR
    entry_panel(buffers.entries, values, first, rows, w, start, start_step, out, nv)


cdef inline void entries_forward(const fm_network* net, const fm_buffers* buffers, int32_t l, int64_t first,
                                 int64_t rows, const fm_draws* draws) noexcept nogil:
    """Compute y[l] of an operator that reads the inputs, or the scaled inputs."""
    cdef const fm_operator* op = &net.operators[l]
    cdef int64_t panel_step = buffers.panel_step
    cdef const fm_entries* entries = buffers.entries
    cdef const real* before = <real*>buffers.y[l - 1] + first * NR
    cdef real* y = <real*>buffers.y[l] + first * NR
    cdef real* slope
    cdef int64_t p, at
    if op.kind == SCALE:
        scale_panels(net, op, buffers.n_dense, before, panel_step, rows, y)
        scale_entries(entries, entries.first[first], entries.end[first + rows - 1],
                      tensor_at(net, op, WEIGHTS))
        return
    for p in range(op.panels):
        at = p * panel_step
        if op.kind == LINEAR:
            entries_product(net, buffers, l, p, first, rows, before + at, NR, y + at)
            continue
        entries_product(net, buffers, l, p, first, rows, tensor_at(net, op, BIASES) + p * NR, 0, y + at)
        slope = kept_slope(op, buffers, l, at + first * NR, draws)
        finish_panel(op, y + at, slope, p, rows, first, draws)


cdef inline void entries_backward(const fm_network* net, const fm_buffers* buffers, int32_t l, int64_t first,
                                  int64_t rows) noexcept nogil:
    """Compute the gradient of the scaled inputs, from dz[l] and that of the operator that also reads them."""
    cdef const fm_operator* op = &net.operators[l]
    cdef const fm_operator* reader = &net.operators[net.operators[l - 1].reader]
    cdef const fm_entries* entries = buffers.entries
    cdef int64_t panel_step = buffers.panel_step
    cdef int64_t start = entries.first[first]
    cdef int64_t end = entries.end[first + rows - 1]
    cdef int64_t p
    for p in range(ceil_div(buffers.n_dense, NR)):
        panel_chained(<real*>buffers.dz[l] + first * NR, panel_step, op.n_out, transposed(net, op, p), NULL,
                      <real*>buffers.dz[l - 1] + p * panel_step + first * NR, rows,
                      vectors(op.n_in, p * NR))
        apply_slope(net, buffers, l - 1, p, first, rows)
    entry_backward(entries, start, end, <real*>buffers.dz[l], panel_step, &op.tensors[WEIGHTS],
                   <real*>net.parameters, False)
    if reader.kind == LINEAR:
        entry_backward(entries, start, end, <real*>buffers.dz[net.operators[l - 1].reader], panel_step,
                       &reader.tensors[WEIGHTS], <real*>net.parameters, True)


cdef inline void entries_gradient(const fm_network* net, const fm_buffers* buffers, const fm_piece* piece,
                                  int64_t first, int64_t rows, real* g, fm_prefetch* prefetch) noexcept nogil:
    """Compute the gradient of a piece of weights or scales that multiply entries."""
    cdef int64_t panel_step = buffers.panel_step
    cdef const real* y = inputs_of(net, buffers, piece.op) + first * NR
    cdef const real* dz = <real*>buffers.dz[piece.op] + piece.panel * panel_step
    cdef const real* values = values_of(buffers, net.operators[piece.op].source)
    cdef int nv = vectors(piece.tensor.n_columns, piece.panel * NR)
    cdef int64_t n_dense = buffers.n_dense
    cdef int64_t k_from = max(piece.k_from, n_dense)
    cdef int64_t first_column
    if piece.tensor.gradient == PRODUCTS:
        first_column = piece.panel * NR
        if first_column < n_dense:
            product_sums(dz + first * NR, y + piece.panel * panel_step, rows, g)
        k_from = max(first_column, n_dense)
        if k_from < first_column + NR:
            entry_numbers(buffers.entries, values, k_from, first_column + NR, NULL, first, rows,
                          g + k_from - first_column)
    elif piece.tensor.gradient == COLUMN:
        if piece.k_from < n_dense:
            column_tn(y, panel_step, piece.k_from, min(piece.k_to, round_up(n_dense, NR)), dz + first * NR,
                      rows, g)
        if k_from < piece.k_to:
            entry_numbers(buffers.entries, values, k_from, piece.k_to, dz, first, rows,
                          g + k_from - piece.k_from)
    else:
        if piece.k_from < n_dense:
            block_tn(y, panel_step, piece.k_from, min(piece.k_to, round_up(n_dense, MR)), dz + first * NR,
                     rows,
                     g, nv, prefetch)
        if k_from < piece.k_to:
            entry_block(buffers.entries, values, k_from, piece.k_to, dz, first, rows,
                        g + (k_from - piece.k_from) * nv * LANES, nv)


cdef inline void step_entries(const fm_task* task, const fm_piece* piece, int64_t rows, real* g,
                              const fm_scalars* scalars) noexcept nogil:
    """Update the rows of a weight panel whose columns have entries; the others have a gradient of 0."""
    cdef const fm_buffers* buffers = task.buffers
    cdef int nv = vectors(piece.tensor.n_columns, piece.panel * NR)
    entry_steps(buffers.entries, values_of(buffers, task.net.operators[piece.op].source), piece.k_from,
                piece.k_to, <real*>buffers.dz[piece.op] + piece.panel * buffers.panel_step, rows, nv, g,
                &OPTIMIZERS[task.optimizer], <real*>task.net.parameters + piece.offset, scalars)
