/* Skip connections and the linear path: sums of two outputs, or of one and another times weights, and the gradients.
 *
 * Few networks have them, so they are not inlined, which leaves the inlining of the common code unchanged. */
#ifndef FM_RESIDUAL_H
#define FM_RESIDUAL_H

#include "panels.h"

/* out = y + a, rows in panels. */
static __attribute__((noinline)) void add_panels(const real *y, const real *a, const int64_t panel_step,
                                                 const int64_t columns, const int64_t rows, real *out) {
    for (int64_t c = 0; c < columns; c += NR, y += panel_step, a += panel_step, out += panel_step)
        EACH_VECTOR(rows, vectors(columns, c)) v_store(out + at, v_load(y + at) + v_load(a + at));
}

/* out = y + a w; each chain of multiply-adds starts from y. */
static __attribute__((noinline)) void add_affine_panels(const real *y, const real *a, const int64_t panel_step,
                                                        const fm_tensor *weights, const real *parameters,
                                                        const int64_t rows, real *out) {
    const int64_t columns = weights->n_columns;
    const real *w = parameters + weights->offset;
    if (columns == 1) {
        for (int64_t r = 0; r < rows; r++)
            out[r * NR] = dot_row(a + r * NR, panel_step, w, NR, weights->n_rows, y[r * NR]);
        return;
    }
    for (int64_t c = 0; c < columns; c += NR, w += weights->rows * NR, y += panel_step, out += panel_step)
        panel_added(a, panel_step, weights->n_rows, w, NULL, y, out, rows, vectors(columns, c));
}

/* The gradient of the first term of a sum is that of the sum. */
static __attribute__((noinline)) void copy_panels(const real *dz, const int64_t panel_step, const int64_t columns,
                                                  const int64_t rows, real *out) {
    for (int64_t c = 0; c < columns; c += NR, dz += panel_step, out += panel_step)
        EACH_VECTOR(rows, vectors(columns, c)) v_store(out + at, v_load(dz + at));
}

/* Add the gradient of the second term, dz or dz times panel p of w^T, to panel p of another gradient. */
static __attribute__((noinline)) void add_gradient(const real *dz, const int64_t panel_step, const int64_t n_columns,
                                                   const int64_t p, const fm_tensor *weights, const real *w_t,
                                                   const int64_t rows, const int nv, real *out) {
    if (weights->n_columns > 0) {
        panel_added(dz, panel_step, n_columns, w_t, NULL, out, out, rows, nv);
        return;
    }
    dz += p * panel_step;
    EACH_VECTOR(rows, nv) v_store(out + at, v_load(out + at) + v_load(dz + at));
}

#endif
