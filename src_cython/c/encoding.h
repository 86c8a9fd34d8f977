/* Rows of a table as inputs of a network: the arithmetic for the values that fastmlp/tabular measures. Tests compare it
 * with NumPy, bit for bit. Numbers are scaled, clipped smoothly, and encoded piecewise linearly: a number has one input
 * for each of its bins, -1 below the bin, 1 above, linear inside. */
#ifndef FM_ENCODING_H
#define FM_ENCODING_H

#include "simd/vec.h"

#if FM_DOUBLE /* inputs of tables are float32: only these modules have the functions */
#define fm_encode_row NULL
#define fm_encode_sparse NULL
#else

/* The encoding of one network. Bins are given by their middle and half their width. */
typedef struct {
    int64_t numbers, missing, categories, width; /* width: all inputs */
    int64_t bins_at, n_dense; /* first input of the bins, and of the categories that are entries of sparse rows */
    const double *centre, *factor;                     /* (numbers,) */
    const double *middle, *half;                       /* one a bin, number by number */
    const int64_t *bins;                               /* (numbers,): how many bins a number has */
    const int64_t *with_missing; /* (missing,): numbers with an input for missing values */
    const int64_t *values, *widths, *places; /* (categories,): values and inputs of a column, and its first input */
    /* Of all values of all categories: whether they are known (if not, their inputs are 0); the first of their inputs
     * that is not 0, from the place on; and where the inputs that are not 0 begin in `inputs`. */
    const uint8_t *known;
    const int32_t *first, *starts;
    const float *inputs;
    const double *clip, *far; /* (numbers,): limits of the smooth clip, and of the hard clip before it */
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
    FEW = 64, /* most numbers that are scaled together, and most bins of a number that are encoded together */
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

/* x / sqrt(1 + (x / clip)^2), x limited to -far..far; NaN stays NaN. It is x for an infinite clip. */
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

/* Encode a scaled number by at most FEW bins. It is usually inside one bin, or none: then the last bin is divided, which
 * gives the same result and needs no branch. */
FM_INLINE void encode_bins(double x, const double *middle, const double *half, int64_t bins, float *out) {
    uint64_t inside = sign_bins(x, middle, half, bins, out);
    inside = inside ? inside : 1ull << (bins - 1);
    do {
        const int64_t b = __builtin_ctzll(inside);
        out[b] = (float)share_of_bin(x - middle[b], half[b]);
    } while (inside &= inside - 1);
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

/* Scale and clip n numbers from the first one on; a loop of vectors where n is a constant. */
FM_INLINE void scale_numbers(const fm_encoding *c, const double *numbers, int64_t first, int64_t n, double *scaled) {
    const double *clip = c->clip + first, *far = c->far + first;
    const double *centre = c->centre + first, *factor = c->factor + first;
    for (int64_t i = 0; i < n; i++)
        scaled[i] = fm_clipped((numbers[first + i] - centre[i]) * factor[i], clip[i], far[i]);
}

/* Write the inputs of numbers: scaled ones, flags of missing ones, and bins; those of missing numbers are 0. */
static __attribute__((noinline)) void encode_numbers(const fm_encoding *c, const double *numbers, float *out) {
    const double *middle = c->middle, *half = c->half;
    float *binned = out + c->bins_at;
    double scaled[FEW];
    for (int64_t first = 0; first < c->numbers; first += FEW) {
        const int64_t n = c->numbers - first < FEW ? c->numbers - first : FEW;
        int64_t k = 0;
        for (; k + DOUBLES <= n; k += DOUBLES) scale_numbers(c, numbers, first + k, DOUBLES, scaled + k);
        scale_numbers(c, numbers, first + k, n - k, scaled + k);
        for (int64_t i = 0; i < n; i++) {
            const int64_t bins = c->bins[first + i];
            const int is_missing = scaled[i] != scaled[i];
            out[first + i] = is_missing ? 0 : (float)scaled[i];
            if (is_missing) memset(binned, 0, sizeof(float) * (size_t)bins);
            for (int64_t b = is_missing ? bins : 0; b < bins; b += FEW)
                encode_bins(scaled[i], middle + b, half + b, bins - b < FEW ? bins - b : FEW, binned + b);
            middle += bins, half += bins, binned += bins;
        }
    }
    for (int64_t k = 0; k < c->missing; k++) {
        const int64_t j = c->with_missing[k];
        const double scaled = (numbers[j] - c->centre[j]) * c->factor[j];
        out[c->numbers + k] = scaled != scaled;
    }
}

/* The place of a value among those of all categories, the first of which is `values`; -1 if it is not known. */
FM_INLINE int64_t known_value(const fm_encoding *c, int64_t values, int32_t code) {
    return code >= 0 && c->known[values + code] ? values + code : -1;
}

FM_INLINE void encode_category(const fm_encoding *c, int64_t k, int64_t value, float *out) {
    out += c->places[k];
    memset(out, 0, sizeof(float) * (size_t)c->widths[k]);
    if (value < 0) return;
    for (int32_t i = c->starts[value]; i < c->starts[value + 1]; i++)
        out[c->first[value] + i - c->starts[value]] = c->inputs[i];
}

/* Write the inputs of a row, as the `fill` of an fm_row_source: scaled numbers, flags of missing ones, categories of few
 * values, numbers by bins, and the other categories. A table without columns has one input, 0. */
FM_INLINE void fm_encode_row(const void *rows, int64_t row, void *inputs) {
    const fm_encoded_rows *r = (const fm_encoded_rows *)rows;
    const fm_encoding *c = &r->encoding;
    const int64_t at = r->chosen ? r->chosen[row] : row;
    const int32_t *codes = r->codes + at * c->categories;
    float *out = (float *)inputs;
    int64_t values = 0;
    out[0] = 0;
    encode_numbers(c, r->numbers + at * c->numbers, out);
    for (int64_t k = 0; k < c->categories; values += c->values[k++])
        encode_category(c, k, known_value(c, values, codes[k]), out);
}

/* The same as the first n_dense inputs and the entries of the others; returns the number of these. */
FM_INLINE int64_t fm_encode_sparse(const void *rows, int64_t row, void *dense, int32_t *columns, void *entries) {
    const fm_encoded_rows *r = (const fm_encoded_rows *)rows;
    const fm_encoding *c = &r->encoding;
    const int64_t at = r->chosen ? r->chosen[row] : row;
    const int32_t *codes = r->codes + at * c->categories;
    int64_t values = 0, n = 0;
    encode_numbers(c, r->numbers + at * c->numbers, (float *)dense);
    for (int64_t k = 0; k < c->categories; values += c->values[k++]) {
        const int64_t value = known_value(c, values, codes[k]);
        if (c->places[k] < c->n_dense) encode_category(c, k, value, (float *)dense);
        else if (value >= 0) {
            const int64_t column = c->places[k] + c->first[value];
            for (int32_t i = c->starts[value]; i < c->starts[value + 1]; i++, n++) {
                columns[n] = (int32_t)(column + i - c->starts[value]);
                ((float *)entries)[n] = c->inputs[i];
            }
        }
    }
    return n;
}

#endif
#endif
