/* One row through one affine layer, for predictions of single rows.
 *
 * The sums have the order of those of the tiles (a chain per output, the tree for a single output), so a row has the
 * same bits alone and in a batch. Up to four panels at a time hide the latency of the chains.
 *
 * The weights may be stored in 16 or 8 bits, which takes less memory traffic. Words of 32 bits then hold 2 or 4 rows of
 * a column, which become float32 in registers: exactly the parameters, so the bits do not depend on the storage. An
 * 8-bit weight q is stored as the byte q + 128; the units of the columns, with 8 bits of precision, are before the
 * words. Put into the mantissa of 2^15, a byte makes the number 2^15 + 128 + q without a slower conversion. */
#ifndef FM_ROW_H
#define FM_ROW_H

#include "panels/panels.h"

/* Rows in a word of a kind of copy; 1: the parameters themselves. */
#define ROWS_OF(kind) ((kind) == FM_BFLOAT16 ? 2 : (kind) == FM_INT8 ? 4 : 1)

/* Row i of a word. */
FM_INLINE v narrow_row(const int kind, const vi word, const int i) {
    if (kind == FM_BFLOAT16) return i ? (v)(word & (bits)0xffff0000) : (v)(word << 16);
    const vi byte = (i == 0 ? word << 8 : word >> 8 * (i - 1)) & 0xff00;
    return (v)(byte | 0x47000000);
}

/* acc += the next `rows` elements of x, times a word's rows of weights; `full` whole panels and `nv` vectors. */
FM_INLINE void row_step(const int kind, const int full, const int nv, const real *x, const int rows, const real *w,
                        const int64_t w_panel, const int64_t word, v acc[5][4]) {
    const int most = ROWS_OF(kind);
    UNROLL
    for (int p = 0; p <= full; p++) {
        const int width = p < full ? NV : nv;
        const real *at = w + p * w_panel + word * width * LANES;
        UNROLL
        for (int j = 0; j < width; j++) {
            const v loaded = v_load(at + j * LANES);
            UNROLL
            for (int i = 0; i < most; i++) {
                v weight = kind == FM_TRANSPOSED ? loaded : narrow_row(kind, (vi)loaded, i);
                if (kind == FM_INT8) {
                    const v unit = v_load(w + p * w_panel + j * LANES);
                    weight = v_fma(weight, unit, unit * (real)-(32768 + 128));
                }
                if (i < rows) acc[p][j] = v_fma(v_set1(x[i]), weight, acc[p][j]);
            }
        }
    }
}

FM_INLINE void row_tile(const int kind, const int full, const int nv, const real *x, const int64_t k_len,
                        const real *w, const int64_t w_panel, const real *bias, real *out) {
    v acc[5][4];
    int64_t word = kind == FM_INT8, k = 0;
    UNROLL
    for (int p = 0; p <= full; p++) {
        const int width = p < full ? NV : nv;
        for (int j = 0; j < width; j++) acc[p][j] = v_load(bias + p * NR + j * LANES);
    }
    for (; k + ROWS_OF(kind) <= k_len; k += ROWS_OF(kind), word++)
        row_step(kind, full, nv, x + k, ROWS_OF(kind), w, w_panel, word, acc);
    if (ROWS_OF(kind) > 1 && k < k_len) row_step(kind, full, nv, x + k, (int)(k_len - k), w, w_panel, word, acc);
    UNROLL
    for (int p = 0; p <= full; p++) {
        const int width = p < full ? NV : nv;
        for (int j = 0; j < width; j++) v_store(out + p * NR + j * LANES, acc[p][j]);
    }
}

/* n vectors of columns together */
#define ROW_CASE(kind, n) \
    case n: \
        row_tile(kind, (n) / NV, (n) % NV, x, weights->n_rows, w, w_panel, bias, out); \
        break;
#define ROW_CASES(kind, n) ROW_CASE(kind, n) ROW_CASE(kind, n + 1) ROW_CASE(kind, n + 2) ROW_CASE(kind, n + 3)
#if NV == 2
#define WIDE_ROW_CASES(kind)
#elif NV == 3
#define WIDE_ROW_CASES(kind) ROW_CASES(kind, 9)
#else
#define WIDE_ROW_CASES(kind) ROW_CASES(kind, 9) ROW_CASES(kind, 13)
#endif

/* out (padded to whole panels) = x @ w + bias, before the activation. `arena` has the tensor's copies of this kind;
 * FM_TRANSPOSED stands for the parameters. */
#define ROW_AFFINE(name, kind) \
    static void name(const fm_tensor *weights, const real *bias, const real *x, const void *arena, real *out) { \
        const fm_copy *copy = &weights->copies[kind]; \
        const int is_copy = (kind) != FM_TRANSPOSED; \
        const int64_t w_panel = (is_copy ? copy->rows : weights->rows) * NR; \
        const real *w = (const real *)arena + (is_copy ? copy->offset : weights->offset); \
        int64_t left = (weights->n_columns + LANES - 1) / LANES; /* vectors */ \
        while (left > 0) { \
            const int64_t here = left < 4 * NV ? left : 4 * NV; \
            switch (here) { \
                ROW_CASES(kind, 1) \
                ROW_CASES(kind, 5) \
                WIDE_ROW_CASES(kind) \
            } \
            left -= here; \
            w += 4 * w_panel, bias += 4 * NR, out += 4 * NR; \
        } \
    }

ROW_AFFINE(row_affine, FM_TRANSPOSED)

#endif
