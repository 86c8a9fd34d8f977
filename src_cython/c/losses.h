/* Losses: one row each, link included (the output layer itself is linear).
 *
 * A loss reads the pre-link outputs z of rows [first, last), writes each row's loss and replaces z by
 * the gradient times the row's share of the batch. Within a row, sums use the fixed tree of vec.h.
 * Outputs wider than one panel, and two-headed ones, pass through a contiguous scratch row. */
#ifndef FM_LOSSES_H
#define FM_LOSSES_H

#include "mathfun.h"

/* Two rows, each with room for whole trees and one vector past them. */
#define FM_LOSS_SCRATCH(columns) (2 * padded(columns) + 2 * TREE_LANES)

typedef struct {
    const real *targets;   /* (batch, width), NULL with labels */
    const int32_t *labels; /* (batch,), NULL with real targets */
    const real *share;     /* (batch,) weight of a row over the batch's sum of weights */
    real *z;               /* output panels, z in, gradient out */
    real *row_loss;        /* (batch,) */
    real *scratch;         /* FM_LOSS_SCRATCH(columns) values */
    int64_t panel;         /* distance of panels in z */
    int64_t columns;       /* heads * width */
    int64_t width;         /* targets of a row */
    real parameter;        /* delta, quantile or label smoothing */
} fm_loss_call;

typedef struct {
    const char *name;
    void (*backward)(const fm_loss_call *call, int64_t first, int64_t last);
    /* in place on a contiguous row; reads and writes whole vectors, the last up to LANES - 1 past the columns */
    void (*link)(real *row, int64_t columns);
    /* d[j] = d prediction[c] / d z[j], from the row of predictions */
    void (*link_slope)(const real *prediction, int64_t columns, int64_t c, real *d);
} fm_loss;

FM_INLINE int64_t padded(int64_t columns) {
    return (columns + TREE_LANES - 1) / TREE_LANES * TREE_LANES;
}

/* Copy a row out of, or into, the panels. */
FM_INLINE void row_from_panels(const real *z, int64_t panel, int64_t columns, real *row) {
    for (int64_t c = 0; c < columns; c += NR, z += panel)
        copy_values(row + c, z, columns - c < NR ? columns - c : NR);
}
FM_INLINE void row_to_panels(const real *row, int64_t panel, int64_t columns, real *z) {
    for (int64_t c = 0; c < columns; c += NR, z += panel)
        copy_values(z, row + c, columns - c < NR ? columns - c : NR);
}

/* Every vector of a row: c is the column, u the vector's place in the tree, keep masks the tail. */
#define EACH_COLUMN(columns) \
    for (int64_t c = 0, u = 0; c < (columns); c += LANES, u = (u + 1) % TREE_VECTORS)

/* One row; `compute` sets `value` from z[0..columns) and turns z into the gradient. */
#define LOSS_ROW(direct, compute) \
    real *const home = q.z + r * NR; \
    real *const z = (direct) && q.columns <= NR ? home : q.scratch; \
    const v share = v_set1(q.share[r]); \
    v sum[TREE_VECTORS]; \
    for (int i = 0; i < TREE_VECTORS; i++) sum[i] = (v){0}; \
    real value; \
    if (z != home) row_from_panels(home, q.panel, q.columns, z); \
    compute \
    if (z != home) row_to_panels(z, q.panel, q.columns, home); \
    q.row_loss[r] = value;

#define LOSS_ROWS(name, direct, ...) \
    static void name##_backward(const fm_loss_call *call, int64_t first, int64_t last) { \
        const fm_loss_call q = *call; \
        for (int64_t r = first; r < last; r++) { \
            LOSS_ROW(direct, __VA_ARGS__) \
        } \
    }

/* The same plus factor * log(total), which `compute` sets too: one vector of logarithms for many rows. */
#define LOSS_ROWS_WITH_LOG(name, direct, ...) \
    static void name##_backward(const fm_loss_call *call, int64_t first, int64_t last) { \
        const fm_loss_call q = *call; \
        for (int64_t start = first; start < last; start += LANES) { \
            const int64_t end = start + LANES < last ? start + LANES : last; \
            v totals = v_set1(1), factors = v_set1(0); \
            for (int64_t r = start; r < end; r++) { \
                real total, factor = 1; \
                LOSS_ROW(direct, __VA_ARGS__) \
                totals[r - start] = total; \
                factors[r - start] = factor; \
            } \
            const v logs = v_log(totals) * factors; \
            for (int64_t r = start; r < end; r++) q.row_loss[r] += logs[r - start]; \
        } \
    }

/* Losses that treat every output alike: name_point(z, t, parameter, &d) gives loss and slope. */
#define ELEMENTWISE_LOSS(name) \
    LOSS_ROWS(name, 1, { \
        const real *t = q.targets + r * q.width; \
        const v parameter = v_set1(q.parameter); \
        EACH_COLUMN(q.columns) { \
            const vi keep = v_first(q.columns - c); \
            v d; \
            const v l = name##_point(v_load(z + c), v_loadu(t + c), parameter, &d); \
            sum[u] += (v)((vi)l & keep); \
            v_store(z + c, (v)((vi)(d * share) & keep)); \
        } \
        value = v_tree_sum(sum); \
    })

FM_INLINE v squared_error_point(v z, v t, v parameter, v *d) {
    (void)parameter;
    *d = z - t;
    return *d * *d * (real)0.5;
}

FM_INLINE v sign_where(v e, v positive, v negative) {
    return v_select(e > 0, positive, (v)((e < 0) & (vi)negative));
}

FM_INLINE v absolute_error_point(v z, v t, v parameter, v *d) {
    (void)parameter;
    const v e = z - t;
    *d = sign_where(e, v_set1(1), v_set1(-1));
    return v_abs(e);
}

FM_INLINE v huber_point(v z, v t, v delta, v *d) {
    const v e = z - t, a = v_abs(e);
    const vi inside = a <= delta;
    *d = v_select(inside, e, sign_where(e, delta, -delta));
    return v_select(inside, e * e * (real)0.5, delta * (a - delta * (real)0.5));
}

FM_INLINE v quantile_point(v z, v t, v quantile, v *d) {
    const v e = z - t;
    *d = sign_where(e, 1 - quantile, -quantile);
    return e * *d + (e - e); /* e - e: a NaN error has no sign */
}

FM_INLINE v poisson_nll_point(v z, v t, v parameter, v *d) {
    (void)parameter;
    const v rate = v_exp(z);
    *d = rate - t;
    return v_fma(-t, z, rate);
}

FM_INLINE v gaussian_nll_unit_point(v z, v t, v parameter, v *d) {
    return squared_error_point(z, t, parameter, d) + (real)0.91893853320467274178;
}

FM_INLINE v binary_cross_entropy_point(v z, v t, v parameter, v *d) {
    (void)parameter;
    const v e = v_exp(-v_abs(z));
    *d = v_select(z >= 0, v_set1(1), e) / (e + 1) - t;
    return v_fma(-z, t, v_max(v_set1(0), z)) + v_log1p_unit(e);
}

ELEMENTWISE_LOSS(squared_error)
ELEMENTWISE_LOSS(absolute_error)
ELEMENTWISE_LOSS(huber)
ELEMENTWISE_LOSS(quantile)
ELEMENTWISE_LOSS(poisson_nll)
ELEMENTWISE_LOSS(gaussian_nll_unit)
ELEMENTWISE_LOSS(binary_cross_entropy)

/* Columns [0, width) are means, [width, 2 width) log-variances s: (s + (t - mean)^2 exp(-s)) / 2. */
LOSS_ROWS(gaussian_nll, 0, {
    const real *t = q.targets + r * q.width;
    real *const d = q.scratch + padded(q.columns);
    EACH_COLUMN(q.width) {
        const vi keep = v_first(q.width - c);
        const v e = v_loadu(z + c) - v_loadu(t + c);
        const v s = v_loadu(z + q.width + c);
        const v scaled = e * v_exp(-s);
        const v l = v_fma(e, scaled, s) * (real)0.5 + (real)0.91893853320467274178;
        sum[u] += (v)((vi)l & keep);
        v_storeu(d + c, scaled * share);
    }
    EACH_COLUMN(q.width) {
        const v e = v_loadu(z + c) - v_loadu(t + c);
        const v scaled = e * v_exp(-v_loadu(z + q.width + c));
        v_storeu(d + q.width + c, v_fma(-e, scaled, v_set1(1)) * (real)0.5 * share);
    }
    memcpy(z, d, sizeof(real) * (size_t)q.columns);
    value = v_tree_sum(sum);
})

FM_INLINE real row_max(const real *z, int64_t columns) {
    const v lowest = v_set1((real)-INFINITY);
    v highest = lowest;
    EACH_COLUMN(columns) {
        (void)u;
        highest = v_max(v_select(v_first(columns - c), v_load(z + c), lowest), highest);
    }
    return v_highest(highest);
}

/* z becomes exp(z - max); returns the sum of the exponentials. */
FM_INLINE real exponentials(real *z, int64_t columns, real max) {
    v sum[TREE_VECTORS];
    for (int i = 0; i < TREE_VECTORS; i++) sum[i] = (v){0};
    EACH_COLUMN(columns) {
        const v e = (v)((vi)v_exp(v_load(z + c) - max) & v_first(columns - c));
        v_store(z + c, e);
        sum[u] += e;
    }
    return v_tree_sum(sum);
}

/* Labels: -log softmax(z)[label], with smoothing s: targets (1 - s) onehot + s / columns. Everything is
 * relative to the largest z, or large logits would cost the loss its digits. */
LOSS_ROWS_WITH_LOG(cross_entropy_labels, 1, {
    const int32_t label = q.labels[r];
    const real spread = q.parameter / (real)q.columns;
    const real max = row_max(z, q.columns);
    const real below = max - z[label];
    real below_sum = 0;
    if (q.parameter > 0) {
        EACH_COLUMN(q.columns) sum[u] += (v)((vi)(max - v_load(z + c)) & v_first(q.columns - c));
        below_sum = v_tree_sum(sum);
    }
    total = exponentials(z, q.columns, max);
    const v inverse = v_set1(1 / total);
    value = (1 - q.parameter) * below + spread * below_sum;
    EACH_COLUMN(q.columns) {
        (void)u;
        const v d = v_fma(v_load(z + c), inverse, v_set1(-spread)) * share;
        v_store(z + c, (v)((vi)d & v_first(q.columns - c)));
    }
    z[label] -= (1 - q.parameter) * q.share[r];
})

LOSS_ROWS_WITH_LOG(cross_entropy_soft, 1, {
    const real *t = q.targets + r * q.width;
    const v spread = v_set1(q.parameter / (real)q.columns);
    const v rest = v_set1(1 - q.parameter);
    const real max = row_max(z, q.columns);
    v target_sum[TREE_VECTORS];
    for (int i = 0; i < TREE_VECTORS; i++) target_sum[i] = (v){0};
    EACH_COLUMN(q.columns) {
        const vi keep = v_first(q.columns - c);
        const v target = (v)((vi)v_fma(rest, v_loadu(t + c), spread) & keep);
        sum[u] = v_fma(target, (v)((vi)(max - v_load(z + c)) & keep), sum[u]);
        target_sum[u] += target;
    }
    value = v_tree_sum(sum);
    factor = v_tree_sum(target_sum);
    total = exponentials(z, q.columns, max);
    const v inverse = v_set1(factor / total);
    EACH_COLUMN(q.columns) {
        (void)u;
        const v target = v_fma(rest, v_loadu(t + c), spread);
        const v d = v_fma(v_load(z + c), inverse, -target) * share;
        v_store(z + c, (v)((vi)d & v_first(q.columns - c)));
    }
})

static void identity_link(real *row, int64_t columns) { (void)row, (void)columns; }

/* Links that act on each output alone: everything but the diagonal is 0. */
FM_INLINE void diagonal(int64_t columns, int64_t c, real value, real *d) {
    memset(d, 0, sizeof(real) * (size_t)columns);
    d[c] = value;
}

static void identity_slope_row(const real *prediction, int64_t columns, int64_t c, real *d) {
    (void)prediction;
    diagonal(columns, c, 1, d);
}

static void exp_slope_row(const real *prediction, int64_t columns, int64_t c, real *d) {
    diagonal(columns, c, prediction[c], d);
}

static void variance_slope_row(const real *prediction, int64_t columns, int64_t c, real *d) {
    diagonal(columns, c, c < columns / 2 ? 1 : prediction[c], d);
}

static void sigmoid_slope_row(const real *prediction, int64_t columns, int64_t c, real *d) {
    diagonal(columns, c, prediction[c] * (1 - prediction[c]), d);
}

static void softmax_slope_row(const real *prediction, int64_t columns, int64_t c, real *d) {
    for (int64_t j = 0; j < columns; j++) d[j] = -prediction[c] * prediction[j];
    d[c] += prediction[c];
}

static void exp_link(real *row, int64_t columns) {
    EACH_COLUMN(columns) { (void)u; v_storeu(row + c, v_exp(v_loadu(row + c))); }
}

static void variance_link(real *row, int64_t columns) { exp_link(row + columns / 2, columns / 2); }

static void sigmoid_link(real *row, int64_t columns) {
    EACH_COLUMN(columns) { (void)u; v_store(row + c, v_sigmoid(v_load(row + c))); }
}

static void softmax_link(real *row, int64_t columns) {
    const real total = exponentials(row, columns, row_max(row, columns));
    EACH_COLUMN(columns) { (void)u; v_store(row + c, v_load(row + c) / total); }
}

static const fm_loss LOSSES[] = {
    {"squared_error", squared_error_backward, identity_link, identity_slope_row},
    {"absolute_error", absolute_error_backward, identity_link, identity_slope_row},
    {"huber", huber_backward, identity_link, identity_slope_row},
    {"quantile", quantile_backward, identity_link, identity_slope_row},
    {"poisson_nll", poisson_nll_backward, exp_link, exp_slope_row},
    {"gaussian_nll_unit", gaussian_nll_unit_backward, identity_link, identity_slope_row},
    {"gaussian_nll", gaussian_nll_backward, variance_link, variance_slope_row},
    {"cross_entropy_labels", cross_entropy_labels_backward, softmax_link, softmax_slope_row},
    {"cross_entropy_soft", cross_entropy_soft_backward, softmax_link, softmax_slope_row},
    {"binary_cross_entropy", binary_cross_entropy_backward, sigmoid_link, sigmoid_slope_row},
};

#endif
