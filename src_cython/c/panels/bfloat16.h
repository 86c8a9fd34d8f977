/* Products of float32 matrices whose elements are rounded to bfloat16 and summed in float32, for training.
 *
 * Two instructions compute them from operands in the same layout: TDPBF16PS (AMX, 16 x 16 sums at a time) and VDPBF16PS
 * (AVX512-BF16). Both multiply pairs of neighbours. So of the left factor 32 summed elements of a row lie together, and
 * of the right factor the two elements of a column that are multiplied together:
 *
 *   left:  [ceil(sum / 32)][rows][32]
 *   right: [panel of columns][ceil(sum / 2)][NR][2]
 *
 * Each sum runs over chunks of 32 terms in their order, so its bits depend on the instruction, but not on threads or
 * tiles. Numbers below the smallest normal one count as 0.
 * Source: Intel 64 and IA-32 architectures software developer's manual, volume 2, TDPBF16PS and VDPBF16PS. */
#ifndef FM_BFLOAT16_H
#define FM_BFLOAT16_H

#include "panels/panels.h"

enum { FM_CHUNK = 32 }; /* summed elements at a time; batch rows are rounded and divided in such groups */

/* How a network's products are computed: fm_network.products. */
enum { FM_FLOAT_PRODUCTS, FM_DOT_PRODUCTS, FM_TILE_PRODUCTS };

typedef uint16_t bfloat16;

#if defined(__clang__)
#define FM_KNOWS_BFLOAT16 (__clang_major__ >= 12)
#else
#define FM_KNOWS_BFLOAT16 (__GNUC__ >= 11)
#endif
#if defined(__AVX512BW__) && !FM_DOUBLE && FM_KNOWS_BFLOAT16
#define FM_HAS_BFLOAT16 1
#define WITH_DOT __attribute__((target("avx512bf16")))
#define WITH_TILES __attribute__((target("amx-tile,amx-bf16")))

/* Two vectors rounded and interleaved: pairs of their elements. */
FM_INLINE WITH_DOT v rounded_pairs(const v first, const v second) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return (v)_mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first));
}

/* A row of a panel rounded. Columns from `columns` on, whose values may be anything, become 0. */
FM_INLINE WITH_DOT __m512i rounded_row(const v low, const v high, const int64_t columns) {
    const __mmask32 used = columns < NR ? (1u << columns) - 1 : ~0u;
    return (__m512i)_mm512_maskz_cvtne2ps_pbh(used, (__m512)high, (__m512)low);
}

/* 16 rows of pairs become 16 columns of 32 elements. */
FM_INLINE void transpose_pairs(const v rows[LANES], bfloat16 *to, const int64_t to_row) {
    real square[LANES * LANES] __attribute__((aligned(64)));
    UNROLL
    for (int i = 0; i < LANES; i++) v_store(square + i * LANES, rows[i]);
    transpose_square(square, LANES, LANES, (real *)to, to_row / 2, LANES);
}

/* Left factor of a forward or backward pass: some rows of panels. `to_rows` are all of its rows. */
static WITH_DOT void round_rows(const real *from, const int64_t panel_step, const int64_t columns, const int64_t rows,
                                bfloat16 *to, const int64_t to_rows) {
    for (int64_t c = 0; c < columns; c += NR, from += panel_step, to += to_rows * FM_CHUNK)
        for (int64_t r = 0; r < rows; r++)
            _mm512_store_si512(to + r * FM_CHUNK,
                               rounded_row(v_load(from + r * NR), v_load(from + r * NR + LANES), columns - c));
}

/* Row 2 q of a chunk of a panel with the next row, as pairs; rows from `rows` on are 0. */
FM_INLINE WITH_DOT v row_pairs(const real *from, const int q, const int j, const int64_t rows) {
    const real *at = from + 2 * q * NR + j * LANES;
    return rounded_pairs(2 * q < rows ? v_load(at) : (v){0}, 2 * q + 1 < rows ? v_load(at + NR) : (v){0});
}

/* Right factor of a weight gradient: a chunk of batch rows, of which `rows` are used. */
static WITH_DOT void round_pairs(const real *from, const int64_t panel_step, const int64_t columns, const int64_t rows,
                                 bfloat16 *to, const int64_t to_rows) {
    for (int64_t c = 0; c < columns; c += NR, from += panel_step, to += to_rows * NR)
        for (int q = 0; q < FM_CHUNK / 2; q++)
            for (int j = 0; j < NV; j++) v_store((real *)to + q * NR + j * LANES, row_pairs(from, q, j, rows));
}

/* Left factor of a weight gradient: the columns of a chunk of batch rows, of which `rows` are used. */
static WITH_DOT void round_columns(const real *from, const int64_t panel_step, const int64_t columns,
                                   const int64_t rows, bfloat16 *to) {
    for (int64_t c = 0; c < columns; c += LANES, to += LANES * FM_CHUNK) {
        v pairs[LANES];
        UNROLL
        for (int q = 0; q < LANES; q++) pairs[q] = row_pairs(from + c / NR * panel_step, q, c / LANES % NV, rows);
        transpose_pairs(pairs, to, FM_CHUNK);
    }
}

/* Rows [k_from, k_to) of a panel of weights as the right factor of a forward pass. */
static WITH_DOT void paired_rows(const fm_tensor *t, const real *parameters, void *copies, int64_t p, int64_t k_from,
                                 int64_t k_to) {
    const fm_copy *copy = &t->copies[FM_PAIRED];
    const int64_t stride = panel_stride(t, p * NR);
    const real *from = parameters + t->offset + p * t->rows * NR + k_from * stride;
    real *to = (real *)((bfloat16 *)copies + copy->offset + (p * copy->rows + k_from) * NR);
    for (int64_t k = k_from; k < k_to; k += 2, from += 2 * stride, to += NR)
        for (int64_t j = 0; j < stride; j += LANES)
            v_store(to + j, rounded_pairs(v_load(from + j), v_load(from + stride + j)));
}

/* The same of the transposed weights, for a backward pass. The parameters have room for whole squares. */
static WITH_DOT void paired_columns(const fm_tensor *t, const real *parameters, void *copies, int64_t p,
                                    int64_t k_from, int64_t k_to) {
    const fm_copy *copy = &t->copies[FM_PAIRED_TRANSPOSED];
    const int64_t stride = panel_stride(t, p * NR);
    for (int64_t k = k_from; k < k_to; k += LANES) {
        const real *from = parameters + t->offset + p * t->rows * NR + k * stride;
        v rows[LANES];
        UNROLL
        for (int i = 0; i < LANES; i++, from += stride) {
            const v high = stride > LANES ? v_load(from + LANES) : (v){0};
            rows[i] = (v)rounded_row(v_load(from), high, t->n_columns - p * NR);
        }
        transpose_pairs(rows, (bfloat16 *)copies + copy->offset + (k / NR * copy->rows + p * NR) * NR + k % NR * 2,
                        2 * NR);
    }
}

/* out (8 rows, nv vectors) = bias + left right. */
FM_INLINE WITH_DOT void dot_block(const int nv, const bfloat16 *left, const int64_t left_rows, const bfloat16 *right,
                                  const int64_t chunks, const real *bias, real *out, const int64_t out_step) {
    v acc[8][4];
    UNROLL
    for (int i = 0; i < 8; i++) {
        UNROLL
        for (int j = 0; j < nv; j++) acc[i][j] = bias ? v_load(bias + j * LANES) : (v){0};
    }
    for (int64_t chunk = 0; chunk < chunks; chunk++, left += left_rows * FM_CHUNK)
        for (int q = 0; q < FM_CHUNK / 2; q++, right += 2 * NR) {
            v b[4];
            UNROLL
            for (int j = 0; j < nv; j++) b[j] = v_load((const real *)right + j * LANES);
            UNROLL
            for (int i = 0; i < 8; i++) {
                const v pair = v_set1(((const real *)left)[i * FM_CHUNK / 2 + q]);
                UNROLL
                for (int j = 0; j < nv; j++)
                    acc[i][j] = (v)_mm512_dpbf16_ps((__m512)acc[i][j], (__m512bh)pair, (__m512bh)b[j]);
            }
        }
    UNROLL
    for (int i = 0; i < 8; i++) {
        UNROLL
        for (int j = 0; j < nv; j++) v_store(out + i * out_step + j * LANES, acc[i][j]);
    }
}

static __attribute__((noinline)) WITH_DOT void dot_products(const bfloat16 *left, const int64_t left_rows,
                                                            const bfloat16 *right, const int64_t chunks,
                                                            const real *bias, real *out, const int64_t out_step,
                                                            const int64_t rows, const int nv) {
    for (int64_t r = 0; r < rows; r += 8, left += 8 * FM_CHUNK, out += 8 * out_step) {
        if (nv == NV) dot_block(NV, left, left_rows, right, chunks, bias, out, out_step);
        else dot_block(1, left, left_rows, right, chunks, bias, out, out_step);
    }
}

/* Each of the 8 tile registers: 16 rows of 64 bytes. */
static const struct {
    uint8_t palette, start, zeros[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} TILE_SHAPES = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

/* out (32 rows, nv vectors) = bias + left right; the lower half is in tiles 2 and 3, the right half in 1 and 3. */
FM_INLINE WITH_TILES void tile_block(const int nv, const bfloat16 *left, const int64_t left_rows, const bfloat16 *right,
                                     const int64_t chunks, const real *bias, real *out, const int64_t out_step) {
    const int64_t out_bytes = out_step * (int64_t)sizeof(real);
    if (bias) { /* the same row 16 times */
        _tile_loadd(0, bias, 0);
        _tile_loadd(2, bias, 0);
        if (nv > 1) _tile_loadd(1, bias + LANES, 0);
        if (nv > 1) _tile_loadd(3, bias + LANES, 0);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t chunk = 0; chunk < chunks; chunk++, left += left_rows * FM_CHUNK, right += FM_CHUNK * NR) {
        _tile_loadd(4, left, 64);
        _tile_loadd(5, left + LANES * FM_CHUNK, 64);
        _tile_loadd(6, right, 128);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(2, 5, 6);
        if (nv > 1) {
            _tile_loadd(7, right + NR, 128);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, out, out_bytes);
    _tile_stored(2, out + LANES * out_step, out_bytes);
    if (nv > 1) _tile_stored(1, out + LANES, out_bytes);
    if (nv > 1) _tile_stored(3, out + LANES * out_step + LANES, out_bytes);
}

static __attribute__((noinline)) WITH_TILES void tile_products(const bfloat16 *left, const int64_t left_rows,
                                                               const bfloat16 *right, const int64_t chunks,
                                                               const real *bias, real *out, const int64_t out_step,
                                                               const int64_t rows, const int nv) {
    _tile_loadconfig(&TILE_SHAPES);
    for (int64_t r = 0; r < rows; r += FM_CHUNK, left += FM_CHUNK * FM_CHUNK, out += FM_CHUNK * out_step) {
        if (nv == NV) tile_block(NV, left, left_rows, right, chunks, bias, out, out_step);
        else tile_block(1, left, left_rows, right, chunks, bias, out, out_step);
    }
    _tile_release();
}

/* out = bias + left right for `rows` rows, a multiple of FM_CHUNK, of one panel. */
static void bfloat16_products(const int how, const bfloat16 *left, const int64_t left_rows, const bfloat16 *right,
                              const int64_t chunks, const real *bias, real *out, const int64_t out_step,
                              const int64_t rows, const int nv) {
    if (how == FM_TILE_PRODUCTS) tile_products(left, left_rows, right, chunks, bias, out, out_step, rows, nv);
    else dot_products(left, left_rows, right, chunks, bias, out, out_step, rows, nv);
}
#else /* no network asks for these functions */
#define FM_HAS_BFLOAT16 0
FM_INLINE void not_compiled(FM_UNUSED int64_t first, ...) {}
#define round_rows(...) not_compiled(0, __VA_ARGS__)
#define round_pairs(...) not_compiled(0, __VA_ARGS__)
#define round_columns(...) not_compiled(0, __VA_ARGS__)
#define bfloat16_products(...) not_compiled(0, __VA_ARGS__)
#endif

#endif
