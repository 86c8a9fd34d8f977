/* Decides during training whether the team or thread 0 alone is faster; results do not depend on it.
 *
 * On a busy machine a barrier may wait for a thread that the scheduler has suspended, so that two threads are slower
 * than one. Time is measured in windows. The mode that is not in use gets a short trial now and then, more rarely while
 * the decision stays the same, and the faster mode continues. A short trial of the team may miss the suspensions, so
 * the team is on probation for some windows after it. */
#ifndef FM_PACE_H
#define FM_PACE_H

#include <stdint.h>

#include "threads/system.h"

#define PACE_WINDOW 2e-3 /* seconds */
#define PACE_TRIAL 5e-4  /* seconds; at least one step */
#define PACE_MARGIN 0.9  /* a team that takes more than this share of the time of thread 0 alone is slow */
#define PACE_MEMORY 0.75 /* factor on the weight of the earlier windows after each window */
enum {
    PACE_SHORTEST = 4, /* fewest windows between two trials of the other mode; length of a probation */
    PACE_LONGEST = 128,
    PACE_DOUBT = 8 /* weight of a window in which the team was slow */
};

typedef struct {
    int32_t alone;     /* the current mode; 1: thread 0 alone */
    int32_t trial;     /* this window is a trial of the mode that is not in use */
    int32_t probation; /* windows left of the team's probation */
    int64_t steps;     /* in this window */
    int64_t left;      /* windows until the next trial */
    int64_t wait[2];   /* windows of each mode before the other is tried */
    double began;
    double used_seconds, used_steps; /* sums of the mode in use, older windows with less weight */
    double cost[2];                  /* seconds per step of each mode; 0: not known */
} fm_pace;

/* Start a window: at the start of an epoch, and when the team has come. */
static inline void fm_pace_resume(fm_pace *p) {
    p->steps = 0;
    p->began = fm_now();
}

/* Continue or begin a mode; each time it is confirmed, the next trial comes later. */
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

/* End a window of the mode in use. */
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

/* End a step; returns the mode of the next. */
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
