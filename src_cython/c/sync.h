/* What threads of one epoch share besides data: a barrier, and counters of the work that is taken. Threads are
 * Python's own, each inside the same native call; waiting spins first (a step is microseconds), then yields, then sleeps, so
 * that an oversubscribed machine is not burnt. */
#ifndef FM_SYNC_H
#define FM_SYNC_H

#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define fm_pause() _mm_pause()
#elif defined(__aarch64__)
#define fm_pause() __asm__ volatile("yield")
#else
#define fm_pause() ((void)0)
#endif

enum { SPINS = 2000, YIELDS = 200 };

typedef struct {
    _Alignas(64) atomic_int arrived;
    _Alignas(64) atomic_int generation;
    int size;
} fm_barrier;

/* Of one thread's share of the work: how much of it is taken, by itself or by one that had finished. */
typedef struct {
    _Alignas(64) atomic_llong taken;
} fm_counter;

static inline void fm_counter_reset(fm_counter *c) { atomic_store_explicit(&c->taken, 0, memory_order_relaxed); }

/* Returns how much was taken before. */
static inline long long fm_counter_take(fm_counter *c, int shared) {
    if (shared) return atomic_fetch_add_explicit(&c->taken, 1, memory_order_relaxed);
    const long long before = atomic_load_explicit(&c->taken, memory_order_relaxed);
    atomic_store_explicit(&c->taken, before + 1, memory_order_relaxed);
    return before;
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
    for (int turn = 0; atomic_load_explicit(&b->generation, memory_order_acquire) == generation; turn++) {
        if (turn < SPINS) {
            fm_pause();
        } else if (turn < SPINS + YIELDS) {
            sched_yield();
        } else {
            const struct timespec nap = {0, 50000};
            nanosleep(&nap, NULL);
        }
    }
}

#endif
