/* One row through one affine layer, for predictions of single rows.
 *
 * The sums have the order of those of the tiles (a chain per output, the tree for a single output), so a row has the
 * same bits alone and in a batch. Up to four panels at a time hide the latency of the chains. */
#ifndef FM_ROW_H
#define FM_ROW_H

#include "panels/panels.h"

/* `full` whole panels and `nv` vectors of the one after them. */
FM_INLINE void row_tile(const int full, const int nv, const real *x, const int64_t k_len, const real *w,
                        const int64_t w_panel, const real *bias, real *out) {
    v acc[5][4];
    UNROLL
    for (int p = 0; p <= full; p++) {
        const int width = p < full ? NV : nv;
        for (int j = 0; j < width; j++) acc[p][j] = v_load(bias + p * NR + j * LANES);
    }
    for (int64_t k = 0; k < k_len; k++) {
        const v s = v_set1(x[k]);
        UNROLL
        for (int p = 0; p <= full; p++) {
            const int width = p < full ? NV : nv;
            const real *row = w + p * w_panel + k * width * LANES;
            for (int j = 0; j < width; j++)
                acc[p][j] = v_fma(s, v_load(row + j * LANES), acc[p][j]);
        }
    }
    UNROLL
    for (int p = 0; p <= full; p++) {
        const int width = p < full ? NV : nv;
        for (int j = 0; j < width; j++) v_store(out + p * NR + j * LANES, acc[p][j]);
    }
}

#define ROW_CASE(full, nv) \
    case (full) * NV + (nv): \
        row_tile(full, nv, x, weights->n_rows, w, w_panel, bias, out); \
        break;

/* out (padded to whole panels) = x @ w + bias, before the activation. */
static void row_affine(const fm_tensor *weights, const real *bias, const real *x, const real *parameters, real *out) {
    const int64_t w_panel = weights->rows * NR;
    const real *w = parameters + weights->offset;
    int64_t left = (weights->n_columns + LANES - 1) / LANES; /* vectors */
    while (left > 0) {
        const int64_t here = left < 4 * NV ? left : 4 * NV;
        switch (here) {
            ROW_CASE(0, 1)
            ROW_CASE(1, 0)
            ROW_CASE(1, 1)
            ROW_CASE(2, 0)
            ROW_CASE(2, 1)
            ROW_CASE(3, 0)
            ROW_CASE(3, 1)
            ROW_CASE(4, 0)
#if NV > 2
            ROW_CASE(0, 2)
            ROW_CASE(1, 2)
            ROW_CASE(2, 2)
            ROW_CASE(3, 2)
#endif
#if NV > 3
            ROW_CASE(0, 3)
            ROW_CASE(1, 3)
            ROW_CASE(2, 3)
            ROW_CASE(3, 3)
#endif
        }
        left -= here;
        w += 4 * w_panel, bias += 4 * NR, out += 4 * NR;
    }
}

#endif
