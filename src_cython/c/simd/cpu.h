/* The instruction sets that the processor has and the system supports. The CPUID instruction is used directly, because
 * the compilers' own check does not work in a program linked by zig. */
#ifndef FM_CPU_H
#define FM_CPU_H

#include <stdint.h>

enum { FM_MOST_FEATURES = 8 };

#if defined(__x86_64__)
#include <cpuid.h>

/* Intel's manual, volume 2, CPUID: register ECX of leaf 1 and EBX of leaf 7. */
static const struct {
    const char *name;
    int leaf, bit;
    uint64_t state; /* required bits of XCR0: the system saves YMM (0x06), also ZMM and masks (0xe6) */
} FM_FEATURES[] = {
    {"fma", 1, 12, 0x06},      {"avx2", 7, 5, 0x06},      {"avx512f", 7, 16, 0xe6},
    {"avx512dq", 7, 17, 0xe6}, {"avx512bw", 7, 30, 0xe6}, {"avx512vl", 7, 31, 0xe6},
};
enum { FM_OSXSAVE = 27 }; /* bit of leaf 1: XCR0 can be read */

static int fm_features_of(unsigned int leaf_1, unsigned int leaf_7, uint64_t state, const char **names) {
    int n = 0;
    for (unsigned int i = 0; i < sizeof(FM_FEATURES) / sizeof(FM_FEATURES[0]); i++) {
        const unsigned int leaf = FM_FEATURES[i].leaf == 1 ? leaf_1 : leaf_7;
        if ((leaf >> FM_FEATURES[i].bit & 1) && (state & FM_FEATURES[i].state) == FM_FEATURES[i].state)
            names[n++] = FM_FEATURES[i].name;
    }
    return n;
}

static int fm_cpu_features(const char **names) {
    unsigned int a, b, c, d, leaf_1 = 0, leaf_7 = 0;
    uint32_t low, high;
    if (__get_cpuid(1, &a, &b, &c, &d)) leaf_1 = c;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) leaf_7 = b;
    if (!(leaf_1 >> FM_OSXSAVE & 1)) return 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return fm_features_of(leaf_1, leaf_7, (uint64_t)high << 32 | low, names);
}
#elif defined(__aarch64__)
static int fm_cpu_features(const char **names) { /* every aarch64 has Advanced SIMD */
    names[0] = "neon";
    return 1;
}
#else
static int fm_cpu_features(const char **names) { return (void)names, 0; }
#endif

#endif
