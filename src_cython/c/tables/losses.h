/* Losses, one table row each, including the link (the output layer itself is linear).
 *
 * A loss reads the outputs z before the link, of rows [first, last), writes each row's loss, and replaces z by the
 * gradient times the row's share of the batch. It processes LANES rows at once, row i in lane i, so that each column is
 * a vector and no sum crosses lanes. The columns of a row are summed by the virtual lanes and fixed tree of vec.h. */
#ifndef FM_LOSSES_H
#define FM_LOSSES_H

#include "simd/mathfun.h"
#include "panels/tile.h"

/* LANES rows of outputs, of targets, of their weights, and for the loss's own use. */
#define FM_LOSS_SCRATCH(columns) (4 * LANES * padded(columns))

typedef struct {
    const real *targets;    /* (batch, width), target_stride apart; NULL with labels */
    const int32_t *labels;  /* (batch,), NULL with real targets */
    const real *output_weights; /* the layout is that of the targets; NULL: all are 1 */
    const real *loss_share; /* (batch,) weight of a row over the batch's sum of weights */
    real *z;                /* output panels: z, then the gradient */
    real *row_loss;        /* (batch,) */
    real *scratch;         /* FM_LOSS_SCRATCH(columns) values */
    int64_t panel_step;    /* distance of panels in z */
    int64_t columns;       /* heads * width */
    int64_t width;         /* targets of a row */
    int64_t target_stride; /* width, rounded up to whole vectors if it is more than 1 */
    real parameter;        /* delta, quantile, power or label smoothing */
    const double *levels;  /* (columns / width,) of quantiles, ascending */
} fm_loss_call;

typedef struct {
    const char *name;
    void (*backward)(const fm_loss_call *call, int64_t first, int64_t last);
    /* in place on a contiguous row; accesses whole vectors, up to LANES - 1 values past the columns */
    void (*link)(real *row, int64_t columns, int64_t width);
    /* d[j] = d prediction[c] / d z[j], from the row of predictions */
    void (*link_slope)(const real *prediction, int64_t columns, int64_t width, int64_t c, real *d);
} fm_loss;

FM_INLINE int64_t padded(int64_t columns) {
    return (columns + TREE_LANES - 1) / TREE_LANES * TREE_LANES;
}

/* Transpose rows of `width` values, row_stride apart and in panels, into columns of LANES; lanes without a row are 0 or
 * unchanged. If width > 1, a row ends at a whole vector, and the values in it past the row are read and not used. */
FM_OUTLINE void to_columns(const real *from, int64_t row_stride, int64_t panel, int64_t rows, int64_t width,
                          real *columns) {
    if (width == 1) {
        if (row_stride == 1) copy_values(columns, from, rows);
        else for (int64_t i = 0; i < rows; i++) columns[i] = from[i * row_stride];
        return;
    }
    for (int64_t c = 0; c < width; c += LANES)
        transpose_square(from + c / NR * panel + c % NR, row_stride, rows, columns + c * LANES, LANES, LANES);
}

/* The opposite, into panels; values past the columns of a row stay 0. */
FM_OUTLINE void from_columns(const real *columns, int64_t panel, int64_t rows, int64_t width, real *to) {
    if (width == 1) {
        for (int64_t i = 0; i < rows; i++) to[i * NR] = columns[i];
        return;
    }
    for (int64_t c = 0; c < width; c += LANES)
        transpose_square(columns + c * LANES, LANES, width - c, to + c / NR * panel + c % NR, NR, rows);
}

/* Sum the virtual lanes of LANES rows; column c belongs to lane c % TREE_LANES. Lanes from n on are 0. */
FM_INLINE v tree_of_columns(const int n, v *lane) {
    UNROLL
    for (int half = n / 2; half >= 1; half /= 2) {
        UNROLL
        for (int i = 0; i < half; i++) lane[i] += lane[i + half];
    }
    return lane[0];
}

/* Multiply a loss or a slope by weights of outputs, unless they are NULL. A weight of 0 gives 0, also of NaN, which is
 * the target there. */
FM_INLINE v weighted(v value, const real *weights, int64_t at) {
    if (!weights) return value;
    const v w = v_load(weights + at);
    return (v)((vi)(value * w) & (vi)(w != 0));
}

/* Define a loss: for each block of at most LANES rows, `compute` replaces z, by columns, by the gradient and sets
 * `value`, the losses of the rows. t has the targets by columns, and w their weights, or is NULL. */
#define LOSS(name, compute) \
    static void name##_backward(const fm_loss_call *call, int64_t first, int64_t last) { \
        const fm_loss_call q = *call; \
        real *const z = q.scratch; \
        real *const t = z + LANES * padded(q.columns); \
        real *const w = q.output_weights ? t + LANES * padded(q.columns) : NULL; \
        for (int64_t start = first; start < last; start += LANES) { \
            const int64_t rows = start + LANES < last ? LANES : last - start; \
            real *const home = q.z + start * NR; \
            const v share = v_rows(q.loss_share + start, rows); \
            v value; \
            to_columns(home, NR, q.panel_step, rows, q.columns, z); \
            if (q.targets) to_columns(q.targets + start * q.target_stride, q.target_stride, NR, rows, q.width, t); \
            if (w) to_columns(q.output_weights + start * q.target_stride, q.target_stride, NR, rows, q.width, w); \
            compute \
            from_columns(z, q.panel_step, rows, q.columns, home); \
            if (rows == LANES) v_storeu(q.row_loss + start, value); \
            else for (int64_t i = 0; i < rows; i++) q.row_loss[start + i] = value[i]; \
        } \
    }

/* Loop over the vectors of a row: c is the column, u the vector's place in the tree. */
#define EACH_COLUMN(columns) \
    for (int64_t c = 0, u = 0; c < (columns); c += LANES, u = (u + 1) % TREE_VECTORS)

enum { FEW_COLUMNS = LANES / 2 };

/* Define a loss that is a sum over outputs: name_point(z, t, parameter, &d) returns the loss and sets its slope d.
 * Wider rows are not transposed, which is faster; the sums have the same order. */
#define ELEMENTWISE_LOSS(name) \
    LOSS(name##_columns, { \
        const v parameter = v_set1(q.parameter); \
        v lane[FEW_COLUMNS] = {0}; \
        for (int64_t c = 0; c < q.columns; c++) { \
            v d; \
            const v l = name##_point(v_load(z + c * LANES), v_load(t + c * LANES), parameter, &d); \
            lane[c] += weighted(l, w, c * LANES); \
            v_store(z + c * LANES, weighted(d, w, c * LANES) * share); \
        } \
        value = tree_of_columns(FEW_COLUMNS, lane); \
    }) \
    static void name##_backward(const fm_loss_call *call, int64_t first, int64_t last) { \
        const fm_loss_call q = *call; \
        const v parameter = v_set1(q.parameter); \
        if (q.columns <= FEW_COLUMNS) { \
            name##_columns_backward(call, first, last); \
            return; \
        } \
        for (int64_t r = first; r < last; r++) { \
            const v share = v_set1(q.loss_share[r]); \
            v sum[TREE_VECTORS] = {0}; \
            EACH_COLUMN(q.columns) { \
                real *const z = q.z + c / NR * q.panel_step + r * NR + c % NR; \
                const vi keep = v_first(q.columns - c); \
                v d; \
                const int64_t at = r * q.target_stride + c; \
                const v l = name##_point(v_load(z), v_load(q.targets + at), parameter, &d); \
                sum[u] += (v)((vi)weighted(l, q.output_weights, at) & keep); \
                v_store(z, (v)((vi)(weighted(d, q.output_weights, at) * share) & keep)); \
            } \
            q.row_loss[r] = v_tree_sum(sum); \
        } \
    }

FM_INLINE v squared_error_point(v z, v t, FM_UNUSED v parameter, v *d) {
    *d = z - t;
    return *d * (real)0.5 * *d;
}

/* The squared error of derivatives by the inputs; NaN stands for an unknown one. */
FM_INLINE v observed_error_point(v z, v t, FM_UNUSED v parameter, v *d) {
    *d = (v)((vi)(z - t) & (vi)(t == t));
    return *d * (real)0.5 * *d;
}

FM_INLINE v sign_where(v e, v positive, v negative) {
    return v_select(e > 0, positive, (v)((e < 0) & (vi)negative));
}

FM_INLINE v absolute_error_point(v z, v t, FM_UNUSED v parameter, v *d) {
    const v e = z - t;
    *d = sign_where(e, v_set1(1), v_set1(-1));
    return v_abs(e);
}

FM_INLINE v huber_point(v z, v t, v delta, v *d) {
    const v e = z - t, a = v_abs(e);
    const vi inside = a <= delta;
    *d = v_select(inside, e, sign_where(e, delta, -delta));
    return v_select(inside, e * (real)0.5 * e, delta * (a - delta * (real)0.5));
}

FM_INLINE v quantile_point(v z, v t, v quantile, v *d) {
    const v e = z - t;
    *d = sign_where(e, 1 - quantile, -quantile);
    return v_select(e == e, e * *d, e); /* a NaN error has no sign */
}

FM_INLINE v poisson_nll_point(v z, v t, FM_UNUSED v parameter, v *d) {
    const v rate = v_exp(z);
    *d = rate - t;
    return v_select(z > EXP_HIGHEST, rate, v_fma(-t, z, rate)); /* infinity minus infinity would be NaN */
}

/* t exp(x); no factor overflows unless the product does. */
FM_INLINE v v_times_exp(v t, v x) {
    v power;
    v rest;
    const v m = v_exp_parts(x, &power, &rest);
    return t * power * m * power * power * rest;
}

FM_INLINE v gamma_nll_point(v z, v t, FM_UNUSED v parameter, v *d) {
    const v ratio = v_times_exp(t, -z);
    *d = 1 - ratio;
    return z + ratio;
}

FM_INLINE v tweedie_point(v z, v t, v power, v *d) {
    const v rise = 2 - power, fall = power - 1;
    const v grown = v_exp(rise * z), ratio = v_times_exp(t, -fall * z);
    *d = grown - ratio;
    return grown * (1 / rise) + ratio * (1 / fall);
}

FM_INLINE v gaussian_nll_unit_point(v z, v t, v parameter, v *d) {
    return squared_error_point(z, t, parameter, d) + (real)0.91893853320467274178;
}

FM_INLINE v binary_cross_entropy_point(v z, v t, FM_UNUSED v parameter, v *d) {
    const v e = v_exp(-v_abs(z));
    *d = v_select(z >= 0, v_set1(1), e) / (e + 1) - t;
    return v_fma(-z, t, v_max(v_set1(0), z)) + v_log1p_unit(e);
}

ELEMENTWISE_LOSS(squared_error)
ELEMENTWISE_LOSS(observed_error)
ELEMENTWISE_LOSS(absolute_error)
ELEMENTWISE_LOSS(huber)
ELEMENTWISE_LOSS(quantile)
ELEMENTWISE_LOSS(poisson_nll)
ELEMENTWISE_LOSS(gamma_nll)
ELEMENTWISE_LOSS(tweedie)
ELEMENTWISE_LOSS(gaussian_nll_unit)
ELEMENTWISE_LOSS(binary_cross_entropy)

/* The loss t z, whose gradient is t: for gradients from outside. Few networks need it, so it is short. */
static void linear_backward(const fm_loss_call *call, int64_t first, int64_t last) {
    for (int64_t r = first; r < last; r++) {
        real lane[TREE_LANES] = {0};
        for (int64_t c = 0; c < call->columns; c++) {
            real *const z = call->z + c / NR * call->panel_step + r * NR + c % NR;
            const real t = call->targets[r * call->target_stride + c];
            lane[c % TREE_LANES] += *z * t;
            *z = t * call->loss_share[r];
        }
        v sum[TREE_VECTORS];
        memcpy(sum, lane, sizeof lane);
        call->row_loss[r] = v_tree_sum(sum);
    }
}

/* Columns [0, width) are means, [width, 2 width) log-variances s: (s + (t - mean)^2 exp(-s)) / 2. */
LOSS(gaussian_nll, {
    v lane[TREE_LANES] = {0};
    for (int64_t c = 0; c < q.width; c++) {
        real *const mean = z + c * LANES;
        real *const log_variance = mean + q.width * LANES;
        const v e = v_load(mean) - v_load(t + c * LANES);
        const v s = v_load(log_variance);
        v power;
        v rest;
        const v m = v_exp_parts(-s, &power, &rest);
        /* near * far is e^2 exp(-s) / 2; neither factor overflows unless the product does */
        const v near = e * power * m * power;
        const v far = e * power * rest * (real)0.5;
        const v l = v_fma(far, near, s * (real)0.5) + (real)0.91893853320467274178;
        lane[c % TREE_LANES] += weighted(l, w, c * LANES);
        v_store(mean, weighted(near * power * rest, w, c * LANES) * share);
        v_store(log_variance, weighted(v_fma(-far, near, v_set1((real)0.5)), w, c * LANES) * share);
    }
    value = tree_of_columns(TREE_LANES, lane);
})

/* Columns [0, width) are the lowest quantiles; softplus of the next ones is what each adds to the quantile of the level
 * before. */
LOSS(quantiles, {
    real *const slope = t + 2 * LANES * padded(q.columns);
    v lane[TREE_LANES] = {0};
    for (int64_t first = 0; first < q.width; first++) {
        const v target = v_load(t + first * LANES);
        v quantile = {0};
        for (int64_t c = first; c < q.columns; c += q.width) {
            const v at = v_load(z + c * LANES);
            const v level = v_set1((real)q.levels[c / q.width]);
            v d;
            if (c == first) quantile = at;
            else quantile += v_softplus(at);
            const v l = quantile_point(quantile, target, level, &d);
            lane[c % TREE_LANES] += weighted(l, w, first * LANES);
            v_store(slope + c * LANES, weighted(d, w, first * LANES));
        }
    }
    for (int64_t c = q.columns - 1; c >= 0; c--) { /* an output moves its quantile and those of higher levels */
        v beyond = v_load(slope + c * LANES);
        if (c + q.width < q.columns) beyond += v_load(slope + (c + q.width) * LANES);
        v_store(slope + c * LANES, beyond);
        if (c >= q.width) beyond *= v_sigmoid(v_load(z + c * LANES));
        v_store(z + c * LANES, beyond * share);
    }
    value = tree_of_columns(TREE_LANES, lane);
})

FM_INLINE v columns_max(const real *z, int64_t columns) {
    v highest = v_load(z);
    for (int64_t c = 1; c < columns; c++) highest = v_max(v_load(z + c * LANES), highest);
    return highest;
}

/* Replace z by exp(z - max); returns the sums of the exponentials. */
FM_INLINE v columns_exponentials(real *z, int64_t columns, v max) {
    v lane[TREE_LANES] = {0};
    for (int64_t c = 0; c < columns; c++) {
        const v e = v_exp(v_load(z + c * LANES) - max);
        v_store(z + c * LANES, e);
        lane[c % TREE_LANES] += e;
    }
    return tree_of_columns(TREE_LANES, lane);
}

/* Differences of logits are summed in larger units, because an infinite difference times a target of 0 would be NaN.
 * The units are powers of two, so that no rounding changes. */
#define UNIT_OF_SUM ((real)4294967296.0) /* up to 2^31 classes, each with a weight below 1 */
#define UNIT_OF_MEAN ((real)4.0)         /* targets of a sum of 1 */

/* Labels: -log softmax(z)[label], with smoothing s: targets (1 - s) onehot + s / columns. Differences from the largest
 * z keep the loss accurate for large logits. */
LOSS(cross_entropy_labels, {
    const int32_t *label = q.labels + start;
    const v max = columns_max(z, q.columns);
    const v spread = v_set1(q.parameter / (real)q.columns);
    const v rest = v_set1(1 - q.parameter);
    const v top = max * (1 / UNIT_OF_SUM);
    v chosen = {0};
    for (int64_t i = 0; i < rows; i++) chosen[i] = z[label[i] * LANES + i];
    v below = rest * (top - chosen * (1 / UNIT_OF_SUM));
    if (q.parameter > 0) {
        v lane[TREE_LANES] = {0};
        for (int64_t c = 0; c < q.columns; c++)
            lane[c % TREE_LANES] += top - v_load(z + c * LANES) * (1 / UNIT_OF_SUM);
        below += spread * tree_of_columns(TREE_LANES, lane);
    }
    const v total = columns_exponentials(z, q.columns, max);
    const v inverse = 1 / total;
    value = below * UNIT_OF_SUM + v_log(total);
    for (int64_t c = 0; c < q.columns; c++)
        v_store(z + c * LANES, v_fma(v_load(z + c * LANES), inverse, -spread) * share);
    const v own = rest * share;
    for (int64_t i = 0; i < rows; i++) z[label[i] * LANES + i] -= own[i];
})

LOSS(cross_entropy_soft, {
    const v spread = v_set1(q.parameter / (real)q.columns);
    const v rest = v_set1(1 - q.parameter);
    const v max = columns_max(z, q.columns);
    const v top = max * (1 / UNIT_OF_MEAN);
    v below[TREE_LANES] = {0};
    v target_sum[TREE_LANES] = {0};
    for (int64_t c = 0; c < q.columns; c++) {
        const v target = v_fma(rest, v_load(t + c * LANES), spread);
        v_store(t + c * LANES, target);
        const v under = top - v_load(z + c * LANES) * (1 / UNIT_OF_MEAN);
        below[c % TREE_LANES] = v_fma(target, under, below[c % TREE_LANES]);
        target_sum[c % TREE_LANES] += target;
    }
    const v factor = tree_of_columns(TREE_LANES, target_sum);
    const v total = columns_exponentials(z, q.columns, max);
    const v inverse = factor / total;
    value = tree_of_columns(TREE_LANES, below) * UNIT_OF_MEAN + v_log(total) * factor;
    for (int64_t c = 0; c < q.columns; c++) {
        const v target = v_load(t + c * LANES);
        v_store(z + c * LANES, v_fma(v_load(z + c * LANES), inverse, -target) * share);
    }
})

/* Links are applied to rows. */
FM_INLINE real row_max(const real *z, int64_t columns) {
    const v lowest = v_set1((real)-INFINITY);
    v highest = lowest;
    EACH_COLUMN(columns) {
        (void)u;
        highest = v_max(v_select(v_first(columns - c), v_load(z + c), lowest), highest);
    }
    return v_highest(highest);
}

/* Replace z by exp(z - max); returns the sum of the exponentials. */
FM_INLINE real exponentials(real *z, int64_t columns, real max) {
    v sum[TREE_VECTORS] = {{0}};
    EACH_COLUMN(columns) {
        const v e = (v)((vi)v_exp(v_load(z + c) - max) & v_first(columns - c));
        v_store(z + c, e);
        sum[u] += e;
    }
    return v_tree_sum(sum);
}

static void identity_link(FM_UNUSED real *row, FM_UNUSED int64_t columns, FM_UNUSED int64_t width) {}

/* Define the slope of a link that acts on each output alone: all but element c are 0. */
#define SLOPE_OF_ONE(name, value) \
    static void name##_slope_row(FM_UNUSED const real *prediction, int64_t columns, FM_UNUSED int64_t width, int64_t c, \
                                 real *d) { \
        memset(d, 0, sizeof(real) * (size_t)columns); \
        d[c] = value; \
    }
SLOPE_OF_ONE(identity, 1)
SLOPE_OF_ONE(exp, prediction[c])
SLOPE_OF_ONE(variance, c < columns / 2 ? 1 : prediction[c])
SLOPE_OF_ONE(sigmoid, prediction[c] * (1 - prediction[c]))

static void softmax_slope_row(const real *prediction, int64_t columns, FM_UNUSED int64_t width, int64_t c, real *d) {
    for (int64_t j = 0; j < columns; j++) d[j] = -prediction[c] * prediction[j];
    d[c] += prediction[c];
}

static void exp_link(real *row, int64_t columns, FM_UNUSED int64_t width) {
    EACH_COLUMN(columns) { (void)u; v_storeu(row + c, v_exp(v_loadu(row + c))); }
}

static void variance_link(real *row, int64_t columns, int64_t width) { exp_link(row + width, columns - width, width); }

static void sigmoid_link(real *row, int64_t columns, FM_UNUSED int64_t width) {
    EACH_COLUMN(columns) { (void)u; v_store(row + c, v_sigmoid(v_load(row + c))); }
}

static void softmax_link(real *row, int64_t columns, FM_UNUSED int64_t width) {
    const real total = exponentials(row, columns, row_max(row, columns));
    EACH_COLUMN(columns) { (void)u; v_store(row + c, v_load(row + c) / total); }
}

/* Each quantile is that of the level before plus a softplus, so that they are in order. */
static void ascending_link(real *row, int64_t columns, int64_t width) {
    real *const rise = row + width;
    EACH_COLUMN(columns - width) { (void)u; v_storeu(rise + c, v_softplus(v_loadu(rise + c))); }
    for (int64_t c = width; c < columns; c++) row[c] += row[c - width];
}

static void ascending_slope_row(const real *prediction, int64_t columns, int64_t width, int64_t c, real *d) {
    memset(d, 0, sizeof(real) * (size_t)columns);
    for (; c >= width; c -= width) d[c] = -v_expm1_negative(v_set1(prediction[c - width] - prediction[c]))[0];
    d[c] = 1;
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
    {"linear", linear_backward, identity_link, identity_slope_row},
    {"quantiles", quantiles_backward, ascending_link, ascending_slope_row},
    {"gamma_nll", gamma_nll_backward, exp_link, exp_slope_row},
    {"tweedie", tweedie_backward, exp_link, exp_slope_row},
};

#endif
