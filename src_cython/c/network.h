/* The layout of parameters and data in memory, for C; network.pxd has the rest of the interface between the modules
 * that Python sees and the kernels of every level. Nothing here depends on the dtype: arrays are void*, and each
 * kernel module knows its own. Lengths and offsets are in elements, strides of the user's arrays in bytes.
 * B batch rows, I fan-in, O fan-out, NR panel width, C output columns. */
#ifndef FM_NETWORK_H
#define FM_NETWORK_H

#include <stdint.h>

/* Kinds of copies: rows of COPY_KINDS in panels/copies.h. Training updates the first FM_TRAINED kinds. */
enum {
    FM_TRANSPOSED,
    FM_PAIRED, /* two rows of bfloat16, this and the next */
    FM_PAIRED_TRANSPOSED,
    FM_TRAINED,
    FM_BFLOAT16 = FM_TRAINED,
    FM_INT8,
    FM_COPIES
};

/* A copy of a tensor in another layout or storage type. */
typedef struct {
    int64_t offset; /* the place in the arena of this kind of copy; -1: there is no copy */
    int64_t rows;   /* rows a panel */
} fm_copy;

/* A matrix of parameters, or a vector as its only row. */
typedef struct {
    int64_t n_rows, n_columns;
    int64_t rows;       /* rows a panel: n_rows rounded up as the kernels need it */
    int64_t panels;     /* ceil(n_columns / NR) */
    int64_t offset;     /* in the arena of parameters: [panels][rows][NR, or fewer in the last];
                         * a single column: [rows] */
    fm_copy copies[FM_COPIES];
    int32_t gradient;   /* how its gradient is computed: TILES, ... of network.pxd */
    int32_t index;      /* the place among all tensors of the network, kind by kind; selects the group */
} fm_tensor;

/* Rows that are computed one at a time instead of read from an array. Any thread may ask for any row at any time,
 * under FM_DEFAULT_FPENV. */
typedef struct {
    void (*fill)(const void *context, int64_t row, void *out); /* writes the n_in elements of a row */
    void (*fetch)(const void *context, int64_t row);           /* prefetches the memory of a row */
    const void *context;
    /* Writes the first n_dense elements of a row, and columns and values of the others that are not 0, at most
     * `entries` of them; returns their number. NULL: n_dense is n_in. */
    int64_t (*fill_sparse)(const void *context, int64_t row, void *out, int32_t *columns, void *values);
    int64_t n_dense, entries;
} fm_row_source;

/* The user's data in the user's memory. */
typedef struct {
    const int64_t *starts;       /* row i has the entries [starts[i], starts[i + 1]); NULL: rows are dense */
    const int32_t *columns;      /* the entries' columns, ascending in a row */
    const void *values;
    const fm_row_source *source; /* computes the rows of X; NULL: the array x holds them */
    const char *x;
    int64_t x_row_stride, x_column_stride;
    int64_t n;
    const void *targets;   /* (n, width) contiguous or NULL */
    const int32_t *labels; /* (n,) contiguous or NULL */
    const void *weights;   /* (n,) contiguous or NULL */
    const void *output_weights; /* (n, width) contiguous: factors on the losses of the outputs; NULL: they are 1 */
    const void *jacobians; /* (n, outputs, inputs) contiguous: derivatives to learn, NaN where unknown; NULL: none */
    double jacobian_weight;
} fm_data;

/* The entries of sparse rows in a block. Each thread chains those of its rows column by column, in the order of the
 * rows, so that the gradient of a weight is a sum in this order, whatever the number of threads. */
typedef struct {
    int64_t *first, *end; /* (rows,): the entries of a row */
    int32_t *rows, *columns, *next; /* an entry's row, its column, and the next entry in this column, or -1 */
    void *x, *y, *dy;     /* values, values times the scales of the columns, and the gradient of y */
    int64_t n_columns, n_words;
    int32_t *heads;       /* (threads, n_columns): the first entry in a column; NULL in predictions */
    uint64_t *marks;      /* (threads, n_words): a bit for each column, whether it has entries */
    int32_t active;       /* number of threads that divided the rows */
} fm_entries;

/* Factors of a group of tensors: on the learning rate (0: the tensors and their slots do not change), on epsilon, on
 * decoupled decay and penalties, and on the squares in the gradient's norm. */
typedef struct {
    double rate, epsilon, decay, l1, l2, norm;
} fm_group;

#endif
