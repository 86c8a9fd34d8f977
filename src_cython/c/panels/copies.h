/* Copies of parameters in another layout or storage type; each kind is a row of a table. */
#ifndef FM_COPIES_H
#define FM_COPIES_H

#include "panels.h"

typedef struct {
    int64_t element_size;
    /* updates the copy of rows [k_from, k_to) of panel p */
    void (*renew)(const fm_tensor *t, const real *parameters, void *copies, int64_t p, int64_t k_from, int64_t k_to);
} fm_copy_kind;

/* W^T, [ceil(n_rows / NR)][copy.rows][NR]. Both arenas have room for whole squares. */
static void transpose_rows(const fm_tensor *t, const real *parameters, void *copies, int64_t p, int64_t k_from,
                           int64_t k_to) {
    const fm_copy *copy = &t->copies[FM_TRANSPOSED];
    const real *panel = parameters + t->offset + p * t->rows * NR;
    const int64_t stride = panel_stride(t, p * NR);
    if (k_to > t->n_rows) k_to = t->n_rows; /* the copy has no padding rows */
    for (int64_t k = k_from; k < k_to; k += LANES) {
        const int64_t to_panel = k / NR * NR;
        const int64_t to_stride = vectors(t->n_rows, to_panel) * LANES;
        real *to = (real *)copies + copy->offset + to_panel * copy->rows + k % NR;
        for (int64_t j = 0; j < stride; j += LANES)
            transpose_square(panel + k * stride + j, stride, LANES, to + (p * NR + j) * to_stride, to_stride, LANES);
    }
}

static const fm_copy_kind COPY_KINDS[FM_COPIES] = {[FM_TRANSPOSED] = {sizeof(real), transpose_rows}};

#endif
