/* Whether the team or thread 0 alone is faster, found out while training: results do not depend on it.
 *
 * On a machine with other work a barrier waits for a thread that the scheduler has put aside, and two threads
 * can be slower than one. So time is taken in windows; the mode that is not in use gets a short one now and
 * then, rarely while nothing changes, and the faster mode goes on. A short trial of the team may fall between
 * two times that a thread is put aside: the team is then on probation for some windows. */
#ifndef FM_PACE_H
#define FM_PACE_H

#include <stdint.h>

#include "threads/system.h"

#define PACE_WINDOW 2e-3 /* seconds */
#define PACE_TRIAL 5e-4  /* seconds; at least one step */
#define PACE_MARGIN 0.9  /* of the cost of thread 0 alone: a team that costs more is not worth its helpers */
#define PACE_MEMORY 0.75 /* weight of a window when the next one comes */
enum {
    PACE_SHORTEST = 4, /* windows between two trials of the other mode, and of a probation */
    PACE_LONGEST = 128,
    PACE_DOUBT = 8 /* what a window counts in which the team was not worth it */
};

typedef struct {
    int32_t alone;     /* mode of now: 1 is thread 0 alone */
    int32_t trial;     /* this window tries the mode that is not in use */
    int32_t probation; /* windows left of the team's */
    int64_t steps;     /* in this window */
    int64_t left;      /* windows until the next trial */
    int64_t wait[2];   /* windows of each mode before the other is tried */
    double began;
    double used_seconds, used_steps; /* of the mode in use, older windows counting less and less */
    double cost[2];                  /* seconds a step of each mode; 0: not known */
} fm_pace;

/* At the start of an epoch, and when the team has come: time before it does not count. */
static inline void fm_pace_resume(fm_pace *p) {
    p->steps = 0;
    p->began = fm_now();
}

/* A mode goes on, or begins; the longer it has been right, the later it is doubted. */
static inline void fm_pace_use(fm_pace *p, int32_t alone, int is_again) {
    int64_t *const wait = &p->wait[alone];
    if (is_again) *wait = 2 * *wait < PACE_LONGEST ? 2 * *wait : PACE_LONGEST;
    if (*wait < PACE_SHORTEST) *wait = PACE_SHORTEST;
    p->left = *wait;
    p->alone = alone;
    p->used_seconds = p->used_steps = 0;
}

static inline int fm_pace_team_is_slow(const fm_pace *p) {
    return p->cost[1] > 0 && p->cost[0] > PACE_MARGIN * p->cost[1];
}

static inline void fm_pace_end_trial(fm_pace *p) {
    const int32_t used = !p->alone, alone = fm_pace_team_is_slow(p);
    p->trial = 0;
    fm_pace_use(p, alone, alone == used);
    if (alone != used && alone) p->wait[0] = PACE_SHORTEST;
    if (alone != used && !alone) p->probation = PACE_SHORTEST;
}

/* The end of a window of the mode in use. */
static inline void fm_pace_end_window(fm_pace *p) {
    const int is_slow = !p->alone && fm_pace_team_is_slow(p);
    if (p->probation > 0 && is_slow) {
        p->probation = 0;
        fm_pace_use(p, 1, 1);
        return;
    }
    if (p->probation > 0) {
        p->probation--;
        if (p->probation == 0) p->wait[1] = PACE_SHORTEST;
        return;
    }
    p->left -= is_slow ? PACE_DOUBT : 1;
    if (p->left <= 0) {
        p->trial = 1;
        p->alone = !p->alone;
    }
}

/* A step has ended: the mode of the next. */
static inline int32_t fm_pace_step_at(fm_pace *p, double now) {
    const double length = now - p->began;
    p->steps++;
    if (length < (p->trial ? PACE_TRIAL : PACE_WINDOW)) return p->alone;
    if (p->trial) {
        p->cost[p->alone] = length / (double)p->steps;
        fm_pace_end_trial(p);
    } else {
        p->used_seconds = length + PACE_MEMORY * p->used_seconds;
        p->used_steps = (double)p->steps + PACE_MEMORY * p->used_steps;
        p->cost[p->alone] = p->used_seconds / p->used_steps;
        fm_pace_end_window(p);
    }
    p->steps = 0;
    p->began = now;
    return p->alone;
}

static inline int32_t fm_pace_step(fm_pace *p) { return fm_pace_step_at(p, fm_now()); }

#endif
