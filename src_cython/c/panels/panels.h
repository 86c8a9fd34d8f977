/* Conversion between row-major arrays and column panels (packing of parameters, gather of rows), and passes over
 * whole arenas. */
#ifndef FM_PANELS_H
#define FM_PANELS_H

#include "network.h"
#include "panels/tile.h"
#include "simd/fpenv.h"

/* Number of vectors in the panel that starts at column `first`. */
FM_INLINE int vectors(const int64_t columns, const int64_t first) {
    const int64_t left = columns - first;
    return left >= NR ? NV : (int)((left + LANES - 1) / LANES);
}

/* Distance of the rows in a tensor's panel that starts at column `first`. A single column is a plain vector, which is
 * its own transposed copy. */
FM_INLINE int64_t panel_stride(const fm_tensor *t, const int64_t first) {
    return t->n_columns == 1 ? 1 : vectors(t->n_columns, first) * LANES;
}

/* Copy a plain (n_rows, n_columns) array to the panels of a tensor in its arena if `packs`, else from them. */
static void copy_tensor(const fm_tensor *t, const int packs, void *plain, void *parameters) {
    for (int64_t p = 0; p < t->panels; p++) {
        const int64_t first = p * NR, stride = panel_stride(t, first);
        const size_t size = sizeof(real) * (size_t)(t->n_columns - first < NR ? t->n_columns - first : NR);
        real *panel = (real *)parameters + t->offset + p * t->rows * NR, *row = (real *)plain + first;
        for (int64_t k = 0; k < t->n_rows; k++, panel += stride, row += t->n_columns)
            packs ? memcpy(panel, row, size) : memcpy(row, panel, size);
    }
}

/* Copy a row from or into panels. */
FM_INLINE void row_from_panels(const real *z, int64_t panel, int64_t columns, real *row) {
    for (int64_t c = 0; c < columns; c += NR, z += panel)
        copy_values(row + c, z, columns - c < NR ? columns - c : NR);
}
FM_INLINE void row_to_panels(const real *row, int64_t panel, int64_t columns, real *z) {
    for (int64_t c = 0; c < columns; c += NR, z += panel)
        copy_values(z, row + c, columns - c < NR ? columns - c : NR);
}

/* Copy `width` values, `stride` bytes apart, of each of n rows into a panel, from byte `at` of the rows on. */
FM_INLINE void copy_pieces(const char *const *rows, const int n, int64_t at, int64_t stride, int64_t width, real *to) {
    if (stride != (int64_t)sizeof(real)) {
        for (int i = 0; i < n; i++)
            for (int64_t j = 0; j < width; j++) to[i * NR + j] = *(const real *)(rows[i] + at + j * stride);
    } else if (width < NR) {
        for (int i = 0; i < n; i++, to += NR) copy_values(to, (const real *)(rows[i] + at), width);
    } else {
        for (int i = 0; i < n; i++, to += NR) {
            UNROLL
            for (int j = 0; j < NV; j++) v_store(to + j * LANES, v_loadu((const real *)(rows[i] + at) + j * LANES));
        }
    }
}

enum { GATHER_ROWS = 8 }; /* rows copied together, so that several lines of a panel are written at a time */

/* Like gather_rows, for computed rows: compute each into `row`, then copy it into the panels. The memory that it is
 * computed from is prefetched some rows ahead, because waiting for it would take as long as computing. With `e`, only
 * the first n_in inputs are in panels, and the others become entries; returns their end. */
static int64_t compute_rows(const fm_data *data, const int64_t *order, int64_t first, int64_t from, int64_t to,
                            int64_t n_in, int64_t panel, real *row, real *x, const fm_entries *e) {
    const fm_row_source *source = data->source;
    int64_t at = from * source->entries;
    const fm_fpenv native = fm_get_fpenv();
    fm_restore_fpenv(FM_DEFAULT_FPENV);
    for (int64_t r = from - GATHER_ROWS; r < to; r++) {
        const int64_t ahead = first + r + GATHER_ROWS;
        if (ahead < first + to) source->fetch(source->context, order ? order[ahead] : ahead);
        if (r < from) continue;
        const int64_t number = order ? order[first + r] : first + r;
        if (e) {
            e->first[r] = at;
            at += source->fill_sparse(source->context, number, row, e->columns + at, (real *)e->x + at);
            e->end[r] = at;
        } else {
            source->fill(source->context, number, row);
        }
        row_to_panels(row, panel, n_in, x + r * NR);
    }
    fm_restore_fpenv(native);
    return at;
}

/* Copy rows `first + i` (or order[first + i]) of the user's X to rows i = from..to-1 of the input panels. Padding
 * columns are not written and stay 0. `row` has room for n_in elements. */
static void gather_rows(const fm_data *data, const int64_t *order, int64_t first, int64_t from,
                        int64_t to, int64_t n_in, int64_t panel, real *row, real *x) {
    const int64_t stride = data->x_column_stride;
    if (data->source) {
        compute_rows(data, order, first, from, to, n_in, panel, row, x, NULL);
        return;
    }
    for (int64_t start = from; start < to; start += GATHER_ROWS) {
        const int n = to - start < GATHER_ROWS ? (int)(to - start) : GATHER_ROWS;
        const char *rows[GATHER_ROWS];
        for (int i = 0; i < n; i++) {
            const int64_t r = first + start + i;
            rows[i] = data->x + (order ? order[r] : r) * data->x_row_stride;
        }
        real *out = x + start * NR;
        for (int64_t c = 0; c < n_in; c += NR, out += panel)
            copy_pieces(rows, n, c * stride, stride, n_in - c < NR ? n_in - c : NR, out);
    }
}

/* Copy the labels or targets of the same rows and their weights, 1 by default. */
static __attribute__((noinline)) void gather_targets(const fm_data *data, const int64_t *order, int64_t first,
                                                     int64_t from, int64_t to, int64_t width, int64_t stride,
                                                     real *targets, real *output_weights, int32_t *labels,
                                                     real *weights) {
    const real *const values = data->targets, *const given = data->weights;
    for (int64_t r = from; r < to; r++) {
        const int64_t row = order ? order[first + r] : first + r;
        if (data->labels) labels[r] = data->labels[row];
        else if (values && width == 1) targets[r] = values[row];
        else if (values) memcpy(targets + r * stride, values + row * width, sizeof(real) * (size_t)width);
        weights[r] = given ? given[row] : 1;
    }
    const real *const factors = data->output_weights;
    for (int64_t r = from; factors && r < to; r++) {
        const int64_t row = order ? order[first + r] : first + r;
        memcpy(output_weights + r * stride, factors + row * width, sizeof(real) * (size_t)width);
    }
}

static void multiply_block(const real *factor, const real *d, real *out, int64_t rows, int nv) {
    EACH_VECTOR(rows, nv) v_store(out + at, v_load(d + at) * v_load(factor + at));
}

/* out += a * b */
static void multiply_add_block(const real *a, const real *b, real *out, int64_t rows, int nv) {
    EACH_VECTOR(rows, nv) v_store(out + at, v_fma(v_load(a + at), v_load(b + at), v_load(out + at)));
}

/* Half a vector, and the doubles of its numbers. */
#define HALF (LANES / 2)
typedef real v_half __attribute__((vector_size(FM_VECTOR_BYTES / 2), may_alias));
typedef double v_doubles __attribute__((vector_size(HALF * 8), aligned(8), may_alias));
typedef int64_t v_double_bits __attribute__((vector_size(HALF * 8)));

FM_INLINE v_doubles doubles_at(const real *p) { return __builtin_convertvector(*(const v_half *)p, v_doubles); }

/* Sum n half vectors of columns, a constant. */
FM_INLINE void sum_halves(const int n, const real *panel, const int64_t rows, const int64_t stride,
                          const int are_squares, v_doubles *sums) {
    v_doubles acc[2 * NV] = {{0}};
    for (int64_t k = 0; k < rows; k++, panel += stride) {
        UNROLL
        for (int i = 0; i < n; i++) {
            const v_doubles value = doubles_at(panel + i * HALF);
            if (are_squares) acc[i] += value * value;
            else acc[i] += (v_doubles)((v_double_bits)value & INT64_MAX);
        }
    }
    for (int i = 0; i < n; i++) sums[i] = acc[i];
}

/* Sums of the squares of each column, or of the absolute values. Each is a sequential chain in double, so that it does
 * not depend on the panel width. */
static void sum_columns(const real *panel, int64_t rows, int64_t width, int64_t stride, int are_squares, double *sums) {
    v_doubles acc[2 * NV] = {{0}};
    if (stride == 1) /* a single column is a plain vector */
        for (int64_t k = 0; k < rows; k++) {
            const double value = (double)panel[k];
            acc[0][0] += are_squares ? value * value : fabs(value);
        }
    else if (stride == NR && are_squares) sum_halves(2 * NV, panel, rows, NR, 1, acc);
    else
        for (int64_t i = 0; i * HALF < stride; i++) sum_halves(1, panel + i * HALF, rows, stride, are_squares, acc + i);
    memcpy(sums, acc, sizeof(double) * (size_t)width);
}

/* sums += g, in double; n is a multiple of LANES, here and below. */
static void add_to_sums(double *sums, const real *g, int64_t n) {
    for (int64_t i = 0; i < n; i += HALF) *(v_doubles *)(sums + i) += doubles_at(g + i);
}

/* g = factor * sums. */
static void take_sums(real *g, const double *sums, double factor, int64_t n) {
    for (int64_t i = 0; i < n; i += HALF)
        *(v_half *)(g + i) = __builtin_convertvector(factor * *(const v_doubles *)(sums + i), v_half);
}

/* g += l2 * w, for stored gradients. */
static void add_penalty(const real *w, real *g, int64_t n, real l2) {
    for (int64_t i = 0; i < n; i += LANES)
        v_store(g + i, v_fma(v_set1(l2), v_load(w + i), v_load(g + i)));
}

/* g += l1 * sign(w), the subgradient that is 0 at 0, for stored gradients. */
static void add_signs(const real *w, real *g, int64_t n, real l1) {
    for (int64_t i = 0; i < n; i += LANES)
        v_store(g + i, v_fma(v_set1(l1), v_sign(v_load(w + i)), v_load(g + i)));
}

/* Move numbers below their lower bound, or above the upper one, to it; NaN stays NaN. */
static void keep_between(real *w, const real *lower, const real *upper, int64_t n) {
    for (int64_t i = 0; i < n; i += LANES) {
        const v value = v_load(w + i), low = v_load(lower + i), high = v_load(upper + i);
        v_store(w + i, v_select(value < low, low, v_select(value > high, high, value)));
    }
}

/* Whether n numbers, at any alignment, are finite: x - x is 0 for finite x only. */
static int32_t all_finite(const void *numbers, int64_t n) {
    const real *x = (const real *)numbers;
    vi found = {0};
    int64_t i = 0;
    bits total = 0;
    for (; i + LANES <= n; i += LANES) found |= v_loadu(x + i) - v_loadu(x + i) != 0;
    for (; i < n; i++) total |= x[i] - x[i] != 0;
    for (int j = 0; j < LANES; j++) total |= found[j];
    return total == 0;
}

/* Whether any of n numbers is 0. */
static int32_t any_zero(const real *a, int64_t n) {
    vi found = {0};
    int64_t i = 0;
    bits total = 0;
    for (; i + LANES <= n; i += LANES) found |= v_loadu(a + i) == 0;
    for (; i < n; i++) total |= a[i] == 0;
    for (int j = 0; j < LANES; j++) total |= found[j];
    return total != 0;
}

/* 10 independent chains of multiply-adds, the peak of one core; returns the number of operations. */
static __attribute__((noinline)) double fma_peak(int64_t rounds) {
    v acc[10];
    const v a = v_set1((real)0.999), b = v_set1((real)0.001);
    for (int i = 0; i < 10; i++) acc[i] = v_set1((real)(i + 2)); /* a 1 would stay 1 */
    for (int64_t r = 0; r < rounds; r++) {
        UNROLL
        for (int i = 0; i < 10; i++) acc[i] = v_fma(acc[i], a, b);
    }
    real sink = 0;
    for (int i = 0; i < 10; i++) sink += acc[i][0];
    return (sink == sink ? 1.0 : 0.0) * (double)rounds * 10 * LANES * 2;
}

#endif
