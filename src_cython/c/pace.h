/* Whether the team or thread 0 alone is faster, found out while training: results do not depend on it.
 *
 * On a machine with other work a barrier waits for a thread that the scheduler has put aside, and two threads
 * can be slower than one. So time is taken in windows; the mode that is not in use gets a short one now and
 * then, rarely while nothing changes (after 128 of the others), and the faster mode goes on. */
#ifndef FM_PACE_H
#define FM_PACE_H

#include <stdint.h>
#include <time.h>

#define PACE_WINDOW 2e-3 /* seconds */
#define PACE_TRIAL 5e-4  /* seconds; at least one step */
#define PACE_MARGIN 0.9  /* of the cost of thread 0 alone: a team that costs more is not worth its helpers */
enum { PACE_SHORTEST = 4, PACE_LONGEST = 128 }; /* windows between two trials of the other mode */

typedef struct {
    int32_t alone;    /* mode of now: 1 is thread 0 alone */
    int32_t trial;    /* this window tries the mode that is not in use */
    int64_t steps;    /* in this window */
    int64_t left;     /* windows until the next trial */
    int64_t interval;
    double began;
    double cost[2];   /* seconds a step in the last window of each mode; 0: not known */
} fm_pace;

static inline double fm_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* At the start of an epoch, and when the team has come: time before it does not count. */
static inline void fm_pace_resume(fm_pace *p) {
    p->steps = 0;
    p->began = fm_now();
}

/* After each step: the mode of the next. */
static inline int32_t fm_pace_step(fm_pace *p) {
    p->steps++;
    const double now = fm_now();
    if (now - p->began < (p->trial ? PACE_TRIAL : PACE_WINDOW)) return p->alone;
    p->cost[p->alone] = (now - p->began) / (double)p->steps;
    p->steps = 0;
    p->began = now;
    if (p->trial) {
        p->trial = 0;
        const int alone = p->cost[0] > PACE_MARGIN * p->cost[1];
        const int won = p->alone == alone;
        p->alone = alone;
        p->interval = won || p->interval < PACE_SHORTEST ? PACE_SHORTEST
                      : p->interval * 2 < PACE_LONGEST ? p->interval * 2 : PACE_LONGEST;
        p->left = p->interval;
    } else if (--p->left <= 0) {
        p->trial = 1;
        p->alone = !p->alone;
    }
    return p->alone;
}

#endif
