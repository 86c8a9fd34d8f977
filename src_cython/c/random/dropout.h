/* Counter-based random numbers: a value is a hash of the place where it is used, so that neither the number of threads
 * nor the order of work changes it. The 32-bit mixer is "lowbias32" of Wellons' hash-prospector search (2018). */
#ifndef FM_RANDOM_H
#define FM_RANDOM_H

#include "simd/vec.h"

typedef uint32_t keys __attribute__((vector_size(LANES * sizeof(uint32_t)))); /* one for each number of a vector */

FM_INLINE keys keys_set1(uint32_t key) { return key - (keys){0}; }

FM_INLINE keys mix32(keys x) {
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ (x >> 16);
}

FM_INLINE uint32_t dropout_key(uint64_t seed, uint64_t step, uint32_t layer) {
    const keys inner = mix32((uint32_t)step ^ mix32(keys_set1(layer + 0x9e3779b9u)));
    return mix32((uint32_t)seed ^ mix32((uint32_t)(seed >> 32) ^ inner))[0];
}

/* Multiply nv vectors of y and slopes, rows [first, first + rows) of one panel, by 0 or `keep`. */
static void dropout_panel(real *y, real *slopes, int64_t rows, int nv, uint32_t key, int64_t first,
                          int64_t first_column, uint32_t threshold, real keep) {
    keys columns[NV];
    for (int j = 0; j < NR; j++)
        columns[j / LANES][j % LANES] = (uint32_t)(first_column + j) * 0x9e3779b9u;
    for (int64_t r = 0; r < rows; r++, y += NR, slopes += NR) {
        const keys row = mix32(key ^ mix32(keys_set1((uint32_t)(first + r) + 0x85ebca6bu)));
        for (int i = 0; i < nv; i++) {
            const vi kept = __builtin_convertvector(mix32(row ^ columns[i]) >= keys_set1(threshold), vi);
            const v factor = (v)(kept & (vi)v_set1(keep));
            v_store(y + i * LANES, v_load(y + i * LANES) * factor);
            v_store(slopes + i * LANES, v_load(slopes + i * LANES) * factor);
        }
    }
}

#endif
