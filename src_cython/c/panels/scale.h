/* Multiplication of each column by a factor, and the gradient of the factors. */
#ifndef FM_SCALE_H
#define FM_SCALE_H

#include "panels.h"

/* out = z * scale, a block of a panel. */
static __attribute__((noinline)) void scale_block(const real *z, const real *scale, real *out, int64_t rows, int nv) {
    for (int64_t r = 0; r < rows; r++, z += NR, out += NR)
        for (int j = 0; j < nv; j++) v_store(out + j * LANES, v_load(z + j * LANES) * v_load(scale + j * LANES));
}

enum { ALONE, TIMES, TIMES_NORMAL }; /* what sum_rows sums */

/* g (NR) = sums over the rows of one panel: of d, d times z, or d times z normalised by the row's mean and inverse
 * deviation in `statistics`. Row r is added to sum r % 4: a single chain would wait for the latency of each addition. */
FM_INLINE void sum_rows(const int how, const real *d, const real *z, const real *statistics, const int64_t batch,
                        real *g) {
    v acc[4][NV] = {{{0}}};
    for (int64_t r = 0; r < batch; r += 4) {
        UNROLL
        for (int i = 0; i < 4; i++, d += NR, z += NR) {
            if (r + i >= batch) break;
            UNROLL
            for (int j = 0; j < NV; j++) {
                const v factor = v_load(d + j * LANES);
                v value = v_load(z + j * LANES);
                if (how == TIMES_NORMAL) value = (value - v_set1(statistics[0])) * v_set1(statistics[1]);
                if (how == ALONE) acc[i][j] += factor;
                else acc[i][j] = v_fma(factor, value, acc[i][j]);
            }
            if (how == TIMES_NORMAL) statistics += 2;
        }
    }
    UNROLL
    for (int j = 0; j < NV; j++) v_store(g + j * LANES, (acc[0][j] + acc[1][j]) + (acc[2][j] + acc[3][j]));
}

/* The gradient of biases and of shifts. */
static void column_sums(const real *d, const int64_t batch, real *g) { sum_rows(ALONE, d, d, NULL, batch, g); }

/* The gradient of the factors. */
static void product_sums(const real *d, const real *z, const int64_t batch, real *g) {
    sum_rows(TIMES, d, z, NULL, batch, g);
}

#endif
