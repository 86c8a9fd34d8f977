/* The order of rows in an epoch: Fisher-Yates with SplitMix64 (Steele, Lea and Flood 2014) and Lemire's
 * bounded draw by multiplication (2019); its bias, below n 2^-64, is accepted. */
#ifndef FM_SHUFFLE_H
#define FM_SHUFFLE_H

#include <stdint.h>

static void shuffle_indices(int64_t *order, int64_t n, uint64_t seed) {
    for (int64_t i = n - 1; i > 0; i--) {
        uint64_t x = (seed += 0x9e3779b97f4a7c15u);
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
        x ^= x >> 31;
        const int64_t j = (int64_t)(((unsigned __int128)x * (uint64_t)(i + 1)) >> 64);
        const int64_t kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
}

#endif
