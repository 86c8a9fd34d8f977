/* Counter-based random numbers: a value is a hash of the place where it is used, so that neither the number of threads
 * nor the order of work changes it. The 32-bit mixer is "lowbias32" of Wellons' hash-prospector search (2018). */
#ifndef FM_RANDOM_H
#define FM_RANDOM_H

#include "simd/vec.h"

FM_INLINE uint32_t mix32(uint32_t x) {
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ (x >> 16);
}

FM_INLINE uint32_t dropout_key(uint64_t seed, uint64_t step, uint32_t layer) {
    const uint32_t inner = mix32((uint32_t)step ^ mix32(layer + 0x9e3779b9u));
    return mix32((uint32_t)seed ^ mix32((uint32_t)(seed >> 32) ^ inner));
}

/* Multiply y and slopes, rows [first, first + rows) of one panel, by 0 or `keep`. */
static void dropout_panel(real *y, real *slopes, int64_t rows, int width, uint32_t key, int64_t first,
                          int64_t first_column, uint32_t threshold, real keep) {
    for (int64_t r = 0; r < rows; r++, y += NR, slopes += NR) {
        const uint32_t row_key = mix32(key ^ mix32((uint32_t)(first + r) + 0x85ebca6bu));
        for (int j = 0; j < width; j++) {
            const uint32_t u = mix32(row_key ^ ((uint32_t)(first_column + j) * 0x9e3779b9u));
            const real factor = u < threshold ? 0 : keep;
            y[j] *= factor;
            slopes[j] *= factor;
        }
    }
}

#endif
