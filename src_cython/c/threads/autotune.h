/* Decides during training whether the team or thread 0 alone is faster; results do not depend on it.
 *
 * On a busy machine a barrier may wait for a thread that the scheduler has suspended, so that two threads are slower
 * than one. Time is measured in windows. The mode that is not in use gets a short trial now and then, more rarely while
 * the decision stays the same, and the faster mode continues. A short trial of the team may miss the suspensions, so
 * the team is on probation for some windows after it. */
#ifndef FM_AUTOTUNE_H
#define FM_AUTOTUNE_H

#include <stdint.h>

#include "threads/system.h"

#define AUTOTUNE_WINDOW 2e-3 /* seconds */
#define AUTOTUNE_TRIAL 5e-4  /* seconds; at least one step */
#define AUTOTUNE_MARGIN 0.9  /* a team that takes more than this share of the time of thread 0 alone is slow */
#define AUTOTUNE_MEMORY 0.75 /* factor on the weight of the earlier windows after each window */
enum {
    AUTOTUNE_SHORTEST = 4, /* fewest windows between two trials of the other mode; length of a probation */
    AUTOTUNE_LONGEST = 128,
    AUTOTUNE_DOUBT = 8 /* weight of a window in which the team was slow */
};

typedef struct {
    int32_t alone;     /* the current mode; 1: thread 0 alone */
    int32_t trial;     /* this window is a trial of the mode that is not in use */
    int32_t probation; /* windows left of the team's probation */
    int64_t steps;     /* steps of this window */
    int64_t left;      /* windows until the next trial */
    int64_t wait[2];   /* windows of each mode before the other is tried */
    double began;
    double used_seconds, used_steps; /* sums of the mode in use, older windows with less weight */
    double cost[2];                  /* seconds per step of each mode; 0: not known */
} fm_autotune;

/* Begin with the team: few fits are so short that it would have to prove itself in their first window. */
static inline void fm_autotune_start(fm_autotune *p) {
    *p = (fm_autotune){.left = AUTOTUNE_SHORTEST, .wait = {AUTOTUNE_SHORTEST, AUTOTUNE_SHORTEST}};
}

/* Start a window: at the start of an epoch, and when the team has come. */
static inline void fm_autotune_resume(fm_autotune *p) {
    p->steps = 0;
    p->began = fm_now();
}

/* Continue or begin a mode; each time it is confirmed, the next trial comes later. */
static inline void fm_autotune_use(fm_autotune *p, int32_t alone, int is_again) {
    int64_t *const wait = &p->wait[alone];
    if (is_again) *wait = 2 * *wait < AUTOTUNE_LONGEST ? 2 * *wait : AUTOTUNE_LONGEST;
    p->left = *wait;
    p->alone = alone;
    p->used_seconds = p->used_steps = 0;
}

static inline int fm_autotune_team_is_slow(const fm_autotune *p) {
    return p->cost[1] > 0 && p->cost[0] > AUTOTUNE_MARGIN * p->cost[1];
}

static inline void fm_autotune_end_trial(fm_autotune *p) {
    const int32_t used = !p->alone, alone = fm_autotune_team_is_slow(p);
    p->trial = 0;
    fm_autotune_use(p, alone, alone == used);
    if (alone != used && alone) p->wait[0] = AUTOTUNE_SHORTEST;
    if (alone != used && !alone) p->probation = AUTOTUNE_SHORTEST;
}

/* End a window of the mode in use. */
static inline void fm_autotune_end_window(fm_autotune *p) {
    const int is_slow = !p->alone && fm_autotune_team_is_slow(p);
    if (p->probation > 0 && is_slow) {
        p->probation = 0;
        fm_autotune_use(p, 1, 1);
        return;
    }
    if (p->probation > 0) {
        p->probation--;
        if (p->probation == 0) p->wait[1] = AUTOTUNE_SHORTEST;
        return;
    }
    p->left -= is_slow ? AUTOTUNE_DOUBT : 1;
    if (p->left <= 0) {
        p->trial = 1;
        p->alone = !p->alone;
    }
}

/* End a step; returns the mode of the next. */
static inline int32_t fm_autotune_step_at(fm_autotune *p, double now) {
    const double length = now - p->began;
    p->steps++;
    if (length < (p->trial ? AUTOTUNE_TRIAL : AUTOTUNE_WINDOW)) return p->alone;
    if (p->trial) {
        p->cost[p->alone] = length / (double)p->steps;
        fm_autotune_end_trial(p);
    } else {
        p->used_seconds = length + AUTOTUNE_MEMORY * p->used_seconds;
        p->used_steps = (double)p->steps + AUTOTUNE_MEMORY * p->used_steps;
        p->cost[p->alone] = p->used_seconds / p->used_steps;
        fm_autotune_end_window(p);
    }
    p->steps = 0;
    p->began = now;
    return p->alone;
}

static inline int32_t fm_autotune_step(fm_autotune *p) { return fm_autotune_step_at(p, fm_now()); }

#endif
