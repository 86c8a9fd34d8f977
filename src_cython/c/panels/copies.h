/* Copies of parameters in another layout or storage type; each kind is a row of a table. */
#ifndef FM_COPIES_H
#define FM_COPIES_H

#include "panels/bfloat16.h"
#include "panels/row.h"

typedef struct {
    int64_t element_size;
    /* updates the copy of rows [k_from, k_to) of panel p */
    void (*renew)(const fm_tensor *t, const real *parameters, void *copies, int64_t p, int64_t k_from, int64_t k_to);
    void (*row)(const fm_tensor *t, const real *bias, const real *x, const void *copies, real *out); /* row.h */
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

#if !FM_DOUBLE
/* Weights in 16 or 8 bits for row.h, [ceil(n_columns / NR)][copy.rows][NR] words, of which the first row of FM_INT8 are
 * units: largest weights / 127. The weights must be exact in the storage type, see fastmlp/_engine/narrow.py. */
FM_INLINE void narrow_panel(const int kind, const fm_tensor *t, const real *parameters, void *copies, int64_t p) {
    const int64_t stride = panel_stride(t, p * NR);
    const real *panel = parameters + t->offset + p * t->rows * NR;
    real *to = (real *)copies + t->copies[kind].offset + p * t->copies[kind].rows * NR;
    for (int64_t j = 0; j < stride; j += LANES) {
        v unit = {0};
        real *word = to + j;
        for (int64_t k = 0; k < t->n_rows; k++) unit = v_max(unit, v_abs(v_load(panel + k * stride + j)));
        unit = v_select(unit > 0, unit / (real)127, v_set1(1));
        if (kind == FM_INT8) v_store(word, unit), word += stride;
        for (int64_t k = 0; k < t->n_rows; k += ROWS_OF(kind), word += stride) {
            vi packed = {0};
            for (int i = 0; i < ROWS_OF(kind) && k + i < t->n_rows; i++) {
                const v w = v_load(panel + (k + i) * stride + j);
                if (kind == FM_INT8) packed |= (__builtin_convertvector(w / unit, vi) + 128) << 8 * i;
                else packed |= i ? (vi)w & (bits)0xffff0000 : (vi)w >> 16 & 0xffff;
            }
            v_store(word, (v)packed);
        }
    }
}

#define NARROW(name, kind) \
    static void name##_rows(const fm_tensor *t, const real *parameters, void *copies, int64_t p, \
                            FM_UNUSED int64_t k_from, FM_UNUSED int64_t k_to) { \
        narrow_panel(kind, t, parameters, copies, p); \
    } \
    ROW_AFFINE(name##_row, kind)
NARROW(bfloat16, FM_BFLOAT16)
NARROW(int8, FM_INT8)
#endif

static const fm_copy_kind COPY_KINDS[FM_COPIES] = {
    [FM_TRANSPOSED] = {sizeof(real), transpose_rows, NULL},
#if FM_HAS_BFLOAT16
    [FM_PAIRED] = {sizeof(bfloat16), paired_rows, NULL},
    [FM_PAIRED_TRANSPOSED] = {sizeof(bfloat16), paired_columns, NULL},
#endif
#if !FM_DOUBLE
    [FM_BFLOAT16] = {sizeof(real), bfloat16_rows, bfloat16_row},
    [FM_INT8] = {sizeof(real), int8_rows, int8_row},
#endif
};

#endif
