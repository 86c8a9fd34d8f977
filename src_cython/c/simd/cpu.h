/* The instruction sets that the processor has and the system supports. The CPUID instruction is used directly, because
 * the compilers' own check does not work in a program linked by zig. */
#ifndef FM_CPU_H
#define FM_CPU_H

#include <stdint.h>

enum { FM_MOST_FEATURES = 16 };

#if defined(__x86_64__)
#include <cpuid.h>

/* Intel's manual, volume 2, CPUID: the registers with the bits of features. */
enum { FM_ECX_OF_1, FM_EBX_OF_7, FM_EDX_OF_7, FM_EAX_OF_7_1, FM_WORDS };
static const struct {
    const char *name;
    int word, bit;
    uint64_t state; /* required bits of XCR0: the system saves YMM (0x06), ZMM and masks (0xe6), tiles (0x600e6) */
} FM_FEATURES[] = {
    {"fma", FM_ECX_OF_1, 12, 0x06},          {"avx2", FM_EBX_OF_7, 5, 0x06},
    {"avx512f", FM_EBX_OF_7, 16, 0xe6},      {"avx512dq", FM_EBX_OF_7, 17, 0xe6},
    {"avx512bw", FM_EBX_OF_7, 30, 0xe6},     {"avx512vl", FM_EBX_OF_7, 31, 0xe6},
    {"avx512_bf16", FM_EAX_OF_7_1, 5, 0xe6}, {"amx_bf16", FM_EDX_OF_7, 22, 0x600e6},
    {"amx_tile", FM_EDX_OF_7, 24, 0x600e6},
};
enum { FM_OSXSAVE = 27 }; /* bit of leaf 1: XCR0 can be read */

static int fm_features_of(const unsigned int words[FM_WORDS], uint64_t state, const char **names) {
    int n = 0;
    for (unsigned int i = 0; i < sizeof(FM_FEATURES) / sizeof(FM_FEATURES[0]); i++)
        if ((words[FM_FEATURES[i].word] >> FM_FEATURES[i].bit & 1) &&
            (state & FM_FEATURES[i].state) == FM_FEATURES[i].state)
            names[n++] = FM_FEATURES[i].name;
    return n;
}

static int fm_cpu_features(const char **names) {
    unsigned int a, b, c, d, words[FM_WORDS] = {0};
    uint32_t low, high;
    if (__get_cpuid(1, &a, &b, &c, &d)) words[FM_ECX_OF_1] = c;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        words[FM_EBX_OF_7] = b, words[FM_EDX_OF_7] = d;
        if (a > 0 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) words[FM_EAX_OF_7_1] = a;
    }
    if (!(words[FM_ECX_OF_1] >> FM_OSXSAVE & 1)) return 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return fm_features_of(words, (uint64_t)high << 32 | low, names);
}
#elif defined(__aarch64__)
static int fm_cpu_features(const char **names) { /* every aarch64 has Advanced SIMD */
    names[0] = "neon";
    return 1;
}
#else
static int fm_cpu_features(const char **names) { return (void)names, 0; }
#endif

/* Whether AMD made the processor. Its VDPBF16PS does as many multiplications of bfloat16 in a cycle as two of float32;
 * Intel's does half as many as of float32. */
static int fm_is_amd(void) {
#if defined(__x86_64__)
    unsigned int a, b, c, d;
    return __get_cpuid(0, &a, &b, &c, &d) && b == signature_AMD_ebx;
#else
    return 0;
#endif
}

/* Bytes of the second-level cache of a core, 0 if unknown (CPUID leaf 0x80000006, of Intel and AMD). */
static int64_t fm_second_level_cache(void) {
#if defined(__x86_64__)
    unsigned int a, b, c, d;
    if (__get_cpuid(0x80000006, &a, &b, &c, &d)) return (int64_t)(c >> 16) * 1024;
#endif
    return 0;
}

#endif
