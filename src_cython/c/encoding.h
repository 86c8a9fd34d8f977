/* Rows of a table as inputs of a network: the arithmetic for the values that fastmlp/tabular measures. Tests compare it
 * with NumPy, bit for bit. Numbers are scaled, clipped smoothly, and encoded piecewise linearly: a number has one input
 * for each of its bins, -1 below the bin, 1 above, linear inside. */
#ifndef FM_ENCODING_H
#define FM_ENCODING_H

#include "simd/vec.h"

/* The encoding of one network. Bins are given by their middle and half their width. */
typedef struct {
    int64_t numbers, bins, missing, categories, width; /* width: all inputs */
    const double *centre, *factor;                     /* (numbers,) */
    const double *middle, *half;                       /* (numbers, bins) */
    const int64_t *with_missing; /* (missing,): numbers with an input for missing values */
    const int64_t *values, *widths; /* (categories,): numbers of values and of inputs of each */
    const uint8_t *known;           /* (values of all categories,); an unknown value, 0, has inputs 0 */
    const float *inputs;            /* inputs of all values of all categories */
    double clip, far;               /* limit of the smooth clip, and of the hard clip before it */
} fm_encoding;

/* Rows of a table and their encoding. */
typedef struct {
    fm_encoding encoding;
    const double *numbers; /* (rows of the table, numbers), NaN where missing */
    const int32_t *codes;  /* (rows of the table, categories), negative where missing or unknown */
    const int64_t *chosen; /* rows of the table; NULL: all */
} fm_encoded_rows;

enum {
    DOUBLES = FM_VECTOR_BYTES < 32 ? 2 : 4,
    FEW = 64, /* most numbers, and most bins of a number, encoded together */
};
typedef double vdouble __attribute__((vector_size(8 * DOUBLES)));

#define SIGNS_OF(i) {(i) & 1 ? 1 : -1, (i) & 2 ? 1 : -1, (i) & 4 ? 1 : -1, (i) & 8 ? 1 : -1}
/* 1 for a set bit, else -1. */
static const float SIGNS[16][4] = {
    SIGNS_OF(0), SIGNS_OF(1), SIGNS_OF(2),  SIGNS_OF(3),  SIGNS_OF(4),  SIGNS_OF(5),  SIGNS_OF(6),  SIGNS_OF(7),
    SIGNS_OF(8), SIGNS_OF(9), SIGNS_OF(10), SIGNS_OF(11), SIGNS_OF(12), SIGNS_OF(13), SIGNS_OF(14), SIGNS_OF(15)};

/* The lanes with a >= b, as bits. */
FM_INLINE uint64_t lanes_at_least(vdouble a, vdouble b) {
#if defined(__AVX512F__)
    return _mm256_cmp_pd_mask((__m256d)a, (__m256d)b, _CMP_GE_OQ);
#elif defined(__AVX2__) && defined(__FMA__)
    return (uint64_t)_mm256_movemask_pd((__m256d)(a >= b));
#elif defined(__x86_64__)
    return (uint64_t)_mm_movemask_pd((__m128d)(a >= b));
#else
    return (uint64_t)(a[0] >= b[0]) | (uint64_t)(a[1] >= b[1]) << 1;
#endif
}

/* x / sqrt(1 + (x / clip)^2), x limited to -far..far; NaN stays NaN. */
FM_INLINE double fm_clipped(double x, double clip, double far) {
    x = x < -far ? -far : x;
    x = x > far ? far : x;
    const double share = x / clip;
    return x / sqrt(1 + share * share);
}

FM_INLINE double share_of_bin(double distance, double half) {
    const double share = distance / half;
    return share < -1 ? -1 : share > 1 ? 1 : share;
}

FM_INLINE vdouble load_doubles(const double *from) {
    vdouble found;
    memcpy(&found, from, sizeof found);
    return found;
}

/* Write -1 or 1 for each of at most FEW bins, by the side of the bin that x is on; returns, as bits, the bins that
 * contain x and need a division. */
FM_INLINE uint64_t sign_bins(double x, const double *middle, const double *half, int64_t bins, float *out) {
    uint64_t inside = 0;
    int64_t b = 0;
    for (; b + DOUBLES <= bins; b += DOUBLES) {
        const vdouble distance = x - load_doubles(middle + b), h = load_doubles(half + b);
        const uint64_t above = lanes_at_least(distance, h), below = lanes_at_least(-h, distance);
        memcpy(out + b, SIGNS[above], sizeof(float) * DOUBLES);
        inside |= (~(above | below) & ((1u << DOUBLES) - 1)) << b;
    }
    for (; b < bins; b++) inside |= 1ull << b;
    return inside;
}

/* Encode at most FEW scaled numbers, from number j on, by at most FEW of their bins, from bin `first` on. A number is
 * usually inside one bin: these divisions are done together. If it is inside none, the last bin is divided, which gives
 * the same result. */
FM_INLINE void encode_bins(const fm_encoding *c, int64_t j, int64_t n, int64_t first, const double *scaled,
                           float *binned) {
    const int64_t bins = c->bins - first < FEW ? c->bins - first : FEW;
    double share[FEW], width[FEW];
    float *place[FEW];
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = (j + i) * c->bins + first;
        const double *middle = c->middle + at, *half = c->half + at;
        float *out = binned + at;
        uint64_t inside = sign_bins(scaled[i], middle, half, bins, out);
        int64_t b = __builtin_ctzll(inside | 1ull << (bins - 1));
        place[i] = out + b;
        share[i] = scaled[i] - middle[b];
        width[i] = half[b];
        for (inside &= inside - 1; inside; inside &= inside - 1) {
            b = __builtin_ctzll(inside);
            out[b] = (float)share_of_bin(scaled[i] - middle[b], half[b]);
        }
    }
    for (int64_t i = 0; i < n; i++) share[i] = share_of_bin(share[i], width[i]);
    for (int64_t i = 0; i < n; i++) *place[i] = (float)share[i];
}

/* Encode at most FEW numbers, from number j on; missing ones become 0. */
FM_INLINE void encode_numbers(const fm_encoding *c, int64_t j, int64_t n, const double *numbers, float *out) {
    double scaled[FEW];
    float *binned = out + c->width - c->numbers * c->bins;
    for (int64_t i = 0; i < n; i++)
        scaled[i] = fm_clipped((numbers[j + i] - c->centre[j + i]) * c->factor[j + i], c->clip, c->far);
    for (int64_t first = 0; first < c->bins; first += FEW) encode_bins(c, j, n, first, scaled, binned);
    for (int64_t i = 0; i < n; i++) {
        const int is_missing = scaled[i] != scaled[i];
        out[j + i] = is_missing ? 0 : (float)scaled[i];
        if (is_missing) memset(binned + (j + i) * c->bins, 0, sizeof(float) * (size_t)c->bins);
    }
}

FM_INLINE void fetch_bytes(const void *from, size_t size) {
    for (size_t at = 0; at < size; at += 64) __builtin_prefetch((const char *)from + at);
}

/* Prefetch the memory of a row, as the `fetch` of an fm_row_source. */
FM_INLINE void fm_fetch_row(const void *rows, int64_t row) {
    const fm_encoded_rows *r = (const fm_encoded_rows *)rows;
    const int64_t at = r->chosen ? r->chosen[row] : row;
    const size_t numbers = (size_t)r->encoding.numbers, categories = (size_t)r->encoding.categories;
    fetch_bytes(r->numbers + at * r->encoding.numbers, numbers * sizeof(double));
    fetch_bytes(r->codes + at * r->encoding.categories, categories * sizeof(int32_t));
}

/* Write the inputs of a row, as the `fill` of an fm_row_source: scaled numbers, flags of missing ones, categories, and
 * numbers by bins. A table without columns has one input, 0. */
FM_INLINE void fm_encode_row(const void *rows, int64_t row, void *inputs) {
    const fm_encoded_rows *r = (const fm_encoded_rows *)rows;
    const fm_encoding *c = &r->encoding;
    const int64_t at = r->chosen ? r->chosen[row] : row;
    const double *numbers = r->numbers + at * c->numbers;
    const int32_t *codes = r->codes + at * c->categories;
    const uint8_t *known = c->known;
    const float *of_values = c->inputs;
    float *out = (float *)inputs;
    out[0] = 0;
    for (int64_t j = 0; j < c->numbers; j += FEW)
        encode_numbers(c, j, c->numbers - j < FEW ? c->numbers - j : FEW, numbers, out);
    out += c->numbers;
    for (int64_t k = 0; k < c->missing; k++) {
        const int64_t j = c->with_missing[k];
        const double scaled = (numbers[j] - c->centre[j]) * c->factor[j];
        *out++ = scaled != scaled;
    }
    for (int64_t k = 0; k < c->categories; k++) {
        const int64_t width = c->widths[k];
        const size_t size = sizeof(float) * (size_t)width;
        if (codes[k] >= 0 && known[codes[k]])
            memcpy(out, of_values + codes[k] * width, size);
        else
            memset(out, 0, size);
        out += width;
        known += c->values[k];
        of_values += c->values[k] * width;
    }
}

#endif
