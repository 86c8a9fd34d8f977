/* What the Python-facing core and the kernel modules of every level agree on: how a network lies in memory,
 * what one epoch needs, and the table of functions that a kernel module exports. No dtype here: arrays are
 * void*, each kernel module knows its own. Lengths and offsets are in elements, strides of the
 * user's arrays in bytes.
 * B batch rows, I fan-in, O fan-out, NR panel width, C output columns. */
#ifndef FM_NETWORK_H
#define FM_NETWORK_H

#include <stdint.h>

#include "panels/ahead.h"
#include "simd/control.h"
#include "threads/pace.h"
#include "threads/sync.h"
#include "threads/watch.h"

#define FM_ABI 11
#define FM_CAPSULE "fastmlp.kernels"
#define FM_SHUFFLE_MOST 0xffffffffLL /* rows: what a draw of 32 bits reaches */

typedef struct {
    int64_t n_in, n_out;
    int64_t rows;       /* rows of a weight panel: n_in rounded up */
    int64_t panels;     /* ceil(n_out / NR) */
    int64_t weight;     /* offset of W in the parameter arena: [panels][rows][NR, or fewer in the last];
                         * a single column: [rows] */
    int64_t bias;       /* offset of b: [panels][NR] */
    int64_t transposed; /* offset of W^T in its own arena: [ceil(n_in / NR)][t_rows][NR]; -1: none is kept,
                         * a single column needs none */
    int64_t t_rows;
    int32_t activation; /* row of ACTIVATIONS */
} fm_layer;

typedef struct {
    int32_t n_layers;
    int32_t loss; /* row of LOSSES */
    int64_t targets_width;
    double loss_parameter;
    const fm_layer *layers;
    void *parameters;
    void *transposed;
} fm_network;

/* Buffers of one batch. */
typedef struct {
    int64_t rows;  /* at most; panels have room for a few more */
    int64_t panel; /* elements from the start of a panel to the next */
    void *x;    /* [ceil(I / NR)][panel / NR][NR] gathered inputs */
    void **y;   /* per layer, [panels][panel / NR][NR]: outputs; the last one holds z, then its gradient */
    void **dz;  /* per layer: gradient of z; dz[last] is y[last] */
    void **aux; /* per layer: derivative (times dropout), NULL where backward uses y; never of the last */
    void *targets;   /* (rows, width), target_stride apart */
    int64_t target_stride;
    int32_t *labels; /* (rows,) */
    void *share;     /* (rows,) */
    void *weight;    /* (rows,) */
    void *row_loss;  /* (rows,) */
    void *predictions; /* (rows, C) after the link; NULL in a space that was not made for the jacobian */
    void *scratch;   /* per thread, scratch_size elements each; at their end the scalars of the groups */
    int64_t scratch_size;
} fm_space;

/* The user's data, as it lies in the user's memory. */
typedef struct {
    const char *x;
    int64_t x_row_stride, x_column_stride;
    int64_t n;
    const void *targets;   /* (n, width) contiguous or NULL */
    const int32_t *labels; /* (n,) contiguous or NULL */
    const void *weights;   /* (n,) contiguous or NULL */
} fm_data;

/* One piece of the weight-gradient and optimizer work: rows [k_from, k_to) of one weight panel. */
typedef struct {
    int32_t layer;
    int32_t panel;
    int64_t k_from, k_to;
} fm_unit;

/* Tensors that are treated alike: factors on the learning rate (0: they stay as they are, and so does their
 * state), on epsilon, on what pulls them to 0, decoupled decay and penalty, and on the squares in the norm. */
typedef struct {
    double rate, epsilon, decay, l2, norm;
} fm_group;

/* Of which batch row and step dropout draws its numbers; NULL where a network only predicts. */
typedef struct {
    uint64_t seed, step;
    int64_t row; /* of the batch, that lies in row 0 of the workspace */
    const double *dropout; /* probability of each hidden layer; NULL: nothing drops out */
} fm_draws;

enum { FM_RUNNING = 0, FM_INTERRUPTED = 1, FM_DIVERGED = 2 };

typedef struct {
    const fm_network *net;
    const fm_space *space;
    fm_data data;
    const int64_t *order; /* (n,) or NULL */
    int64_t batch;
    int64_t block; /* rows that go through the network together: a larger batch is a sum over blocks */
    int32_t optimizer; /* row of OPTIMIZERS, -1: gradients only */
    double hyper[4];   /* the last one is the decoupled decay of any optimizer */
    const double *decays; /* one a batch, instead of the last one; NULL: it is the same in all */
    const fm_group *groups;
    int32_t n_groups;
    const int32_t *group_of; /* (n_layers, 2): of the weights and of the biases of each layer */
    int32_t first_trained;   /* layer; the gradient goes back no further */
    double powers[2]; /* running powers of the betas */
    void *slots[2];
    void *gradients; /* arena like the parameters', NULL when a unit's gradient is used at once */
    double *sums;    /* the same over the blocks of a batch, NULL when none is larger than a block */
    double *column_squares; /* one sum of squares a column, for penalty and clipping */
    const double *rates;    /* one a batch */
    const double *dropout;  /* probability of each hidden layer, NULL: nothing drops out */
    int64_t dropout_step;   /* from those of a batch to those of the next, 0 where they are the same */
    double l2, clip_norm;
    int32_t l2_per_batch;
    uint64_t seed, step;
    const fm_unit *units;
    const int64_t *unit_first; /* (n_threads + 1,): the units that each thread takes first */
    fm_counter *counters;      /* (n_threads,): of the units of each thread */
    int32_t n_threads;
    fm_crew *crew; /* with its job: how thread 0 calls the others */
    fm_job job;
    void *job_context;
    int64_t next_batch; /* at which they join */
    int64_t alone_from; /* batch at which they leave; -1: none */
    fm_pace *pace;
    int (*poll)(void *); /* of thread 0 */
    void *poll_context;
    atomic_int *stop;
    fm_barrier *barrier;
    /* results, written by thread 0 */
    int32_t status;
    double objective; /* of the batch so far */
    double loss_sum, weight_sum;
} fm_epoch;

typedef struct {
    int32_t abi;
    int32_t element_size, lanes, mr, nr, row_multiple;
    int32_t unit_rows; /* weight rows of a full unit, at most: a multiple of 2 NR */
    const char *level;
    const char *compiler;
    int32_t n_activations, n_losses, n_optimizers;
    const char *(*activation_name)(int32_t);
    const char *(*loss_name)(int32_t);
    const char *(*optimizer_name)(int32_t);
    int32_t (*activation_needs_aux)(int32_t);
    int64_t (*scratch_size)(const fm_network *);
    /* plain (I, O) weights and (O,) biases to and from the arena of panels */
    void (*pack)(const fm_layer *, const void *w, const void *b, void *parameters);
    void (*unpack)(const fm_layer *, const void *parameters, void *w, void *b);
    void (*transpose)(const fm_network *); /* renew every transposed copy */
    void (*epoch)(fm_epoch *, int32_t thread);
    /* rows [first, last) of data: (last - first, C) predictions into out, unless the watch says stop */
    void (*predict)(const fm_network *, const fm_space *, const fm_data *, int64_t first, int64_t last,
                    void *out, fm_watch *);
    /* one contiguous row into out; scratch holds row_scratch_size elements, 64-byte aligned */
    void (*predict_row)(const fm_network *, const void *x, void *scratch, void *out);
    int64_t (*row_scratch_size)(const fm_network *);
    /* d prediction / d input, (last - first, C, I) into out; the network keeps every transposed copy and
     * the space is one of training made for it */
    void (*jacobian)(const fm_network *, const fm_space *, const fm_data *, int64_t first, int64_t last,
                     void *out, fm_watch *);
    /* sums of weight * loss, one for each block of space->rows rows from first on */
    void (*evaluate)(const fm_network *, const fm_space *, const fm_data *, int64_t first, int64_t last,
                     double *block_sums, fm_watch *);
    int32_t (*finite)(const void *arena, int64_t n);
    int32_t (*finite_row)(const void *x, int64_t n); /* any alignment and length */
    void (*shuffle)(int64_t *order, int64_t n, uint64_t seed);
    double (*peak)(int64_t rounds); /* returns the number of floating-point operations done */
    /* single steps, for tests and benchmarks (probe.pyx) */
    void (*gather)(const fm_network *, const fm_space *, const fm_data *, const int64_t *order,
                   int64_t start, int64_t first, int64_t last);
    void (*forward)(const fm_network *, const fm_space *, int32_t layer, int64_t first, int64_t rows,
                    const fm_draws *, fm_watch *);
    void (*output_loss)(const fm_network *, const fm_space *, int64_t first, int64_t last,
                        int32_t thread);
    void (*backward_input)(const fm_network *, const fm_space *, int32_t layer, int64_t first,
                           int64_t rows, fm_watch *);
    void (*unit_gradient)(const fm_network *, const fm_space *, const fm_unit *, int64_t first, int64_t rows,
                          void *g, fm_ahead *);
    void (*bias_gradient)(const void *dz, int64_t batch, void *g);
    void (*step)(int32_t optimizer, const double *hyper, double rate, double *powers, double l2,
                 double scale, void *w, const void *g, void *s0, void *s1, int64_t n);
} fm_kernels;

#endif
