/* Interruption of long native work. Each thread has a watch, which looks from time to time for a signal, or for a stop
 * that another thread has requested through the shared `stop`. Only a thread that may call Python has a `poll`. */
#ifndef FM_WATCH_H
#define FM_WATCH_H

#include <stdatomic.h>
#include <stdint.h>

#include "threads/system.h"
#include "simd/control.h"

#define WATCH_WORK 2e7     /* floating-point operations before the next look at the clock: 10 ms at 2 GFLOP/s */
#define WATCH_SECONDS 2e-2 /* seconds between two polls; each poll waits for the interpreter lock */

typedef int (*fm_poll)(void *); /* returns whether to stop */

typedef struct {
    fm_poll poll; /* or NULL */
    void *context;
    atomic_int *stop;
    double work, asked; /* operations since the last look at the clock; time of the last poll */
    fm_control control; /* the caller's, which signal handlers need */
} fm_watch;

static inline void fm_watch_start(fm_watch *w, fm_poll poll, void *context, atomic_int *stop) {
    w->poll = poll;
    w->context = context;
    w->stop = stop;
    w->work = 0;
    w->asked = poll ? fm_now() : 0;
}

static inline void fm_stop_clear(atomic_int *stop) { atomic_store_explicit(stop, 0, memory_order_relaxed); }
static inline void fm_stop(fm_watch *w) { atomic_store_explicit(w->stop, 1, memory_order_relaxed); }
static inline int fm_stopped(const fm_watch *w) { return atomic_load_explicit(w->stop, memory_order_relaxed); }

static inline void fm_watch_ask(fm_watch *w) {
    const double now = fm_now();
    w->work = 0;
    if (now - w->asked < WATCH_SECONDS) return;
    w->asked = now;
    const fm_control own = fm_get_control();
    fm_restore_control(w->control);
    if (w->poll(w->context)) fm_stop(w);
    fm_restore_control(own);
}

/* Whether to stop; called before `work` more operations. */
static inline int fm_watch_stop(fm_watch *w, double work) {
    if (w->poll && (w->work += work) >= WATCH_WORK) fm_watch_ask(w);
    return fm_stopped(w);
}

#endif
