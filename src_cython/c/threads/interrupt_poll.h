/* Interruption of long native work. Each thread has a poll, which looks from time to time for a signal, or for a stop
 * that another thread has requested through the shared `stop`. Only a thread that may call Python has a `poll`. */
#ifndef FM_INTERRUPT_POLL_H
#define FM_INTERRUPT_POLL_H

#include <stdatomic.h>
#include <stdint.h>

#include "threads/system.h"
#include "simd/fpenv.h"

#define POLL_WORK 2e7     /* floating-point operations before the next look at the clock: 10 ms at 2 GFLOP/s */
#define POLL_SECONDS 2e-2 /* seconds between two polls; each poll waits for the interpreter lock */

typedef int (*fm_poll)(void *); /* returns whether to stop */

typedef struct {
    fm_poll poll; /* or NULL */
    void *context;
    atomic_int *stop;
    double work, asked; /* operations since the last look at the clock; time of the last poll */
    fm_fpenv fpenv; /* the caller's, which signal handlers need */
} fm_interrupt_poll;

static inline void fm_poll_start(fm_interrupt_poll *p, fm_poll poll, void *context, atomic_int *stop) {
    p->poll = poll;
    p->context = context;
    p->stop = stop;
    p->work = 0;
    p->asked = poll ? fm_now() : 0;
}

static inline void fm_stop_clear(atomic_int *stop) { atomic_store_explicit(stop, 0, memory_order_relaxed); }
static inline void fm_stop(fm_interrupt_poll *p) { atomic_store_explicit(p->stop, 1, memory_order_relaxed); }
static inline int fm_stopped(const fm_interrupt_poll *p) { return atomic_load_explicit(p->stop, memory_order_relaxed); }

static inline void fm_poll_ask(fm_interrupt_poll *p) {
    const double now = fm_now();
    p->work = 0;
    if (now - p->asked < POLL_SECONDS) return;
    p->asked = now;
    const fm_fpenv native = fm_get_fpenv();
    fm_restore_fpenv(p->fpenv);
    if (p->poll(p->context)) fm_stop(p);
    fm_restore_fpenv(native);
}

/* Whether to stop; called before `work` more operations. */
static inline int fm_poll_stop(fm_interrupt_poll *p, double work) {
    if (p->poll && (p->work += work) >= POLL_WORK) fm_poll_ask(p);
    return fm_stopped(p);
}

#endif
