/* Threads and the operating system: a clock, yielding and sleeping, a mutex with a condition, changing the CPU, and a
 * permission.
 * Only this file distinguishes POSIX and Windows. Nothing here owns memory, so nothing is destroyed. */
#ifndef FM_SYSTEM_H
#define FM_SYSTEM_H

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>
#undef near /* macros from 16-bit Windows */
#undef far
#undef small

typedef SRWLOCK fm_mutex;
typedef CONDITION_VARIABLE fm_condition;

static inline double fm_now(void) { /* seconds since an arbitrary time */
    LARGE_INTEGER ticks, frequency;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&frequency);
    return (double)ticks.QuadPart / (double)frequency.QuadPart;
}
static inline void fm_yield(void) { SwitchToThread(); }
static inline void fm_nap(void) { Sleep(1); } /* the shortest sleep, until the next tick of the system */
static inline void fm_mutex_start(fm_mutex *m) { InitializeSRWLock(m); }
static inline void fm_lock(fm_mutex *m) { AcquireSRWLockExclusive(m); }
static inline void fm_unlock(fm_mutex *m) { ReleaseSRWLockExclusive(m); }
static inline void fm_condition_start(fm_condition *c) { InitializeConditionVariable(c); }
static inline void fm_condition_wait(fm_condition *c, fm_mutex *m) { SleepConditionVariableSRW(c, m, INFINITE, 0); }
static inline void fm_condition_wake(fm_condition *c) { WakeAllConditionVariable(c); }

#else
#include <pthread.h>
#include <sched.h>
#include <time.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

typedef pthread_mutex_t fm_mutex;
typedef pthread_cond_t fm_condition;

static inline double fm_now(void) { /* seconds since an arbitrary time; takes about 25 ns */
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static inline void fm_yield(void) { sched_yield(); }
static inline void fm_nap(void) {
    const struct timespec nap = {0, 50000};
    nanosleep(&nap, NULL);
}
static inline void fm_mutex_start(fm_mutex *m) { pthread_mutex_init(m, NULL); }
static inline void fm_lock(fm_mutex *m) { pthread_mutex_lock(m); }
static inline void fm_unlock(fm_mutex *m) { pthread_mutex_unlock(m); }
static inline void fm_condition_start(fm_condition *c) { pthread_cond_init(c, NULL); }
static inline void fm_condition_wait(fm_condition *c, fm_mutex *m) { pthread_cond_wait(c, m); }
static inline void fm_condition_wake(fm_condition *c) { pthread_cond_broadcast(c); }
#endif

#if defined(__linux__) && defined(CPU_CLR)
static inline int fm_this_cpu(void) { return sched_getcpu(); }

/* Move this thread to another allowed CPU, if there is one; it may return later. The check keeps an affinity that
 * another thread or process sets meanwhile. */
static inline void fm_leave_cpu(int cpu) {
    cpu_set_t allowed, others;
    if (sched_getaffinity(0, sizeof allowed, &allowed)) return;
    others = allowed;
    CPU_CLR(cpu, &others);
    if (CPU_COUNT(&others) == 0 || sched_setaffinity(0, sizeof others, &others)) return;
    cpu_set_t now;
    if (!sched_getaffinity(0, sizeof now, &now) && CPU_EQUAL(&now, &others))
        sched_setaffinity(0, sizeof allowed, &allowed);
}
#else
static inline int fm_this_cpu(void) { return -1; }
static inline void fm_leave_cpu(int cpu) { (void)cpu; }
#endif

/* Whether this process may use tile registers (AMX). Linux must be asked: arch_prctl(ARCH_REQ_XCOMP_PERM, TILEDATA). */
static inline int fm_may_use_tiles(void) {
#if defined(__linux__) && defined(__x86_64__)
    return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
#else
    return 0;
#endif
}

#endif
