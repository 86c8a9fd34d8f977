/* Register tiles of the dense affine passes, on column panels (docs/kernels.md has drawings).
 *
 * A panel holds NR columns of a matrix: element (row, column j) is at row * NR + j. Every output element is one
 * sequential chain of fused multiply-adds over the reduction index, so its bits do not depend on tile shape, level,
 * thread count and batch split. Tiles always have all their rows, because buffers are padded. The last panel of a
 * matrix has nv = 1..NV vectors; weights, their gradients and slots are stored that narrow, activations are not.
 * Constant arguments and always_inline keep the accumulators in registers: `acc[8][4]` is the largest size, and the
 * constants m and nv reduce it. */
#ifndef FM_TILE_H
#define FM_TILE_H

#include "tables/activations.h"
#include "panels/prefetch.h"

/* How a finished accumulator is stored. */
enum { STORE_PLAIN = 0, STORE_RELU = 1, STORE_RELU_SLOPE = 2, STORE_ADDED = 3 };

/* out (m x NR) = epilogue(bias + a (m x k_len) @ w (k_len x nv vectors)).
 * In a, rows of a panel are a_row apart, and panels a_panel. gate has the shape of out. It holds the outputs y of a
 * relu, for the gradient, or the values at which the sums start instead of the bias. */
FM_INLINE void tile_nn(const int m, const int nv, const int store, const real *a, const int64_t a_row,
                       const int64_t a_panel, const int64_t k_len, const real *w, const real *bias,
                       const real *gate, real *out) {
    v acc[8][4];
    UNROLL
    for (int j = 0; j < nv; j++) {
        const v start = bias ? v_load(bias + j * LANES) : (v){0};
        UNROLL
        for (int i = 0; i < m; i++)
            acc[i][j] = store == STORE_ADDED ? v_load(gate + i * NR + j * LANES) : start;
    }
    for (int64_t done = 0; done < k_len; done += NR, a += a_panel) {
        /* pointers instead of an index, to save registers in the inner loop */
        const real *const end = a + (k_len - done < NR ? k_len - done : NR);
        UNROLL_4
        for (const real *at = a; at < end; at++, w += nv * LANES) {
            v b[4];
            UNROLL
            for (int j = 0; j < nv; j++) b[j] = v_load(w + j * LANES);
            UNROLL
            for (int i = 0; i < m; i++) {
                const v s = v_set1(at[i * a_row]);
                UNROLL
                for (int j = 0; j < nv; j++) {
                    acc[i][j] = v_fma(s, b[j], acc[i][j]);
                    if (nv > 1) HOLD(acc[i][j]); /* one vector per row leaves enough registers */
                }
            }
        }
    }
    UNROLL
    for (int i = 0; i < m; i++) {
        UNROLL
        for (int j = 0; j < nv; j++) {
            const int64_t at = i * NR + j * LANES;
            v r = acc[i][j];
            if (store == STORE_RELU) r = relu_value(r);
            if (store == STORE_RELU_SLOPE) r = (v)((vi)r & (v_load(gate + at) > 0));
            v_store(out + at, r);
        }
    }
}

/* Summed indices at a time for which a weight panel stays in 32 KiB of first-level cache while all rows pass. */
enum { NN_CHAIN = 20480 / (NR * NR * FM_REAL_BYTES) * NR };

/* The memory after one part of a long sum's weights is that of the next part, which may be in a distant cache: it is
 * prefetched during this part, some lines for each tile. */
FM_INLINE void panel_nn_rows(const int m, const int nv, const int store, const real *a,
                             const int64_t a_row, const int64_t a_panel, const int64_t k_len,
                             const real *w, const real *bias, const real *gate, real *out,
                             const int64_t rows) {
    const int fetches = FM_VECTOR_BYTES >= 32 && nv == NV && k_len == NN_CHAIN && rows >= 8 * m;
    const int64_t step = fetches ? k_len * nv * (int64_t)sizeof(v) * m / rows : 0;
    const char *next = (const char *)(w + k_len * nv * LANES);
    for (int64_t r = 0; r < rows; r += m) {
        for (const char *stop = next + step; next < stop; next += LINE_BYTES) __builtin_prefetch(next, 0, 2);
        tile_nn(m, nv, store, a + r * a_row, a_row, a_panel, k_len, w, bias, gate + r * NR,
                out + r * NR);
    }
}

/* One output panel for `rows` rows (a multiple of ROW_MULTIPLE). Tiles of one vector have 8 rows: 8 independent chains
 * hide the latency of a multiply-add. */
#define PANEL_NN(name, store) \
    static __attribute__((noinline)) void name( \
        const real *a, const int64_t a_panel, const int64_t k_len, const real *w, const real *bias, \
        const real *gate, real *out, const int64_t rows, const int nv) { \
        if (nv == NV) \
            panel_nn_rows(MR, NV, store, a, NR, a_panel, k_len, w, bias, gate, out, rows); \
        else if (nv == 1) \
            panel_nn_rows(8, 1, store, a, NR, a_panel, k_len, w, bias, gate, out, rows); \
        else if (nv == 2) \
            panel_nn_rows(MR, 2, store, a, NR, a_panel, k_len, w, bias, gate, out, rows); \
        else if (NV > 3) \
            panel_nn_rows(MR, 3, store, a, NR, a_panel, k_len, w, bias, gate, out, rows); \
    }

/* Of all batch rows, those that go through all panels together: their activations have at most block_size elements. */
FM_INLINE int64_t nn_rows(const int64_t block_size, const int64_t k_len, const int64_t all) {
    if (all <= 4 * ROW_MULTIPLE) return all;
    /* 32 bits hold any layer's width; a division of 64 bits takes several times as long. */
    const int64_t rows = (uint32_t)block_size / (uint32_t)k_len / ROW_MULTIPLE * ROW_MULTIPLE;
    return rows > 4 * ROW_MULTIPLE ? rows : 4 * ROW_MULTIPLE;
}

PANEL_NN(panel_plain, STORE_PLAIN)
PANEL_NN(panel_relu, STORE_RELU)
PANEL_NN(panel_relu_slope, STORE_RELU_SLOPE)
PANEL_NN(panel_added, STORE_ADDED)

/* Like panel_plain; longer sums continue through memory, with the same bits. */
FM_INLINE void panel_chained(const real *a, const int64_t a_panel, int64_t k_len, const real *w, const real *bias,
                             real *out, const int64_t rows, const int nv) {
    panel_plain(a, a_panel, k_len < NN_CHAIN ? k_len : NN_CHAIN, w, bias, out, out, rows, nv);
    while ((k_len -= NN_CHAIN) > 0) {
        a += NN_CHAIN / NR * a_panel, w += NN_CHAIN * nv * LANES;
        panel_added(a, a_panel, k_len < NN_CHAIN ? k_len : NN_CHAIN, w, NULL, out, out, rows, nv);
    }
}

/* acc (m x nv vectors) += a^T d for one row: m adjacent columns of an activation panel, and a gradient panel. */
FM_INLINE void accumulate_row(const int m, const int nv, const real *a, const real *d, v acc[8][4]) {
    v b[4];
    UNROLL
    for (int j = 0; j < nv; j++) b[j] = v_load(d + j * LANES);
    UNROLL
    for (int i = 0; i < m; i++) {
        const v s = v_set1(a[i]);
        UNROLL
        for (int j = 0; j < nv; j++) {
            acc[i][j] = v_fma(s, b[j], acc[i][j]);
            if (nv > 1) HOLD(acc[i][j]);
        }
    }
}

FM_INLINE void accumulate_tn(const int m, const int nv, const real *a, const real *d, int64_t rows,
                             v acc[8][4]) {
    for (; rows > 0; rows--, a += NR, d += NR) accumulate_row(m, nv, a, d, acc);
}

/* Set the accumulators to 0, or if `more` to the gradient in its arena. A stored tile is m rows of nv vectors. */
FM_INLINE void start_tile(const int m, const int nv, const int more, const real *g, v acc[8][4]) {
    UNROLL
    for (int i = 0; i < m; i++) {
        UNROLL
        for (int j = 0; j < nv; j++) acc[i][j] = more ? v_load(g + (i * nv + j) * LANES) : (v){0};
    }
}

FM_INLINE void store_tile(const int m, const int nv, v acc[8][4], real *g) {
    UNROLL
    for (int i = 0; i < m; i++) {
        UNROLL
        for (int j = 0; j < nv; j++) v_store(g + (i * nv + j) * LANES, acc[i][j]);
    }
}

/* g = a^T d, or g += a^T d if `more`. */
FM_INLINE void tile_tn(const int m, const int nv, const real *a, const real *d, const int64_t rows,
                       const int more, real *g) {
    v acc[8][4];
    start_tile(m, nv, more, g, acc);
    accumulate_tn(m, nv, a, d, rows, acc);
    store_tile(m, nv, acc, g);
}

/* Batch rows at a time for which an activation and a gradient panel fit in 32 KiB of first-level cache. The chains
 * continue through memory, with the same bits. */
enum { TN_ROWS = 16384 / (NR * FM_REAL_BYTES) };

FM_INLINE void block_tn_rows(const int m, const int nv, const real *a, const int64_t a_panel,
                             const int64_t k_from, const int64_t k_to, const real *d,
                             const int64_t batch, real *g, fm_prefetch *prefetch) {
    for (int64_t r = 0; r < batch; r += TN_ROWS) {
        const int64_t rows = batch - r < TN_ROWS ? batch - r : TN_ROWS;
        for (int64_t k = k_from; k < k_to; k += m) {
            fm_prefetch_lines(prefetch);
            tile_tn(m, nv, a + (k / NR) * a_panel + r * NR + k % NR, d + r * NR, rows, r > 0,
                    g + (k - k_from) * nv * LANES);
        }
    }
}

/* Rows of a tile of one vector, for 8 independent chains where a panel has whole tiles. */
enum { TN_TALL = NR % 8 ? MR : 8 };

/* Rows [k_from, k_to) of one weight-gradient panel. k_from is a multiple of NR, k_to of MR. */
static __attribute__((noinline)) void block_tn(const real *a, const int64_t a_panel,
                                               const int64_t k_from, const int64_t k_to,
                                               const real *d, const int64_t batch, real *g,
                                               const int nv, fm_prefetch *prefetch) {
    if (nv == NV) block_tn_rows(MR, NV, a, a_panel, k_from, k_to, d, batch, g, prefetch);
    else if (nv == 1) {
        const int64_t k_tall = k_to - (k_to - k_from) % TN_TALL;
        block_tn_rows(TN_TALL, 1, a, a_panel, k_from, k_tall, d, batch, g, prefetch);
        if (k_tall < k_to)
            block_tn_rows(MR, 1, a, a_panel, k_tall, k_to, d, batch, g + (k_tall - k_from) * LANES, prefetch);
    }
    else if (nv == 2) block_tn_rows(MR, 2, a, a_panel, k_from, k_to, d, batch, g, prefetch);
    else if (NV > 3) block_tn_rows(MR, 3, a, a_panel, k_from, k_to, d, batch, g, prefetch);
}

/* Rotate the accumulators: `front` replaces the first and moves to the end. (An index would keep the accumulators in
 * memory, and so would a loop that clang turns into a memmove.) */
FM_INLINE void tree_turn(v acc[TREE_VECTORS], v front) {
    UNROLL
    for (int u = TREE_VECTORS - 1; u >= 0; u--) {
        const v before = acc[u];
        acc[u] = front;
        front = before;
    }
}

enum { DOT_ROWS = LANES / 2 }; /* rows whose trees are computed together; their accumulators fit in the registers */

/* Add the products of a vector of each of m rows to the accumulators. */
FM_INLINE void dot_vector(const int m, v acc[][TREE_VECTORS], const real *y, const real *w, const vi keep) {
    const v factor = v_load(w);
    UNROLL
    for (int i = 0; i < m; i++) tree_turn(acc[i], v_fma((v)((vi)v_load(y + i * NR) & keep), factor, acc[i][0]));
}

/* One output column: y . w of m rows by the fixed tree, since a tile would leave most lanes idle; row i is in lane
 * i * LANES / m. The tail is masked, because padding of y may have any value. */
FM_INLINE v dot_group(const int m, const real *y, const int64_t y_panel, const real *w, const int64_t w_panel,
                      const int64_t k_len) {
    const vi all = vi_set1(-1);
    v acc[DOT_ROWS][TREE_VECTORS] = {{{0}}};
    int64_t left = k_len;
    for (; left >= NR; left -= NR, y += y_panel, w += w_panel) {
        UNROLL
        for (int j = 0; j < NV; j++) dot_vector(m, acc, y + j * LANES, w + j * LANES, all);
    }
    for (; left >= LANES; left -= LANES, y += LANES, w += LANES) dot_vector(m, acc, y, w, all);
    if (left > 0) dot_vector(m, acc, y, w, v_first(left));
    /* vector 0 back to the front */
    for (int64_t done = (k_len + LANES - 1) / LANES; done % TREE_VECTORS; done++) {
        UNROLL
        for (int i = 0; i < m; i++) tree_turn(acc[i], acc[i][0]);
    }
    return v_tree_sums(m, acc);
}

FM_INLINE real dot_row(const real *y, const int64_t y_panel, const real *w, const int64_t w_panel,
                       const int64_t k_len, const real bias) {
    return bias + dot_group(1, y, y_panel, w, w_panel, k_len)[0];
}

/* `rows` is a multiple of ROW_MULTIPLE. */
static __attribute__((noinline)) void dot_rows(const real *y, const int64_t y_panel, const real *w,
                                               const int64_t w_panel, const int64_t k_len, const real bias, real *out,
                                               const int64_t rows) {
    for (int64_t r = 0; r < rows; r += DOT_ROWS, y += DOT_ROWS * NR, out += DOT_ROWS * NR) {
        const v sums = bias + dot_group(DOT_ROWS, y, y_panel, w, w_panel, k_len);
        UNROLL
        for (int i = 0; i < DOT_ROWS; i++) out[i * NR] = sums[i * LANES / DOT_ROWS];
    }
}

/* The weight gradient of one output column, rows [k_from, k_to), multiples of NR; vectors run over k. */
static __attribute__((noinline)) void column_tn(const real *a, const int64_t a_panel, const int64_t k_from,
                                                const int64_t k_to, const real *d, const int64_t batch, real *g) {
    for (int64_t k = k_from; k < k_to; k += NR, g += NR) {
        const real *panel = a + k / NR * a_panel;
        v acc[NV] = {{0}};
        for (int64_t r = 0; r < batch; r++) {
            const v s = v_set1(d[r * NR]);
            UNROLL
            for (int j = 0; j < NV; j++) acc[j] = v_fma(v_load(panel + r * NR + j * LANES), s, acc[j]);
        }
        UNROLL
        for (int j = 0; j < NV; j++) v_store(g + j * LANES, acc[j]);
    }
}

/* Set the columns of a block from `valid` on to 0, so that padding never reaches a gradient. */
static void clear_padding(real *y, const int64_t rows, const int64_t valid) {
    const int64_t start = valid / LANES * LANES;
    const vi keep = v_first(valid - start);
    for (int64_t r = 0; r < rows; r++, y += NR)
        v_store(y + start, (v)((vi)v_load(y + start) & keep));
}

/* Transpose LANES x LANES in registers by log2(LANES) rounds of interleaving row i with row i + half. */
FM_INLINE void transpose_vectors(v a[LANES]) {
    v b[LANES];
    UNROLL
    for (int round = 1; round < LANES; round *= 2) {
        UNROLL
        for (int i = 0; i < LANES / 2; i++) {
            b[2 * i] = v_zip_low(a[i], a[i + LANES / 2]);
            b[2 * i + 1] = v_zip_high(a[i], a[i + LANES / 2]);
        }
        UNROLL
        for (int i = 0; i < LANES; i++) a[i] = b[i];
    }
}

/* Transpose LANES x LANES. Rows from `from_rows` on are read as zeros, rows from `to_rows` on are not written. */
FM_INLINE void transpose_square(const real *from, const int64_t from_row, const int64_t from_rows, real *to,
                                const int64_t to_row, const int64_t to_rows) {
    v a[LANES];
    UNROLL
    for (int i = 0; i < LANES; i++) a[i] = i < from_rows ? v_loadu(from + i * from_row) : (v){0};
    transpose_vectors(a);
    UNROLL
    for (int i = 0; i < LANES; i++)
        if (i < to_rows) v_store(to + i * to_row, a[i]);
}

#endif
