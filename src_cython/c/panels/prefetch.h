/* Prefetch of the next batch's rows during the weight gradients of this batch. Shuffled rows lie anywhere in memory and
 * a core can wait for few cache misses at a time, so each tile fetches a few lines. Rows that were not fetched in time
 * are only gathered more slowly. */
#ifndef FM_PREFETCH_H
#define FM_PREFETCH_H

#include <stdint.h>

enum { PREFETCH_LINES = 8, LINE_BYTES = 64 }; /* lines per tile; a wrong line size costs only speed */

typedef struct {
    const char *x;
    const int64_t *order; /* NULL: sequential rows, which the hardware prefetches */
    int64_t row_stride, row_bytes;
    int64_t row, end; /* positions in the order: the next row to fetch, and the end */
    int64_t at;       /* bytes of the next row that were fetched */
} fm_prefetch;

static inline void fm_prefetch_lines(fm_prefetch *f) {
    for (int left = PREFETCH_LINES; left > 0 && f->row < f->end; left--) {
        __builtin_prefetch(f->x + f->order[f->row] * f->row_stride + f->at, 0, 3);
        f->at += LINE_BYTES;
        if (f->at >= f->row_bytes) {
            f->at = 0;
            f->row++;
        }
    }
}

#endif
