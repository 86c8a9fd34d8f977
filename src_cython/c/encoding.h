/* Rows of a table as the inputs of a network: the one home of the arithmetic that fastmlp/tabular/encoding.py
 * measures for. Tests compare it with NumPy, bit for bit. Numbers are scaled and clipped smoothly, and encoded
 * piecewise linearly: a number has one input for each of its bins, -1 below the bin, 1 above, linear inside. */
#ifndef FM_ENCODING_H
#define FM_ENCODING_H

#include "simd/vec.h"

/* How one network encodes. Bins are their middle and half of their width. */
typedef struct {
    int64_t numbers, bins, missing, categories, width; /* width: inputs in all */
    const double *centre, *factor;                     /* (numbers,) */
    const double *middle, *half;                       /* (numbers, bins) */
    const int64_t *with_missing; /* (missing,): numbers with an input that says whether they are missing */
    const int64_t *values, *widths; /* (categories,): how many values each has, and how many inputs */
    const uint8_t *known;           /* (values of all categories,): which of them have inputs that are not 0 */
    const float *inputs;            /* of all values of all categories */
    double clip, far;               /* scaled numbers are clipped to, smoothly; and before that */
} fm_encoding;

/* Rows of a table, and how they are encoded. */
typedef struct {
    fm_encoding encoding;
    const double *numbers; /* (rows of the table, numbers), NaN where missing */
    const int32_t *codes;  /* (rows of the table, categories), negative where missing or unknown */
    const int64_t *chosen; /* which rows of the table; NULL: all */
} fm_encoded_rows;

enum { DOUBLES = FM_VECTOR_BYTES < 32 ? 2 : 4, MASK_BITS = 64, FEW_NUMBERS = 64 };
typedef double vdouble __attribute__((vector_size(8 * DOUBLES)));
typedef int64_t vmask __attribute__((vector_size(8 * DOUBLES)));
typedef float vhalf __attribute__((vector_size(4 * DOUBLES)));

/* x / sqrt(1 + (x / clip)^2) of an x from -far to far; NaN stays NaN. */
FM_INLINE double fm_clipped(double x, double clip, double far) {
    x = x < -far ? -far : x;
    x = x > far ? far : x;
    const double share = x / clip;
    return x / sqrt(1 + share * share);
}

FM_INLINE float encode_bin(double x, double middle, double half) {
    const double share = (x - middle) / half;
    return (float)(share < -1 ? -1 : share > 1 ? 1 : share);
}

FM_INLINE vdouble load_doubles(const double *from) {
    vdouble found;
    memcpy(&found, from, sizeof found);
    return found;
}

/* Encode a number by at most MASK_BITS bins. Almost all bins are -1 or 1, which a comparison tells; a division is
 * for those that the number is in, mostly one. */
FM_INLINE void encode_bins(double x, const double *middle, const double *half, int64_t bins, float *out) {
    const vdouble one = (vdouble){0} + 1;
    vmask bit = {0}, found = {0};
    uint64_t inside = 0;
    int64_t b = 0;
    for (int i = 0; i < DOUBLES; i++) bit[i] = 1 << i;
    for (; b + DOUBLES <= bins; b += DOUBLES, bit <<= DOUBLES) {
        const vdouble distance = x - load_doubles(middle + b), h = load_doubles(half + b);
        const vmask above = distance >= h, below = distance <= -h;
        const vdouble sign = (vdouble)((above & (vmask)one) | (~above & (vmask)-one));
        const vhalf rounded = __builtin_convertvector(sign, vhalf);
        memcpy(out + b, &rounded, sizeof rounded);
        found |= ~(above | below) & bit;
    }
    for (int i = 0; i < DOUBLES; i++) inside |= (uint64_t)found[i];
    for (; b < bins; b++) inside |= 1ull << b;
    for (; inside; inside &= inside - 1) {
        b = __builtin_ctzll(inside);
        out[b] = encode_bin(x, middle[b], half[b]);
    }
}

/* Encode at most FEW_NUMBERS numbers, from number j on; missing ones as 0. */
FM_INLINE void encode_numbers(const fm_encoding *c, int64_t j, int64_t n, const double *numbers, float *out) {
    double scaled[FEW_NUMBERS];
    float *binned = out + c->width - c->numbers * c->bins + j * c->bins;
    for (int64_t i = 0; i < n; i++)
        scaled[i] = fm_clipped((numbers[j + i] - c->centre[j + i]) * c->factor[j + i], c->clip, c->far);
    for (int64_t i = 0; i < n; i++, binned += c->bins) {
        const int64_t at = (j + i) * c->bins;
        const int is_missing = scaled[i] != scaled[i];
        out[j + i] = is_missing ? 0 : (float)scaled[i];
        for (int64_t b = 0; b < c->bins && !is_missing; b += MASK_BITS) {
            const int64_t some = c->bins - b < MASK_BITS ? c->bins - b : MASK_BITS;
            encode_bins(scaled[i], c->middle + at + b, c->half + at + b, some, binned + b);
        }
        if (is_missing) memset(binned, 0, sizeof(float) * (size_t)c->bins);
    }
}

/* Write the inputs of a row, as the `fill` of an fm_row_source: scaled numbers, which are missing, categories, and
 * the numbers by bins. If nothing is known of a row there is one input, 0. */
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
    for (int64_t j = 0; j < c->numbers; j += FEW_NUMBERS)
        encode_numbers(c, j, c->numbers - j < FEW_NUMBERS ? c->numbers - j : FEW_NUMBERS, numbers, out);
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
