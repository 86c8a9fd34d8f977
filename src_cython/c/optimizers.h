/* Optimizers: one row each, elementwise and blind to shapes. Formulas are PyTorch's; the rows
 * _with_rate and _hat are the other forms of SGD and Adam (see fastmlp/optimizers.py).
 *
 * `prepare` turns hyper-parameters, learning rate and the running powers of the betas into scalars
 * once a step, in double; `step` updates n elements (a multiple of LANES). The bias corrections of
 * Adam (Kingma and Ba 2015) are folded into rate and epsilon, which is the same formula exactly. */
#ifndef FM_OPTIMIZERS_H
#define FM_OPTIMIZERS_H

#include "vec.h"

typedef struct {
    real rate, epsilon;
    real l2, scale;          /* the gradient is multiplied by scale (clipping), then l2 w is added */
    real first, first_rest;  /* momentum or beta_1, and 1 - it */
    real second, second_rest;
    real shrink;             /* decoupled weight decay: parameters are multiplied by it */
} fm_scalars;

typedef struct {
    const char *name;
    int n_slots;
    void (*prepare)(const double hyper[4], double rate, double powers[2], fm_scalars *s);
    void (*step)(real *w, const real *g, real *s0, real *s1, int64_t n, const fm_scalars *s);
} fm_optimizer;

/* The scalars are copied to a local: stores through vectors may alias the caller's. */
#define OPTIMIZER(name) \
    static void name##_step(real *w, const real *g, real *s0, real *s1, int64_t n, \
                            const fm_scalars *scalars) { \
        const fm_scalars s = *scalars; \
        for (int64_t i = 0; i < n; i += LANES) { \
            const v old = v_load(w + i); \
            const v gradient = v_fma(v_set1(s.l2), old, v_load(g + i) * s.scale); \
            v_store(w + i, name##_update(old, gradient, s0 + i, s1 + i, s)); \
        } \
    }

FM_INLINE void set_rate(double rate, fm_scalars *s) {
    s->rate = (real)rate;
    s->shrink = 1;
}

static void sgd_prepare(const double hyper[4], double rate, double powers[2], fm_scalars *s) {
    (void)powers;
    set_rate(rate, s);
    s->first = (real)hyper[0];
}

FM_INLINE v sgd_update(v w, v g, real *s0, real *s1, const fm_scalars s) {
    (void)s0, (void)s1;
    return v_fma(v_set1(-s.rate), g, w);
}

FM_INLINE v momentum_update(v w, v g, real *s0, real *s1, const fm_scalars s) {
    (void)s1;
    const v velocity = v_fma(v_set1(s.first), v_load(s0), g);
    v_store(s0, velocity);
    return v_fma(v_set1(-s.rate), velocity, w);
}

FM_INLINE v nesterov_update(v w, v g, real *s0, real *s1, const fm_scalars s) {
    (void)s1;
    const v velocity = v_fma(v_set1(s.first), v_load(s0), g);
    v_store(s0, velocity);
    return v_fma(v_set1(-s.rate), v_fma(v_set1(s.first), velocity, g), w);
}

FM_INLINE v momentum_with_rate_update(v w, v g, real *s0, real *s1, const fm_scalars s) {
    (void)s1;
    const v velocity = v_fma(v_set1(-s.rate), g, v_load(s0) * s.first);
    v_store(s0, velocity);
    return w + velocity;
}

FM_INLINE v nesterov_with_rate_update(v w, v g, real *s0, real *s1, const fm_scalars s) {
    (void)s1;
    const v velocity = v_fma(v_set1(-s.rate), g, v_load(s0) * s.first);
    v_store(s0, velocity);
    return w + v_fma(v_set1(-s.rate), g, velocity * s.first);
}

static void rmsprop_prepare(const double hyper[4], double rate, double powers[2], fm_scalars *s) {
    (void)powers;
    set_rate(rate, s);
    s->second = (real)hyper[0];
    s->second_rest = (real)(1 - hyper[0]);
    s->epsilon = (real)hyper[1];
}

FM_INLINE v rmsprop_update(v w, v g, real *s0, real *s1, const fm_scalars s) {
    (void)s1;
    const v square = v_fma(v_set1(s.second), v_load(s0), g * s.second_rest * g);
    v_store(s0, square);
    return v_fma(v_set1(-s.rate), g / (v_sqrt(square) + s.epsilon), w);
}

static void adam_prepare(const double hyper[4], double rate, double powers[2], fm_scalars *s) {
    powers[0] *= hyper[0];
    powers[1] *= hyper[1];
    const double root = sqrt(1 - powers[1]);
    set_rate(rate * root / (1 - powers[0]), s);
    s->epsilon = (real)(hyper[2] * root);
    s->first = (real)hyper[0];
    s->first_rest = (real)(1 - hyper[0]);
    s->second = (real)hyper[1];
    s->second_rest = (real)(1 - hyper[1]);
}

FM_INLINE v adam_update(v w, v g, real *s0, real *s1, const fm_scalars s) {
    const v mean = v_fma(v_set1(s.first), v_load(s0), g * s.first_rest);
    const v square = v_fma(v_set1(s.second), v_load(s1), g * s.second_rest * g);
    v_store(s0, mean);
    v_store(s1, square);
    return v_fma(v_set1(-s.rate), mean / (v_sqrt(square) + s.epsilon), w);
}

static void adamw_prepare(const double hyper[4], double rate, double powers[2], fm_scalars *s) {
    adam_prepare(hyper, rate, powers, s);
    s->shrink = (real)(1 - rate * hyper[3]);
}

FM_INLINE v adamw_update(v w, v g, real *s0, real *s1, const fm_scalars s) {
    return adam_update(w * s.shrink, g, s0, s1, s);
}

/* The same updates with an epsilon that the bias correction leaves alone. */
static void adam_hat_prepare(const double hyper[4], double rate, double powers[2], fm_scalars *s) {
    adam_prepare(hyper, rate, powers, s);
    s->epsilon = (real)hyper[2];
}

static void adamw_hat_prepare(const double hyper[4], double rate, double powers[2], fm_scalars *s) {
    adamw_prepare(hyper, rate, powers, s);
    s->epsilon = (real)hyper[2];
}

OPTIMIZER(sgd)
OPTIMIZER(momentum)
OPTIMIZER(nesterov)
OPTIMIZER(momentum_with_rate)
OPTIMIZER(nesterov_with_rate)
OPTIMIZER(rmsprop)
OPTIMIZER(adam)
OPTIMIZER(adamw)

static const fm_optimizer OPTIMIZERS[] = {
    {"sgd", 0, sgd_prepare, sgd_step},
    {"momentum", 1, sgd_prepare, momentum_step},
    {"nesterov", 1, sgd_prepare, nesterov_step},
    {"rmsprop", 1, rmsprop_prepare, rmsprop_step},
    {"adam", 2, adam_prepare, adam_step},
    {"adamw", 2, adamw_prepare, adamw_step},
    {"momentum_with_rate", 1, sgd_prepare, momentum_with_rate_step},
    {"nesterov_with_rate", 1, sgd_prepare, nesterov_with_rate_step},
    {"adam_hat", 2, adam_hat_prepare, adam_step},
    {"adamw_hat", 2, adamw_hat_prepare, adamw_step},
};

#endif
