/* Parametric activations, y = (1 - alpha) z + alpha f(z) with an alpha per column, computed from f(z).
 *
 * The formulas are those of fastmlp/_network/activations.py. With alpha = 1 the results have the bits of f(z)
 * and f'(z). */
#ifndef FM_PARAMETRIC_H
#define FM_PARAMETRIC_H

#include "panels.h"

enum { BLEND_ROWS = 16 }; /* rows of a panel at a time, which fit in the first-level cache */

static void copy_block(const real *z, real *out, int64_t rows, int nv) {
    EACH_VECTOR(rows, nv) v_store(out + at, v_load(z + at));
}

/* (1 - alpha) a + alpha b */
FM_INLINE v v_blend(v alpha, v a, v b) { return v_fma(alpha, b, (1 - alpha) * a); }

/* Replace f(z) in y, a block of a panel, by the result. */
static __attribute__((noinline)) void blend_block(const real *z, const real *alpha, real *y, int64_t rows, int nv) {
    for (int64_t r = 0; r < rows; r++, z += NR, y += NR)
        for (int j = 0; j < nv * LANES; j += LANES) v_store(y + j, v_blend(v_load(alpha + j), v_load(z + j), v_load(y + j)));
}

/* Also replace f'(z) in slopes by the derivative of the result by z, and z by f(z) - z, its derivative by alpha. */
static __attribute__((noinline)) void blend_keeping(real *z, const real *alpha, real *y, real *slopes, int64_t rows,
                                                    int nv) {
    for (int64_t r = 0; r < rows; r++, z += NR, y += NR, slopes += NR)
        for (int j = 0; j < nv * LANES; j += LANES) {
            const v a = v_load(alpha + j), before = v_load(z + j), f = v_load(y + j);
            v_store(y + j, v_blend(a, before, f));
            v_store(slopes + j, v_blend(a, v_set1(1), v_load(slopes + j)));
            v_store(z + j, f - before);
        }
}

/* out = s (f'(z) - 1): the derivative of f(z) - z in the direction s. */
static __attribute__((noinline)) void tangent_by_alpha(const real *s, const real *slopes, real *out, int64_t rows,
                                                       int nv) {
    EACH_VECTOR(rows, nv) v_store(out + at, v_load(s + at) * (v_load(slopes + at) - 1));
}

#endif
