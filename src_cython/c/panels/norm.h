/* Layer normalisation (Ba, Kiros and Hinton 2016) of rows in panels, and its gradient.
 *
 * The formulas are those of fastmlp/_network/layer_norm.py. Every sum over a row is in double, by the virtual lanes of
 * the fixed tree (column c in lane c % TREE_LANES), over the true width, so the bits depend on the row alone; padding
 * may have any value. A single row has panel_step NR. */
#ifndef FM_NORM_H
#define FM_NORM_H

#include "scale.h"
#include "tile.h"

#define NORM_EPSILON 1e-5 /* the same as in fastmlp/_network/layer_norm.py */

typedef double wide __attribute__((vector_size(8 * LANES)));
FM_INLINE wide v_wide(v a) { return __builtin_convertvector(a, wide); }

/* Loop over the vectors of a row: c is the first column, `at` its place in the panels, u the vector's place in the
 * tree, a constant in each turn, so that the sums stay in registers. */
#define EACH_VECTOR_OF_ROW(width, panel_step) \
    for (int64_t start = 0; start < (width); start += TREE_LANES) \
        UNROLL \
        for (int u = 0; u < TREE_VECTORS; u++) \
            for (int64_t c = start + u * LANES, at = c / NR * (panel_step) + c % NR, once = 1; once && c < (width); once = 0)

/* The first `count` lanes; the others become 0. */
FM_INLINE v v_true(v a, int64_t count) { return (v)((vi)a & v_first(count)); }

FM_INLINE double wide_sum(const wide acc[TREE_VECTORS]) {
    double lane[TREE_LANES];
    memcpy(lane, acc, sizeof lane);
    UNROLL
    for (int half = TREE_LANES / 2; half >= 1; half /= 2) {
        UNROLL
        for (int i = 0; i < half; i++) lane[i] += lane[i + half];
    }
    return lane[0];
}

/* y = (z - mean) / sqrt(variance + epsilon) * gain + shift. `statistics` (rows, 2), unless NULL, receives the mean of
 * each row and the inverse of that root, for the gradient. */
static __attribute__((noinline)) void normalize_rows(const real *z, const int64_t panel_step, const int64_t width,
                                                   const real *gain, const real *shift, const int64_t rows, real *y,
                                                   real *statistics) {
    for (int64_t r = 0; r < rows; r++, z += NR, y += NR) {
        wide sum[TREE_VECTORS] = {{0}}, squares[TREE_VECTORS] = {{0}};
        EACH_VECTOR_OF_ROW(width, panel_step) sum[u] += v_wide(v_true(v_load(z + at), width - c));
        const v mean = v_set1((real)(wide_sum(sum) / (double)width));
        EACH_VECTOR_OF_ROW(width, panel_step) {
            const wide centered = v_wide(v_true(v_load(z + at) - mean, width - c));
            squares[u] += centered * centered;
        }
        const v scale = v_set1((real)(1 / sqrt(wide_sum(squares) / (double)width + NORM_EPSILON)));
        EACH_VECTOR_OF_ROW(width, panel_step) {
            const v normal = (v_load(z + at) - mean) * scale;
            v_store(y + at, v_fma(normal, v_load(gain + c), v_load(shift + c)));
        }
        if (statistics) statistics[2 * r] = mean[0], statistics[2 * r + 1] = scale[0];
    }
}

/* With n = (z - mean) scale and g = dy gain: dz = (g - mean(g) - n mean(g n)) scale. Its padding is 0. */
static __attribute__((noinline)) void normalize_rows_backward(const real *dy, const real *z, const int64_t panel_step,
                                                    const int64_t width, const real *gain, const real *statistics,
                                                    const int64_t rows, real *dz) {
    for (int64_t r = 0; r < rows; r++, dy += NR, z += NR, dz += NR, statistics += 2) {
        const v mean = v_set1(statistics[0]), scale = v_set1(statistics[1]);
        wide sum[TREE_VECTORS] = {{0}}, along[TREE_VECTORS] = {{0}};
        EACH_VECTOR_OF_ROW(width, panel_step) {
            const v g = v_true(v_load(dy + at) * v_load(gain + c), width - c);
            const wide wide_g = v_wide(g);
            sum[u] += wide_g;
            along[u] += wide_g * v_wide(v_true((v_load(z + at) - mean) * scale, width - c));
        }
        const v mean_g = v_set1((real)(wide_sum(sum) / (double)width));
        const v mean_along = v_set1((real)(wide_sum(along) / (double)width));
        EACH_VECTOR_OF_ROW(width, panel_step) {
            const v g = v_load(dy + at) * v_load(gain + c);
            const v normal = (v_load(z + at) - mean) * scale;
            v_store(dz + at, v_true(v_fma(-normal, mean_along, g - mean_g) * scale, width - c));
        }
    }
}

/* The gradient of the gains. */
static __attribute__((noinline)) void normalized_sums(const real *dy, const real *z, const real *statistics,
                                                    const int64_t batch, real *g) {
    sum_products(1, dy, z, statistics, batch, g);
}

#endif
