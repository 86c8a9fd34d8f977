# Affine operators whose products are computed in bfloat16, in training: the passes and the gradient of the
# weights. c/panels/bfloat16.h has the products and the layouts of their factors.
from libc.stdint cimport int64_t

from ctables cimport *
from network cimport *
from operators cimport apply_slope, finish_panel, inputs_of, kept_slope, tensor_at
from rounding cimport ceil_div, round_up


cdef inline bint is_rounded(const fm_buffers* buffers, const fm_operator* op) noexcept nogil:
    """Return whether the products of an operator are computed in bfloat16 (c/panels/bfloat16.h)."""
    return buffers.rounded != NULL and op.tensors[WEIGHTS].gradient == BFLOAT16_TILES


cdef inline void rounded_product(const fm_network* net, const fm_buffers* buffers, const fm_operator* op,
                                 int kind, int64_t p, const real* bias, int64_t first, int64_t rows,
                                 real* out) noexcept nogil:
    """Compute panel p of the rounded rows times one of the copies of the weights."""
    cdef const fm_copy* copy = &op.tensors[WEIGHTS].copies[kind]
    cdef const bfloat16* right = <bfloat16*>net.copies[kind] + copy.offset + p * copy.rows * NR
    cdef const bfloat16* left = <bfloat16*>buffers.rounded + first * FM_CHUNK
    bfloat16_products(net.products, left, buffers.panel_step // NR, right, copy.rows // FM_CHUNK, bias, out,
                      NR, round_up(rows, FM_CHUNK),
                      vectors(op.n_out if kind == PAIRED else op.n_in, p * NR))


cdef inline void rounded_forward(const fm_network* net, const fm_buffers* buffers, int32_t l, int64_t first,
                                 int64_t rows, const fm_draws* draws) noexcept nogil:
    cdef const fm_operator* op = &net.operators[l]
    cdef real* y
    cdef int64_t p, at
    round_rows(inputs_of(net, buffers, l) + first * NR, buffers.panel_step, op.n_in, rows,
               <bfloat16*>buffers.rounded + first * FM_CHUNK, buffers.panel_step // NR)
    for p in range(op.panels):
        at = p * buffers.panel_step + first * NR
        y = <real*>buffers.y[l] + at
        rounded_product(net, buffers, op, PAIRED, p, tensor_at(net, op, BIASES) + p * NR, first, rows, y)
        finish_panel(op, y, kept_slope(op, buffers, l, at, draws), p, rows, first, draws)


cdef inline void rounded_backward(const fm_network* net, const fm_buffers* buffers, int32_t l, int64_t first,
                                  int64_t rows) noexcept nogil:
    cdef const fm_operator* op = &net.operators[l]
    cdef int64_t p
    round_rows(<real*>buffers.dz[l] + first * NR, buffers.panel_step, op.n_out, rows,
               <bfloat16*>buffers.rounded + first * FM_CHUNK, buffers.panel_step // NR)
    for p in range(net.operators[l - 1].panels):
        rounded_product(net, buffers, op, PAIRED_TRANSPOSED, p, NULL, first, rows,
                        <real*>buffers.dz[l - 1] + p * buffers.panel_step + first * NR)
        apply_slope(net, buffers, l - 1, p, first, rows)


cdef inline void round_for_gradient(const fm_network* net, const fm_buffers* buffers, int32_t l,
                                    int64_t first, int64_t last) noexcept nogil:
    """Prepare the factors of the gradient of an operator's weights, rows [first, last)."""
    cdef const fm_operator* op = &net.operators[l]
    cdef const real* y = inputs_of(net, buffers, l)
    cdef int64_t panel_step = buffers.panel_step
    cdef int64_t r = first
    while r < last:
        round_columns(y + r * NR, panel_step, op.n_in, last - r,
                      <bfloat16*>buffers.columns[l] + r * op.tensors[WEIGHTS].rows)
        round_pairs(<real*>buffers.dz[l] + r * NR, panel_step, op.n_out, last - r,
                    <bfloat16*>buffers.pairs[l] + r * NR, panel_step // NR)
        r += FM_CHUNK


cdef inline void rounded_gradient(const fm_network* net, const fm_buffers* buffers, const fm_piece* piece,
                                  int64_t first, int64_t rows, real* g, fm_prefetch* prefetch) noexcept nogil:
    """Compute the gradient g of a piece whose factors round_for_gradient has prepared."""
    cdef int64_t all_rows = buffers.panel_step // NR
    cdef int64_t n_in = piece.tensor.rows
    cdef int nv = vectors(piece.tensor.n_columns, piece.panel * NR)
    cdef const bfloat16* left = <bfloat16*>buffers.columns[piece.op] + first * n_in + piece.k_from * FM_CHUNK
    cdef const bfloat16* right = <bfloat16*>buffers.pairs[piece.op] + (piece.panel * all_rows + first) * NR
    cdef int64_t _t
    for _t in range((piece.k_to - piece.k_from) // MR):
        fm_prefetch_lines(prefetch)
    bfloat16_products(net.products, left, n_in, right, ceil_div(rows, FM_CHUNK), NULL, g, nv * LANES,
                      piece.k_to - piece.k_from, nv)
