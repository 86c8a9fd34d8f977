/* Seconds since some moment; about 25 ns a look. */
#ifndef FM_CLOCK_H
#define FM_CLOCK_H

#include <time.h>

static inline double fm_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
