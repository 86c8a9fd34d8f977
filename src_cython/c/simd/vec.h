/* The SIMD operations of every CPU level and both dtypes.
 *
 * The build sets FM_DOUBLE; the compiler's macros tell the level. A vector is a vector-extension type of GCC and
 * Clang: +, -, *, /, comparisons and shifts are operators, the rest (fused multiply-add, min, max, sqrt) are
 * intrinsics. Every multiply-add is v_fma, as the build forbids contraction, so that the bits do not depend on
 * compiler, level or thread. The tile sizes MR x (NV vectors) of the levels are defined here only. */
#ifndef FM_VEC_H
#define FM_VEC_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#define ROLLED _Pragma("clang loop unroll(disable)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#define ROLLED _Pragma("GCC unroll 1")
#endif
/* Keeps an accumulator in its register. Otherwise clang reorders the multiply-adds of a tile, or of four rows on end,
 * needs more than all registers, and spills accumulators to the stack, which makes the tile half as fast. */
#if defined(__clang__) && defined(__AVX2__)
#define HOLD(accumulator) __asm__("" : "+v"(accumulator))
#else
#define HOLD(accumulator) ((void)0)
#endif
/* With 16 registers, the numbers that p points to are loaded where they are used, instead of held in registers in a loop
 * whose accumulators need them. */
#if defined(__AVX512F__)
#define FROM_MEMORY(p) ((void)0)
#else
#define FROM_MEMORY(p) __asm__ volatile("" : : "r"(p) : "memory")
#endif
#define FM_INLINE static inline __attribute__((always_inline))
/* For long code with many callers, none of which gains by a copy of it. */
#define FM_OUTLINE static __attribute__((noinline))
/* A parameter that the functions of a table share, and this one does not need. */
#define FM_UNUSED __attribute__((unused))

/* A loop of multiply-adds whose instructions a core fetches too slowly unless four turns are one. */
#if !defined(__AVX2__)
#define UNROLL_4
#elif defined(__clang__)
#define UNROLL_4 _Pragma("clang loop unroll_count(4)")
#else
#define UNROLL_4 _Pragma("GCC unroll 4")
#endif

#if FM_DOUBLE
typedef double real;
typedef int64_t bits;
#define FM_REAL_BYTES 8
#else
typedef float real;
typedef int32_t bits;
#define FM_REAL_BYTES 4
#endif

#if defined(__AVX512F__)
#define FM_VECTOR_BYTES 64
#define MR 8
#define NV 2
#elif defined(__AVX2__) && defined(__FMA__)
#define FM_VECTOR_BYTES 32
#define MR 4
#define NV 3
#elif defined(__aarch64__)
#define FM_VECTOR_BYTES 16
#define MR 4
#define NV 4
#else
#define FM_VECTOR_BYTES 16
#define MR 4
#define NV 2
#endif

#define LANES (FM_VECTOR_BYTES / FM_REAL_BYTES)
#define NR (NV * LANES)    /* columns of a panel */
#define ROW_MULTIPLE 8     /* batch rows are padded to a multiple of this; MR divides it */
#define TREE_LANES 16      /* horizontal sums use this many virtual lanes at every level */
#define TREE_VECTORS (TREE_LANES / LANES)

typedef real v __attribute__((vector_size(FM_VECTOR_BYTES), may_alias));
typedef real v_unaligned __attribute__((vector_size(FM_VECTOR_BYTES), aligned(sizeof(real)), may_alias));
typedef bits vi __attribute__((vector_size(FM_VECTOR_BYTES), may_alias));

/* s - 0 folds to a plain broadcast; 0 + s would be a real addition (signed zero). */
FM_INLINE v v_set1(real s) { return s - (v){0}; }
FM_INLINE vi vi_set1(bits s) { return s - (vi){0}; }
FM_INLINE v v_load(const real *p) { return *(const v *)p; }
FM_INLINE v v_loadu(const real *p) { return *(const v_unaligned *)p; }
FM_INLINE void v_store(real *p, v a) { *(v *)p = a; }
FM_INLINE void v_storeu(real *p, v a) { *(v_unaligned *)p = a; }
FM_INLINE v v_select(vi mask, v a, v b) { return (v)((mask & (vi)a) | (~mask & (vi)b)); }

#if defined(__x86_64__)
#if FM_DOUBLE
#define FM_SUFFIX(name) name##_pd
#else
#define FM_SUFFIX(name) name##_ps
#endif
#if FM_VECTOR_BYTES == 64
#define FM_OP(name) FM_SUFFIX(_mm512_##name)
#elif FM_VECTOR_BYTES == 32
#define FM_OP(name) FM_SUFFIX(_mm256_##name)
#else
#define FM_OP(name) FM_SUFFIX(_mm_##name)
#endif
/* x86 returns the second operand if either is NaN, so with the bound first, NaN passes through. */
FM_INLINE v v_min(v bound, v a) { return (v)FM_OP(min)(bound, a); }
FM_INLINE v v_max(v bound, v a) { return (v)FM_OP(max)(bound, a); }
FM_INLINE v v_sqrt(v a) { return (v)FM_OP(sqrt)(a); }
#if FM_VECTOR_BYTES == 16
FM_INLINE v v_fma(v a, v b, v c) { return a * b + c; } /* baseline: no FMA, other bits */
#else
FM_INLINE v v_fma(v a, v b, v c) { return (v)FM_OP(fmadd)(a, b, c); }
#endif
#elif defined(__aarch64__)
#if FM_DOUBLE
#define FM_OP(name) name##q_f64
#else
#define FM_OP(name) name##q_f32
#endif
FM_INLINE v v_min(v bound, v a) { return (v)FM_OP(vmin)(bound, a); }
FM_INLINE v v_max(v bound, v a) { return (v)FM_OP(vmax)(bound, a); }
FM_INLINE v v_sqrt(v a) { return (v)FM_OP(vsqrt)(a); }
FM_INLINE v v_fma(v a, v b, v c) { return (v)FM_OP(vfma)(c, a, b); }
#else
FM_INLINE v v_min(v bound, v a) { return v_select(bound < a, bound, a); }
FM_INLINE v v_max(v bound, v a) { return v_select(bound > a, bound, a); }
FM_INLINE v v_sqrt(v a) {
    for (int i = 0; i < LANES; i++) a[i] = (real)sqrt((double)a[i]);
    return a;
}
FM_INLINE v v_fma(v a, v b, v c) { return a * b + c; }
#endif

/* A multiply-add of single numbers, with the bits of v_fma. */
FM_INLINE real one_fma(real a, real b, real c) {
#if (defined(__x86_64__) && FM_VECTOR_BYTES == 16) || !(defined(__x86_64__) || defined(__aarch64__))
    return a * b + c;
#elif FM_DOUBLE
    return __builtin_fma(a, b, c);
#else
    return __builtin_fmaf(a, b, c);
#endif
}

FM_INLINE v v_abs(v a) { return (v)((vi)a & ~(vi)v_set1((real)-0.0)); }
/* The sign of a: 1, -1, or 0 for 0. */
FM_INLINE v v_sign(v a) { return (v)(((vi)v_set1(1) & (vi)(a != 0)) | ((vi)a & (vi)v_set1((real)-0.0))); }

/* Copy a few values in vectors and pieces of fixed sizes, which takes less time than a call of memcpy. */
FM_INLINE void copy_values(real *to, const real *from, int64_t n) {
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) v_storeu(to + i, v_loadu(from + i));
    if (i == n) return;
    UNROLL
    for (int piece = LANES / 2; piece >= 1; piece /= 2) {
        if (n & piece) {
            memcpy(to + i, from + i, (size_t)piece * sizeof(real));
            i += piece;
        }
    }
}

/* Lane i is all ones where i < count. */
FM_INLINE vi v_first(int64_t count) {
    vi lane;
    for (int i = 0; i < LANES; i++) lane[i] = i;
    return lane < vi_set1((bits)(count < LANES ? count : LANES));
}

/* The first `count` values, and zeros. */
FM_INLINE v v_rows(const real *p, int64_t count) {
    if (count >= LANES) return v_loadu(p);
    v a = {0};
    copy_values((real *)&a, p, count);
    return a;
}

/* The lanes of the first or second halves of a and b, interleaved. */
#if LANES == 2
#define ZIP_LOW 0, 2
#define ZIP_HIGH 1, 3
#elif LANES == 4
#define ZIP_LOW 0, 4, 1, 5
#define ZIP_HIGH 2, 6, 3, 7
#elif LANES == 8
#define ZIP_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define ZIP_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define ZIP_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define ZIP_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#endif
#if defined(__clang__)
#define ZIP(a, b, order) __builtin_shufflevector(a, b, order)
#else
#define ZIP(a, b, order) __builtin_shuffle(a, b, (vi){order})
#endif
FM_INLINE v v_zip_low(v a, v b) { return ZIP(a, b, ZIP_LOW); }
FM_INLINE v v_zip_high(v a, v b) { return ZIP(a, b, ZIP_HIGH); }

/* Horizontal sums of TREE_LANES virtual lanes of m rows by a fixed tree: 16 -> 8 -> 4 -> 2 -> 1; the sum of row i is in
 * lane i * LANES / m. Zipping aligns lane i with lane i + half, of two rows at once while there are two. */
FM_INLINE v v_tree_sums(const int m, v acc[][TREE_VECTORS]) {
    UNROLL
    for (int half = TREE_VECTORS / 2; half >= 1; half /= 2) {
        UNROLL
        for (int i = 0; i < m * half; i++) acc[i / half][i % half] += acc[i / half][i % half + half];
    }
    UNROLL
    for (int half = LANES / 2, n = m; half >= 1; half /= 2) {
        const int other = n / 2;
        n -= other;
        UNROLL
        for (int i = 0; i < n; i++) {
            const v a = acc[i][0], b = acc[i + other][0];
            acc[i][0] = v_zip_low(a, b) + v_zip_high(a, b);
        }
    }
    return acc[0][0];
}
FM_INLINE real v_tree_sum(v acc[TREE_VECTORS]) { return v_tree_sums(1, (v(*)[TREE_VECTORS])acc)[0]; }

FM_INLINE real v_highest(v a) {
    UNROLL
    for (int half = LANES / 2; half >= 1; half /= 2) a = v_max(v_zip_low(a, a), v_zip_high(a, a));
    return a[0];
}

#endif
