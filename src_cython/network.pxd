# What the Python-facing modules and the kernel modules of every level agree on: a network and its memory,
# what an epoch is to do, and the table of functions that a kernel module exports. No dtype here: arrays are
# void*, each kernel module knows its own. Lengths and offsets are in elements.
# B batch rows, I fan-in, O fan-out, NR panel width, C output columns.
from libc.stdint cimport int32_t, int64_t, uint64_t

from cheaders cimport *


cdef enum:
    ABI = 18


cdef enum:  # kinds of operators, in the order of operators.OPERATORS
    AFFINE = 0
    LAYER_NORM = 1
    SCALE = 2
    PARAMETRIC = 3
    SKIP = 4
    LINEAR = 5


cdef enum:  # the tensors of an operator: what multiplies, and what is added, if anything
    WEIGHTS = 0
    BIASES = 1
    TENSORS = 2


cdef enum:  # how the gradient of a tensor is found
    TILES = 0  # y^T dz
    COLUMN = 1  # the same where dz has one column
    SUMS = 2  # over the rows of dz
    NORMAL_PRODUCTS = 3  # sums over the rows of dz times the normalised inputs
    PRODUCTS = 4  # sums over the rows of dz times the inputs


# What a function of the user's is given, rows one after the other, and where its results belong.
cdef struct fm_block:
    int64_t rows, columns
    const void* z  # (rows, columns)
    int64_t width  # of the targets
    const void* targets  # (rows, width); NULL with labels, and for an activation
    const int32_t* labels  # (rows,) or NULL
    void* value  # (rows, columns) of an activation, (rows,) losses
    void* gradient  # (rows, columns) slopes or gradients; NULL: nobody wants them


# A function of the user's, an activation or a loss (functions.pyx, functions.pxd).
cdef struct fm_function:
    int (*call)(const fm_function*, const fm_block*, void* failure) noexcept nogil  # true: it failed
    # an activation of n elements of one row; NULL where that takes the interpreter's lock
    void (*row)(const fm_function*, int64_t n, const void* z, void* value, fm_control) noexcept nogil
    const void* address  # of the C function, or a Python object
    const void* context  # first argument of the C function
    int typenum  # NumPy's number of the dtype


# A step of a network: z from the outputs of the step before, then y = dropout(activation(z)). Some read an
# earlier step as well, and add what they make of it.
cdef struct fm_operator:
    int32_t kind  # AFFINE, ...
    int32_t hidden  # the layer that it belongs to, from 0: dropout draws by it
    int32_t source  # the operator that its tensors meet: the one before, or an earlier one; -1: the inputs
    int32_t reader  # a later operator, not the next, that reads this one too; 0: there is none
    int64_t row_at  # where its outputs are in the scratch of a single row
    int64_t n_in, n_out
    int64_t panels  # ceil(n_out / NR)
    fm_tensor tensors[2]  # one without columns: there is none
    int32_t activation  # row of ACTIVATIONS
    const fm_function* function  # instead of that; NULL: none
    bint ends  # a hidden layer: dropout follows, if there is any
    int32_t inner  # row of ACTIVATIONS: f of a parametric one


cdef struct fm_network:
    int32_t n_operators
    int32_t loss  # row of LOSSES
    int32_t link  # row of LOSSES whose link makes the predictions
    int32_t reader  # operator, not the first, that reads the inputs too; 0: there is none
    int64_t targets_width
    double loss_parameter
    const fm_function* loss_function  # instead of the row's loss, but not of its link; NULL: none
    bint has_labels  # the targets are labels
    int64_t row_size  # elements of the scratch of a single row
    int64_t row_at  # where in it the inputs are copied to; -1: nobody reads whole vectors of them
    int64_t function_at  # and z for functions of the user's
    const fm_operator* operators
    void* parameters
    void* copies[COPIES]  # the arena of each kind


cdef struct fm_buffers:  # of one batch
    int64_t rows  # at most; panels have room for a few more
    int64_t panel_step  # elements from the start of a panel to the next
    void* x  # [ceil(I / NR)][panel_step / NR][NR] gathered inputs
    void** y  # per layer, [panels][panel_step / NR][NR]: outputs; the last one holds z, then its gradient;
    # y[-1] is x
    void** dz  # per operator: gradient of z; dz[last] is y[last], and dz[-1] x
    # per operator: derivative (times dropout), NULL where backward uses y; never of the last. That of a
    # parametric activation belongs to the operator before, which has none.
    void** slope
    void** statistics  # per operator that normalises, in training: (rows, 2) mean and one over the deviation
    void* targets  # (rows, width), target_stride apart
    int64_t target_stride
    int32_t* labels  # (rows,)
    void* weight  # (rows,) of the samples
    void* loss_share  # (rows,) of the objective: the weight, scaled
    void* row_loss  # (rows,)
    void* predictions  # (rows, C) after the link; NULL in those that were not made for the jacobian
    void* scratch  # per thread, scratch_size elements each; at their end the scalars of the groups
    int64_t scratch_size
    void* gradients  # arena like the parameters'; NULL: none is stored
    double* sums  # the same over the blocks of a batch; NULL: none is larger than a block
    void* plain[3]  # for functions of the user's, rows of z, values, and slopes or gradients; or NULL
    int64_t plain_step  # elements of a row there, at most
    double* column_squares  # one sum of squares a column, for penalty and clipping; NULL in predictions
    double* column_magnitudes  # the same of absolute values


# A piece of the work that one thread takes: rows [k_from, k_to) of one panel of a tensor.
cdef struct fm_piece:
    const fm_tensor* tensor
    int64_t op, panel
    int64_t k_from, k_to
    int64_t offset, size  # of its parameters in their arena
    double work  # floating-point operations of its gradient, for each row of the batch


# Of which batch row and step dropout draws its numbers; NULL where a network only predicts.
cdef struct fm_draws:
    uint64_t seed, step
    int64_t row  # of the batch, that lies in row 0 of the buffers
    const double* dropout  # probability of each hidden layer; NULL: nothing drops out


cdef struct fm_task:  # what an epoch is to do, and where; nothing here changes while it lasts
    const fm_network* net
    const fm_buffers* buffers  # of fewer rows than a batch: that is a sum over blocks
    fm_data data
    const int64_t* order  # (n,) or NULL
    int64_t batch
    int32_t optimizer  # row of OPTIMIZERS, -1: gradients only
    double hyper[4]  # the last one is the decoupled decay of any optimizer
    const double* decays  # one a batch, instead of the last one; NULL: it is the same in all
    void* slots[2]
    const fm_group* groups
    int32_t n_groups
    const int32_t* group_of  # of each tensor of the network
    int32_t first_trained  # operator; the gradient goes back no further
    const double* rates  # one a batch
    const double* dropout  # probability of each hidden layer; NULL: nothing drops out
    int64_t dropout_step  # from those of a batch to those of the next, 0 where they are the same
    double l1, l2, clip_norm
    bint l2_per_batch
    bint stores  # gradients first, all of them, then the step
    const double* totals  # one a batch: sum of the weights, if other processes have part of it; or NULL
    uint64_t seed, step  # the number of the first step
    int64_t row  # of a batch, at which this process's begin


cdef struct fm_shift:  # who does it
    int32_t n_threads
    const fm_piece* pieces
    const int64_t* piece_first  # (n_threads + 1,): the pieces that each thread takes first
    fm_counter* counters  # (n_threads,): of the pieces of each thread
    fm_barrier* barrier
    fm_crew* crew  # with its job: how thread 0 calls the others
    fm_job job
    void* job_context
    int64_t next_batch  # at which they join
    int64_t alone_from  # batch at which they leave; -1: none
    fm_pace* pace
    fm_poll poll  # of thread 0
    void* poll_context
    # sum the gradients of all processes, whether or not this one has failed; true: leave. NULL: there is one
    int (*add_up)(void* poll_context, int failed) noexcept nogil
    atomic_int* stop


cdef enum:
    RUNNING = 0
    INTERRUPTED = 1
    DIVERGED = 2


cdef struct fm_report:  # what has come out so far; thread 0 writes it
    int32_t status
    double powers[2]  # of the betas
    double objective  # of the batch
    double loss_sum, weight_sum


cdef struct fm_kernels:
    int32_t abi
    int32_t element_size, lanes, mr, nr, row_multiple
    int32_t piece_rows  # weight rows of a full piece, at most: a multiple of 2 NR
    const char* level
    const char* compiler
    int32_t n_activations, n_losses, n_optimizers
    const char* (*activation_name)(int32_t) noexcept nogil
    const char* (*loss_name)(int32_t) noexcept nogil
    const char* (*optimizer_name)(int32_t) noexcept nogil
    bint (*activation_keeps_slope)(int32_t) noexcept nogil
    int64_t (*scratch_size)(const fm_network*) noexcept nogil
    # a plain (rows, columns) array to and from the arena of panels
    void (*pack)(const fm_tensor*, const void* plain, void* parameters) noexcept nogil
    void (*unpack)(const fm_tensor*, const void* parameters, void* plain) noexcept nogil
    int64_t copy_element_size[COPIES]
    void (*renew_copies)(const fm_network*) noexcept nogil  # of all tensors
    void (*epoch)(const fm_task*, fm_shift*, fm_report*, int32_t thread) noexcept nogil
    # rows [first, last) of data: (last - first, C) predictions into out, unless the watch says stop
    void (*predict)(const fm_network*, const fm_buffers*, const fm_data*, int64_t first, int64_t last,
                    void* out, fm_watch*) noexcept nogil
    # one contiguous row into out; scratch holds net.row_size elements, 64-byte aligned
    void (*predict_row)(const fm_network*, const void* x, void* scratch, void* out) noexcept nogil
    # d prediction / d input, (last - first, C, I) into out; the network keeps every transposed copy and
    # the buffers are those of training made for it
    void (*jacobian)(const fm_network*, const fm_buffers*, const fm_data*, int64_t first, int64_t last,
                     void* out, fm_watch*) noexcept nogil
    # sums of weight * loss, one for each block of buffers.rows rows from first on; and predictions, if wanted
    void (*evaluate)(const fm_network*, const fm_buffers*, const fm_data*, int64_t first, int64_t last,
                     double* block_sums, void* out, fm_watch*) noexcept nogil
    int32_t (*finite)(const void* arena, int64_t n) noexcept nogil
    int32_t (*finite_row)(const void* x, int64_t n) noexcept nogil  # any alignment and length
    void (*shuffle)(int64_t* order, int64_t n, uint64_t seed) noexcept nogil
    # the inputs of a row of fm_encoded_rows, float32 whatever the dtype of the kernels
    void (*encode_row)(const void* rows, int64_t row, void* inputs) noexcept nogil
    double (*peak)(int64_t rounds) noexcept nogil  # returns the number of floating-point operations done
    # single steps, for tests and benchmarks (probe.pyx)
    void (*gather)(const fm_network*, const fm_buffers*, const fm_data*, const int64_t* order,
                   int64_t start, int64_t first, int64_t last, int32_t thread) noexcept nogil
    void (*forward)(const fm_network*, const fm_buffers*, int32_t op, int64_t first, int64_t rows,
                    const fm_draws*, fm_watch*) noexcept nogil
    void (*output_loss)(const fm_network*, const fm_buffers*, int64_t first, int64_t last,
                        int32_t thread, bint is_weighted, fm_watch*) noexcept nogil
    void (*backward_input)(const fm_network*, const fm_buffers*, int32_t op, int64_t first,
                           int64_t rows, fm_watch*) noexcept nogil
    void (*piece_gradient)(const fm_network*, const fm_buffers*, const fm_piece*, int64_t first,
                           int64_t rows, void* g, fm_ahead*) noexcept nogil
    void (*step)(int32_t optimizer, const double* hyper, double rate, double* powers, double l2, double scale,
                 void* w, const void* g, void* s0, void* s1, int64_t n) noexcept nogil


cdef extern from *:
    """
    #define FM_CAPSULE "fastmlp.kernels"
    #define FM_ROWS_CAPSULE "fastmlp.row_source"
    """
    const char* FM_CAPSULE
    const char* FM_ROWS_CAPSULE  # of an fm_row_source
