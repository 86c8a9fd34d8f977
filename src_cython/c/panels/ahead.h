/* The rows of the next batch are fetched while the weight gradients of this one are computed: shuffled rows
 * lie anywhere in memory, and a core has room for only so many misses at a time. So a few cache lines a tile,
 * never a burst; a batch that was not fetched in time is merely gathered more slowly. */
#ifndef FM_AHEAD_H
#define FM_AHEAD_H

#include <stdint.h>

enum { AHEAD_LINES = 8, LINE_BYTES = 64 }; /* lines a tile; of a cache line, wrong is slow but not wrong */

typedef struct {
    const char *x;
    const int64_t *order; /* NULL: rows in their own order, which the hardware fetches by itself */
    int64_t row_stride, row_bytes;
    int64_t row, end; /* of the order: the next row to fetch, and the first that is not wanted */
    int64_t at;       /* bytes of that row done */
} fm_ahead;

static inline void fm_fetch_ahead(fm_ahead *f) {
    for (int left = AHEAD_LINES; left > 0 && f->row < f->end; left--) {
        __builtin_prefetch(f->x + f->order[f->row] * f->row_stride + f->at, 0, 3);
        f->at += LINE_BYTES;
        if (f->at >= f->row_bytes) {
            f->at = 0;
            f->row++;
        }
    }
}

#endif
