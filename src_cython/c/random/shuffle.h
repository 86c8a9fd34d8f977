/* The order of rows in an epoch: Fisher-Yates with SplitMix64 (Steele, Lea and Flood 2014) and Lemire's bounded draw by
 * multiplication (2019), two draws of 32 bits from each 64. Their bias, below n 2^-32, is accepted. The draws depend
 * neither on the data nor on each other, so the compiler can vectorise them. */
#ifndef FM_SHUFFLE_H
#define FM_SHUFFLE_H

#include <stdint.h>

enum { DRAWS = 32 }; /* computed together */

/* Draw number k is below bound - k, if that is positive. */
static inline void draw_below(uint32_t drawn[DRAWS], int64_t bound, uint64_t seed) {
    for (int k = 0; k < DRAWS / 2; k++) {
        uint64_t x = seed + (uint64_t)(k + 1) * 0x9e3779b97f4a7c15u;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
        x ^= x >> 31;
        drawn[k] = (uint32_t)(((x >> 32) * (uint32_t)(bound - k)) >> 32);
        drawn[k + DRAWS / 2] = (uint32_t)(((x & 0xffffffffu) * (uint32_t)(bound - k - DRAWS / 2)) >> 32);
    }
}

static void shuffle_indices(int64_t *order, int64_t n, uint64_t seed) {
    uint32_t drawn[DRAWS];
    for (int64_t i = n - 1; i > 0; seed += DRAWS / 2 * 0x9e3779b97f4a7c15u) {
        const int64_t count = i < DRAWS ? i : DRAWS;
        draw_below(drawn, i + 1, seed);
        for (int64_t k = 0; k < count; k++, i--) {
            const int64_t kept = order[i];
            order[i] = order[drawn[k]];
            order[drawn[k]] = kept;
        }
    }
}

#endif
