/* The order of rows in an epoch: Fisher-Yates with SplitMix64 (Steele, Lea and Flood 2014) and Lemire's
 * bounded draw by multiplication (2019); its bias, below n 2^-64, is accepted. Draws do not depend on the
 * data, so they run ahead of the swaps, and what is to be swapped is on its way from memory. */
#ifndef FM_SHUFFLE_H
#define FM_SHUFFLE_H

#include <stdint.h>

enum { SHUFFLE_AHEAD = 32 };

static inline int64_t draw_below(int64_t n, uint64_t *seed) {
    uint64_t x = (*seed += 0x9e3779b97f4a7c15u);
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    x ^= x >> 31;
    return (int64_t)(((unsigned __int128)x * (uint64_t)n) >> 64);
}

static void shuffle_indices(int64_t *order, int64_t n, uint64_t seed) {
    int64_t drawn[SHUFFLE_AHEAD];
    for (int64_t i = n - 1; i > 0;) {
        const int64_t count = i < SHUFFLE_AHEAD ? i : SHUFFLE_AHEAD;
        for (int64_t k = 0; k < count; k++) {
            drawn[k] = draw_below(i - k + 1, &seed);
            __builtin_prefetch(order + drawn[k], 1);
        }
        for (int64_t k = 0; k < count; k++, i--) {
            const int64_t kept = order[i];
            order[i] = order[drawn[k]];
            order[drawn[k]] = kept;
        }
    }
}

#endif
