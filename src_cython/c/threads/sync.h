/* Synchronisation of threads. The threads are Python's own, each inside a native call.
 *
 * An epoch has a barrier, and counters of the work taken. Between calls a crew waits for the next job. A waiting thread
 * first spins (a step takes microseconds), then yields, then sleeps, to leave the CPU to others. */
#ifndef FM_SYNC_H
#define FM_SYNC_H

#include <stdatomic.h>
#include <stdint.h>

#include "threads/system.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define fm_pause() _mm_pause()
#elif defined(__aarch64__)
#define fm_pause() __asm__ volatile("yield")
#else
#define fm_pause() ((void)0)
#endif

enum { SPINS = 2000, YIELDS = 200 };

/* Wait once; `turn` counts from 0. */
static inline void fm_wait_a_little(int turn) {
    if (turn < SPINS) {
        fm_pause();
    } else if (turn < SPINS + YIELDS) {
        fm_yield();
    } else {
        fm_nap();
    }
}

typedef struct {
    _Alignas(64) atomic_int arrived;
    _Alignas(64) atomic_int generation;
    int size;
} fm_barrier;

/* Number of one thread's work items that were taken, by itself or by threads that have finished their own. */
typedef struct {
    _Alignas(64) atomic_llong taken;
} fm_counter;

static inline void fm_counter_reset(fm_counter *c) { atomic_store_explicit(&c->taken, 0, memory_order_relaxed); }

/* Count completed work; a thread that sees the number also sees the results. */
static inline void fm_counter_done(fm_counter *c) { atomic_fetch_add_explicit(&c->taken, 1, memory_order_release); }
static inline long long fm_counter_seen(const fm_counter *c) {
    return atomic_load_explicit(&c->taken, memory_order_acquire);
}

/* Take one item; returns how many were taken before. */
static inline long long fm_counter_take(fm_counter *c) {
    return atomic_fetch_add_explicit(&c->taken, 1, memory_order_relaxed);
}

static inline void fm_barrier_start(fm_barrier *b, int size) {
    atomic_init(&b->arrived, 0);
    atomic_init(&b->generation, 0);
    b->size = size;
}

static inline void fm_barrier_wait(fm_barrier *b) {
    if (b->size == 1) return;
    const int generation = atomic_load_explicit(&b->generation, memory_order_acquire);
    if (atomic_fetch_add_explicit(&b->arrived, 1, memory_order_acq_rel) + 1 == b->size) {
        atomic_store_explicit(&b->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&b->generation, generation + 1, memory_order_release);
        return;
    }
    for (int turn = 0; atomic_load_explicit(&b->generation, memory_order_acquire) == generation; turn++)
        fm_wait_a_little(turn);
}

typedef void (*fm_job)(void *context, int32_t index);

/* Helpers that wait for jobs; there is one caller at a time. A helper that comes after the caller has done all the work
 * finds the job closed, so the caller never waits for it. An open job may be offered again to helpers that left it. */
typedef struct {
    _Alignas(64) atomic_ullong state; /* number of the job << 32 | CREW_OPEN | helpers inside it */
    atomic_int members;               /* helpers that have come; CREW_FULL: later ones return */
    atomic_int asleep;
    atomic_int caller_cpu; /* -1: not known */
    fm_job job; /* NULL: helpers return */
    void *context;
    fm_mutex mutex;
    fm_condition called;
} fm_crew;

#define CREW_NEXT (1ULL << 32)
#define CREW_OPEN (1ULL << 31)
#define CREW_INSIDE (CREW_OPEN - 1)
#define CREW_FULL (1 << 30)
#define CREW_PATIENCE 1.0 /* seconds to wait for helpers */

/* Nothing destroys it: mutex and condition own no memory, and a forked child that destroyed its copy of
 * `called` would wait for threads of its parent. */
static inline void fm_crew_start(fm_crew *c) {
    atomic_init(&c->state, 0);
    atomic_init(&c->members, 0);
    atomic_init(&c->asleep, 0);
    atomic_init(&c->caller_cpu, -1);
    fm_mutex_start(&c->mutex);
    fm_condition_start(&c->called);
}

/* Wait for another job than number `seen`. */
static inline void fm_crew_wait(fm_crew *c, unsigned long long seen) {
    for (int turn = 0; turn < SPINS + YIELDS; turn++) {
        if (atomic_load(&c->state) >> 32 != seen) return;
        fm_wait_a_little(turn);
    }
    fm_lock(&c->mutex);
    atomic_fetch_add(&c->asleep, 1);
    while (atomic_load(&c->state) >> 32 == seen) fm_condition_wait(&c->called, &c->mutex);
    atomic_fetch_sub(&c->asleep, 1);
    fm_unlock(&c->mutex);
}

/* Wait at most CREW_PATIENCE for `wanted` helpers: a thread may die on its way, for example out of memory. Returns the
 * final number of helpers. */
static inline int fm_crew_muster(fm_crew *c, int wanted) {
    const double began = fm_now();
    for (int turn = 0; atomic_load(&c->members) < wanted && fm_now() - began < CREW_PATIENCE; turn++)
        fm_wait_a_little(turn);
    return atomic_fetch_or(&c->members, CREW_FULL) & ~CREW_FULL;
}

/* Run a helper until it is dismissed; indices follow the order of coming. If the other CPUs are busy, the system may
 * wake a helper on the CPU of the caller and separate the two only after 10 to 20 ms, so the helper moves by itself. */
static inline void fm_crew_serve(fm_crew *c) {
    const int index = atomic_fetch_add(&c->members, 1) + 1;
    if (index > CREW_FULL) return;
    unsigned long long seen = 0;
    for (;;) {
        fm_crew_wait(c, seen);
        unsigned long long state = atomic_load(&c->state);
        while ((state & CREW_OPEN) && !atomic_compare_exchange_weak(&c->state, &state, state + 1)) continue;
        seen = state >> 32;
        if (!(state & CREW_OPEN)) continue;
        if (!c->job) return;
        const int cpu = fm_this_cpu();
        if (cpu >= 0 && cpu == atomic_load_explicit(&c->caller_cpu, memory_order_relaxed)) fm_leave_cpu(cpu);
        c->job(c->context, index);
        atomic_fetch_sub(&c->state, 1);
    }
}

/* Offer a job, or offer the same job again to helpers that have left it or are leaving it. */
static inline void fm_crew_open(fm_crew *c, fm_job job, void *context) {
    c->job = job;
    c->context = context;
    atomic_store_explicit(&c->caller_cpu, fm_this_cpu(), memory_order_relaxed);
    atomic_fetch_add(&c->state, CREW_NEXT + (atomic_load(&c->state) & CREW_OPEN ? 0 : CREW_OPEN));
    if (atomic_load(&c->asleep)) { /* a helper checks for jobs under the lock before it sleeps */
        fm_lock(&c->mutex);
        fm_condition_wake(&c->called);
        fm_unlock(&c->mutex);
    }
}

/* Close the job and wait for the helpers inside. */
static inline void fm_crew_close(fm_crew *c) {
    atomic_fetch_and(&c->state, ~CREW_OPEN);
    for (int turn = 0; atomic_load(&c->state) & CREW_INSIDE; turn++) fm_wait_a_little(turn);
}

/* Run a job on the caller, with index 0, and the helpers; returns when all of them are done. */
static inline void fm_crew_call(fm_crew *c, fm_job job, void *context) {
    fm_crew_open(c, job, context);
    job(context, 0);
    fm_crew_close(c);
}

#endif
