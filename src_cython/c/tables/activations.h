/* Activations, one table row each: how a block of pre-activations z becomes outputs y, and how a gradient is multiplied
 * by the derivative.
 *
 * Either the derivative is a function of y (FROM_Y), or it needs z (FROM_Z): then the forward pass of training also
 * writes it to a second buffer, slopes, and the backward pass is one multiplication. Dropout changes the slopes, so
 * FROM_Y activations can write them too. NAME_curvature(z, y, slope) is the second derivative. A block is `rows` rows of a
 * panel, `nv` vectors wide, row stride NR. */
#ifndef FM_ACTIVATIONS_H
#define FM_ACTIVATIONS_H

#include "simd/mathfun.h"

enum { FUSED_NONE = 0, FUSED_IDENTITY = 1, FUSED_RELU = 2 }; /* computed by the epilogue of a tile */

typedef struct {
    const char *name;
    int fused;
    void (*forward)(real *z, int64_t rows, int nv);                      /* z to y, in place */
    void (*forward_keeping)(real *z, real *slopes, int64_t rows, int nv); /* also dy/dz to slopes */
    void (*backward)(const real *y, real *d, int64_t rows, int nv);      /* d *= dy/dz; NULL: slopes are used */
    /* z to y, in place, and both derivatives */
    void (*forward_curved)(real *z, real *slopes, real *curvatures, int64_t rows, int nv);
} fm_activation;

#define EACH_VECTOR(rows, nv) \
    for (int64_t r_ = 0, at = 0; r_ < (rows); r_++, at = r_ * NR) \
        for (int j_ = 0; j_ < (nv); j_++, at += LANES)

#define FORWARD_ROW(name) \
    static void name##_forward(real *z, int64_t rows, int nv) { \
        EACH_VECTOR(rows, nv) v_store(z + at, name##_value(v_load(z + at))); \
    }
/* `expression` sets y and slope. */
#define FORWARD_CURVED(name, expression) \
    static void name##_forward_curved(real *z, real *slopes, real *curvatures, int64_t rows, int nv) { \
        EACH_VECTOR(rows, nv) { \
            v before = v_load(z + at), slope, y; \
            expression; \
            v_store(z + at, y); \
            v_store(slopes + at, slope); \
            v_store(curvatures + at, name##_curvature(before, y, slope)); \
        } \
    }
#define ACTIVATION_FROM_Y(name) \
    FORWARD_ROW(name) \
    FORWARD_CURVED(name, (y = name##_value(before), slope = name##_slope(y))) \
    static void name##_forward_keeping(real *z, real *slopes, int64_t rows, int nv) { \
        EACH_VECTOR(rows, nv) { \
            v y = name##_value(v_load(z + at)); \
            v_store(z + at, y); \
            v_store(slopes + at, name##_slope(y)); \
        } \
    } \
    static void name##_backward(const real *y, real *d, int64_t rows, int nv) { \
        EACH_VECTOR(rows, nv) v_store(d + at, v_load(d + at) * name##_slope(v_load(y + at))); \
    }
#define ACTIVATION_FROM_Z(name) \
    FORWARD_ROW(name) \
    FORWARD_CURVED(name, y = name##_value_slope(before, &slope)) \
    static void name##_forward_keeping(real *z, real *slopes, int64_t rows, int nv) { \
        EACH_VECTOR(rows, nv) { \
            v slope, y = name##_value_slope(v_load(z + at), &slope); \
            v_store(z + at, y); \
            v_store(slopes + at, slope); \
        } \
    }

FM_INLINE v identity_value(v z) { return z; }
FM_INLINE v identity_slope(FM_UNUSED v y) { return v_set1(1); }
FM_INLINE v no_curvature(FM_UNUSED v z, FM_UNUSED v y, FM_UNUSED v slope) { return (v){0}; }
#define identity_curvature no_curvature

/* max(z, 0) would not keep NaN on every machine. */
FM_INLINE v relu_value(v z) { return (v)((vi)z & ~(z < 0)); }
FM_INLINE v relu_slope(v y) { return (v)((y > 0) & (vi)v_set1(1)); }
#define relu_curvature no_curvature

#define LEAKY_SLOPE ((real)0.01)
FM_INLINE v leaky_relu_value(v z) { return v_select(z < 0, z * LEAKY_SLOPE, z); }
FM_INLINE v leaky_relu_slope(v y) { return v_select(y > 0, v_set1(1), v_set1(LEAKY_SLOPE)); }
#define leaky_relu_curvature no_curvature

FM_INLINE v elu_value(v z) { return v_select(z > 0, z, v_expm1_negative(v_min(v_set1(0), z))); }
FM_INLINE v elu_slope(v y) { return v_select(y > 0, v_set1(1), y + 1); }
FM_INLINE v elu_curvature(FM_UNUSED v z, v y, v slope) { return v_select(y > 0, v_set1(0), slope); }
#define selu_curvature elu_curvature

#define SELU_ALPHA ((real)1.6732632423543772848170429916717)
#define SELU_SCALE ((real)1.0507009873554804934193349852946)
FM_INLINE v selu_value(v z) {
    v negative = v_expm1_negative(v_min(v_set1(0), z)) * (SELU_SCALE * SELU_ALPHA);
    return v_select(z > 0, z * SELU_SCALE, negative);
}
FM_INLINE v selu_slope(v y) {
    return v_select(y > 0, v_set1(SELU_SCALE), y + SELU_SCALE * SELU_ALPHA);
}

FM_INLINE v softplus_value(v z) { return v_softplus(z); }
FM_INLINE v softplus_slope(v y) { return -v_expm1_negative(-y); }
FM_INLINE v softplus_curvature(FM_UNUSED v z, FM_UNUSED v y, v slope) { return slope * (1 - slope); }

FM_INLINE v sigmoid_value(v z) { return v_sigmoid(z); }
FM_INLINE v sigmoid_slope(v y) { return y * (1 - y); }
FM_INLINE v sigmoid_curvature(FM_UNUSED v z, v y, v slope) { return slope * v_fma(y, v_set1(-2), v_set1(1)); }

FM_INLINE v tanh_value(v z) { return v_tanh(z); }
FM_INLINE v tanh_slope(v y) { return v_fma(-y, y, v_set1(1)); }
FM_INLINE v tanh_curvature(FM_UNUSED v z, v y, v slope) { return -2 * y * slope; }

FM_INLINE v gelu_value_slope(v z, v *slope) {
    v density, cdf = v_normal(z, &density);
    *slope = v_fma(z, density, cdf);
    return z * cdf;
}
FM_INLINE v gelu_value(v z) { v slope; return gelu_value_slope(z, &slope); }
FM_INLINE v gelu_curvature(v z, FM_UNUSED v y, FM_UNUSED v slope) {
    v density;
    v_normal(z, &density);
    z = v_min(v_set1(40), v_abs(z)); /* where the density is 0; z^2 stays finite */
    return v_fma(-z, z, v_set1(2)) * density;
}

/* Hendrycks and Gimpel 2016: z/2 (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))) = z sigmoid(2 u). */
FM_INLINE v gelu_tanh_value_slope(v z, v *slope) {
    const real two_root = (real)1.5957691216057307117;
    v square = v_min(v_set1((real)1e4), z * z);
    v rest, s = v_sigmoid_pair(z * v_fma(square, v_set1(two_root * (real)0.044715), v_set1(two_root)), &rest);
    v du = v_fma(square, v_set1(3 * two_root * (real)0.044715), v_set1(two_root));
    *slope = v_fma(z * s * rest, du, s);
    return z * s;
}
FM_INLINE v gelu_tanh_value(v z) { v slope; return gelu_tanh_value_slope(z, &slope); }
/* With s the sigmoid of u(z) and d = s (1 - s) its slope: 2 d u' + z d ((1 - 2 s) u'^2 + u''). */
FM_INLINE v gelu_tanh_curvature(v z, FM_UNUSED v y, FM_UNUSED v slope) {
    const real two_root = (real)1.5957691216057307117;
    z = v_max(v_set1(-100), v_min(v_set1(100), z)); /* where d is 0 */
    v square = z * z;
    v rest, s = v_sigmoid_pair(z * v_fma(square, v_set1(two_root * (real)0.044715), v_set1(two_root)), &rest);
    v d = s * rest, du = v_fma(square, v_set1(3 * two_root * (real)0.044715), v_set1(two_root));
    v bend = v_fma((rest - s) * du, du, z * (6 * two_root * (real)0.044715));
    return d * v_fma(z, bend, 2 * du);
}

FM_INLINE v silu_value_slope(v z, v *slope) {
    v rest, s = v_sigmoid_pair(z, &rest);
    *slope = s * v_fma(z, rest, v_set1(1));
    return z * s;
}
FM_INLINE v silu_value(v z) { v slope; return silu_value_slope(z, &slope); }
FM_INLINE v silu_curvature(v z, v y, FM_UNUSED v slope) {
    v rest, s = v_sigmoid_pair(z, &rest);
    return s * rest * ((z - y) - y + 2); /* 2 y may overflow */
}

/* tanh(softplus(z)) = w / (w + 2) with w = n (n + 2), n = exp(z). */
FM_INLINE v mish_value_slope(v z, v *slope) {
    v n = v_exp(v_min(v_set1(20), z));
    v w = n * (n + 2);
    v t = w / (w + 2);
    v rise = 4 * (w + 1) / ((w + 2) * (w + 2)) * n / (n + 1);
    *slope = v_select(z > 20, v_set1(1), v_fma(z, rise, t)); /* n is bounded, z is not */
    return z * t;
}
FM_INLINE v mish_value(v z) { v slope; return mish_value_slope(z, &slope); }
/* With the gate t and its slope t': 2 t' + z t' (1 - s - 2 t s), s the sigmoid of z. */
FM_INLINE v mish_curvature(v z, FM_UNUSED v y, FM_UNUSED v slope) {
    v n = v_exp(v_min(v_set1(20), z));
    v w = n * (n + 2), s = n / (n + 1);
    v rise = 4 * (w + 1) / ((w + 2) * (w + 2)) * s;
    v bend = v_fma(w / (w + 2) * s, v_set1(-2), 1 / (n + 1));
    return (v)((vi)(rise * v_fma(z, bend, v_set1(2))) & ~(z > 20));
}

ACTIVATION_FROM_Y(identity)
ACTIVATION_FROM_Y(relu)
ACTIVATION_FROM_Y(leaky_relu)
ACTIVATION_FROM_Y(elu)
ACTIVATION_FROM_Y(selu)
ACTIVATION_FROM_Y(softplus)
ACTIVATION_FROM_Y(sigmoid)
ACTIVATION_FROM_Y(tanh)
ACTIVATION_FROM_Z(gelu)
ACTIVATION_FROM_Z(gelu_tanh)
ACTIVATION_FROM_Z(silu)
ACTIVATION_FROM_Z(mish)

#define ROW_Y(name, fused) {#name, fused, name##_forward, name##_forward_keeping, name##_backward, name##_forward_curved}
#define ROW_Z(name) {#name, FUSED_NONE, name##_forward, name##_forward_keeping, NULL, name##_forward_curved}

static const fm_activation ACTIVATIONS[] = {
    ROW_Y(identity, FUSED_IDENTITY), ROW_Y(relu, FUSED_RELU), ROW_Y(leaky_relu, FUSED_NONE),
    ROW_Y(elu, FUSED_NONE),          ROW_Y(selu, FUSED_NONE), ROW_Y(softplus, FUSED_NONE),
    ROW_Y(sigmoid, FUSED_NONE),      ROW_Y(tanh, FUSED_NONE), ROW_Z(gelu),
    ROW_Z(gelu_tanh),                ROW_Z(silu),             ROW_Z(mish),
};

#endif
