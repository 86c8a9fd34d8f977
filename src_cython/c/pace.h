/* Whether the team or thread 0 alone is faster, found out while training: results do not depend on it.
 *
 * On a machine with other work a barrier waits for a thread that the scheduler has put aside, and two threads
 * can be slower than one. So time is taken in windows; the mode that is not in use gets a short one now and
 * then, rarely while nothing changes (after 128 of the others), and the faster mode goes on. A short trial can
 * be lucky: only a team that has held out until the next trial is tried again soon after it was given up. */
#ifndef FM_PACE_H
#define FM_PACE_H

#include <stdint.h>
#include <time.h>

#define PACE_WINDOW 2e-3 /* seconds */
#define PACE_TRIAL 5e-4  /* seconds; at least one step */
#define PACE_MARGIN 0.9  /* of the cost of thread 0 alone: a team that costs more is not worth its helpers */
enum { PACE_SHORTEST = 4, PACE_LONGEST = 128 }; /* windows between two trials of the other mode */
enum { FM_TEAM = 0, FM_ALONE = 1 };

typedef struct {
    int32_t alone;       /* mode of now */
    int32_t trial;       /* this window tries the mode that is not in use */
    int64_t steps;       /* in this window */
    int64_t left;        /* windows until the next trial */
    int64_t interval[2]; /* windows of each mode before the other is tried */
    double began;
    double cost[2];      /* seconds a step in the last window of each mode; 0: not known */
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

static inline int64_t fm_pace_longer(int64_t interval) {
    const int64_t longer = 2 * interval < PACE_LONGEST ? 2 * interval : PACE_LONGEST;
    return longer > PACE_SHORTEST ? longer : PACE_SHORTEST;
}

/* After a trial: the mode to go on with, and for how long. */
static inline void fm_pace_decide(fm_pace *p) {
    const int before = !p->alone;
    p->alone = p->cost[FM_TEAM] > PACE_MARGIN * p->cost[FM_ALONE];
    if (p->alone) {
        p->interval[FM_ALONE] = fm_pace_longer(p->interval[FM_ALONE]);
    } else if (before == FM_TEAM) {
        p->interval[FM_TEAM] = fm_pace_longer(p->interval[FM_TEAM]);
        p->interval[FM_ALONE] = 0;
    } else {
        p->interval[FM_TEAM] = PACE_SHORTEST;
    }
    p->left = p->interval[p->alone];
}

/* After each step: the mode of the next. */
static inline int32_t fm_pace_step(fm_pace *p) {
    p->steps++;
    const double now = fm_now();
    if (now - p->began < (p->trial ? PACE_TRIAL : PACE_WINDOW)) return p->alone;
    p->cost[p->alone] = (now - p->began) / (double)p->steps;
    p->steps = 0;
    p->began = now;
    const int worse = !p->alone && p->cost[FM_ALONE] > 0 && p->cost[FM_TEAM] > p->cost[FM_ALONE];
    if (p->trial) {
        p->trial = 0;
        fm_pace_decide(p);
    } else if (--p->left <= 0 || worse) {
        p->trial = 1;
        p->alone = !p->alone;
    }
    return p->alone;
}

#endif
