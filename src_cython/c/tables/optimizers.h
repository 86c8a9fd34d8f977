/* Optimizers, one table row each, elementwise. The formulas are PyTorch's; the rows _with_rate and _hat are the other
 * forms of SGD and Adam (see fastmlp/_network/optimizers/).
 *
 * `prepare` computes the scalars of a group and step, in double, from hyper-parameters, learning rate and the running
 * powers of the betas; `step` updates n elements (a multiple of LANES). Adam's bias corrections (Kingma and Ba 2015)
 * are folded into rate and epsilon, which is the same formula exactly. So are the factors 1 - beta of the means: the
 * slots hold the sums m / (1 - beta_1) and v / (1 - beta_2), RMSprop's v / (1 - alpha), Lion's m / (1 - beta_2), which
 * saves an operation each. They overflow at smaller gradients: in float32 with beta_2 = 0.999 above 5e17 instead of
 * 1e19; in both cases the parameter then does not change. */
#ifndef FM_OPTIMIZERS_H
#define FM_OPTIMIZERS_H

#include "network.h"
#include "panels/tile.h"

typedef struct {
    real rate, epsilon;
    real l2, scale;          /* the gradient is multiplied by scale (clipping), then l2 w is added */
    real first, second;      /* momentum or beta_1 (Lion: as a factor on the sum); beta_2 or alpha */
    real shrink;             /* decoupled weight decay: parameters are multiplied by it */
} fm_scalars;

typedef struct {
    const char *name;
    void (*prepare)(const double hyper[4], double rate, double powers[2], fm_scalars *s);
    void (*step)(real *w, const real *g, real *s0, real *s1, int64_t n, const fm_scalars *s);
    /* gradient and step of rows [k_from, k_to) of a weight panel together; g is scratch memory. May be NULL. */
    void (*block)(const real *a, int64_t a_panel, int64_t k_from, int64_t k_to, const real *d, int64_t batch,
                  int nv, real *w, real *g, real *s0, real *s1, const fm_scalars *s, fm_prefetch *prefetch);
    int rests; /* whether a parameter whose gradient is 0 does not change, without penalty */
} fm_optimizer;

typedef v (*fm_update)(v w, v g, real *s0, real *s1, const fm_scalars *s);
/* The first half of a step w * shrink - rate * top / (root + epsilon): update the slots, replace the gradient at g by
 * the top, and return the root. */
typedef v (*fm_root)(v *g, real *s0, real *s1, const fm_scalars *s);

/* Whether the gradient is used unchanged: multiplying by 1 and adding 0 w would take 1.5 % of a step. */
FM_INLINE int is_plain(const fm_scalars s) { return s.scale == 1 && s.l2 == 0; }

/* Update one vector of parameters; `update` and `plain` are constants and inlined. */
FM_INLINE void update_vector(fm_update update, const int plain, real *w, const real *g, real *s0, real *s1,
                             const fm_scalars *s) {
    const v old = v_load(w);
    v gradient = v_load(g);
    if (!plain) gradient = v_fma(v_set1(s->l2), old, gradient * s->scale);
    v_store(w, update(old, gradient, s0, s1, s));
}

FM_INLINE void update_all(fm_update update, const int plain, real *w, const real *g, real *s0, real *s1,
                          const int64_t n, const fm_scalars *s) {
    for (int64_t i = 0; i < n; i += LANES)
        update_vector(update, plain, w + i, g + i, s0 + i, s1 + i, s);
}

#if FM_VECTOR_BYTES >= 32
/* Prefetch the parameters and slots of a tile before its gradient is computed. */
FM_INLINE void fetch_for_step(const real *w, const real *s0, const real *s1, int64_t n) {
    for (int64_t i = 0; i < n; i += LANES) {
        __builtin_prefetch(w + i, 1);
        __builtin_prefetch(s0 + i, 1);
        __builtin_prefetch(s1 + i, 1);
    }
}

/* Compute the gradient tile at g and, one vector every few rows, the step of the tile before it, so that square root,
 * division and memory access overlap with the multiply-adds. The memory of this tile's own step is prefetched. */
FM_INLINE void tile_tn_beside(const int m, const int nv, fm_update update, const int plain, const real *a,
                              const real *d, const int64_t rows, const int more, real *w, real *g,
                              real *s0, real *s1, const fm_scalars *s) {
    const int64_t count = m * nv, size = count * LANES;
    const int64_t every = rows < count ? 1 : rows / count;
    const int64_t beside = (rows < count ? rows : count) * LANES; /* the rest of the step comes at the end */
    int64_t left = rows;
    v acc[8][4];
    start_tile(m, nv, more, g, acc);
    ROLLED
    for (int64_t i = 0; i < beside; i += LANES, left -= every) {
        const int64_t at = i - size;
        FROM_MEMORY(s);
        update_vector(update, plain, w + at, g + at, s0 + at, s1 + at, s);
        int64_t r = every;
        do { /* a loop with the test first would keep its bound on the stack */
            accumulate_row(m, nv, a, d, acc);
            a += NR, d += NR;
        } while (--r > 0);
        fetch_for_step(w + i, s0 + i, s1 + i, LANES);
    }
    accumulate_tn(m, nv, a, d, left, acc);
    store_tile(m, nv, acc, g);
    const int64_t at = beside - size;
    update_all(update, plain, w + at, g + at, s0 + at, s1 + at, -at, s);
}

/* acc += a^T d for the next n rows, a multiple of `turn`; a and d move past them. */
FM_INLINE void accumulate_next(const int m, const int nv, const int turn, const real **a, const real **d, int64_t n,
                               v acc[8][4]) {
    const real *column = *a, *row = *d;
    ROLLED
    for (; n > 0; n -= turn) {
        UNROLL
        for (int i = 0; i < turn; i++, column += NR, row += NR) accumulate_row(m, nv, column, row, acc);
    }
    *a = column, *d = row;
}

/* Like tile_tn_beside, with rows of multiply-adds between a step's root, quotient and sum, so that none of them makes
 * the multiply-adds wait for the one before it. `turn` divides rows / (2 m nv). */
FM_INLINE void tile_tn_staged(const int m, const int nv, const int turn, fm_root root_of, const int plain,
                              const real *a, const real *d, const int64_t rows, const int more, real *w, real *g,
                              real *s0, real *s1, const fm_scalars *s) {
    const int64_t count = m * nv, size = count * LANES;
    const int64_t every = rows / count, half = every / 2;
    v acc[8][4];
    start_tile(m, nv, more, g, acc);
    ROLLED
    for (int64_t i = 0; i < size; i += LANES) {
        const int64_t at = i - size;
        v top = v_load(g + at);
        if (!plain) top = v_fma(v_set1(s->l2), v_load(w + at), top * s->scale);
        const v root = root_of(&top, s0 + at, s1 + at, s);
        accumulate_next(m, nv, turn, &a, &d, every - half, acc);
        const v quotient = top / (root + s->epsilon);
        fetch_for_step(w + i, s0 + i, s1 + i, LANES);
        accumulate_next(m, nv, turn, &a, &d, half, acc);
        v old = v_load(w + at);
        if (s->shrink != 1) old = old * s->shrink;
        v_store(w + at, v_fma(v_set1(-s->rate), quotient, old));
    }
    accumulate_next(m, nv, 1, &a, &d, rows - every * count, acc);
    store_tile(m, nv, acc, g);
}

/* The tiles of a panel after its first, each with the step of the tile before it: in stages if `turn` is not 0. */
FM_INLINE void tiles_beside(const int m, const int nv, const int turn, fm_update update, fm_root root_of,
                            const int plain, const real *a, const int64_t a_panel, const int64_t k_from,
                            const int64_t k_to, const real *d, const int64_t rows, const int more, real *w, real *g,
                            real *s0, real *s1, const fm_scalars *s, fm_prefetch *prefetch) {
    const int64_t size = m * nv * LANES;
    for (int64_t k = k_from + m, at = size; k < k_to; k += m, at += size) {
        const real *columns = a + (k / NR) * a_panel + k % NR;
        fm_prefetch_lines(prefetch);
        if (turn)
            tile_tn_staged(m, nv, turn, root_of, plain, columns, d, rows, more, w + at, g + at, s0 + at, s1 + at, s);
        else
            tile_tn_beside(m, nv, update, plain, columns, d, rows, more, w + at, g + at, s0 + at, s1 + at, s);
    }
}

/* root_of is NULL if the step has no stages. They pay from two rows between two of them on; four rows a turn take
 * fewer instructions, and fit a whole block of rows. */
FM_INLINE void block_beside(const int m, const int nv, fm_update update, fm_root root_of, const int plain,
                            const real *a, const int64_t a_panel, const int64_t k_from, const int64_t k_to,
                            const real *d, const int64_t batch, real *w, real *g, real *s0, real *s1,
                            const fm_scalars s, fm_prefetch *prefetch) {
    const int64_t size = m * nv * LANES;
    fetch_for_step(w, s0, s1, size);
    for (int64_t r = 0; r < batch; r += TN_ROWS, a += TN_ROWS * NR, d += TN_ROWS * NR) {
        const int64_t rows = batch - r < TN_ROWS ? batch - r : TN_ROWS;
        const int64_t k_alone = r + rows == batch ? k_from + m : k_to; /* the tiles before have no step beside them */
        for (int64_t k = k_from, at = 0; k < k_alone; k += m, at += size) {
            fm_prefetch_lines(prefetch);
            tile_tn(m, nv, a + (k / NR) * a_panel + k % NR, d, rows, r > 0, g + at);
        }
        if (r + rows < batch) continue;
#define BESIDE(turn, n) \
    tiles_beside(m, nv, turn, update, root_of, plain, a, a_panel, k_from, k_to, d, n, r > 0, w, g, s0, s1, &s, prefetch)
        if (root_of && rows == TN_ROWS) BESIDE(4, TN_ROWS);
        else if (root_of && rows >= 4 * m * nv) BESIDE(1, rows);
        else BESIDE(0, rows);
    }
    const int64_t last = (k_to - k_from) * nv * LANES - size;
    update_all(update, plain, w + last, g + last, s0 + last, s1 + last, size, &s);
}

#define BLOCK_CASE(name, n, plain) \
    if (nv == (n) && is_plain(s) == (plain)) \
        block_beside(MR, n, name##_update, NULL, plain, a, a_panel, k_from, k_to, d, batch, w, g, s0, s1, s, prefetch);
#if NV == 2
enum { NV_BESIDE = 1 }; /* the narrowest panel with steps beside tiles */
#define NARROW_CASE(name, plain) BLOCK_CASE(name, 1, plain)
#else
enum { NV_BESIDE = NV };
#define NARROW_CASE(name, plain)
#endif
#define BLOCK_START(name) \
    static void name##_block(const real *a, int64_t a_panel, int64_t k_from, int64_t k_to, const real *d, \
                             int64_t batch, int nv, real *w, real *g, real *s0, real *s1, \
                             const fm_scalars *scalars, fm_prefetch *prefetch) { \
        const fm_scalars s = *scalars;
#define BLOCK(name) \
    BLOCK_START(name) \
        NARROW_CASE(name, 0) \
        NARROW_CASE(name, 1) \
        BLOCK_CASE(name, NV, 0) \
        BLOCK_CASE(name, NV, 1) \
    }
/* One copy for all gradients, since stages leave time for a branch; without decay, shrink is 1. */
#define STAGED_CASE(name, n) \
    if (nv == (n)) \
        block_beside(MR, n, name##_update, name##_root, is_plain(s), a, a_panel, k_from, k_to, d, batch, w, g, s0, s1, \
                     s, prefetch);
#define STAGED_BLOCK(name) \
    BLOCK_START(name) \
        STAGED_CASE(name, 1) \
        STAGED_CASE(name, NV) \
    }
#define BLOCK_OF(name) name##_block
#else
enum { NV_BESIDE = NV };
#define BLOCK(name)
#define BLOCK_OF(name) NULL
#endif
/* A block is 4 to 8 KB of code. Where the step is short, only one with all registers gains enough. */
#if FM_VECTOR_BYTES == 64
#define WIDE_BLOCK(name) BLOCK(name)
#define WIDE_BLOCK_OF(name) BLOCK_OF(name)
#else
#define WIDE_BLOCK(name)
#define WIDE_BLOCK_OF(name) NULL
#endif

/* The scalars are copied to a local variable, which vector stores cannot alias. */
#define OPTIMIZER(name) \
    static void name##_step(real *w, const real *g, real *s0, real *s1, int64_t n, \
                            const fm_scalars *scalars) { \
        const fm_scalars s = *scalars; \
        if (is_plain(s)) update_all(name##_update, 1, w, g, s0, s1, n, &s); \
        else update_all(name##_update, 0, w, g, s0, s1, n, &s); \
    }

static void sgd_prepare(const double hyper[4], double rate, FM_UNUSED double powers[2], fm_scalars *s) {
    s->rate = (real)rate;
    s->epsilon = 0;
    s->first = (real)hyper[0];
}

FM_INLINE v sgd_update(v w, v g, FM_UNUSED real *s0, FM_UNUSED real *s1, const fm_scalars *s) {
    return v_fma(v_set1(-s->rate), g, w);
}

FM_INLINE v momentum_update(v w, v g, real *s0, FM_UNUSED real *s1, const fm_scalars *s) {
    const v velocity = v_fma(v_set1(s->first), v_load(s0), g);
    v_store(s0, velocity);
    return v_fma(v_set1(-s->rate), velocity, w);
}

FM_INLINE v nesterov_update(v w, v g, real *s0, FM_UNUSED real *s1, const fm_scalars *s) {
    const v velocity = v_fma(v_set1(s->first), v_load(s0), g);
    v_store(s0, velocity);
    return v_fma(v_set1(-s->rate), v_fma(v_set1(s->first), velocity, g), w);
}

FM_INLINE v momentum_with_rate_update(v w, v g, real *s0, FM_UNUSED real *s1, const fm_scalars *s) {
    const v velocity = v_fma(v_set1(-s->rate), g, v_load(s0) * s->first);
    v_store(s0, velocity);
    return w + velocity;
}

FM_INLINE v nesterov_with_rate_update(v w, v g, real *s0, FM_UNUSED real *s1, const fm_scalars *s) {
    const v velocity = v_fma(v_set1(-s->rate), g, v_load(s0) * s->first);
    v_store(s0, velocity);
    return w + v_fma(v_set1(-s->rate), g, velocity * s->first);
}

/* A step rate * mean / (sqrt(share * squares) + epsilon), with the root of share taken out of the fraction. */
static void set_root_rate(double rate, double epsilon, double share, fm_scalars *s) {
    s->rate = (real)(rate / sqrt(share));
    s->epsilon = (real)(epsilon / sqrt(share));
}

static void rmsprop_prepare(const double hyper[4], double rate, FM_UNUSED double powers[2], fm_scalars *s) {
    set_root_rate(rate, hyper[1], 1 - hyper[0], s);
    s->second = (real)hyper[0];
}

FM_INLINE v rmsprop_root(v *g, real *s0, FM_UNUSED real *s1, const fm_scalars *s) {
    const v squares = v_fma(v_set1(s->second), v_load(s0), *g * *g);
    v_store(s0, squares);
    return v_sqrt(squares);
}

FM_INLINE v rmsprop_update(v w, v g, real *s0, real *s1, const fm_scalars *s) {
    const v root = rmsprop_root(&g, s0, s1, s);
    return v_fma(v_set1(-s->rate), g / (root + s->epsilon), w);
}

static void adam_prepare(const double hyper[4], double rate, double powers[2], fm_scalars *s) {
    powers[0] *= hyper[0];
    powers[1] *= hyper[1];
    set_root_rate(rate * (1 - hyper[0]) / (1 - powers[0]), hyper[2], (1 - hyper[1]) / (1 - powers[1]), s);
    s->first = (real)hyper[0];
    s->second = (real)hyper[1];
}

FM_INLINE v adam_root(v *g, real *s0, real *s1, const fm_scalars *s) {
    const v sum = v_fma(v_set1(s->first), v_load(s0), *g);
    const v squares = v_fma(v_set1(s->second), v_load(s1), *g * *g);
    v_store(s0, sum);
    v_store(s1, squares);
    *g = sum;
    return v_sqrt(squares);
}

FM_INLINE v adam_update(v w, v g, real *s0, real *s1, const fm_scalars *s) {
    const v root = adam_root(&g, s0, s1, s);
    return v_fma(v_set1(-s->rate), g / (root + s->epsilon), w);
}

#define adamw_root adam_root
FM_INLINE v adamw_update(v w, v g, real *s0, real *s1, const fm_scalars *s) {
    return adam_update(w * s->shrink, g, s0, s1, s);
}

/* The same updates with an epsilon that the bias correction leaves alone. */
static void adam_hat_prepare(const double hyper[4], double rate, double powers[2], fm_scalars *s) {
    adam_prepare(hyper, rate, powers, s);
    s->epsilon = (real)(hyper[2] / sqrt(1 - hyper[1]));
}

/* Chen et al. 2023. A positive factor changes no sign: beta_1 m + (1 - beta_1) g is divided by 1 - beta_1. */
static void lion_prepare(const double hyper[4], double rate, FM_UNUSED double powers[2], fm_scalars *s) {
    s->rate = (real)rate;
    s->epsilon = 0;
    s->first = (real)(hyper[0] * (1 - hyper[1]) / (1 - hyper[0]));
    s->second = (real)hyper[1];
}

/* 0 times infinity is NaN, which is detected later; the sign alone would hide a divergence. */
FM_INLINE v lion_update(v w, v g, real *s0, FM_UNUSED real *s1, const fm_scalars *s) {
    const v sum = v_load(s0);
    const v direction = v_fma(v_set1(s->first), sum, g);
    v_store(s0, v_fma(v_set1(s->second), sum, g));
    return v_fma(v_set1(-s->rate), v_fma(v_set1(0), direction, v_sign(direction)), w * s->shrink);
}

OPTIMIZER(sgd)
OPTIMIZER(momentum)
OPTIMIZER(nesterov)
OPTIMIZER(momentum_with_rate)
OPTIMIZER(nesterov_with_rate)
OPTIMIZER(rmsprop)
OPTIMIZER(adam)
OPTIMIZER(adamw)
OPTIMIZER(lion)

#if FM_VECTOR_BYTES == 64
STAGED_BLOCK(adamw)
#define adam_block adamw_block
#else
BLOCK(adam)
BLOCK(adamw)
#endif
WIDE_BLOCK(sgd)
WIDE_BLOCK(momentum)
#if FM_VECTOR_BYTES == 64
STAGED_BLOCK(rmsprop)
#endif

static const fm_optimizer OPTIMIZERS[] = {
    {"sgd", sgd_prepare, sgd_step, WIDE_BLOCK_OF(sgd), 1},
    {"momentum", sgd_prepare, momentum_step, WIDE_BLOCK_OF(momentum), 0},
    {"nesterov", sgd_prepare, nesterov_step, NULL, 0},
    {"rmsprop", rmsprop_prepare, rmsprop_step, WIDE_BLOCK_OF(rmsprop), 0},
    {"adam", adam_prepare, adam_step, BLOCK_OF(adam), 0},
    {"adamw", adam_prepare, adamw_step, BLOCK_OF(adamw), 0},
    {"momentum_with_rate", sgd_prepare, momentum_with_rate_step, NULL, 0},
    {"nesterov_with_rate", sgd_prepare, nesterov_with_rate_step, NULL, 0},
    {"adam_hat", adam_hat_prepare, adam_step, BLOCK_OF(adam), 0},
    {"adamw_hat", adam_hat_prepare, adamw_step, BLOCK_OF(adamw), 0},
    {"lion", lion_prepare, lion_step, NULL, 0},
};

/* The scalars of every group for one step, in which the powers advance once. Groups of the same rate and
 * epsilon stand together: what they share is computed for the first of them. */
static void prepare_groups(int32_t optimizer, const double hyper[4], double rate, double decay, double l2,
                           double powers[2], const fm_group *groups, int32_t n, fm_scalars *s) {
    double next[2] = {0, 0};
    for (int32_t i = 0; i < n; i++) {
        const double own_rate = rate * groups[i].rate;
        if (i > 0 && groups[i].rate == groups[i - 1].rate && groups[i].epsilon == groups[i - 1].epsilon) {
            /* Number by number: a vector that is loaded just after its numbers were stored waits for them. */
            const volatile fm_scalars *same = &s[i - 1];
            s[i].rate = same->rate, s[i].epsilon = same->epsilon;
            s[i].first = same->first, s[i].second = same->second;
        } else {
            next[0] = powers[0], next[1] = powers[1];
            OPTIMIZERS[optimizer].prepare(hyper, own_rate, next, &s[i]);
            s[i].epsilon = (real)(s[i].epsilon * groups[i].epsilon);
        }
        s[i].shrink = (real)(1 - own_rate * (decay * groups[i].decay));
        s[i].l2 = (real)(l2 * groups[i].l2);
        s[i].scale = 1;
    }
    powers[0] = next[0], powers[1] = next[1];
}

#endif
