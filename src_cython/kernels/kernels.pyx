# What is built once for each CPU level and dtype: the table of functions that a kernel module exports.
#
# Pointers in, nothing out but numbers: no Python object, no allocation, no globals. An epoch of training is
# in epoch.pxd, prediction in inference.pxd; register tiles, activations, losses and optimizers are rows of
# the tables in c/.
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int32_t, int64_t, uint64_t

from ctables cimport *
from epoch cimport *
from inference cimport *
from layers cimport *
from network cimport *
from rounding cimport round_up
from pieces cimport *


cdef extern from *:
    """
    #ifdef __clang__
    #define FM_COMPILER "clang " __clang_version__
    #else
    #define FM_COMPILER "gcc " __VERSION__
    #endif
    enum { PIECE_ROWS = 4 * NR };
    """
    const char* FM_COMPILER
    const char* FM_LEVEL_NAME
    enum:
        PIECE_ROWS


cdef int64_t scratch_size(const fm_network* net) noexcept nogil:
    cdef int64_t of_loss = FM_LOSS_SCRATCH(net.operators[net.n_operators - 1].n_out)
    cdef int64_t size = max(of_loss, PIECE_ROWS * NR, net.operators[0].n_in)
    return round_up(size, 64) + 64 + scalars_size(net)


cdef void pack(const fm_tensor* tensor, const void* plain, void* parameters) noexcept nogil:
    pack_tensor(tensor, <real*>plain, <real*>parameters)


cdef void unpack(const fm_tensor* tensor, const void* parameters, void* plain) noexcept nogil:
    unpack_tensor(tensor, <real*>parameters, <real*>plain)


cdef void renew_copies(const fm_network* net) noexcept nogil:
    cdef fm_piece whole  # a panel of a tensor
    cdef int32_t l, t
    cdef int64_t p
    for l in range(net.n_operators):
        for t in range(TENSORS):
            whole.tensor = &net.operators[l].tensors[t]
            whole.k_from, whole.k_to = 0, round_up(whole.tensor.n_rows, MR)
            for p in range(whole.tensor.panels):
                whole.panel = p
                renew_piece(net, &whole)


cdef int32_t finite(const void* arena, int64_t n) noexcept nogil:
    return all_finite(<real*>arena, n)


cdef int32_t finite_row(const void* x, int64_t n) noexcept nogil:
    return row_finite(<real*>x, n)


cdef void shuffle(int64_t* order, int64_t n, uint64_t seed) noexcept nogil:
    shuffle_indices(order, n, seed)


cdef void encode_row(const void* rows, int64_t row, void* inputs) noexcept nogil:
    fm_encode_row(rows, row, inputs)


cdef double peak(int64_t rounds) noexcept nogil:
    return fma_peak(rounds)


cdef void step(int32_t optimizer, const double* hyper, double rate, double* powers, double l2,
               double scale, void* w, const void* g, void* s0, void* s1, int64_t n) noexcept nogil:
    cdef fm_scalars scalars
    cdef fm_group group = fm_group(1, 1, 1, 1, 1, 1)
    prepare_groups(optimizer, hyper, rate, hyper[3], l2, powers, &group, 1, &scalars)
    scalars.scale = <real>scale
    OPTIMIZERS[optimizer].step(<real*>w, <real*>g, <real*>s0, <real*>s1, n, &scalars)


cdef bint activation_keeps_slope(int32_t row) noexcept nogil:
    return ACTIVATIONS[row].backward == NULL


cdef const char* activation_name(int32_t row) noexcept nogil:
    return ACTIVATIONS[row].name


cdef const char* loss_name(int32_t row) noexcept nogil:
    return LOSSES[row].name


cdef const char* optimizer_name(int32_t row) noexcept nogil:
    return OPTIMIZERS[row].name


cdef fm_kernels KERNELS
KERNELS.abi = ABI
KERNELS.element_size = sizeof(real)
KERNELS.lanes = LANES
KERNELS.mr = MR
KERNELS.nr = NR
KERNELS.row_multiple = ROW_MULTIPLE
KERNELS.piece_rows = PIECE_ROWS
KERNELS.level = FM_LEVEL_NAME
KERNELS.compiler = FM_COMPILER
KERNELS.n_activations = FM_COUNT(ACTIVATIONS)
KERNELS.n_losses = FM_COUNT(LOSSES)
KERNELS.n_optimizers = FM_COUNT(OPTIMIZERS)
KERNELS.activation_name = activation_name
KERNELS.loss_name = loss_name
KERNELS.optimizer_name = optimizer_name
KERNELS.activation_keeps_slope = activation_keeps_slope
KERNELS.scratch_size = scratch_size
KERNELS.pack = pack
KERNELS.unpack = unpack
KERNELS.renew_copies = renew_copies
for c in range(COPIES):
    KERNELS.copy_element_size[c] = COPY_KINDS[c].element_size
KERNELS.epoch = epoch
KERNELS.predict = predict
KERNELS.predict_row = predict_row
KERNELS.jacobian = jacobian
KERNELS.evaluate = evaluate
KERNELS.finite = finite
KERNELS.finite_row = finite_row
KERNELS.shuffle = shuffle
KERNELS.encode_row = encode_row
KERNELS.peak = peak
KERNELS.gather = gather
KERNELS.forward = forward
KERNELS.output_loss = output_loss
KERNELS.backward_input = backward_input
KERNELS.piece_gradient = piece_gradient
KERNELS.step = step

table = PyCapsule_New(&KERNELS, FM_CAPSULE, NULL)
