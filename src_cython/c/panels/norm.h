/* Layer normalisation (Ba, Kiros and Hinton 2016) of rows in panel_steps, and its gradient.
 *
 * The formulas are those of fastmlp/_network/layer_norm.py. Every sum over a row is in double, over the virtual lanes of the
 * fixed tree, column c in lane c % TREE_LANES, and over the true width: padding may hold anything. So the bits depend
 * on nothing but the row. A row alone is one with panel_steps NR apart. */
#ifndef FM_NORM_H
#define FM_NORM_H

#include "scale.h"
#include "tile.h"

#define NORM_EPSILON 1e-5 /* of fastmlp/_network/layer_norm.py: a test compares */

typedef double wide __attribute__((vector_size(8 * LANES)));
FM_INLINE wide v_wide(v a) { return __builtin_convertvector(a, wide); }

/* The vectors of a row: c is the first column, `at` where that lies in the panel_steps, u the vector's place in the tree.
 * (An index that is no constant would put the sums in memory.) */
#define EACH_VECTOR_OF_ROW(width, panel_step) \
    for (int64_t start = 0; start < (width); start += TREE_LANES) \
        UNROLL \
        for (int u = 0; u < TREE_VECTORS; u++) \
            for (int64_t c = start + u * LANES, at = c / NR * (panel_step) + c % NR, once = 1; once && c < (width); once = 0)

/* The first `count` lanes, and zeros: padding may hold anything. */
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

/* y = (z - mean) / sqrt(variance + epsilon) * gain + shift. Where the gradient will be wanted, `statistics` (rows, 2)
 * gets the mean of each row and one over that root. */
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

/* The gradient of gains. */
static __attribute__((noinline)) void normalized_sums(const real *dy, const real *z, const real *statistics,
                                                    const int64_t batch, real *g) {
    sum_products(1, dy, z, statistics, batch, g);
}

#endif
