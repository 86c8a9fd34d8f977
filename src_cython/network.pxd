# The interface between the modules that Python sees and the kernel modules of every level: a network and its
# memory, the task of an epoch, and the table of functions that a kernel module exports. Nothing depends on
# the dtype: arrays are void*, and each kernel module knows its own. Lengths and offsets are in elements.
# B batch rows, I fan-in, O fan-out, NR panel width, C output columns.
from libc.stdint cimport int32_t, int64_t, uint64_t

from cheaders cimport *


cdef enum:
    ABI = 26


cdef enum:  # kinds of operators, in the order of operators.OPERATORS
    AFFINE = 0
    LAYER_NORM = 1
    SCALE = 2
    PARAMETRIC = 3
    SKIP = 4
    LINEAR = 5


cdef enum:  # the tensors of an operator: factors, and summands, which it may lack
    WEIGHTS = 0
    BIASES = 1
    TENSORS = 2


cdef enum:  # how the gradient of a tensor is computed
    TILES = 0  # y^T dz
    COLUMN = 1  # the same where dz has one column
    SUMS = 2  # these are sums over the rows of dz
    NORMAL_PRODUCTS = 3  # sums over the rows of dz times the normalised inputs
    PRODUCTS = 4  # sums over the rows of dz times the inputs
    BFLOAT16_TILES = 5  # y^T dz in bfloat16


# The arguments of a custom function, plain rows, and the memory for its results.
cdef struct fm_block:
    int64_t rows, columns
    const void* z  # (rows, columns)
    int64_t width  # columns of the targets; 0 for an activation
    const void* targets  # (rows, width); NULL with labels, and for an activation
    const int32_t* labels  # (rows,) or NULL
    void* value  # (rows, columns) of an activation, (rows,) losses
    void* gradient  # (rows, columns) slopes or gradients; NULL: not needed


# A custom activation or loss (_engine/kernels.pxi, functions.pxd).
cdef struct fm_function:
    int (*call)(const fm_function*, const fm_block*, void* signals) noexcept nogil  # true: failure
    # an activation of n elements of one row; NULL if it needs the interpreter lock
    void (*row)(const fm_function*, int64_t n, const void* z, void* value, fm_fpenv) noexcept nogil
    const void* address  # the address of the C function, or a Python object
    const void* context  # first argument of the C function
    int typenum  # NumPy's number of the dtype


# A step of a network: z from the outputs of the operator before, then y = dropout(activation(z)). Sums also
# read the outputs of an earlier operator.
cdef struct fm_operator:
    int32_t kind  # AFFINE, ...
    int32_t hidden  # number of its layer, from 0, for dropout
    int32_t source  # the operator whose outputs its tensors multiply; -1: the inputs of the network
    int32_t reader  # a later operator, not the next, that also reads its outputs; 0: none
    int64_t row_at  # place of its outputs in the scratch memory of a single row
    int64_t n_in, n_out
    int64_t panels  # ceil(n_out / NR)
    fm_tensor tensors[2]  # one that is absent has no columns
    int32_t activation  # row of ACTIVATIONS
    const fm_function* function  # custom activation, or NULL
    bint ends  # last operator of a hidden layer, which may have dropout
    int32_t inner  # row of ACTIVATIONS: f of a parametric activation


cdef struct fm_network:
    int32_t n_operators
    int32_t loss  # row of LOSSES
    int32_t link  # row of LOSSES with the link of the predictions
    int32_t reader  # operator, not the first, that also reads the inputs; 0: none
    int64_t targets_width
    double loss_parameter
    const double* loss_levels  # levels of quantiles, ascending; or NULL
    const fm_function* loss_function  # custom loss, or NULL; the link is that of the row
    bint has_labels  # the targets are labels
    int64_t row_size  # elements of the scratch memory of a single row
    int64_t row_at  # place there of a copy of the inputs, if an operator reads whole vectors of them; else -1
    int64_t function_at  # place there of z for custom functions
    int64_t few_at  # place there of the inputs of a wide row that are not 0
    const fm_operator* operators
    void* parameters
    void* copies[COPIES]  # the arena of each kind
    int32_t narrow  # the kind of copy from which single rows read weights: BFLOAT16 or INT8; 0: none
    int32_t products  # the instruction for BFLOAT16_TILES, see c/panels/bfloat16.h; 0: there are none


cdef inline bint are_inputs(const fm_network* net, int64_t l) noexcept nogil:
    """Return whether the outputs of an operator are the inputs, -1, or the scaled inputs."""
    return l < 0 or net.operators[l].kind == SCALE


cdef struct fm_derivatives


cdef struct fm_buffers:  # one batch's
    int64_t rows  # most rows of a block; panels have further rows as padding
    int64_t panel_step  # elements from the start of a panel to the next
    int64_t block_size  # elements of the inputs of a layer that stay in the cache together
    void* x  # [ceil(n_dense / NR)][panel_step / NR][NR] gathered inputs
    int64_t n_dense  # inputs, the first, that are in x; all, unless there are entries
    fm_entries* entries  # the other inputs; NULL: there are none
    void** y  # an operator's outputs, [panels][panel_step / NR][NR]; the last z, then its gradient; y[-1]: x
    void** dz  # an operator's gradient of z; dz[last] is y[last], and dz[-1] x
    # per operator but the last: its derivative (times dropout), NULL if backward uses y; that of a parametric
    # activation is stored with the operator before it.
    void** slope
    void** statistics  # a normalisation's (rows, 2) mean and inverse standard deviation in training
    void* targets  # (rows, width), target_stride apart
    int64_t target_stride
    void* output_weights  # their layout is that of the targets; only if the data have them
    int32_t* labels  # (rows,)
    void* weight  # (rows,) sample weights
    void* loss_share  # (rows,) sample weights, scaled for the objective
    void* row_loss  # (rows,)
    void* predictions  # (rows, C) after the link; only for the jacobian
    void* scratch  # scratch_size elements a thread, which end with the scalars of the groups
    int64_t scratch_size
    void* gradients  # an arena; NULL: gradients are not stored
    double* sums  # gradients summed over the blocks of a batch; NULL: no batch is larger than a block
    # of BFLOAT16_TILES, else NULL: left factors of the passes, of one operator after the other
    void* rounded
    void** columns  # an operator's left and right factor of the gradient of its weights
    void** pairs
    void* plain[3]  # a custom function's rows of z, of values, and of slopes or gradients; or NULL
    int64_t plain_step  # largest length of a row there
    double* column_squares  # sum of squares of each column, for penalty and clipping; NULL in predictions
    double* column_magnitudes  # sum of absolute values of each column
    const fm_derivatives* derivatives  # where training is on derivatives by the inputs, too; else NULL


# The memory of a block and the arguments of derivatives with respect to the inputs (derivatives.pxd). In
# training, points and tangents are one: after the rows of a block come the tangents of each output.
cdef struct fm_derivatives:
    const fm_network* net
    const fm_network* linear  # the same without activations
    const fm_buffers* points  # outputs of the operators; gradients by z
    const fm_buffers* tangents  # tangents of inputs, in x, and of outputs; gradients by the tangents of z
    void** slope  # an operator's derivative of the activation; NULL without one
    void** curvature  # its second derivative
    void** before  # tangents of z
    void** weight  # gradient by the tangents of y, times the curvature
    const fm_data* x
    const fm_data* directions  # their layout is that of x; or NULL
    const void* p  # (n, C) gradients by the tangents of the last outputs, or NULL: 0
    const void* q  # (n, C) gradients by the last outputs, or NULL: 0
    void* out  # (n, C) tangents; (n, I) gradients with p or q; NULL with the next three
    void* values  # (n, C)
    void* jacobian  # (n, C, I)
    void* hessian  # (n, C, I, I), or NULL
    int64_t* order  # (rows,) scratch memory
    int64_t n_tangents  # tangents of a row: of its outputs in training, else 1
    int64_t tangent_step  # rows from a row to its first tangent, and to the next; 0: not in training
    void* jacobians  # (rows, inputs) of one output, jacobian_stride apart; this and the next in training
    int64_t jacobian_stride
    void* jacobian_share  # (rows,) like loss_share
    void* jacobian_loss  # (rows,)


# The unit of work on parameters: rows [k_from, k_to) of one panel of a tensor.
cdef struct fm_piece:
    const fm_tensor* tensor
    int64_t op, panel
    int64_t k_from, k_to
    int64_t offset, size  # the place of its parameters in the arena
    double work  # floating-point operations of its gradient per batch row


# The arguments of the hash that decides dropout; NULL in predictions.
cdef struct fm_draws:
    uint64_t seed, step
    int64_t row  # number, in the batch, of the first row of the buffers
    const double* dropout  # probability of each hidden layer; NULL: no dropout


cdef struct fm_task:  # the task of an epoch, constant during it
    const fm_network* net
    const fm_buffers* buffers  # a batch with more rows than the buffers is processed in blocks
    fm_data data
    const int64_t* order  # (n,) or NULL
    int64_t batch
    int32_t optimizer  # row of OPTIMIZERS, -1: gradients only
    double hyper[4]  # numbers of the optimizer; the last is its decoupled decay
    const double* decays  # decoupled decay of each batch, which replaces hyper[3]; or NULL
    void* slots[2]
    const void* lower  # arenas: bounds of the parameters after a step; NULL: there are none
    const void* upper
    const fm_group* groups
    int32_t n_groups
    const int32_t* group_of  # one a tensor of the network
    int32_t first_trained  # operator at which the backward pass ends
    const double* rates  # one a batch
    const double* dropout  # probability of each hidden layer; NULL: no dropout
    int64_t dropout_step  # elements from one batch's to the next one's; 0: all batches share them
    double l1, l2, clip_norm
    bint per_batch  # the divisor of a batch is the sum of its weights, and also divides l2
    double mean_weight  # the mean over all rows whose weight is not 0, not only a batch's
    bint stores  # compute all gradients before the step
    const double* totals  # divisor of the loss of each batch of all processes; NULL: there is one process
    uint64_t seed, step  # seed of dropout, and number of the first step
    int64_t row  # number, in a batch, of the first row of this process


cdef struct fm_thread_context:  # the threads of an epoch and their work
    int32_t n_threads
    const fm_piece* pieces
    const int64_t* piece_first  # (n_threads + 1,): the first of each thread's own pieces
    fm_counter* counters  # (n_threads,): pieces taken of each thread
    fm_barrier* barrier
    fm_crew* crew  # this and the next two let thread 0 call the other threads
    fm_job job
    void* job_context
    int64_t first_batch, end_batch  # the batches of this call: all of the epoch, or a part
    int64_t next_batch  # the batch at which the others join
    int64_t alone_from  # the batch at which they leave; -1: none
    fm_autotune* autotune
    fm_poll poll  # thread 0's
    void* poll_context
    # sums the gradients over all processes, also if this one has failed; returns whether to stop. NULL: one
    # process
    int (*add_up)(void* poll_context, int failed) noexcept nogil
    atomic_int* stop


cdef enum:
    RUNNING = 0
    INTERRUPTED = 1
    DIVERGED = 2


cdef struct fm_report:  # results so far, written by thread 0
    int32_t status
    double powers[2]  # powers of the betas
    double objective  # the current batch's
    double loss_sum, weight_sum


cdef struct fm_kernels:
    int32_t abi
    int32_t element_size, lanes, mr, nr, row_multiple
    int32_t piece_rows  # weight rows of a full piece, a multiple of 2 NR
    const char* level
    const char* compiler
    # returns the name of an activation (table 0), loss (1) or optimizer (2); NULL after the last row
    const char* (*row_name)(int32_t table, int32_t row) noexcept nogil
    bint has_bfloat16  # BFLOAT16_TILES were compiled
    int32_t chunk  # summed elements of a step of BFLOAT16_TILES
    bint (*activation_keeps_slope)(int32_t) noexcept nogil
    int64_t (*scratch_size)(const fm_network*) noexcept nogil
    # copies a plain (rows, columns) array to an arena if it packs, else from there
    void (*copy_tensor)(const fm_tensor*, int packs, void* plain, void* parameters) noexcept nogil
    int64_t copy_element_size[COPIES]
    void (*renew_copies)(const fm_network*) noexcept nogil  # all kinds, of all tensors
    void (*renew_piece)(const fm_network*, const fm_piece*) noexcept nogil  # those of training
    void (*epoch)(const fm_task*, fm_thread_context*, fm_report*, int32_t thread) noexcept nogil
    # writes the predictions of rows [first, last), (last - first, C), unless it is interrupted
    void (*predict)(const fm_network*, const fm_buffers*, const fm_data*, int64_t first, int64_t last,
                    void* out, fm_interrupt_poll*) noexcept nogil
    # predicts one contiguous row; scratch has net.row_size elements, 64-byte aligned
    void (*predict_row)(const fm_network*, const void* x, void* scratch, void* out) noexcept nogil
    # writes d prediction / d input, (last - first, C, I); the network has all transposed copies, the buffers
    # are made for training and the jacobian
    void (*jacobian)(const fm_network*, const fm_buffers*, const fm_data*, int64_t first, int64_t last,
                     void* out, fm_interrupt_poll*) noexcept nogil
    void (*differentiate)(const fm_derivatives*, int64_t first, int64_t last,
                          fm_interrupt_poll*) noexcept nogil
    # writes the sum of weight * loss of each block of buffers.rows rows, and predictions unless out is NULL
    void (*evaluate)(const fm_network*, const fm_buffers*, const fm_data*, int64_t first, int64_t last,
                     double* block_sums, void* out, fm_interrupt_poll*) noexcept nogil
    int32_t (*finite)(const void* x, int64_t n) noexcept nogil  # any alignment and length
    void (*shuffle)(int64_t* order, int64_t n, uint64_t seed) noexcept nogil
    # write the inputs of a row of fm_encoded_rows, always in float32
    void (*encode_row)(const void* rows, int64_t row, void* inputs) noexcept nogil
    int64_t (*encode_sparse)(const void* rows, int64_t row, void* dense, int32_t* columns,
                             void* entries) noexcept nogil
    double (*peak)(int64_t rounds) noexcept nogil  # returns the number of floating-point operations
    # single steps, for tests and benchmarks (probe.pyx)
    void (*gather)(const fm_network*, const fm_buffers*, const fm_data*, const int64_t* order,
                   int64_t start, int64_t first, int64_t last, int32_t thread) noexcept nogil
    void (*forward)(const fm_network*, const fm_buffers*, int32_t op, int64_t first, int64_t rows,
                    const fm_draws*, fm_interrupt_poll*) noexcept nogil
    void (*output_loss)(const fm_network*, const fm_buffers*, int64_t first, int64_t last,
                        const fm_data*, int32_t thread, fm_interrupt_poll*) noexcept nogil
    void (*backward_input)(const fm_network*, const fm_buffers*, int32_t op, int64_t first,
                           int64_t rows, fm_interrupt_poll*) noexcept nogil
    void (*piece_gradient)(const fm_network*, const fm_buffers*, const fm_piece*, int64_t first,
                           int64_t rows, void* g, fm_prefetch*) noexcept nogil
    void (*step)(int32_t optimizer, const double* hyper, double rate, double* powers, double l2, double scale,
                 void* w, const void* g, void* s0, void* s1, int64_t n) noexcept nogil


cdef extern from *:
    """
    #define FM_CAPSULE "fastmlp.kernels"
    #define FM_ROWS_CAPSULE "fastmlp.row_source"
    """
    const char* FM_CAPSULE
    const char* FM_ROWS_CAPSULE  # the name of the capsule of an fm_row_source
