/* The floating-point control of a thread. Native code sets its own and restores the caller's, so that the bits do not
 * depend on the caller: round to nearest, flush denormals, no traps. FM_DEFAULT_CONTROL is that of a new thread: round
 * to nearest, keep denormals, no traps. */
#ifndef FM_CONTROL_H
#define FM_CONTROL_H

#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
typedef unsigned int fm_control;
#define FM_CONTROL 0x9fc0u /* MXCSR: FTZ, every exception masked, DAZ */
#define FM_DEFAULT_CONTROL 0x1f80u
static inline fm_control fm_get_control(void) { return _mm_getcsr(); }
static inline void fm_restore_control(fm_control old) { _mm_setcsr(old); }
#elif defined(__aarch64__)
typedef uint64_t fm_control;
#define FM_CONTROL (1u << 24) /* FPCR: FZ */
#define FM_DEFAULT_CONTROL 0u
static inline fm_control fm_get_control(void) {
    fm_control now;
    __asm__ volatile("mrs %0, fpcr" : "=r"(now));
    return now;
}
static inline void fm_restore_control(fm_control old) { __asm__ volatile("msr fpcr, %0" : : "r"(old)); }
#else
typedef int fm_control;
#define FM_CONTROL 0
#define FM_DEFAULT_CONTROL 0
static inline fm_control fm_get_control(void) { return 0; }
static inline void fm_restore_control(fm_control old) { (void)old; }
#endif

/* Set the control of native code; returns the caller's for fm_restore_control. */
static inline fm_control fm_own_control(void) {
    const fm_control old = fm_get_control();
    fm_restore_control(FM_CONTROL);
    return old;
}

/* a / b under the control of native code; volatile keeps the division inside. */
static inline double fm_quotient(double a, double b) {
    const fm_control old = fm_own_control();
    const volatile double divisor = b;
    const volatile double result = a / divisor;
    fm_restore_control(old);
    return result;
}

#endif
