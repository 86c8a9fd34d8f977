/* Sparse rows: the passes of the first layer over the entries of a block, in place of panels of inputs.
 *
 * Every sum has the terms of the dense one in the same order, without those of zeros, so it has the same bits (but for
 * the sign of a zero). Weights, their gradients and slots are in panels as always: a row of a panel is contiguous. */
#ifndef FM_ENTRIES_H
#define FM_ENTRIES_H

#include "panels/panels.h"
#include "tables/optimizers.h"

enum { AHEAD = 8 }; /* entries, and rows, for which memory is prefetched */

/* Prefetch a row of a panel of weights. */
FM_INLINE void fetch_row(const real *row, const int64_t size) {
    for (int64_t j = 0; j < size * FM_REAL_BYTES; j += LINE_BYTES) __builtin_prefetch((const char *)row + j);
}

/* Start the lists of a thread anew. */
FM_INLINE void clear_entries(const fm_entries *e, const int32_t thread) {
    if (e->heads) memset(e->marks + thread * e->n_words, 0, sizeof(uint64_t) * (size_t)e->n_words);
}

/* Copy the entries of rows start + [first, last) of CSR, behind those of the rows before; returns their end. */
FM_INLINE int64_t copy_entries(const fm_data *data, const int64_t *order, int64_t start, int64_t first, int64_t last,
                               const fm_entries *e) {
    const real *values = data->values;
    int64_t at = 0;
    for (int64_t r = 0; r < last; r++) {
        const int64_t row = order ? order[start + r] : start + r;
        const int64_t from = data->starts[row], size = data->starts[row + 1] - from;
        if (r >= first) {
            if (order && r + AHEAD < last) {
                const int64_t later = data->starts[order[start + r + AHEAD]];
                __builtin_prefetch(data->columns + later);
                __builtin_prefetch(values + later);
            }
            memcpy(e->columns + at, data->columns + from, sizeof(int32_t) * (size_t)size);
            memcpy((real *)e->x + at, values + from, sizeof(real) * (size_t)size);
            e->first[r] = at;
            e->end[r] = at + size;
        }
        at += size;
    }
    return at;
}

/* Copy rows start + [first, last) of the data (through order, if any) into the batch, and chain the entries of each
 * column. Rows of padding have no entries. */
static __attribute__((noinline)) void gather_entries(const fm_data *data, const int64_t *order, int64_t start,
                                                     int64_t first, int64_t last, int32_t thread,
                                                     const fm_entries *e, int64_t n_dense, int64_t panel, real *row,
                                                     real *x) {
    const int64_t end = data->source
                            ? compute_rows(data, order, start, first, last, n_dense, panel, row, x, e)
                            : copy_entries(data, order, start, first, last, e);
    for (int64_t r = last; r % ROW_MULTIPLE; r++) e->first[r] = e->end[r] = end;
    for (int64_t r = first; r < last; r++)
        for (int64_t i = e->first[r]; i < e->end[r]; i++) e->rows[i] = (int32_t)r;
    clear_entries(e, thread);
    if (!e->heads) return;
    int32_t *heads = e->heads + thread * e->n_columns;
    uint64_t *marks = e->marks + thread * e->n_words;
    for (int64_t i = end; i-- > e->first[first];) {
        const int32_t k = e->columns[i];
        const uint64_t mark = 1ull << (k % 64);
        e->next[i] = marks[k / 64] & mark ? heads[k] : -1;
        marks[k / 64] |= mark;
        heads[k] = (int32_t)i;
    }
}

/* ---------------------------------------------------------------- forward */

/* out = start + values @ w, of one panel; the rows of `start` are start_step apart, 0 for biases. */
FM_INLINE void entry_tile(const int nv, const fm_entries *e, const real *values, const int64_t first,
                          const int64_t rows, const real *w, const real *start, const int64_t start_step, real *out) {
    const int64_t last = e->end[first + rows - 1];
    for (int64_t r = first; r < first + rows; r++, start += start_step, out += NR) {
        v acc[4];
        UNROLL
        for (int j = 0; j < nv; j++) acc[j] = v_load(start + j * LANES);
        for (int64_t i = e->first[r]; i < e->end[r]; i++) {
            const real *row = w + e->columns[i] * (int64_t)(nv * LANES);
            const v s = v_set1(values[i]);
            if (i + AHEAD < last) fetch_row(w + e->columns[i + AHEAD] * (int64_t)(nv * LANES), nv * LANES);
            UNROLL
            for (int j = 0; j < nv; j++) acc[j] = v_fma(s, v_load(row + j * LANES), acc[j]);
        }
        UNROLL
        for (int j = 0; j < nv; j++) v_store(out + j * LANES, acc[j]);
    }
}

static __attribute__((noinline)) void entry_panel(const fm_entries *e, const real *values, int64_t first,
                                                  int64_t rows, const real *w, const real *start,
                                                  int64_t start_step, real *out, const int nv) {
    if (nv == NV) entry_tile(NV, e, values, first, rows, w, start, start_step, out);
    else if (nv == 1) entry_tile(1, e, values, first, rows, w, start, start_step, out);
    else if (nv == 2) entry_tile(2, e, values, first, rows, w, start, start_step, out);
    else if (NV > 3) entry_tile(3, e, values, first, rows, w, start, start_step, out);
}

/* The same of a single output column, summed in the lanes of dot_row; the first n_dense inputs are in the panels a. */
static __attribute__((noinline)) void entry_dots(const fm_entries *e, const real *values, const real *a,
                                                 int64_t panel_step, int64_t n_dense, int64_t first, int64_t rows,
                                                 const real *w, const real *start, int64_t start_step, real *out) {
    for (int64_t r = first; r < first + rows; r++, a += NR, start += start_step, out += NR) {
        real lanes[TREE_LANES] = {0};
        v acc[TREE_VECTORS];
        for (int64_t k = 0; k < n_dense; k++) {
            real *lane = &lanes[k % TREE_LANES];
            *lane = one_fma(a[k / NR * panel_step + k % NR], w[k], *lane);
        }
        for (int64_t i = e->first[r]; i < e->end[r]; i++) {
            real *lane = &lanes[e->columns[i] % TREE_LANES];
            *lane = one_fma(values[i], w[e->columns[i]], *lane);
        }
        UNROLL
        for (int u = 0; u < TREE_VECTORS; u++) acc[u] = v_loadu(lanes + u * LANES);
        out[0] = start[0] + v_tree_sum(acc);
    }
}

/* Multiply entries [from, to) by the scales of their columns. */
static void scale_entries(const fm_entries *e, int64_t from, int64_t to, const real *scales) {
    const real *x = e->x;
    real *y = e->y;
    for (int64_t i = from; i < to; i++) y[i] = x[i] * scales[e->columns[i]];
}

/* Set the entries of a row to 0. */
static void clear_entry_row(const fm_entries *e, int64_t r) {
    const size_t size = sizeof(real) * (size_t)(e->end[r] - e->first[r]);
    memset((real *)e->x + e->first[r], 0, size);
    memset((real *)e->y + e->first[r], 0, size);
}

/* ---------------------------------------------------------------- one row */

enum { WIDE_ROW = 256, FEW_SHARE = 4 }; /* least inputs of a row that may have few, and 1 / most of them */

/* List the inputs of a row that are not 0; returns their number, or -1 if they are not few. */
FM_INLINE int64_t list_entries(const real *x, int64_t n, int32_t *columns, real *values) {
    enum { BLOCK = 64 / FM_REAL_BYTES };
    const int64_t most = n / FEW_SHARE;
    int64_t count = 0;
    for (int64_t i = 0; i < n; i += BLOCK) {
        const int64_t size = n - i < BLOCK ? n - i : BLOCK;
        uint64_t words[8] = {0}, any = 0;
        memcpy(words, x + i, sizeof(real) * (size_t)size);
        for (int k = 0; k < 8; k++) any |= words[k];
        if (!any) continue;
        for (int64_t k = i; k < i + size; k++) {
            if (x[k] == 0) continue;
            if (count == most) return -1;
            columns[count] = (int32_t)k;
            values[count++] = x[k];
        }
    }
    return count;
}

/* out = bias + x @ w of a contiguous row with few inputs that are not 0; false if it has more. `scratch` has room for
 * half a row. */
static int row_of_few(const fm_tensor *weights, const real *bias, const real *x, const real *parameters, real *scratch,
                      real *out) {
    int32_t *columns = (int32_t *)(scratch + weights->n_rows / FEW_SHARE + LANES);
    const int64_t first = 0, end = list_entries(x, weights->n_rows, columns, scratch);
    const fm_entries row = {.first = (int64_t *)&first, .end = (int64_t *)&end, .columns = columns};
    if (end < 0) return 0;
    for (int64_t p = 0; p < weights->panels; p++)
        entry_panel(&row, scratch, 0, 1, parameters + weights->offset + p * weights->rows * NR, bias + p * NR, 0,
                    out + p * NR, vectors(weights->n_columns, p * NR));
    return 1;
}

/* ---------------------------------------------------------------- backward */

/* dy of entries [from, to) = dz @ w^T, or dy += it if `more`: LANES entries at a time, a sum over the columns of w in
 * each lane. */
static __attribute__((noinline)) void entry_backward(const fm_entries *e, int64_t from, int64_t to, const real *dz,
                                                     int64_t panel_step, const fm_tensor *weights,
                                                     const real *parameters, int more) {
    const real *w = parameters + weights->offset;
    real *dy = e->dy;
    if (weights->n_columns == 1) {
        for (int64_t i = from; i < to; i++)
            dy[i] = one_fma(dz[e->rows[i] * (int64_t)NR], w[e->columns[i]], more ? dy[i] : 0);
        return;
    }
    for (int64_t i = from; i < to; i += LANES) {
        const int n = to - i < LANES ? (int)(to - i) : LANES;
        v acc = {0};
        for (int k = 0; more && k < n; k++) acc[k] = dy[i + k];
        for (int64_t p = 0; p < weights->panels; p++) {
            const int64_t left = weights->n_columns - p * NR, width = left < NR ? left : NR;
            const int64_t stride = panel_stride(weights, p * NR);
            for (int64_t o = 0; o < width; o += LANES) {
                v turned[2][LANES]; /* columns of dz and of w */
                ROLLED
                for (int m = 0; m < 2; m++) {
                    const real *from = m ? w + p * weights->rows * NR : dz + p * panel_step;
                    const int32_t *places = (m ? e->columns : e->rows) + i;
                    const int64_t step = m ? stride : NR;
                    v a[LANES];
                    UNROLL
                    for (int k = 0; k < LANES; k++) a[k] = v_load(from + places[k < n ? k : 0] * step + o);
                    transpose_vectors(a);
                    UNROLL
                    for (int k = 0; k < LANES; k++) turned[m][k] = a[k];
                }
                for (int k = 0; k < LANES && o + k < width; k++) acc = v_fma(turned[0][k], turned[1][k], acc);
            }
        }
        for (int k = 0; k < n; k++) dy[i + k] = acc[k];
    }
}

/* Loop over the columns k in [from, to) that have entries. */
#define EACH_MARKED(e, from, to) \
    for (int64_t word_ = (from) / 64; word_ * 64 < (to); word_++) \
        for (uint64_t bits_ = column_bits(e, word_, from, to), k = 0; \
             bits_ && (k = (uint64_t)word_ * 64 + (uint64_t)__builtin_ctzll(bits_), 1); bits_ &= bits_ - 1)

FM_INLINE uint64_t column_bits(const fm_entries *e, int64_t word, int64_t from, int64_t to) {
    uint64_t marked = 0;
    for (int32_t t = 0; t < e->active; t++) marked |= e->marks[t * e->n_words + word];
    if (word * 64 < from) marked &= ~0ull << (from - word * 64);
    if (to - word * 64 < 64) marked &= ~(~0ull << (to - word * 64));
    return marked;
}

/* Loop over the entries i of column k in rows [from, to). */
#define EACH_ENTRY(e, k, from, to) \
    for (int32_t t_ = 0; t_ < (e)->active; t_++) \
        for (int32_t i = first_entry(e, t_, (int64_t)(k), from); i >= 0 && (e)->rows[i] < (to); i = (e)->next[i])

FM_INLINE int32_t first_entry(const fm_entries *e, int32_t t, int64_t k, int64_t from) {
    if (!(e->marks[t * e->n_words + k / 64] >> (k % 64) & 1)) return -1;
    int32_t i = e->heads[t * e->n_columns + k];
    while (i >= 0 && e->rows[i] < from) i = e->next[i];
    return i;
}

/* The gradient of row k of a weight panel over rows [first, last); d is the panel of dz. */
FM_INLINE void entry_sum(const int nv, const fm_entries *e, const real *values, const int64_t k, const int64_t first,
                         const int64_t last, const real *d, real *g) {
    v acc[4] = {{0}};
    EACH_ENTRY(e, k, first, last) {
        const real *row = d + e->rows[i] * (int64_t)NR;
        const v s = v_set1(values[i]);
        UNROLL
        for (int j = 0; j < nv; j++) acc[j] = v_fma(s, v_load(row + j * LANES), acc[j]);
    }
    UNROLL
    for (int j = 0; j < nv; j++) v_store(g + j * LANES, acc[j]);
}

static __attribute__((noinline)) void entry_row(const fm_entries *e, const real *values, const int64_t k,
                                                const int64_t first, const int64_t last, const real *d,
                                                const int nv, real *g) {
    if (nv == NV) entry_sum(NV, e, values, k, first, last, d, g);
    else if (nv == 1) entry_sum(1, e, values, k, first, last, d, g);
    else if (nv == 2) entry_sum(2, e, values, k, first, last, d, g);
    else if (NV > 3) entry_sum(3, e, values, k, first, last, d, g);
}

/* Rows [k_from, k_to) of the gradient of one weight panel of nv vectors. */
static __attribute__((noinline)) void entry_block(const fm_entries *e, const real *values, int64_t k_from,
                                                  int64_t k_to, const real *d, int64_t first, int64_t rows, real *g,
                                                  const int nv) {
    const int64_t stride = nv * LANES;
    memset(g, 0, sizeof(real) * (size_t)((k_to - k_from) * stride));
    EACH_MARKED(e, k_from, k_to)
        entry_row(e, values, (int64_t)k, first, first + rows, d, nv, g + ((int64_t)k - k_from) * stride);
}

/* The gradient of one number for each of columns [k_from, k_to): of the weights of a single output, values times the
 * panel d; if d is NULL of the scales, values times dy, where row r is added to sum r % 4, as in product_sums. */
static __attribute__((noinline)) void entry_numbers(const fm_entries *e, const real *values, int64_t k_from,
                                                    int64_t k_to, const real *d, int64_t first, int64_t rows,
                                                    real *g) {
    const real *dy = e->dy;
    memset(g, 0, sizeof(real) * (size_t)(k_to - k_from));
    EACH_MARKED(e, k_from, k_to) {
        real sums[4] = {0};
        EACH_ENTRY(e, k, first, first + rows) {
            real *sum = d ? sums : &sums[(e->rows[i] - first) % 4];
            *sum = one_fma(values[i], d ? d[e->rows[i] * (int64_t)NR] : dy[i], *sum);
        }
        g[(int64_t)k - k_from] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    }
}

/* Gradient and step of the rows of a weight panel that have entries; g is scratch memory. The weights of later columns,
 * also of the next piece, are prefetched: few of them are in the cache. */
static __attribute__((noinline)) void entry_steps(const fm_entries *e, const real *values, int64_t k_from,
                                                  int64_t k_to, const real *d, int64_t rows, const int nv, real *g,
                                                  const fm_optimizer *optimizer, real *w, const fm_scalars *s) {
    enum { MOST = 512 };
    const int64_t stride = nv * LANES, all = e->n_columns < k_from + MOST ? e->n_columns : k_from + MOST;
    int32_t columns[MOST];
    int n = 0;
    EACH_MARKED(e, k_from, all) columns[n++] = (int32_t)k;
    for (int i = 0; i < n && columns[i] < k_to; i++) {
        real *row = w + (columns[i] - k_from) * stride;
        if (i + AHEAD < n) fetch_row(w + (columns[i + AHEAD] - k_from) * stride, stride);
        entry_row(e, values, columns[i], 0, rows, d, nv, g);
        optimizer->step(row, g, row, row, stride, s);
    }
}

#endif
