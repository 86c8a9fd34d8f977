/* Long native work looks up now and then: whether a signal has come, or another thread has been stopped by one.
 * Each thread has a watch of its own; `stop` is shared. Only a thread that may call Python has a `poll`. */
#ifndef FM_WATCH_H
#define FM_WATCH_H

#include <stdatomic.h>
#include <stdint.h>

#include "clock.h"

#define WATCH_WORK 2e7     /* floating-point operations before the next look at the clock: 10 ms at 2 GFLOP/s */
#define WATCH_SECONDS 2e-2 /* between two polls: each waits for the interpreter lock */

typedef struct {
    int (*poll)(void *); /* true: stop; NULL: nothing to ask */
    void *context;
    atomic_int *stop;
    double work, asked; /* since the last look at the clock; time of the last poll */
    uint64_t control;   /* floating-point control of the caller: what a poll runs has that, not ours */
} fm_watch;

static inline void fm_watch_start(fm_watch *w, int (*poll)(void *), void *context, atomic_int *stop) {
    w->poll = poll;
    w->context = context;
    w->stop = stop;
    w->work = 0;
    w->asked = poll ? fm_now() : 0;
}

/* Whether it is time to poll, so much work later. */
static inline int fm_watch_due(fm_watch *w, double work) {
    if (!w->poll || (w->work += work) < WATCH_WORK) return 0;
    w->work = 0;
    const double now = fm_now();
    if (now - w->asked < WATCH_SECONDS) return 0;
    w->asked = now;
    return 1;
}

static inline int fm_watch_poll(const fm_watch *w) { return w->poll(w->context); }

static inline void fm_stop_clear(atomic_int *stop) { atomic_store_explicit(stop, 0, memory_order_relaxed); }
static inline void fm_stop(fm_watch *w) { atomic_store_explicit(w->stop, 1, memory_order_relaxed); }
static inline int fm_stopped(const fm_watch *w) { return atomic_load_explicit(w->stop, memory_order_relaxed); }

#endif
