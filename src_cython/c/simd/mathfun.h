/* exp, expm1, log, log1p, sigmoid, tanh and the normal distribution on vectors.
 *
 * libm is not used, because the bits must not depend on the C library. Range reduction is Cody and Waite's (Software
 * Manual for the Elementary Functions, 1980), the logarithm is 2 atanh of (m-1)/(m+1), and the polynomials come from
 * coefficients.py. docs/kernels.md states the largest errors. NaN passes through every function, so that a diverged
 * network cannot look healthy. */
#ifndef FM_MATHFUN_H
#define FM_MATHFUN_H

#include "simd/coefficients.h"
#include "simd/vec.h"

#if FM_DOUBLE
#define MANTISSA_BITS 52
#define EXPONENT_BIAS 1023
#define ROUND_MAGIC 6755399441055744.0 /* 1.5 * 2^52: adding it rounds to an integer */
#define LN2_HIGH 6.93147180369123816490e-01
#define LN2_LOW 1.90821492927058770002e-10
#define EXP_LOWEST (-707.7)
#define EXP_HIGHEST 709.782712893383973096
#define EXP_FAR 2828.0 /* exponent 4080 */
#define SQRT_HALF_BITS 0x3fe6a09e667f3bcdLL
#else
#define MANTISSA_BITS 23
#define EXPONENT_BIAS 127
#define ROUND_MAGIC 12582912.0f /* 1.5 * 2^23 */
#define LN2_HIGH 0.693359375f
#define LN2_LOW -2.12194440e-4f
#define EXP_LOWEST (-86.6f)
#define EXP_HIGHEST 88.7228394f
#define EXP_FAR 343.5f /* exponent 496 */
#define SQRT_HALF_BITS 0x3f3504f3
#endif

#define FM_COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

FM_INLINE v v_horner(const real *c, int n, v x) {
    v sum = v_set1(c[n - 1]);
    UNROLL
    for (int i = n - 2; i >= 0; i--) sum = v_fma(sum, x, v_set1(c[i]));
    return sum;
}

/* exp(r) - 1 for |r| <= ln 2 / 2. */
FM_INLINE v v_expm1_reduced(v r) {
    static const real c[] = EXPM1_TAIL;
    return v_fma(r * r, v_horner(c, FM_COUNT(c), r), r);
}

/* exp(r) - 1 on the reduced range, and the exponent of its power of two (as shifted integer k). */
FM_INLINE v v_exp_reduce(v x, vi *k) {
    v shifted = v_fma(x, v_set1((real)1.44269504088896340736), v_set1(ROUND_MAGIC));
    v n = shifted - v_set1(ROUND_MAGIC);
    v r = v_fma(n, v_set1(-LN2_HIGH), x);
    r = v_fma(n, v_set1(-LN2_LOW), r);
    *k = (vi)shifted;
    return v_expm1_reduced(r);
}

FM_INLINE v v_power_of_two(vi k) { return (v)((k + EXPONENT_BIAS) << MANTISSA_BITS); }

/* Results below 2^(2-EXPONENT_BIAS) become 0, results above the largest number infinity. */
FM_INLINE v v_exp(v x) {
    vi k;
    v bounded = v_min(v_set1(EXP_HIGHEST), v_max(v_set1(EXP_LOWEST), x));
    v p = v_exp_reduce(bounded, &k);
    v scale = v_power_of_two(k - 1);
    v y = v_fma(p, scale, scale) * 2;
    y = (v)((vi)y & ~(x < v_set1(EXP_LOWEST)));
    return v_select(x > v_set1(EXP_HIGHEST), v_set1((real)INFINITY), y);
}

/* exp(x) = m power^3 rest, with m near 1 and powers of two, for products with other factors that are in the range of
 * the dtype. Beyond EXP_FAR not even the square of the smallest or largest number gives such a product. */
FM_INLINE v v_exp_parts(v x, v *power, v *rest) {
    vi k;
    v p = v_exp_reduce(v_min(v_set1(EXP_FAR), v_max(v_set1(-EXP_FAR), x)), &k);
    k -= (vi)v_set1(ROUND_MAGIC);
    vi quarter = k >> 2;
    *power = v_power_of_two(quarter);
    *rest = v_power_of_two(k - quarter - quarter - quarter);
    return p + 1;
}

/* exp(x) - 1 for x <= 0, accurate near 0. */
FM_INLINE v v_expm1_negative(v x) {
    vi k;
    v p = v_exp_reduce(v_max(v_set1(-50), x), &k);
    v scale = v_power_of_two(k);
    return v_fma(p, scale, scale - 1);
}

/* 2 atanh(f / (2 + f)) = log(1 + f) for 1 + f in [sqrt(1/2), sqrt(2)], plus k ln 2. */
FM_INLINE v v_log1p_reduced(v f, v k) {
    static const real c[] = ATANH_TAIL;
    v s = f / (f + 2);
    v w = s * s;
    v tail = v_fma(k, v_set1(LN2_LOW), s * w * v_horner(c, FM_COUNT(c), w));
    return v_fma(k, v_set1(LN2_HIGH), v_fma(s, v_set1(2), tail));
}

/* log of a positive normal number; NaN and infinity give NaN (domain: sums of a softmax). */
FM_INLINE v v_log(v x) {
    vi k = ((vi)x - SQRT_HALF_BITS) >> MANTISSA_BITS;
    v m = (v)((vi)x - (k << MANTISSA_BITS));
    v n = (v)(k + (vi)v_set1(ROUND_MAGIC)) - v_set1(ROUND_MAGIC);
    return v_log1p_reduced(m - 1, n) + (x - x);
}

/* log(1 + u) for u in [0, 1]. */
FM_INLINE v v_log1p_unit(v u) {
    vi big = u > v_set1((real)0.41421356237309504880);
    v f = v_select(big, (u - 1) * (real)0.5, u);
    return v_log1p_reduced(f, (v)(big & (vi)v_set1(1)));
}

/* sigmoid(z), and sigmoid(-z) = 1 - sigmoid(z) without cancellation. */
FM_INLINE v v_sigmoid_pair(v z, v *complement) {
    v e = v_exp(-v_abs(z));
    v large = 1 / (e + 1);
    v small = e / (e + 1);
    *complement = v_select(z >= 0, small, large);
    return v_select(z >= 0, large, small);
}

FM_INLINE v v_sigmoid(v z) {
    v e = v_exp(-v_abs(z));
    return v_select(z >= 0, v_set1(1), e) / (e + 1);
}

/* exp(2x) - 1 for x <= 0, accurate near 0. One part of ln 2 suffices: where it would not, the result is -1. */
FM_INLINE v v_expm1_twice(v x) {
    v bounded = v_max(v_set1(-25), x);
    v shifted = v_fma(bounded, v_set1((real)(2 * 1.44269504088896340736)), v_set1(ROUND_MAGIC));
    v half = v_fma(shifted - v_set1(ROUND_MAGIC), v_set1((real)(-0.5 * 0.69314718055994530942)), bounded);
    v scale = v_power_of_two((vi)shifted);
    return v_fma(v_expm1_reduced(half + half), scale, scale - 1);
}

FM_INLINE v v_tanh(v z) {
    const vi minus = (vi)v_set1((real)-0.0);
    v e = v_expm1_twice((v)((vi)z | minus));
    return (v)((vi)v_abs(e / (e + 2)) | ((vi)z & minus));
}

FM_INLINE v v_softplus(v z) {
    return v_max(v_set1(0), z) + v_log1p_unit(v_exp(-v_abs(z)));
}

/* The distribution function of the standard normal and its density. */
FM_INLINE v v_normal(v z, v *density) {
    static const real c[] = NORMAL_TAIL;
    v a = v_min(v_set1(40), v_abs(z));
    v square = a * a;
    v rest = v_fma(a, a, -square); /* rounding error of square; e is exp(-(square + rest) / 2) */
    v e = v_exp(square * (real)-0.5);
    e = v_fma(e, rest * (real)-0.5, e);
    v t = 1 / v_fma(a, v_set1((real)0.2), v_set1(1));
    v tail = e * t * v_horner(c, FM_COUNT(c), t);
    *density = e * (real)0.39894228040143267794;
    return v_select(z > 0, 1 - tail, tail);
}

#endif
