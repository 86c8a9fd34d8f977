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

/* The doubles of a vector. As one vector of twice the size they would not stay in registers. */
typedef struct {
    v_doubles half[2];
} wide;

FM_INLINE wide v_wide(v a) {
    v_half of_reals[2];
    memcpy(of_reals, &a, sizeof a);
    return (wide){{__builtin_convertvector(of_reals[0], v_doubles), __builtin_convertvector(of_reals[1], v_doubles)}};
}

FM_INLINE void add(wide *sum, wide a) { sum->half[0] += a.half[0], sum->half[1] += a.half[1]; }

FM_INLINE void add_product(wide *sum, wide a, wide b) {
    sum->half[0] += a.half[0] * b.half[0], sum->half[1] += a.half[1] * b.half[1];
}

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
        wide sum[TREE_VECTORS] = {{{{0}}}}, squares[TREE_VECTORS] = {{{{0}}}};
        EACH_VECTOR_OF_ROW(width, panel_step) add(&sum[u], v_wide(v_true(v_load(z + at), width - c)));
        const v mean = v_set1((real)(wide_sum(sum) / (double)width));
        EACH_VECTOR_OF_ROW(width, panel_step) {
            const wide centered = v_wide(v_true(v_load(z + at) - mean, width - c));
            add_product(&squares[u], centered, centered);
        }
        const v scale = v_set1((real)(1 / sqrt(wide_sum(squares) / (double)width + NORM_EPSILON)));
        EACH_VECTOR_OF_ROW(width, panel_step) {
            const v normal = (v_load(z + at) - mean) * scale;
            v_store(y + at, v_fma(normal, v_load(gain + c), v_load(shift + c)));
        }
        if (statistics) statistics[2 * r] = mean[0], statistics[2 * r + 1] = scale[0];
    }
}

/* With n = (z - mean) scale, the derivatives of n times g: (g - mean(g) - n mean(g n)) scale. The matrix is symmetric:
 * with g = dy gain it takes gradients back; `is_tangent`: it takes tangents g = dy forward, times gain unless that is
 * NULL. Padding is 0. */
FM_INLINE void reject_rows(const int is_tangent, const real *dy, const real *z, const int64_t panel_step,
                           const int64_t width, const real *gain, const real *statistics, const int64_t rows, real *dz) {
    for (int64_t r = 0; r < rows; r++, dy += NR, z += NR, dz += NR, statistics += 2) {
        const v mean = v_set1(statistics[0]), scale = v_set1(statistics[1]);
        wide sum[TREE_VECTORS] = {{{{0}}}}, along[TREE_VECTORS] = {{{{0}}}};
        EACH_VECTOR_OF_ROW(width, panel_step) {
            v g = v_load(dy + at);
            if (!is_tangent) g *= v_load(gain + c);
            const wide wide_g = v_wide(v_true(g, width - c));
            add(&sum[u], wide_g);
            add_product(&along[u], wide_g, v_wide(v_true((v_load(z + at) - mean) * scale, width - c)));
        }
        const v mean_g = v_set1((real)(wide_sum(sum) / (double)width));
        const v mean_along = v_set1((real)(wide_sum(along) / (double)width));
        EACH_VECTOR_OF_ROW(width, panel_step) {
            v g = v_load(dy + at);
            if (!is_tangent) g *= v_load(gain + c);
            const v normal = (v_load(z + at) - mean) * scale;
            v d = v_fma(-normal, mean_along, g - mean_g) * scale;
            if (is_tangent && gain) d *= v_load(gain + c);
            v_store(dz + at, v_true(d, width - c));
        }
    }
}

static __attribute__((noinline)) void derive_rows(int is_tangent, const real *dy, const real *z, int64_t panel_step,
                                                  int64_t width, const real *gain, const real *statistics,
                                                  int64_t rows, real *dz) {
    if (is_tangent) reject_rows(1, dy, z, panel_step, width, gain, statistics, rows, dz);
    else reject_rows(0, dy, z, panel_step, width, gain, statistics, rows, dz);
}

/* Add the gradient by z of sum(dy t), t the tangent of s, to dz: with g = dy gain and s minus their means,
 * -(n (mean(g s) - 3 mean(g n) mean(s n)) + g mean(s n) + s mean(g n)) scale^2. */
static __attribute__((noinline)) void normalize_rows_bend(const real *dy, const real *s, const real *z,
                                                const int64_t panel_step, const int64_t width, const real *gain,
                                                const real *statistics, const int64_t rows, real *dz) {
    for (int64_t r = 0; r < rows; r++, dy += NR, s += NR, z += NR, dz += NR, statistics += 2) {
        const v mean = v_set1(statistics[0]), scale = v_set1(statistics[1]);
        wide sum_g[TREE_VECTORS] = {{{{0}}}}, sum_s[TREE_VECTORS] = {{{{0}}}};
        wide g_n[TREE_VECTORS] = {{{{0}}}}, s_n[TREE_VECTORS] = {{{{0}}}}, g_s[TREE_VECTORS] = {{{{0}}}};
        EACH_VECTOR_OF_ROW(width, panel_step) {
            add(&sum_g[u], v_wide(v_true(v_load(dy + at) * v_load(gain + c), width - c)));
            add(&sum_s[u], v_wide(v_true(v_load(s + at), width - c)));
        }
        const v mean_g = v_set1((real)(wide_sum(sum_g) / (double)width));
        const v mean_s = v_set1((real)(wide_sum(sum_s) / (double)width));
        EACH_VECTOR_OF_ROW(width, panel_step) {
            const wide g = v_wide(v_true(v_load(dy + at) * v_load(gain + c) - mean_g, width - c));
            const wide t = v_wide(v_true(v_load(s + at) - mean_s, width - c));
            const wide normal = v_wide(v_true((v_load(z + at) - mean) * scale, width - c));
            add_product(&g_n[u], g, normal);
            add_product(&s_n[u], t, normal);
            add_product(&g_s[u], g, t);
        }
        const double along_g = wide_sum(g_n) / (double)width, along_s = wide_sum(s_n) / (double)width;
        const v both = v_set1((real)(wide_sum(g_s) / (double)width - 3 * along_g * along_s));
        const v of_g = v_set1((real)along_s), of_s = v_set1((real)along_g);
        EACH_VECTOR_OF_ROW(width, panel_step) {
            const v g = v_load(dy + at) * v_load(gain + c) - mean_g;
            const v normal = (v_load(z + at) - mean) * scale;
            const v total = v_fma(normal, both, v_fma(g, of_g, (v_load(s + at) - mean_s) * of_s));
            v_store(dz + at, v_true(v_fma(-total, scale * scale, v_load(dz + at)), width - c));
        }
    }
}

/* The gradient of the gains. */
static __attribute__((noinline)) void normalized_sums(const real *dy, const real *z, const real *statistics,
                                                    const int64_t batch, real *g) {
    sum_rows(TIMES_NORMAL, dy, z, statistics, batch, g);
}

#endif
