/* The floating-point environment of a thread. Native code sets its own and restores the caller's, so that the bits do
 * not depend on the caller: round to nearest, flush denormals, no traps. FM_DEFAULT_FPENV is that of a new thread: round
 * to nearest, keep denormals, no traps. */
#ifndef FM_FPENV_H
#define FM_FPENV_H

#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
typedef unsigned int fm_fpenv;
#define FM_FPENV 0x9fc0u /* MXCSR: FTZ, every exception masked, DAZ */
#define FM_DEFAULT_FPENV 0x1f80u
static inline fm_fpenv fm_get_fpenv(void) { return _mm_getcsr(); }
static inline void fm_restore_fpenv(fm_fpenv old) { _mm_setcsr(old); }
#elif defined(__aarch64__)
typedef uint64_t fm_fpenv;
#define FM_FPENV (1u << 24) /* FPCR: FZ */
#define FM_DEFAULT_FPENV 0u
static inline fm_fpenv fm_get_fpenv(void) {
    fm_fpenv now;
    __asm__ volatile("mrs %0, fpcr" : "=r"(now));
    return now;
}
static inline void fm_restore_fpenv(fm_fpenv old) { __asm__ volatile("msr fpcr, %0" : : "r"(old)); }
#else
typedef int fm_fpenv;
#define FM_FPENV 0
#define FM_DEFAULT_FPENV 0
static inline fm_fpenv fm_get_fpenv(void) { return 0; }
static inline void fm_restore_fpenv(fm_fpenv old) { (void)old; }
#endif

/* Set the environment of native code; returns the caller's for fm_restore_fpenv. */
static inline fm_fpenv fm_set_fpenv(void) {
    const fm_fpenv old = fm_get_fpenv();
    fm_restore_fpenv(FM_FPENV);
    return old;
}

/* a / b in the environment of native code; volatile keeps the division inside. */
static inline double fm_quotient(double a, double b) {
    const fm_fpenv old = fm_set_fpenv();
    const volatile double divisor = b;
    const volatile double result = a / divisor;
    fm_restore_fpenv(old);
    return result;
}

#endif
